#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "registry/compiler/optimize/editor.h"
#include "registry/compiler/optimize/optimize.h"

namespace edgefleet::compiler {
namespace {

using runtime::Node;
using Shape = std::vector<std::int64_t>;

// The values of an int64 constant; nothing for anything else.
std::optional<Shape> Integers(const runtime::Tensor& tensor) {
  if (!tensor.is_constant() || tensor.type != runtime::DataType::kInt64) return std::nullopt;
  const auto* values = reinterpret_cast<const std::int64_t*>(tensor.data.data());
  return Shape(values, values + tensor.data.size() / sizeof(std::int64_t));
}

class Simplifier {
 public:
  explicit Simplifier(runtime::Graph& graph) : editor_(graph) {}

  void Run() {
    for (std::size_t i = 0; i < editor_.size(); ++i) {
      if (editor_.removed(i) || editor_.node(i).outputs.size() != 1) continue;
      if (ChangesNothing(editor_.node(i))) {
        Bypass(i);
      } else {
        std::visit([&](const auto& op) { Rewrite(op, i); }, editor_.node(i).op);
      }
    }
    editor_.Apply();
  }

 private:
  bool dynamic() { return !editor_.graph().dynamic.empty(); }
  runtime::Tensor& In(const Node& node, std::size_t index = 0) { return editor_.At(node.inputs[index]); }
  runtime::Tensor& Out(const Node& node) { return editor_.At(node.outputs[0]); }

  // For every size of dynamic dimensions, not for the defaults alone.
  bool ChangesNothing(const Node& node) {
    if (node.inputs.empty() || node.inputs[0] == runtime::kAbsent) return false;
    const runtime::Tensor& in = In(node);
    const runtime::Tensor& out = Out(node);
    if (in.type != out.type || in.shape != out.shape || in.quantization != out.quantization) return false;
    if (const auto* unary = std::get_if<runtime::Unary>(&node.op)) return unary->function.kind == runtime::UnaryKind::kIdentity;
    if (const auto* transpose = std::get_if<runtime::Transpose>(&node.op))
      return std::ranges::is_sorted(transpose->permutation);
    if (std::holds_alternative<runtime::Cast>(node.op)) return true;
    if (std::holds_alternative<runtime::Concat>(node.op) || std::holds_alternative<runtime::Split>(node.op))
      return node.inputs.size() == 1;
    if (std::holds_alternative<runtime::Flatten>(node.op))
      return in.shape.size() == 2 && std::get<runtime::Flatten>(node.op).axis == 1;
    if (std::holds_alternative<runtime::Reshape>(node.op)) return !dynamic() || KeepsEachDimension(node);
    if (std::holds_alternative<runtime::Pad>(node.op)) {
      const auto pads = Integers(In(node, 1));
      return pads && std::ranges::all_of(*pads, [](std::int64_t pad) { return pad == 0; });
    }
    if (std::holds_alternative<runtime::Slice>(node.op) || std::holds_alternative<runtime::Expand>(node.op) ||
        std::holds_alternative<runtime::Tile>(node.op)) {
      return !dynamic() && !Reverses(node);
    }
    return false;
  }

  bool KeepsEachDimension(const Node& node) {
    const auto target = Integers(In(node, 1));
    const Shape& shape = In(node).shape;
    if (!target || target->size() != shape.size() || shape.empty()) return false;
    for (std::size_t i = 1; i < shape.size(); ++i) {
      if ((*target)[i] != shape[i]) return false;
    }
    return (*target)[0] == 0 || (*target)[0] == -1;
  }

  bool Reverses(const Node& node) {
    if (!std::holds_alternative<runtime::Slice>(node.op) || node.inputs.size() < 5) return false;
    const auto steps = Integers(In(node, 4));
    return !steps || std::ranges::any_of(*steps, [](std::int64_t step) { return step < 0; });
  }

  void Bypass(std::size_t index) {
    const Node& node = editor_.node(index);
    const TensorId in = node.inputs[0];
    const TensorId out = node.outputs[0];
    // An output must be written by a node of its own.
    if (editor_.IsOutput(out) && (!editor_.Writer(in) || editor_.IsOutput(in))) return;
    editor_.Remove(index);
    editor_.Replace(out, in);
  }

  template <typename Op>
  void Rewrite(const Op&, std::size_t) {}

  void Rewrite(const runtime::Transpose& op, std::size_t index) {
    const auto before = editor_.Writer(editor_.node(index).inputs[0]);
    const auto* former = before ? std::get_if<runtime::Transpose>(&editor_.node(*before).op) : nullptr;
    if (former == nullptr) return;
    std::vector<std::int64_t> merged;
    for (const std::int64_t axis : op.permutation) merged.push_back(former->permutation[static_cast<std::size_t>(axis)]);
    const TensorId source = editor_.node(*before).inputs[0];
    editor_.node(index).op = runtime::Transpose{std::move(merged)};
    editor_.SetInput(index, 0, source);
    if (ChangesNothing(editor_.node(index))) Bypass(index);
  }

