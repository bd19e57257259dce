// How good a variant is, and whether that is good enough.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "device_client/runtime/dataset.h"
#include "device_client/runtime/graph.h"
#include "registry/compiler/compiler.h"

namespace edgefleet::compiler {

// Runs the graph as a device does: `onednn`, and `reference` for what that does not support.
// INVALID_ARGUMENT [BAD_EVALUATION] if the network yields NaN or infinity.
Result<Metrics> Measure(std::shared_ptr<const runtime::Graph> graph, const runtime::Dataset& dataset);

// Why `int8` is refused against `fp32`; nothing if it is good enough.
std::optional<std::string> RefusalOf(const Metrics& fp32, const Metrics& int8, const CompileOptions& options);

}  // namespace edgefleet::compiler
