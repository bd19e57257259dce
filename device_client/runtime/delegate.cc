#include "device_client/runtime/delegate.h"

namespace edgefleet::runtime {

std::vector<const Delegate*> AllDelegates() { return {&OneDnnDelegate(), &ReferenceDelegate()}; }

Result<const Delegate*> FindDelegate(std::string_view name) {
  std::string known;
  for (const Delegate* delegate : AllDelegates()) {
    if (delegate->name() == name) return delegate;
    known += (known.empty() ? "" : ", ") + std::string(delegate->name());
  }
  return NotFound("DELEGATE_UNKNOWN", "no delegate '" + std::string(name) + "'; there are: " + known);
}

double Coverage(const Delegate& delegate, const Graph& graph) {
  std::size_t supported = 0;
  for (const Node& node : graph.nodes) supported += delegate.Supports(node, graph).supported ? 1 : 0;
  return graph.nodes.empty() ? 0.0 : static_cast<double>(supported) / static_cast<double>(graph.nodes.size());
}

}  // namespace edgefleet::runtime
