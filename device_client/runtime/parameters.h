// A graph's trainable parameters as one flat vector: graph.parameters in order, each tensor row-major. This order is what
// training, aggregation and the registry share, so LayoutSha256 names it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/crypto/crypto.h"
#include "base/status.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::runtime {

std::int64_t ParameterCount(const Graph& graph);

// SHA-256 over, for each parameter in order: name length (u32 little-endian), name, rank (u32), each dimension (u64).
crypto::Sha256Digest LayoutSha256(const Graph& graph);

std::vector<float> ReadParameters(const Graph& graph);

// A copy of the graph with new parameters and storage of its own; the other constants are shared with `graph`.
// INVALID_ARGUMENT [PARAMETER_COUNT | PARAMETER_NOT_FINITE], FAILED_PRECONDITION [NOT_TRAINABLE] if the graph has no
// parameters.
Result<Graph> WithParameters(const Graph& graph, std::span<const float> parameters);

}  // namespace edgefleet::runtime
