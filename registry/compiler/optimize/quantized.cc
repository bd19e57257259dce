#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "device_client/runtime/folding_builder.h"
#include "device_client/runtime/ops/ops.h"
#include "device_client/runtime/validate.h"
#include "registry/compiler/optimize/editor.h"
#include "registry/compiler/optimize/optimize.h"

namespace edgefleet::compiler {
namespace {

using runtime::DataType;
using runtime::Node;
using runtime::Quantization;
using runtime::Tensor;
using runtime::UnaryKind;

bool IsSymmetric(const Quantization& q) {
  return std::ranges::all_of(q.zero_points, [](std::int32_t zero_point) { return zero_point == 0; });
}

bool IsPerTensor(const Tensor& tensor) { return tensor.quantization && tensor.quantization->axis < 0; }

bool SameQuantization(const Tensor& a, const Tensor& b) {
  return a.quantization && b.quantization && a.quantization->scales == b.quantization->scales && ZeroPoint(a) == ZeroPoint(b);
}

// Inputs and outputs of the graph stay uint8: a node each turns them from and into the int8 that the graph computes in.
class BorderConverter {
 public:
  explicit BorderConverter(runtime::Graph& graph) : graph_(graph) {}

  void Run() {
    std::vector<Node> former = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (const TensorId id : std::vector<TensorId>(graph_.inputs)) {
      RecognizeArithmetic(former, id);
      const bool dequantized = std::ranges::any_of(former, [&](const Node& node) { return Dequantizes(node, id); });
      if (!dequantized || !IsUint8(id)) continue;
      const TensorId inside = AddInt8(id);
      graph_.nodes.push_back({graph_.tensor(inside).name, runtime::Quantize{DataType::kInt8}, {id}, {inside}});
      for (Node& node : former) {
        if (Dequantizes(node, id)) node.inputs[0] = inside;
      }
    }
    for (Node& node : former) {
      graph_.nodes.push_back(std::move(node));
      if (!std::holds_alternative<runtime::Quantize>(graph_.nodes.back().op)) continue;
      const TensorId id = graph_.nodes.back().outputs[0];
      const bool output = std::ranges::find(graph_.outputs, id) != graph_.outputs.end();
      if (!output || !IsUint8(id) || graph_.tensor(graph_.nodes.back().inputs[0]).type != DataType::kFloat32) continue;
      const TensorId inside = AddInt8(id);
      graph_.nodes.back().op = runtime::Quantize{DataType::kInt8};
      graph_.nodes.back().outputs[0] = inside;
      graph_.nodes.push_back({graph_.tensor(inside).name, runtime::Quantize{DataType::kUint8}, {inside}, {id}});
    }
  }

 private:
  // (x - zero point) * scale, computed in fp32 from an input that nothing else reads, is a Dequantize.
  void RecognizeArithmetic(std::vector<Node>& nodes, TensorId id) {
    if (graph_.tensor(id).type != DataType::kUint8 || graph_.tensor(id).quantization) return;
    const auto cast = SoleReader(nodes, id);
    if (!cast || !std::holds_alternative<runtime::Cast>(nodes[*cast].op)) return;
    const TensorId real = nodes[*cast].outputs[0];
    if (graph_.tensor(real).type != DataType::kFloat32) return;
    const auto subtract = SoleReader(nodes, real);
    const auto zero_point = subtract ? Operand(nodes[*subtract], runtime::BinaryKind::kSub, real) : std::nullopt;
    const TensorId shifted = zero_point ? nodes[*subtract].outputs[0] : real;
    const auto multiply = SoleReader(nodes, shifted);
    const auto scale = multiply ? Operand(nodes[*multiply], runtime::BinaryKind::kMul, shifted) : std::nullopt;
    if (!scale || !(*scale >= 0x1p-40F)) return;
    const float zero = zero_point.value_or(0);
    if (!(zero >= 0 && zero <= 255 && zero == std::floor(zero))) return;
    graph_.tensor(id).quantization = Quantization{{*scale}, {static_cast<std::int32_t>(zero)}, -1};
    nodes[*multiply].op = runtime::Dequantize{};
    nodes[*multiply].inputs = {id};
    if (zero_point) nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(*subtract));
    nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(*cast));  // before the other
  }
  std::optional<std::size_t> SoleReader(const std::vector<Node>& nodes, TensorId id) const {
    if (std::ranges::find(graph_.outputs, id) != graph_.outputs.end()) return std::nullopt;
    std::optional<std::size_t> reader;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const auto count = std::ranges::count(nodes[i].inputs, id);
      if (count > 1 || (count == 1 && reader)) return std::nullopt;
      if (count == 1) reader = i;
    }
    return reader;
  }
  // The constant of `x - constant` or `x * constant` if all its elements are one value.
  std::optional<float> Operand(const Node& node, runtime::BinaryKind kind, TensorId x) const {
    const auto* binary = std::get_if<runtime::Binary>(&node.op);
    if (binary == nullptr || binary->kind != kind || binary->activation.kind != UnaryKind::kIdentity) return std::nullopt;
    if (node.inputs[0] != x || graph_.tensor(node.outputs[0]).shape != graph_.tensor(x).shape) return std::nullopt;
    const Tensor& constant = graph_.tensor(node.inputs[1]);
    return constant.is_constant() ? ScalarOf(constant) : std::nullopt;
  }
  static bool Dequantizes(const Node& node, TensorId id) {
    return std::holds_alternative<runtime::Dequantize>(node.op) && node.inputs[0] == id;
  }
  bool IsUint8(TensorId id) const { return graph_.tensor(id).type == DataType::kUint8 && IsPerTensor(graph_.tensor(id)); }
  TensorId AddInt8(TensorId id) {
    Tensor tensor = graph_.tensor(id);
    tensor.name += "_int8";
    tensor.type = DataType::kInt8;
    tensor.quantization->zero_points = {ZeroPoint(tensor) - 128};
    graph_.tensors.push_back(std::move(tensor));
    return static_cast<TensorId>(graph_.tensors.size() - 1);
  }

  runtime::Graph& graph_;
};

