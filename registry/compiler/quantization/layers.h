// Which nodes hold weights, and in which precisions they can be.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "device_client/runtime/graph.h"
#include "registry/compiler/values.h"

namespace edgefleet::compiler {

// What a node computes with. What is not about weights follows its inputs: in kInt8 and kBf16 an operator runs on int8 or bf16
// where its input is.
enum class Precision : std::uint8_t {
  kFp32,
  kFp16,         // fp16 weights, fp32 arithmetic
  kBf16,         // weights and activations
  kInt8,         // weights and activations, int32 sums
  kInt8Weights,  // fp32 arithmetic
  kInt4,         // weights in groups, fp32 arithmetic
};

// "fp32", "fp16", "bf16", "int8", "int8-weights", "int4".
std::string_view PrecisionName(Precision precision);

// A node with fp32 constants as weights: Conv2d, ConvTranspose2d, FullyConnected, MatMul with a constant, Lstm, Gru and Rnn.
struct WeightedLayer {
  std::vector<std::size_t> weights;  // inputs; recurrent ones have two
  int channel_axis = 0;              // dimension of the weights that has a scale a slice; -1: one scale for all
  std::int64_t groups = 1;           // of a transposed convolution: output channels share the slices of the weights
  bool int8_arithmetic = false;      // the operator is defined on int8, and its sums fit
  std::optional<std::size_t> bias;   // input that is the bias or would be: one value an output channel

  std::int64_t Parameters(const runtime::Graph& graph, const runtime::Node& node) const;
};
std::optional<WeightedLayer> WeightedLayerOf(const runtime::Graph& graph, const runtime::Node& node);

// A Gather from a constant fp32 table: an embedding.
bool IsEmbedding(const runtime::Graph& graph, const runtime::Node& node);

// Operators that int8 and bf16 variants run on int8 and bf16 where their inputs are: activations, averages, Add, Sub, Mul, Min,
// Max and PRelu.
bool FollowsItsInputs(const runtime::Operator& op);

}  // namespace edgefleet::compiler
