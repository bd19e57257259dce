#include "device_client/runtime/delegate.h"

#include <algorithm>

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

FailureClass Classify(const Status& error) {
  switch (error.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kOutOfRange:
    case StatusCode::kFailedPrecondition:
    case StatusCode::kNotFound:
      return FailureClass::kInput;
    case StatusCode::kResourceExhausted:
      return FailureClass::kMemory;
    case StatusCode::kUnimplemented:
      return FailureClass::kUnsupported;
    default:
      return FailureClass::kDelegate;
  }
}

Cost Roofline(const Work& work, double multiply_adds_per_second, double bytes_per_second) {
  constexpr double kNodeSeconds = 0.5e-6;  // for starting it
  return {std::chrono::duration<double>(
      kNodeSeconds + std::max(work.multiply_adds / multiply_adds_per_second, work.bytes / bytes_per_second))};
}

double Coverage(const Delegate& delegate, const Graph& graph) {
  std::size_t supported = 0;
  for (const Node& node : graph.nodes) supported += delegate.Supports(node, graph).supported ? 1 : 0;
  return graph.nodes.empty() ? 0.0 : static_cast<double>(supported) / static_cast<double>(graph.nodes.size());
}

}  // namespace edgefleet::runtime
