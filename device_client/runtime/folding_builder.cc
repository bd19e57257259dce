#include "device_client/runtime/folding_builder.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

namespace edgefleet::runtime {
namespace {

template <typename Op, typename... Ops>
constexpr bool kIsOneOf = (std::is_same_v<Op, Ops> || ...);

}  // namespace

bool MovesElements(const Operator& op) {
  return std::visit(
      []<typename Op>(const Op& each) {
        if constexpr (std::is_same_v<Op, Pool2d>) return each.kind == Pool2d::Kind::kMax;
        if constexpr (std::is_same_v<Op, Unary>) return each.function.kind == UnaryKind::kIdentity;
        if constexpr (std::is_same_v<Op, Resize>) return each.mode == Resize::Mode::kNearest;
        return kIsOneOf<Op, Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Concat, Split, Slice, Gather, GatherElements,
                        GatherNd, Expand, Tile, Pad, DepthToSpace, SpaceToDepth, ReverseSequence>;
      },
      op);
}

FoldingBuilder::FoldingBuilder(std::string name, const FoldingLimits& limits)
    : inference_(limits), kept_(std::make_shared<std::vector<std::shared_ptr<const void>>>()) {
  graph_.name = std::move(name);
  kept_->push_back(inference_.storage());
  graph_.storage = kept_;
}

TensorId FoldingBuilder::Add(Tensor tensor, bool varies) {
  graph_.tensors.push_back(std::move(tensor));
  varies_.push_back(varies);
  return static_cast<TensorId>(graph_.tensors.size() - 1);
}

TensorId FoldingBuilder::AddInput(std::string name, DataType type, std::vector<std::int64_t> shape,
                                  std::optional<Quantization> quantization) {
  graph_.inputs.push_back(Add({std::move(name), type, std::move(shape), std::move(quantization), {}}, false));
  return graph_.inputs.back();
}

void FoldingBuilder::AddDynamic(DynamicDimension dimension) {
  varies_[static_cast<std::size_t>(graph_.inputs[static_cast<std::size_t>(dimension.input)])] = true;
  graph_.dynamic.push_back(std::move(dimension));
}

Result<TensorId> FoldingBuilder::AddConstant(std::string name, DataType type, std::vector<std::int64_t> shape, ByteView data,
                                             std::optional<Quantization> quantization) {
  EF_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Allocate(std::max<std::size_t>(data.size(), 1)));
  if (!data.empty()) std::memcpy(buffer.data(), data.data(), data.size());
  const auto owned = std::make_shared<AlignedBuffer>(std::move(buffer));
  kept_->push_back(owned);
  return Add({std::move(name), type, std::move(shape), std::move(quantization), ByteView(owned->data(), data.size())}, false);
}

TensorId FoldingBuilder::AddBorrowed(Tensor constant) { return Add(std::move(constant), false); }

void FoldingBuilder::Keep(std::shared_ptr<const void> storage) { kept_->push_back(std::move(storage)); }

Result<std::vector<TensorId>> FoldingBuilder::AddNode(std::string name, Operator op, std::vector<TensorId> inputs,
                                                      std::vector<std::string> output_names,
                                                      std::optional<Quantization> quantization) {
  Node node{std::move(name), std::move(op), std::move(inputs), {}};
  while (!node.inputs.empty() && node.inputs.back() == kAbsent) node.inputs.pop_back();
  node.outputs.assign(output_names.size(), kAbsent);
  EF_ASSIGN_OR_RETURN(std::vector<TypedShape> shapes, inference_.Infer(graph_, node));
  const bool varies =
      std::ranges::any_of(node.inputs, [&](TensorId id) { return id != kAbsent && varies_[static_cast<std::size_t>(id)]; });
  if (!quantization && MovesElements(node.op) && !node.inputs.empty()) quantization = At(node.inputs[0]).quantization;
  for (std::size_t i = 0; i < output_names.size(); ++i) {
    if (output_names[i].empty()) continue;
    node.outputs[i] = Add({std::move(output_names[i]), shapes[i].type, std::move(shapes[i].shape), quantization, {}}, varies);
  }
  EF_ASSIGN_OR_RETURN(const auto values, inference_.Evaluate(graph_, node));
  std::vector<TensorId> ids = node.outputs;
  if (!values || varies) {
    graph_.nodes.push_back(std::move(node));
    return ids;
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] != kAbsent) graph_.tensor(ids[i]).data = (*values)[i];
  }
  return ids;
}

Graph FoldingBuilder::Finish(std::vector<Output> outputs) && {
  std::vector<bool> taken(graph_.tensors.size(), false);
  for (const TensorId id : graph_.inputs) taken[static_cast<std::size_t>(id)] = true;
  for (Output& output : outputs) {
    const auto index = static_cast<std::size_t>(output.id);
    if (!taken[index] && !At(output.id).is_constant()) {
      taken[index] = true;
      graph_.tensor(output.id).name = std::move(output.name);
      graph_.outputs.push_back(output.id);
      continue;
    }
    Tensor copy = At(output.id);
    copy.data = {};
    copy.name = std::move(output.name);
    if (At(output.id).name == copy.name) graph_.tensor(output.id).name += ".value";
    const TensorId id = Add(std::move(copy), false);
    graph_.nodes.push_back({At(id).name, Unary{}, {output.id}, {id}});
    graph_.outputs.push_back(id);
  }
  RemoveDead(graph_);
  return std::move(graph_);
}

void RemoveDead(Graph& graph) {
  std::vector<bool> needed(graph.tensors.size(), false);
  const auto need = [&](TensorId id) {
    if (id != kAbsent) needed[static_cast<std::size_t>(id)] = true;
  };
  std::ranges::for_each(graph.outputs, need);
  std::vector<Node> kept;
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    const bool wanted =
        std::ranges::any_of(node->outputs, [&](TensorId id) { return id != kAbsent && needed[static_cast<std::size_t>(id)]; });
    if (!wanted) continue;
    std::ranges::for_each(node->inputs, need);
    std::ranges::for_each(node->outputs, need);
    kept.push_back(std::move(*node));
  }
  std::ranges::reverse(kept);
  graph.nodes = std::move(kept);
  std::erase_if(graph.parameters, [&](TensorId id) { return !needed[static_cast<std::size_t>(id)]; });
  std::ranges::for_each(graph.inputs, need);
  std::vector<TensorId> renumbered(graph.tensors.size(), kAbsent);
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    if (!needed[i]) continue;
    renumbered[i] = static_cast<TensorId>(tensors.size());
    tensors.push_back(std::move(graph.tensors[i]));
  }
  graph.tensors = std::move(tensors);
  const auto renumber = [&](std::vector<TensorId>& ids) {
    for (TensorId& id : ids) id = id == kAbsent ? kAbsent : renumbered[static_cast<std::size_t>(id)];
  };
  for (Node& node : graph.nodes) renumber(node.inputs), renumber(node.outputs);
  renumber(graph.inputs), renumber(graph.outputs), renumber(graph.parameters);
}

}  // namespace edgefleet::runtime
