// What a node takes, whoever runs it.
#pragma once

#include "device_client/runtime/graph.h"

namespace edgefleet::runtime {

struct Work {
  double multiply_adds = 0;  // of weighted operators; for others one for each output element
  double bytes = 0;          // of inputs, constants among them, and outputs
};

// At the shapes of the graph's tensors (those of a session: Specialize()).
Work WorkOf(const Graph& graph, const Node& node);

}  // namespace edgefleet::runtime
