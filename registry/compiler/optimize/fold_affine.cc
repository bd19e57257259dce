#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "registry/compiler/optimize/editor.h"
#include "registry/compiler/optimize/optimize.h"

namespace edgefleet::compiler {
namespace {

using runtime::Activation;
using runtime::Binary;
using runtime::BinaryKind;
using runtime::Tensor;
using runtime::UnaryKind;
using Shape = std::vector<std::int64_t>;

constexpr std::size_t kCopiedElementsMax = std::size_t{1} << 28;

// y = x * scale[c] + shift[c], then the activation.
struct Affine {
  TensorId input = runtime::kAbsent;
  std::vector<float> scale;
  std::vector<float> shift;
  Activation activation;
};

// The values of a constant that broadcasts to one a channel (dimension `axis`) of `shape`.
std::optional<std::vector<float>> PerChannel(const Tensor& constant, const Shape& shape, std::size_t axis) {
  const std::span<const float> values = Floats(constant);
  if (values.empty() || constant.shape.size() > shape.size()) return std::nullopt;
  const std::size_t missing = shape.size() - constant.shape.size();
  for (std::size_t i = 0; i < constant.shape.size(); ++i) {
    if (constant.shape[i] != 1 && (i + missing != axis || constant.shape[i] != shape[axis])) return std::nullopt;
  }
  const auto channels = static_cast<std::size_t>(shape[axis]);
  if (values.size() == 1) return std::vector<float>(channels, values[0]);
  return std::vector<float>(values.begin(), values.end());
}

std::optional<Affine> OfBatchNorm(GraphEditor& editor, const runtime::Node& node) {
  const auto* op = std::get_if<runtime::BatchNorm>(&node.op);
  if (op == nullptr) return std::nullopt;
  const auto scale = Floats(editor.At(node.inputs[1]));
  const auto shift = Floats(editor.At(node.inputs[2]));
  const auto mean = Floats(editor.At(node.inputs[3]));
  const auto variance = Floats(editor.At(node.inputs[4]));
  if (scale.empty() || shift.empty() || mean.empty() || variance.empty()) return std::nullopt;
  Affine affine{.input = node.inputs[0]};
  for (std::size_t c = 0; c < scale.size(); ++c) {
    const double factor = scale[c] / std::sqrt(double{variance[c]} + op->epsilon);
    affine.scale.push_back(static_cast<float>(factor));
    affine.shift.push_back(static_cast<float>(shift[c] - mean[c] * factor));
  }
  return affine;
}

// A sum, difference, product or quotient of x and a constant with one number a channel.
std::optional<Affine> OfBinary(GraphEditor& editor, const runtime::Node& node, std::size_t axis) {
  const auto* op = std::get_if<Binary>(&node.op);
  if (op == nullptr || editor.At(node.outputs[0]).type != runtime::DataType::kFloat32) return std::nullopt;
  const bool constant_first = editor.At(node.inputs[0]).is_constant();
  const TensorId x = node.inputs[constant_first ? 1 : 0];
  const Shape& shape = editor.At(x).shape;
  if (shape != editor.At(node.outputs[0]).shape || axis >= shape.size()) return std::nullopt;
  const auto values = PerChannel(editor.At(node.inputs[constant_first ? 0 : 1]), shape, axis);
  if (!values) return std::nullopt;
  Affine affine{x, std::vector<float>(values->size(), 1.0F), std::vector<float>(values->size(), 0.0F), op->activation};
  switch (op->kind) {
    case BinaryKind::kAdd:
      affine.shift = *values;
      return affine;
    case BinaryKind::kSub:
      for (std::size_t c = 0; c < values->size(); ++c) affine.shift[c] = constant_first ? (*values)[c] : -(*values)[c];
      if (constant_first) std::ranges::fill(affine.scale, -1.0F);
      return affine;
    case BinaryKind::kMul:
      affine.scale = *values;
      return affine;
    case BinaryKind::kDiv:
      if (constant_first) return std::nullopt;
      for (std::size_t c = 0; c < values->size(); ++c) affine.scale[c] = 1.0F / (*values)[c];
      return affine;
    default:
      return std::nullopt;
  }
}

bool HasConstantWeights(const GraphEditor& editor, const runtime::Node& node) {
  if (node.inputs.size() < 2 || Floats(editor.At(node.inputs[1])).empty()) return false;
  return node.inputs.size() < 3 || !Floats(editor.At(node.inputs[2])).empty();
}

// The fused activation of an operator with weights; null for others.
Activation* WeightedActivation(runtime::Node& node) {
  if (auto* conv = std::get_if<runtime::Conv2d>(&node.op)) return &conv->activation;
  if (auto* dense = std::get_if<runtime::FullyConnected>(&node.op)) return &dense->activation;
  if (auto* transposed = std::get_if<runtime::ConvTranspose2d>(&node.op)) return &transposed->activation;
  return nullptr;
}

std::size_t ChannelAxis(const runtime::Node& node, const Shape& output) {
  return std::holds_alternative<runtime::FullyConnected>(node.op) ? output.size() - 1 : 1;
}

// The output channel of each weight, for weights [O, ...] or, transposed, [C, O / groups, ...].
std::size_t ChannelOf(const runtime::Node& node, const Shape& weights, std::size_t index) {
  const auto* transposed = std::get_if<runtime::ConvTranspose2d>(&node.op);
  const auto window = static_cast<std::size_t>(runtime::ElementCount(weights)) / static_cast<std::size_t>(weights[0]);
  if (transposed == nullptr) return index / window;
  const std::size_t in = index / window;
  const std::size_t out = index % window / (window / static_cast<std::size_t>(weights[1]));
  return in / static_cast<std::size_t>(weights[0] / transposed->groups) * static_cast<std::size_t>(weights[1]) + out;
}

class Folder {
 public:
  explicit Folder(runtime::Graph& graph) : editor_(graph) {}

