#include "registry/compiler/optimize/optimize.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <variant>

#include "registry/compiler/optimize/editor.h"

namespace edgefleet::compiler {
namespace {

Status CheckFinite(const runtime::Graph& graph) {
  for (const TensorId id : graph.parameters) {
    const runtime::Tensor& tensor = graph.tensor(id);
    if (std::ranges::all_of(Floats(tensor), [](float value) { return std::isfinite(value); })) continue;
    return InvalidArgument("BAD_ONNX",
                           "the weights '" + tensor.name +
                               "' are not finite in float32, or overflow when constants are folded into them; export the "
                               "network again");
  }
  return OkStatus();
}

}  // namespace

void ListParameters(runtime::Graph& graph) {
  graph.parameters.clear();
  std::set<TensorId> seen;
  for (const runtime::Node& node : graph.nodes) {
    if (!std::holds_alternative<runtime::Conv2d>(node.op) && !std::holds_alternative<runtime::FullyConnected>(node.op))
      continue;
    for (std::size_t i = 1; i < node.inputs.size(); ++i) {
      if (node.inputs[i] == runtime::kAbsent || Floats(graph.tensor(node.inputs[i])).empty()) continue;
      if (seen.insert(node.inputs[i]).second) graph.parameters.push_back(node.inputs[i]);
    }
  }
}

Status Optimize(runtime::Graph& graph) {
  Simplify(graph);
  ShareCommon(graph);
  RecognizePatterns(graph);
  EF_RETURN_IF_ERROR(FoldAffine(graph));
  FuseActivations(graph);
  FuseQuantized(graph);
  Simplify(graph);
  ShareCommon(graph);
  ListParameters(graph);
  return CheckFinite(graph);
}

}  // namespace edgefleet::compiler
