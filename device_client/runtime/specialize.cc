#include "device_client/runtime/specialize.h"

#include <algorithm>
#include <string>
#include <utility>

#include "device_client/runtime/folding_builder.h"
#include "device_client/runtime/inference.h"

namespace edgefleet::runtime {
namespace {

Error BadShape(std::string what) { return InvalidArgument("BAD_SHAPE", std::move(what)); }

Status SetSizes(Graph& graph, std::span<const DimensionSize> sizes) {
  for (const DimensionSize& wanted : sizes) {
    const auto bounds = FindDynamic(graph, wanted.symbol);
    if (!bounds) return BadShape("the model has no dynamic dimension '" + std::string(wanted.symbol) + "'");
    if (wanted.size < bounds->min || wanted.size > bounds->max) {
      return BadShape("dimension '" + bounds->symbol + "' may be " + std::to_string(bounds->min) + " to " +
                      std::to_string(bounds->max) + ", not " + std::to_string(wanted.size));
    }
    for (const DynamicDimension& each : graph.dynamic) {
      if (each.symbol != wanted.symbol) continue;
      const TensorId input = graph.inputs[static_cast<std::size_t>(each.input)];
      graph.tensor(input).shape[static_cast<std::size_t>(each.axis)] = wanted.size;
    }
  }
  return OkStatus();
}

// The storage of both the former graph and what was computed.
struct Both {
  std::shared_ptr<const void> former;
  std::shared_ptr<const void> computed;
};

// An output that no node writes any more is copied by one.
void WriteConstantOutputs(Graph& graph) {
  for (TensorId& id : graph.outputs) {
    if (!graph.tensor(id).is_constant()) continue;
    Tensor copy = graph.tensor(id);
    copy.data = {};
    graph.tensors.push_back(std::move(copy));
    const auto written = static_cast<TensorId>(graph.tensors.size() - 1);
    graph.nodes.push_back({graph.tensor(written).name, Unary{}, {id}, {written}});
    id = written;
  }
}

}  // namespace

std::optional<DynamicDimension> FindDynamic(const Graph& graph, std::string_view symbol) {
  const auto found = std::ranges::find(graph.dynamic, symbol, &DynamicDimension::symbol);
  if (found == graph.dynamic.end()) return std::nullopt;
  DynamicDimension bounds = *found;
  for (const DynamicDimension& each : graph.dynamic) {
    if (each.symbol != symbol) continue;
    bounds.min = std::max(bounds.min, each.min);
    bounds.max = std::min(bounds.max, each.max);
  }
  return bounds;
}

Result<Graph> Specialize(const Graph& graph, std::span<const DimensionSize> sizes) {
  Graph out = graph;
  EF_RETURN_IF_ERROR(SetSizes(out, sizes));
  out.dynamic.clear();
  Inference inference(kShapeFolding);
  std::vector<Node> kept;
  for (Node& node : out.nodes) {
    EF_ASSIGN_OR_RETURN(std::vector<TypedShape> shapes, inference.Infer(out, node));
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      if (node.outputs[i] != kAbsent) out.tensor(node.outputs[i]).shape = std::move(shapes[i].shape);
    }
    EF_ASSIGN_OR_RETURN(const auto values, inference.Evaluate(out, node));
    if (!values) {
      kept.push_back(std::move(node));
      continue;
    }
    for (std::size_t i = 0; i < values->size(); ++i) {
      if (node.outputs[i] != kAbsent) out.tensor(node.outputs[i]).data = (*values)[i];
    }
  }
  out.nodes = std::move(kept);
  WriteConstantOutputs(out);
  out.storage = std::make_shared<const Both>(Both{graph.storage, inference.storage()});
  return out;
}

}  // namespace edgefleet::runtime
