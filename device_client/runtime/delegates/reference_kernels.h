// Scalar kernels: one node over plain row-major buffers. They define what every operator means.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device_client/runtime/delegate.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::runtime {

// Runs a node of a validated graph; `buffers` hold its activations at `batch` examples.
void RunReferenceNode(const Graph& graph, const Node& node, std::int64_t batch, BufferTable buffers);

// `multiple` rounded half to even, shifted by `zero_point` and saturated to [low, 127].
std::int8_t SaturateToInt8(double multiple, std::int32_t zero_point, std::int32_t low = -128);

}  // namespace edgefleet::runtime
