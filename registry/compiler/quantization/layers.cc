#include "registry/compiler/quantization/layers.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "device_client/runtime/validate.h"

namespace edgefleet::compiler {
namespace {

using runtime::Graph;
using runtime::Node;
using runtime::Tensor;

constexpr std::array<std::string_view, 6> kNames{"fp32", "fp16", "bf16", "int8", "int8-weights", "int4"};

bool IsFloatConstant(const Graph& graph, const Node& node, std::size_t input) {
  if (input >= node.inputs.size() || node.inputs[input] == runtime::kAbsent) return false;
  const Tensor& tensor = graph.tensor(node.inputs[input]);
  return tensor.is_constant() && tensor.type == runtime::DataType::kFloat32 && !tensor.data.empty();
}

// The bias may be there, as a constant, or not.
bool BiasIsOurs(const Graph& graph, const Node& node) {
  return node.inputs.size() < 3 || node.inputs[2] == runtime::kAbsent || IsFloatConstant(graph, node, 2);
}

std::optional<WeightedLayer> Channels(const Graph& graph, const Node& node, int axis, std::int64_t groups) {
  if (!IsFloatConstant(graph, node, 1) || !BiasIsOurs(graph, node)) return std::nullopt;
  const auto& shape = graph.tensor(node.inputs[1]).shape;
  const std::int64_t channels = shape[static_cast<std::size_t>(axis)];
  // Of a transposed convolution each output sums over the input channels of its group.
  const std::int64_t reduction = runtime::ElementCount(shape) / channels / groups;
  return WeightedLayer{{1}, axis, groups, reduction <= runtime::kInt8ReductionMax, 2};
}

std::optional<WeightedLayer> Product(const Graph& graph, const Node& node) {
  const bool left = IsFloatConstant(graph, node, 0);
  if (left == IsFloatConstant(graph, node, 1)) return std::nullopt;
  const std::size_t input = left ? 0 : 1;
  const auto& shape = graph.tensor(node.inputs[input]).shape;
  const bool columns = !left && shape.size() >= 2;
  const std::int64_t reduction = shape.size() < 2 ? shape[0] : shape[shape.size() - (left ? 1 : 2)];
  return WeightedLayer{
      {input}, columns ? static_cast<int>(shape.size()) - 1 : -1, 1, reduction <= runtime::kInt8ReductionMax, std::nullopt};
}

bool IsActivationFunction(runtime::UnaryKind kind) {
  using enum runtime::UnaryKind;
  return (kind >= kRelu && kind <= kErf) || kind == kAbs || kind == kNeg;
}

}  // namespace

std::string_view PrecisionName(Precision precision) { return kNames[static_cast<std::size_t>(precision)]; }

std::int64_t WeightedLayer::Parameters(const Graph& graph, const Node& node) const {
  std::int64_t count = 0;
  for (const std::size_t input : weights) count += runtime::ElementCount(graph.tensor(node.inputs[input]).shape);
  if (bias && *bias < node.inputs.size() && node.inputs[*bias] != runtime::kAbsent) {
    count += runtime::ElementCount(graph.tensor(node.inputs[*bias]).shape);
  }
  return count;
}

std::optional<WeightedLayer> WeightedLayerOf(const Graph& graph, const Node& node) {
  return std::visit(
      [&]<typename Op>(const Op& op) -> std::optional<WeightedLayer> {
        using std::is_same_v;
        if constexpr (is_same_v<Op, runtime::Conv2d> || is_same_v<Op, runtime::FullyConnected>) {
          return Channels(graph, node, 0, 1);
        } else if constexpr (is_same_v<Op, runtime::ConvTranspose2d>) {
          return Channels(graph, node, 1, op.groups);
        } else if constexpr (is_same_v<Op, runtime::MatMul>) {
          return Product(graph, node);
        } else if constexpr (is_same_v<Op, runtime::Lstm> || is_same_v<Op, runtime::Gru> || is_same_v<Op, runtime::Rnn>) {
          if (!IsFloatConstant(graph, node, 1) || !IsFloatConstant(graph, node, 2)) return std::nullopt;
          return WeightedLayer{{1, 2}, 1, 1, false, std::nullopt};
        } else {
          return std::nullopt;
        }
      },
      node.op);
}

bool IsEmbedding(const Graph& graph, const Node& node) {
  return std::holds_alternative<runtime::Gather>(node.op) && IsFloatConstant(graph, node, 0);
}

bool FollowsItsInputs(const runtime::Operator& op) {
  if (const auto* unary = std::get_if<runtime::Unary>(&op)) return IsActivationFunction(unary->function.kind);
  if (const auto* pool = std::get_if<runtime::Pool2d>(&op)) return pool->kind == runtime::Pool2d::Kind::kAverage;
  if (const auto* reduce = std::get_if<runtime::Reduce>(&op)) return reduce->kind == runtime::ReduceKind::kMean;
  if (const auto* binary = std::get_if<runtime::Binary>(&op)) {
    using enum runtime::BinaryKind;
    constexpr std::array kKinds{kAdd, kSub, kMul, kMin, kMax, kPRelu};
    return std::ranges::find(kKinds, binary->kind) != kKinds.end();
  }
  return false;
}

}  // namespace edgefleet::compiler