  // [N, ...] -> [N, product], however it is said.
  void Rewrite(const runtime::Reshape&, std::size_t index) {
    Node& node = editor_.node(index);
    const Shape& in = In(node).shape;
    const Shape& out = Out(node).shape;
    const auto target = Integers(In(node, 1));
    if (!target || in.size() < 2 || out.size() != 2 || out[0] != in[0]) return;
    const bool keeps_first = (*target)[0] == 0 || ((*target)[0] == -1 && (*target)[1] == out[1]) || !dynamic();
    if (!keeps_first) return;
    node.op = runtime::Flatten{1};
    editor_.SetInputs(index, {node.inputs[0]});
  }

  // Zeros around an image become the padding of the convolution that alone reads them.
  void Rewrite(const runtime::Conv2d& op, std::size_t index) {
    const auto before = editor_.SoleWriter(editor_.node(index).inputs[0]);
    const auto* pad = before ? std::get_if<runtime::Pad>(&editor_.node(*before).op) : nullptr;
    if (pad == nullptr || pad->mode != runtime::Pad::Mode::kConstant) return;
    const Node& node = editor_.node(*before);
    const auto pads = Integers(In(node, 1));
    const bool zero = node.inputs.size() < 3 || node.inputs[2] == runtime::kAbsent || ScalarOf(In(node, 2)) == 0.0F;
    if (!pads || pads->size() != 8 || !zero || node.inputs.size() > 3) return;
    constexpr std::size_t kTop = 2;  // of ONNX's order: begins of N, C, H, W, then ends
    runtime::Conv2d wider = op;
    for (std::size_t i = 0; i < 8; ++i) {
      const std::int64_t size = (*pads)[i];
      const bool spatial = i % 4 >= kTop;
      if (size < 0 || size > 512 || (!spatial && size != 0)) return;
      if (spatial) wider.pads[i % 4 - kTop + i / 4 * 2] += static_cast<std::int32_t>(size);
    }
    editor_.SetInput(index, 0, node.inputs[0]);
    editor_.Remove(*before);
    editor_.node(index).op = wider;
  }

  GraphEditor editor_;
};

// Everything that decides what a node computes, as text.
class KeyWriter {
 public:
  void operator()(std::string_view, const std::vector<runtime::Activation>& field) {
    for (const runtime::Activation& each : field) (*this)("", each);
  }
  void operator()(std::string_view, const runtime::Activation& field) {
    Number(static_cast<int>(field.kind)), Number(field.alpha), Number(field.beta);
  }
  template <typename Field>
  void operator()(std::string_view, const Field& field) {
    if constexpr (std::is_enum_v<Field>) {
      Number(static_cast<int>(field));
    } else if constexpr (std::is_arithmetic_v<Field>) {
      Number(field);
    } else {
      Number(field.size());
      for (const auto& each : field) Number(each);
    }
  }
  template <typename T>
  void Number(T value) {
    key.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  std::string key;
};

std::string KeyOf(const runtime::Graph& graph, const Node& node) {
  KeyWriter writer;
  writer.key = OperatorName(node.op);
  std::visit([&](const auto& op) { op.Fields(op, writer); }, node.op);
  writer("", node.inputs);
  for (const TensorId id : node.outputs) {
    if (id == runtime::kAbsent || !graph.tensor(id).quantization) continue;
    const runtime::Quantization& q = *graph.tensor(id).quantization;
    writer("", q.scales), writer("", q.zero_points);
  }
  return std::move(writer.key);
}

}  // namespace

void Simplify(runtime::Graph& graph) { Simplifier(graph).Run(); }

void ShareCommon(runtime::Graph& graph) {
  GraphEditor editor(graph);
  std::map<std::string, std::size_t> first;
  for (std::size_t i = 0; i < editor.size(); ++i) {
    const Node& node = editor.node(i);
    const auto [found, fresh] = first.emplace(KeyOf(graph, node), i);
    const bool output =
        std::ranges::any_of(node.outputs, [&](TensorId id) { return id != runtime::kAbsent && editor.IsOutput(id); });
    if (fresh || output) continue;
    const std::vector<TensorId> same = editor.node(found->second).outputs;
    const std::vector<TensorId> outputs = node.outputs;
    if (same.size() != outputs.size()) continue;
    bool replaceable = true;
    for (std::size_t k = 0; k < outputs.size(); ++k) {
      replaceable = replaceable && (outputs[k] == runtime::kAbsent || same[k] != runtime::kAbsent);
    }
    if (!replaceable) continue;
    editor.Remove(i);
    for (std::size_t k = 0; k < outputs.size(); ++k) {
      if (outputs[k] != runtime::kAbsent) editor.Replace(outputs[k], same[k]);
    }
  }
  editor.Apply();
}

}  // namespace edgefleet::compiler
