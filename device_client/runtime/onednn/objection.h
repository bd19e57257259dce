// What oneDNN cannot do, or not with the reference's meaning. Internal to the onednn delegate.
#pragma once

#include <string>

#include "device_client/runtime/graph.h"

namespace edgefleet::runtime::onednn {

// Why no fp32 or bf16 primitive computes the node; empty if one does.
std::string FloatObjection(const Node& node, const Graph& graph);

// Why no int8 primitive computes the node, nor an alias of its input; empty if one does.
std::string Int8Objection(const Node& node, const Graph& graph);

// Why the delegate leaves the node to the reference; empty for primitives, and for what only moves elements or looks at each
// once: that runs with the reference's kernels between the primitives.
std::string Objection(const Node& node, const Graph& graph);

}  // namespace edgefleet::runtime::onednn
