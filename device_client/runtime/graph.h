// The network as the device sees it: what the compiler writes into an .efm file and what delegates execute. Plain data.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"

namespace edgefleet::runtime {

enum class DataType : std::uint8_t { kFloat32 = 0, kInt8 = 1, kInt32 = 2 };

std::size_t SizeOf(DataType type);

// Affine quantization (Jacob et al. 2018, section 2.1): real = scale * (q - zero_point). One scale for the tensor (axis -1), or
// one a slice along `axis`. Weights are symmetric (zero points 0).
struct Quantization {
  std::vector<float> scales;
  std::vector<std::int32_t> zero_points;  // as many as scales, or none: all 0
  int axis = -1;
};

using TensorId = std::int32_t;

// A constant has `data` (little-endian, row-major, 64-byte aligned in a mapped model); an activation has none. Activation
// shapes hold the batch in dimension 0 as 1; a session may run a larger batch.
struct Tensor {
  std::string name;
  DataType type = DataType::kFloat32;
  std::vector<std::int64_t> shape;
  std::optional<Quantization> quantization;
  ByteView data;  // a view into the graph's storage

  bool is_constant() const { return !data.empty(); }
};

enum class Activation : std::uint8_t { kNone = 0, kRelu = 1 };

// Spatial attributes are {height, width}; pads are {top, left, bottom, right}. Activations are NCHW.
// Inputs: x [N,C,H,W], weights [O, C/groups, KH, KW], bias [O] (optional).
struct Conv2d {
  std::array<std::int32_t, 2> strides{1, 1};
  std::array<std::int32_t, 4> pads{0, 0, 0, 0};
  std::array<std::int32_t, 2> dilations{1, 1};
  std::int32_t groups = 1;
  Activation activation = Activation::kNone;
};
// Inputs: x [N,K], weights [M,K], bias [M] (optional). y = x * weights^T + bias.
struct FullyConnected {
  Activation activation = Activation::kNone;
};
// Input: x [N,C,H,W]. Padding never wins a maximum and is not counted in an average unless `count_include_pad`.
struct Pool2d {
  enum class Kind : std::uint8_t { kMax = 0, kAverage = 1 } kind = Kind::kMax;
  std::array<std::int32_t, 2> kernel{1, 1};
  std::array<std::int32_t, 2> strides{1, 1};
  std::array<std::int32_t, 4> pads{0, 0, 0, 0};
  bool count_include_pad = false;
};
struct GlobalAveragePool {};  // x [N,C,H,W] -> [N,C,1,1]
struct Relu {};
struct Add {  // two inputs of the same shape
  Activation activation = Activation::kNone;
};
struct Flatten {};     // [N, ...] -> [N, product]
struct Softmax {};     // over the last dimension
struct Quantize {};    // fp32 -> int8 by the output's quantization, round half to even, saturating
struct Dequantize {};  // int8 -> fp32 by the input's quantization

using Operator =
    std::variant<Conv2d, FullyConnected, Pool2d, GlobalAveragePool, Relu, Add, Flatten, Softmax, Quantize, Dequantize>;
std::string OperatorName(const Operator& op);

// int8 kernels accumulate x_q * w_q in int32; bias is int32 with scale = scale(x) * scale(w)[channel], zero point 0; the
// accumulator is requantized per output channel, rounded half to even, and saturated; a fused ReLU clamps at the output's zero
// point.
struct Node {
  std::string name;
  Operator op;
  std::vector<TensorId> inputs;
  std::vector<TensorId> outputs;
};

// Nodes are in execution order. `parameters` lists the trainable constants (all fp32) in the order of the flat parameter vector
// that training, aggregation and the registry share; it is empty in a variant that cannot be trained.
struct Graph {
  std::string name;
  std::vector<Tensor> tensors;
  std::vector<Node> nodes;
  std::vector<TensorId> inputs;
  std::vector<TensorId> outputs;
  std::vector<TensorId> parameters;
  std::shared_ptr<const void> storage;  // keeps the constants' bytes alive (a mapping or a buffer)
};

// Elements of one example (dimension 0 taken as 1) and bytes of a constant.
std::int64_t ElementCount(const std::vector<std::int64_t>& shape);

// Of a tensor quantized as a whole; an absent zero point is 0.
std::int32_t ZeroPoint(const Tensor& tensor);

}  // namespace edgefleet::runtime
