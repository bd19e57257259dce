#include "registry/compiler/passes.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace edgefleet::compiler {
namespace {

bool IsOutput(const IrGraph& graph, ValueId value) { return std::ranges::find(graph.outputs, value) != graph.outputs.end(); }

// How many nodes read a value, and which writes it; kept up to date by the passes that need it.
struct Links {
  explicit Links(const IrGraph& graph) : readers(graph.values.size(), 0), writer(graph.values.size(), -1) {
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      for (const ValueId input : graph.nodes[i].inputs) ++readers[static_cast<std::size_t>(input)];
      writer[static_cast<std::size_t>(graph.nodes[i].output)] = static_cast<std::ptrdiff_t>(i);
    }
    for (const ValueId output : graph.outputs) ++readers[static_cast<std::size_t>(output)];
  }
  // The node that writes `value`, if nothing but one node reads it.
  std::optional<std::size_t> SoleWriter(ValueId value) const {
    const auto index = static_cast<std::size_t>(value);
    if (writer[index] < 0 || readers[index] != 1) return std::nullopt;
    return static_cast<std::size_t>(writer[index]);
  }
  std::vector<std::size_t> readers;
  std::vector<std::ptrdiff_t> writer;
};

void EraseNodes(IrGraph& graph, const std::vector<bool>& dead) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (dead[i]) continue;
    if (kept != i) graph.nodes[kept] = std::move(graph.nodes[i]);
    ++kept;
  }
  graph.nodes.resize(kept);
}

constexpr std::size_t kCopiedElementsMax = std::size_t{1} << 28;

// Adds and copies constants, each under a name of its own.
class Constants {
 public:
  explicit Constants(IrGraph& graph) : graph_(graph), readers_(graph.values.size(), 0) {
    for (const IrValue& value : graph.values) names_.insert(value.name);
    for (const IrNode& node : graph.nodes) {
      for (const ValueId input : node.inputs) ++readers_[static_cast<std::size_t>(input)];
    }
  }

  ValueId Add(const std::string& wanted, std::vector<std::int64_t> shape, std::vector<float> values) {
    std::string name = wanted;
    while (!names_.insert(name).second) name = wanted + std::to_string(++suffixes_[wanted]);
    graph_.values.push_back({std::move(name), std::move(shape), true, std::move(values)});
    readers_.push_back(1);
    return static_cast<ValueId>(graph_.values.size() - 1);
  }

  // Makes input `index` of the node its own: a copy if others read it too.
  Status Own(IrNode& node, std::size_t index) {
    const ValueId id = node.inputs[index];
    if (readers_[static_cast<std::size_t>(id)] == 1) return OkStatus();
    const IrValue shared = graph_.value(id);
    copied_ += shared.constant.size();
    if (copied_ > kCopiedElementsMax) {
      return InvalidArgument("TOO_LARGE",
                             "node '" + node.name + "': too many normalizations share the weights '" + shared.name + "'");
    }
    --readers_[static_cast<std::size_t>(id)];
    node.inputs[index] = Add(shared.name + "_own", shared.shape, shared.constant);
    return OkStatus();
  }

 private:
  IrGraph& graph_;
  std::vector<std::size_t> readers_;
  std::set<std::string> names_;
  std::map<std::string, int> suffixes_;
  std::size_t copied_ = 0;
};

Status FoldInto(IrGraph& graph, Constants& constants, IrNode& node, const Affine& affine) {
  EF_RETURN_IF_ERROR(constants.Own(node, 1));
  IrValue& weights = graph.value(node.inputs[1]);
  const std::size_t channels = affine.scale.size();
  const std::size_t slice = weights.constant.size() / channels;
  for (std::size_t i = 0; i < weights.constant.size(); ++i) weights.constant[i] *= affine.scale[i / slice];
  if (node.inputs.size() < 3) {
    const std::string name = weights.name + "_bias";  // `weights` may move
    node.inputs.push_back(constants.Add(name, {static_cast<std::int64_t>(channels)}, affine.shift));
    return OkStatus();
  }
  EF_RETURN_IF_ERROR(constants.Own(node, 2));
  std::vector<float>& bias = graph.value(node.inputs[2]).constant;
  for (std::size_t c = 0; c < channels; ++c) bias[c] = bias[c] * affine.scale[c] + affine.shift[c];
  return OkStatus();
}

