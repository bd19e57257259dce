// The network as the compiler transforms it and the device runs it: what is in an .efm file and what delegates execute. Plain
// data.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "device_client/runtime/operators.h"

namespace edgefleet::runtime {

// Bytes of one element; 0 for kInt4 (two a byte: ConstantBytes) and for unknown types.
std::size_t SizeOf(DataType type);
std::string_view DataTypeName(DataType type);

// Affine quantization (Jacob et al. 2018, section 2.1): real = scale * (q - zero_point). One scale for the tensor (axis -1), or
// one a slice along `axis`. Weights are symmetric (zero points 0).
//
// With `group_size` (32, 64 or 128; kInt4 constants only) `scales`, `zero_points` and `axis` are unused: see Tensor.
struct Quantization {
  std::vector<float> scales;
  std::vector<std::int32_t> zero_points;  // as many as scales, or none: all 0
  int axis = -1;
  std::int32_t group_size = 0;

  bool operator==(const Quantization&) const = default;
};

using TensorId = std::int32_t;
inline constexpr TensorId kAbsent = -1;  // an optional input or output that a node does not have

// A constant has `data` (little-endian, row-major, 64-byte aligned in a mapped model); an activation has none. Shapes are
// concrete: those of the default sizes of the graph's inputs. A constant may have no elements, an activation has at least one.
// A scalar has no dimensions.
//
// kInt4, constants only, two's complement in [-8, 7], shape [R, ...] as R rows of K = the product of the rest: first the rows,
// each of (K + 1) / 2 bytes, the first value in the low nibble; then, from a multiple of 2, fp16 scales, ceil(K / group_size) a
// row: value k of row r stands for q * scale[r][k / group_size].
struct Tensor {
  std::string name;
  DataType type = DataType::kFloat32;
  std::vector<std::int64_t> shape;
  std::optional<Quantization> quantization;
  ByteView data;  // a view into the graph's storage; not null in a constant, even in one without elements

  bool is_constant() const { return data.data() != nullptr; }
};

// int8 kernels of weighted operators accumulate (x_q - zero_point) * w_q in int32; bias is int32 with scale = scale(x) *
// scale(w)[channel], zero point 0; the accumulator is requantized per output channel, rounded half to even, and saturated; a
// fused activation clamps there. All other int8 operators compute with the real values that their inputs stand for and
// represent the result in the output's quantization, rounded half to even and saturated; operators that only move elements keep
// the quantization.
//
// Weights of fp32 and bf16 arithmetic may be kFloat16, kInt8 or kInt4 constants: they are widened to fp32 first.
struct Node {
  std::string name;
  Operator op;
  std::vector<TensorId> inputs;   // kAbsent for optional ones; trailing ones are left out
  std::vector<TensorId> outputs;  // the same
};

// A dimension of an input that a session may choose between `min` and `max`; the input's shape has the default. Dimensions of
// one symbol are equal in every session.
struct DynamicDimension {
  std::int32_t input = 0;  // index into Graph::inputs
  std::int32_t axis = 0;
  std::int64_t min = 1;
  std::int64_t max = 1;
  std::string symbol;
};

// The symbol of the dimension that holds examples: what SessionOptions::batch sets.
inline constexpr std::string_view kBatchSymbol = "batch";

// Nodes are in execution order. `parameters` lists the trainable constants (all fp32) in the order of the flat parameter vector
// that training, aggregation and the registry share; it is empty in a variant that cannot be trained.
struct Graph {
  std::string name;
  std::vector<Tensor> tensors;
  std::vector<Node> nodes;
  std::vector<TensorId> inputs;
  std::vector<TensorId> outputs;
  std::vector<TensorId> parameters;
  std::vector<DynamicDimension> dynamic;
  std::shared_ptr<const void> storage;  // keeps the constants' bytes alive (a mapping or a buffer)

  Tensor& tensor(TensorId id) { return tensors[static_cast<std::size_t>(id)]; }
  const Tensor& tensor(TensorId id) const { return tensors[static_cast<std::size_t>(id)]; }
};

// The most examples a session takes at once.
inline constexpr std::int64_t kBatchMax = 65'536;

std::int64_t ElementCount(const std::vector<std::int64_t>& shape);

// Bytes of a constant of this type, shape and (for kInt4) group size.
std::size_t ConstantBytes(DataType type, const std::vector<std::int64_t>& shape, std::int32_t group_size = 0);

// Of a tensor quantized as a whole; an absent zero point is 0.
std::int32_t ZeroPoint(const Tensor& tensor);

}  // namespace edgefleet::runtime
