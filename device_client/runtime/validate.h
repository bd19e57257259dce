// What a graph must satisfy before anything runs it. Loader, writer, sessions and trainers rely on this one check.
#pragma once

#include "base/status.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::runtime {

inline constexpr std::size_t kTensorsMax = 65'536;
inline constexpr std::size_t kNodesMax = 16'384;
inline constexpr std::size_t kDimensionsMax = 8;
inline constexpr std::size_t kDynamicMax = 64;
inline constexpr std::size_t kNameBytesMax = 256;
inline constexpr std::int64_t kElementsMax = 2'147'483'647;
// Products of window and channels above this could overflow an int32 accumulator of int8 products (127 * 255 each, plus bias).
inline constexpr std::int64_t kInt8ReductionMax = 32'768;

// Checks ids, names, shapes (positive, bounded), sizes of constants, quantization (finite positive scales, zero points in the
// type, one or one a slice), order (each activation is written once, before it is read), arity, types and shapes of every
// operator, and that `parameters` are distinct fp32 constants. Dimension 0 of an activation is 1.
//
// Types: an operator runs wholly in fp32 or in int8 (weights int8 symmetric, per tensor or per output channel, bias int32);
// Softmax is fp32; int8 activations are quantized per tensor; max pooling and Flatten keep their input's quantization.
//
// INVALID_ARGUMENT [GRAPH_LIMIT | GRAPH_TENSOR | GRAPH_QUANTIZATION | GRAPH_NODE | GRAPH_SHAPE | GRAPH_TYPE | GRAPH_ORDER |
// GRAPH_PARAMETERS], with the name of the culprit in the message.
Status ValidateGraph(const Graph& graph);

}  // namespace edgefleet::runtime