// uint8 and int8 say the same with zero points 128 apart; devices compute in int8.
class SignConverter {
 public:
  explicit SignConverter(GraphEditor& editor) : editor_(editor), convertible_(editor.graph().tensors.size(), false) {}

  void Run() {
    for (std::size_t i = 0; i < convertible_.size(); ++i) {
      const Tensor& tensor = editor_.graph().tensors[i];
      convertible_[i] = tensor.type == DataType::kUint8 && tensor.quantization && !IsBorder(static_cast<TensorId>(i));
    }
    while (Narrow()) {
    }
    for (std::size_t i = 0; i < convertible_.size(); ++i) {
      if (convertible_[i]) Convert(static_cast<TensorId>(i));
    }
    for (std::size_t i = 0; i < editor_.size(); ++i) {
      auto* quantize = std::get_if<runtime::Quantize>(&editor_.node(i).op);
      if (quantize != nullptr) quantize->to = editor_.At(editor_.node(i).outputs[0]).type;
    }
  }

 private:
  bool IsBorder(TensorId id) {
    const auto& inputs = editor_.graph().inputs;
    return editor_.IsOutput(id) || std::ranges::find(inputs, id) != inputs.end();
  }
  bool Convertible(TensorId id) const { return id != runtime::kAbsent && convertible_[static_cast<std::size_t>(id)]; }

  // Takes out what meets something that must stay uint8; whether anything was.
  bool Narrow() {
    bool changed = false;
    const auto refuse = [&](TensorId id) {
      if (!Convertible(id)) return;
      convertible_[static_cast<std::size_t>(id)] = false;
      changed = true;
    };
    for (std::size_t i = 0; i < editor_.size(); ++i) {
      const Node& node = editor_.node(i);
      if (std::holds_alternative<runtime::Quantize>(node.op)) {
        refuse(node.inputs[0]);
        continue;
      }
      if (std::holds_alternative<runtime::Dequantize>(node.op)) continue;
      const bool moves = runtime::MovesElements(node.op) && !std::holds_alternative<runtime::Pad>(node.op);
      const bool all =
          std::ranges::all_of(node.outputs, [&](TensorId id) { return id == runtime::kAbsent || Convertible(id); }) &&
          !node.inputs.empty() && Convertible(node.inputs[0]);
      if (moves && all) continue;
      std::ranges::for_each(node.inputs, refuse);
      std::ranges::for_each(node.outputs, refuse);
    }
    return changed;
  }

  void Convert(TensorId id) {
    Tensor& tensor = editor_.At(id);
    tensor.type = DataType::kInt8;
    Quantization& q = *tensor.quantization;
    if (q.zero_points.empty()) q.zero_points.assign(q.scales.size(), 0);
    for (std::int32_t& zero_point : q.zero_points) zero_point -= 128;
    if (!tensor.is_constant()) return;
    std::vector<std::byte> shifted(tensor.data.begin(), tensor.data.end());
    for (std::byte& value : shifted) value ^= std::byte{0x80};
    tensor.data = editor_.Store(shifted);
  }

  GraphEditor& editor_;
  std::vector<bool> convertible_;
};

class Fuser {
 public:
  explicit Fuser(runtime::Graph& graph) : editor_(graph) {}