Status ExpandNode(IrGraph& graph, Constants& constants, IrNode& node) {
  const Affine affine = std::get<Affine>(node.op);
  if (graph.value(node.inputs[0]).shape.size() != 4) {
    return InvalidArgument("UNSUPPORTED_OPERATOR",
                           "node '" + node.name +
                               "': a normalization or an added constant on features must directly follow "
                               "the Gemm or MatMul that computes them");
  }
  const auto channels = static_cast<std::int64_t>(affine.scale.size());
  const std::string name = graph.value(node.output).name;
  const ValueId weights = constants.Add(name + "_scale", {channels, 1, 1, 1}, affine.scale);
  const ValueId bias = constants.Add(name + "_shift", {channels}, affine.shift);
  node.inputs = {node.inputs[0], weights, bias};
  node.op = runtime::Conv2d{.groups = static_cast<std::int32_t>(channels)};
  return OkStatus();
}

bool HoldsWeights(const IrNode& node) {
  return std::holds_alternative<runtime::Conv2d>(node.op) || std::holds_alternative<runtime::FullyConnected>(node.op);
}

// Where a Relu may be fused; null elsewhere.
runtime::Activation* ActivationOf(IrOperator& op) {
  if (auto* conv = std::get_if<runtime::Conv2d>(&op)) return &conv->activation;
  if (auto* dense = std::get_if<runtime::FullyConnected>(&op)) return &dense->activation;
  if (auto* add = std::get_if<Add>(&op)) return &add->activation;
  return nullptr;
}

}  // namespace

void RemoveIdentities(IrGraph& graph) {
  std::map<ValueId, ValueId> replaced;
  std::vector<bool> dead(graph.nodes.size(), false);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    IrNode& node = graph.nodes[i];
    for (ValueId& input : node.inputs) {
      if (const auto found = replaced.find(input); found != replaced.end()) input = found->second;
    }
    if (!std::holds_alternative<Identity>(node.op)) continue;
    const ValueId input = node.inputs[0];
    const auto output = std::ranges::find(graph.outputs, node.output);
    if (output != graph.outputs.end()) {
      const bool written = std::ranges::find(graph.inputs, input) == graph.inputs.end();
      if (!written || IsOutput(graph, input)) continue;  // Lower() says what is wrong with it
      std::swap(graph.value(input).name, graph.value(node.output).name);
      *output = input;
    }
    replaced.emplace(node.output, input);
    dead[i] = true;
  }
  EraseNodes(graph, dead);
}

Status FoldAffine(IrGraph& graph) {
  Links links(graph);
  Constants constants(graph);
  std::vector<bool> dead(graph.nodes.size(), false);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    IrNode& node = graph.nodes[i];
    if (!std::holds_alternative<Affine>(node.op)) continue;
    const auto feeder = links.SoleWriter(node.inputs[0]);
    if (!feeder || !HoldsWeights(graph.nodes[*feeder])) {
      EF_RETURN_IF_ERROR(ExpandNode(graph, constants, node));
      continue;
    }
    EF_RETURN_IF_ERROR(FoldInto(graph, constants, graph.nodes[*feeder], std::get<Affine>(node.op)));
    graph.nodes[*feeder].output = node.output;
    links.writer[static_cast<std::size_t>(node.output)] = static_cast<std::ptrdiff_t>(*feeder);
    dead[i] = true;
  }
  EraseNodes(graph, dead);
  return OkStatus();
}

Status ExpandAffine(IrGraph& graph) {
  Constants constants(graph);
  for (IrNode& node : graph.nodes) {
    if (std::holds_alternative<Affine>(node.op)) EF_RETURN_IF_ERROR(ExpandNode(graph, constants, node));
  }
  return OkStatus();
}

void FuseRelu(IrGraph& graph) {
  Links links(graph);
  std::vector<bool> dead(graph.nodes.size(), false);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const IrNode& node = graph.nodes[i];
    if (!std::holds_alternative<Relu>(node.op)) continue;
    const auto feeder = links.SoleWriter(node.inputs[0]);
    runtime::Activation* activation = feeder ? ActivationOf(graph.nodes[*feeder].op) : nullptr;
    if (activation == nullptr) continue;
    *activation = {runtime::UnaryKind::kRelu};
    graph.nodes[*feeder].output = node.output;
    links.writer[static_cast<std::size_t>(node.output)] = static_cast<std::ptrdiff_t>(*feeder);
    dead[i] = true;
  }
  EraseNodes(graph, dead);
}

void RemoveDeadNodes(IrGraph& graph) {
  std::set<ValueId> needed(graph.outputs.begin(), graph.outputs.end());
  std::vector<bool> dead(graph.nodes.size(), false);
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    dead[i] = !needed.contains(graph.nodes[i].output);
    if (!dead[i]) needed.insert(graph.nodes[i].inputs.begin(), graph.nodes[i].inputs.end());
  }
  EraseNodes(graph, dead);
}

Result<runtime::Graph> Optimize(IrGraph graph) {
  RemoveIdentities(graph);
  RemoveDeadNodes(graph);
  EF_RETURN_IF_ERROR(FoldAffine(graph));
  FuseRelu(graph);
  return Lower(graph);
}

}  // namespace edgefleet::compiler