  Status Run() {
    for (std::size_t i = 0; i < editor_.size(); ++i) EF_RETURN_IF_ERROR(Visit(i));
    editor_.Apply();
    return OkStatus();
  }

 private:
  Status Visit(std::size_t index) {
    runtime::Node& node = editor_.node(index);
    if (editor_.removed(index) || node.outputs.size() != 1 || node.inputs.empty() || node.inputs[0] == runtime::kAbsent)
      return OkStatus();
    for (const TensorId x : node.inputs) {
      const auto feeder = editor_.SoleWriter(x);
      if (!feeder) continue;
      Activation* activation = WeightedActivation(editor_.node(*feeder));
      if (activation == nullptr || !HasConstantWeights(editor_, editor_.node(*feeder)) ||
          activation->kind != UnaryKind::kIdentity)
        continue;
      auto affine = OfBatchNorm(editor_, node);
      if (!affine) affine = OfBinary(editor_, node, ChannelAxis(editor_.node(*feeder), editor_.At(x).shape));
      if (!affine || affine->input != x) continue;
      return FoldInto(*feeder, index, *affine, *activation);
    }
    if (auto affine = OfBatchNorm(editor_, node); affine && editor_.At(node.inputs[0]).shape.size() == 4)
      Expand(index, *affine);
    return OkStatus();
  }

  Status FoldInto(std::size_t feeder, std::size_t index, const Affine& affine, Activation& activation) {
    runtime::Node& node = editor_.node(feeder);
    const Tensor weights = editor_.At(node.inputs[1]);
    std::vector<float> values(Floats(weights).begin(), Floats(weights).end());
    copied_ += values.size();
    if (copied_ > kCopiedElementsMax) {
      return InvalidArgument("TOO_LARGE",
                             "node '" + node.name + "': too many normalizations share the weights '" + weights.name + "'");
    }
    for (std::size_t i = 0; i < values.size(); ++i) values[i] *= affine.scale[ChannelOf(node, weights.shape, i)];
    std::vector<float> bias(affine.shift);
    std::string bias_name = weights.name + "_bias";
    if (node.inputs.size() > 2) {
      const Tensor& former = editor_.At(node.inputs[2]);
      bias_name = former.name;
      for (std::size_t c = 0; c < bias.size(); ++c) bias[c] += Floats(former)[c] * affine.scale[c];
    }
    activation = affine.activation;
    editor_.SetInput(feeder, 1, editor_.AddConstant(weights.name, weights.shape, values));
    const TensorId bias_id = editor_.AddConstant(bias_name, {static_cast<std::int64_t>(bias.size())}, bias);
    if (node.inputs.size() > 2) {
      editor_.SetInput(feeder, 2, bias_id);
    } else {
      editor_.AddInput(feeder, bias_id);
    }
    editor_.TakeOver(feeder, index);
    return OkStatus();
  }

  void Expand(std::size_t index, const Affine& affine) {
    runtime::Node& node = editor_.node(index);
    const auto channels = static_cast<std::int64_t>(affine.scale.size());
    const std::string name = editor_.At(node.outputs[0]).name;
    const TensorId weights = editor_.AddConstant(name + "_scale", {channels, 1, 1, 1}, affine.scale);
    const TensorId bias = editor_.AddConstant(name + "_shift", {channels}, affine.shift);
    node.op = runtime::Conv2d{.groups = static_cast<std::int32_t>(channels)};
    node.inputs.resize(1);
    editor_.AddInput(index, weights);
    editor_.AddInput(index, bias);
  }

  GraphEditor editor_;
  std::size_t copied_ = 0;
};

}  // namespace

Status FoldAffine(runtime::Graph& graph) { return Folder(graph).Run(); }

void FuseActivations(runtime::Graph& graph) {
  GraphEditor editor(graph);
  for (std::size_t i = 0; i < editor.size(); ++i) {
    const auto* unary = std::get_if<runtime::Unary>(&editor.node(i).op);
    if (unary == nullptr || (unary->function.kind != UnaryKind::kRelu && unary->function.kind != UnaryKind::kClip)) continue;
    const auto feeder = editor.SoleWriter(editor.node(i).inputs[0]);
    if (!feeder || editor.At(editor.node(i).outputs[0]).type != runtime::DataType::kFloat32) continue;
    Activation* activation = WeightedActivation(editor.node(*feeder));
    if (auto* binary = std::get_if<Binary>(&editor.node(*feeder).op)) activation = &binary->activation;
    if (activation == nullptr || activation->kind != UnaryKind::kIdentity) continue;
    *activation = unary->function;
    editor.TakeOver(*feeder, i);
  }
  editor.Apply();
}

}  // namespace edgefleet::compiler
