// A graph for other sizes of its dynamic dimensions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/status.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::runtime {

struct DimensionSize {
  std::string_view symbol;
  std::int64_t size = 1;
};

// A copy whose dimensions named in `sizes` have those sizes (the others their defaults): shapes inferred anew, shape
// computations folded away, nothing dynamic left. Tensors keep their ids. Constants are shared with `graph`. INVALID_ARGUMENT
// [BAD_SHAPE] for a symbol that the graph does not have or a size outside its bounds, or an error of InferOutputs when the
// graph does not work at these sizes.
Result<Graph> Specialize(const Graph& graph, std::span<const DimensionSize> sizes);

// The bounds of a symbol; nothing if the graph has no such dimension.
std::optional<DynamicDimension> FindDynamic(const Graph& graph, std::string_view symbol);

}  // namespace edgefleet::runtime