  void Run() {
    SignConverter(editor_).Run();
    for (std::size_t i = 0; i < editor_.size(); ++i) {
      if (!editor_.removed(i) && editor_.node(i).outputs.size() == 1) Visit(i);
    }
    editor_.Apply();
  }

 private:
  // The int8 tensor (or int32, for biases) that the input stands for; nothing if it is not dequantized.
  std::optional<TensorId> Source(TensorId id) const {
    const auto writer = id == runtime::kAbsent ? std::nullopt : editor_.Writer(id);
    if (!writer || !std::holds_alternative<runtime::Dequantize>(editor_.node(*writer).op)) return std::nullopt;
    return editor_.node(*writer).inputs[0];
  }
  std::optional<TensorId> Int8Activation(TensorId id) const {
    const auto source = Source(id);
    if (!source || editor_.At(*source).type != DataType::kInt8 || !IsPerTensor(editor_.At(*source))) return std::nullopt;
    return source;
  }
  std::optional<TensorId> Int8Weights(TensorId id) const {
    const auto source = Source(id);
    if (!source || !editor_.At(*source).is_constant() || editor_.At(*source).type != DataType::kInt8) return std::nullopt;
    return IsSymmetric(*editor_.At(*source).quantization) ? source : std::nullopt;
  }
  // The Quantize to int8 that alone reads the node's output.
  std::optional<std::size_t> QuantizedBy(const Node& node) const {
    const TensorId out = node.outputs[0];
    if (editor_.Readers(out) != 1 || editor_.IsOutput(out)) return std::nullopt;
    for (std::size_t i = 0; i < editor_.size(); ++i) {
      const Node& reader = editor_.node(i);
      if (editor_.removed(i) || reader.inputs.empty() || reader.inputs[0] != out) continue;
      const bool quantizes = std::holds_alternative<runtime::Quantize>(reader.op) &&
                             IsPerTensor(editor_.At(reader.outputs[0])) &&
                             editor_.At(reader.outputs[0]).type == DataType::kInt8;
      return quantizes ? std::optional(i) : std::nullopt;
    }
    return std::nullopt;
  }

  void Visit(std::size_t index) {
    const Node& node = editor_.node(index);
    if (std::holds_alternative<runtime::Quantize>(node.op)) return RemovePair(index);
    if (std::holds_alternative<runtime::MatMul>(node.op)) ToFullyConnected(index);
    if (std::holds_alternative<runtime::Conv2d>(node.op) || std::holds_alternative<runtime::FullyConnected>(node.op) ||
        std::holds_alternative<runtime::ConvTranspose2d>(node.op)) {
      return FuseWeighted(index);
    }
    if (ComputesInInt8(node) || runtime::MovesElements(node.op)) FuseActivationsOnly(index);
  }

  // Quantize(Dequantize(x)) with one quantization.
  void RemovePair(std::size_t index) {
    const Node& node = editor_.node(index);
    const auto source = Int8Activation(node.inputs[0]);
    if (!source || editor_.IsOutput(node.outputs[0]) || !SameQuantization(editor_.At(*source), editor_.At(node.outputs[0])))
      return;
    const TensorId out = node.outputs[0];
    editor_.Remove(index);
    editor_.Replace(out, *source);
  }

  // A product with dequantized constant weights [K, M].
  void ToFullyConnected(std::size_t index) {
    const Node& node = editor_.node(index);
    const auto weights = Int8Weights(node.inputs[1]);
    if (!weights || editor_.At(*weights).shape.size() != 2 || editor_.At(node.inputs[0]).shape.size() < 2) return;
    const Tensor former = editor_.At(*weights);
    if (former.quantization->axis == 0 && former.quantization->scales.size() > 1) return;
    const std::int64_t rows = former.shape[0];
    const std::int64_t columns = former.shape[1];
    std::vector<std::byte> transposed(former.data.size());
    for (std::int64_t k = 0; k < rows; ++k) {
      for (std::int64_t m = 0; m < columns; ++m) {
        transposed[static_cast<std::size_t>(m * rows + k)] = former.data[static_cast<std::size_t>(k * columns + m)];
      }
    }
    Tensor like{former.name, DataType::kInt8, {columns, rows}, former.quantization, {}};
    like.quantization->axis = former.quantization->axis < 0 ? -1 : 0;
    const TensorId x = node.inputs[0];
    const TensorId fresh = editor_.AddConstant(std::move(like), transposed);
    editor_.node(index).op = runtime::FullyConnected{};
    editor_.SetInputs(index, {x, fresh});
  }

  void FuseWeighted(std::size_t index) {
    Node& node = editor_.node(index);
    const auto direct =
        editor_.At(node.inputs[1]).type == DataType::kInt8 ? std::optional(node.inputs[1]) : Int8Weights(node.inputs[1]);
    if (!direct) return;
    const auto x = Int8Activation(node.inputs[0]);
    const auto quantize = QuantizedBy(node);
    const auto bias = x && quantize ? Bias(node, *x, *direct) : std::nullopt;
    if (!x || !quantize || !bias || !FitsInt32(editor_.At(*direct)) || editor_.At(*x).is_constant()) {
      editor_.SetInput(index, 1, *direct);  // the weights alone stay int8; arithmetic is fp32
      return;
    }
    std::vector<TensorId> inputs{*x, *direct};
    if (*bias != runtime::kAbsent) inputs.push_back(*bias);
    editor_.SetInputs(index, inputs);
    editor_.TakeOver(index, *quantize);
  }

  static bool FitsInt32(const Tensor& weights) {
    return runtime::ElementCount(weights.shape) / weights.shape[0] <= runtime::kInt8ReductionMax;
  }

  // The bias at the scale of the products, kAbsent without one; nothing if it is no constant.
  std::optional<TensorId> Bias(const Node& node, TensorId x, TensorId weights) {
    if (node.inputs.size() < 3 || node.inputs[2] == runtime::kAbsent) return runtime::kAbsent;
    std::vector<double> reals;
    if (const auto source = Source(node.inputs[2]); source && editor_.At(*source).type == DataType::kInt32) {
      const Tensor& bias = editor_.At(*source);
      if (!bias.is_constant()) return std::nullopt;
      const auto* values = reinterpret_cast<const std::int32_t*>(bias.data.data());
      const auto& scales = bias.quantization->scales;
      for (std::size_t c = 0; c < bias.data.size() / sizeof(std::int32_t); ++c) {
        reals.push_back(double{scales[scales.size() == 1 ? 0 : c]} * values[c]);
      }
    } else {
      for (const float value : Floats(editor_.At(node.inputs[2]))) reals.push_back(value);
    }
    if (reals.empty()) return std::nullopt;
    const Quantization& w = *editor_.At(weights).quantization;
    std::vector<std::int32_t> values;
    std::vector<float> scales;
    for (std::size_t c = 0; c < reals.size(); ++c) {
      const double scale = double{editor_.At(x).quantization->scales[0]} * w.scales[w.axis < 0 ? 0 : c];
      constexpr double kMax = std::numeric_limits<std::int32_t>::max() / 2;
      values.push_back(static_cast<std::int32_t>(std::clamp(std::nearbyint(reals[c] / scale), -kMax, kMax)));
      scales.push_back(std::max(static_cast<float>(scale), 0x1p-40F));
    }
    Tensor like{editor_.At(node.inputs[2]).name,
                DataType::kInt32,
                {static_cast<std::int64_t>(values.size())},
                Quantization{std::move(scales), {}, 0},
                {}};
    return editor_.AddConstant(std::move(like), std::as_bytes(std::span(values)));
  }

  // Operators without weights that the runtime computes in int8 from what their operands stand for.
  static bool ComputesInInt8(const Node& node) {
    if (const auto* binary = std::get_if<runtime::Binary>(&node.op)) return binary->kind <= runtime::BinaryKind::kMax;
    if (const auto* reduce = std::get_if<runtime::Reduce>(&node.op)) return reduce->kind <= runtime::ReduceKind::kMin;
    return std::holds_alternative<runtime::Unary>(node.op) || std::holds_alternative<runtime::Pool2d>(node.op) ||
           std::holds_alternative<runtime::MatMul>(node.op);
  }

  void FuseActivationsOnly(std::size_t index) {
    const Node& node = editor_.node(index);
    const auto quantize = QuantizedBy(node);
    if (!quantize) return;
    const Tensor& out = editor_.At(editor_.node(*quantize).outputs[0]);
    const bool moves = runtime::MovesElements(node.op);
    const bool binary = std::holds_alternative<runtime::Binary>(node.op) || std::holds_alternative<runtime::MatMul>(node.op);
    const std::size_t operands = std::holds_alternative<runtime::Concat>(node.op) ? node.inputs.size() : binary ? 2 : 1;
    std::vector<TensorId> inputs = node.inputs;
    for (std::size_t i = 0; i < operands; ++i) {
      const auto source = Int8Activation(node.inputs[i]);
      if (!source || (moves && !SameQuantization(editor_.At(*source), out))) return;
      inputs[i] = *source;
    }
    if (std::holds_alternative<runtime::Pad>(node.op)) return;  // its value would have to be quantized
    editor_.SetInputs(index, inputs);
    editor_.TakeOver(index, *quantize);
  }

  GraphEditor editor_;
};

}  // namespace

void FuseQuantized(runtime::Graph& graph) {
  BorderConverter(graph).Run();
  Fuser(graph).Run();
}

}  // namespace edgefleet::compiler
