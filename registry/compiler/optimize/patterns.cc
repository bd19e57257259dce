#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
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
using runtime::Node;
using runtime::Reduce;
using runtime::ReduceKind;
using runtime::Unary;
using runtime::UnaryKind;

// Constants in exported files are rounded in many ways.
bool Near(std::optional<float> value, double wanted) { return value && std::abs(*value - wanted) <= 1e-3 * std::abs(wanted); }

// A node seen as an expression; every question is asked of the writer of a tensor.
class Matcher {
 public:
  explicit Matcher(GraphEditor& editor) : editor_(editor) {}

  std::optional<float> Scalar(TensorId id) const { return id == runtime::kAbsent ? std::nullopt : ScalarOf(editor_.At(id)); }

  // The function's argument, if the tensor is f(argument).
  std::optional<TensorId> Argument(TensorId id, UnaryKind kind) const {
    const Node* node = WriterOf(id);
    const auto* unary = node == nullptr ? nullptr : std::get_if<Unary>(&node->op);
    if (unary == nullptr || unary->function.kind != kind) return std::nullopt;
    return node->inputs[0];
  }
  const Activation* Function(TensorId id) const {
    const Node* node = WriterOf(id);
    const auto* unary = node == nullptr ? nullptr : std::get_if<Unary>(&node->op);
    return unary == nullptr ? nullptr : &unary->function;
  }

  struct Pair {
    TensorId first;
    TensorId second;
  };
  std::optional<Pair> Operands(TensorId id, BinaryKind kind) const {
    const Node* node = WriterOf(id);
    const auto* binary = node == nullptr ? nullptr : std::get_if<Binary>(&node->op);
    if (binary == nullptr || binary->kind != kind || binary->activation.kind != UnaryKind::kIdentity) return std::nullopt;
    return Pair{node->inputs[0], node->inputs[1]};
  }
  // x of x + c, c + x, x * c, c * x (or x - c, x / c) with a scalar that `wanted` accepts.
  std::optional<TensorId> WithScalar(TensorId id, BinaryKind kind, const std::function<bool(float)>& wanted) const {
    const auto operands = Operands(id, kind);
    if (!operands) return std::nullopt;
    if (const auto value = Scalar(operands->second); value && wanted(*value)) return operands->first;
    const bool commutes = kind == BinaryKind::kAdd || kind == BinaryKind::kMul;
    if (const auto value = Scalar(operands->first); commutes && value && wanted(*value)) return operands->second;
    return std::nullopt;
  }
  std::optional<TensorId> WithScalar(TensorId id, BinaryKind kind, double value) const {
    return WithScalar(id, kind, [&](float found) { return Near(found, value); });
  }
  // x of x * value, or of x / (1 / value).
  std::optional<TensorId> Scaled(TensorId id, double value) const {
    const auto product = WithScalar(id, BinaryKind::kMul, value);
    return product ? product : WithScalar(id, BinaryKind::kDiv, 1 / value);
  }

  // The factors of a product of products, with what divides as a factor 1 / c. At most 8.
  struct Factors {
    double scalar = 1;
    std::vector<TensorId> others;
  };
  Factors FactorsOf(TensorId id) const {
    Factors factors;
    Collect(id, factors, 0);
    return factors;
  }

  const Node* WriterOf(TensorId id) const {
    const auto writer = editor_.Writer(id);
    return writer ? &editor_.node(*writer) : nullptr;
  }

 private:
  void Collect(TensorId id, Factors& factors, int depth) const {
    if (const auto value = Scalar(id)) {
      factors.scalar *= *value;
      return;
    }
    const bool inner = depth > 0 && editor_.Readers(id) != 1;
    if (const auto product = Operands(id, BinaryKind::kMul); product && depth < 3 && !inner) {
      Collect(product->first, factors, depth + 1);
      Collect(product->second, factors, depth + 1);
      return;
    }
    if (const auto quotient = Operands(id, BinaryKind::kDiv); quotient && depth < 3 && !inner) {
      if (const auto divisor = Scalar(quotient->second); divisor && *divisor != 0) {
        factors.scalar /= *divisor;
        Collect(quotient->first, factors, depth + 1);
        return;
      }
    }
    factors.others.push_back(id);
  }

  GraphEditor& editor_;
};

struct Found {
  Activation function;
  TensorId x;
};

// 1 + g(..) as erf or tanh of x: which of the two forms of Gelu, and x.
std::optional<Found> GeluGate(const Matcher& match, TensorId id) {
  const auto inner = match.WithScalar(id, BinaryKind::kAdd, 1.0);
  if (!inner) return std::nullopt;
  if (const auto argument = match.Argument(*inner, UnaryKind::kErf)) {
    if (const auto x = match.Scaled(*argument, 1 / std::numbers::sqrt2)) return Found{{UnaryKind::kGelu}, *x};
    return std::nullopt;
  }
  const auto argument = match.Argument(*inner, UnaryKind::kTanh);
  const auto cubic = argument ? match.Scaled(*argument, std::sqrt(2 / std::numbers::pi)) : std::nullopt;
  const auto terms = cubic ? match.Operands(*cubic, BinaryKind::kAdd) : std::nullopt;
  if (!terms) return std::nullopt;
  for (const auto& [x, rest] : {*terms, Matcher::Pair{terms->second, terms->first}}) {
    const Matcher::Factors factors = match.FactorsOf(rest);
    if (!Near(static_cast<float>(factors.scalar), 0.044715)) continue;
    const bool cube = factors.others == std::vector<TensorId>{x, x, x};
    const auto power = factors.others.size() == 1 ? match.WithScalar(factors.others[0], BinaryKind::kPow, 3.0) : std::nullopt;
    if (cube || (power && *power == x)) return Found{{UnaryKind::kGeluTanh}, x};
  }
  return std::nullopt;
}

// x * f(x) and its like.
std::optional<Found> OfProduct(const Matcher& match, TensorId id) {
  const Matcher::Factors factors = match.FactorsOf(id);
  if (factors.others.size() != 2) return std::nullopt;
  for (int order = 0; order < 2; ++order) {
    const TensorId x = factors.others[order == 0 ? 0 : 1];
    const TensorId gate = factors.others[order == 0 ? 1 : 0];
    if (Near(static_cast<float>(factors.scalar), 0.5)) {
      if (const auto gelu = GeluGate(match, gate); gelu && gelu->x == x) return gelu;
    }
    // x * clip(x + 3, 0, 6) / 6
    const Activation* clip = match.Function(gate);
    if (clip != nullptr && clip->kind == UnaryKind::kClip && clip->alpha == 0 && Near(clip->beta, 6) &&
        Near(static_cast<float>(factors.scalar), 1.0 / 6)) {
      const auto inner = match.WithScalar(*match.Argument(gate, UnaryKind::kClip), BinaryKind::kAdd, 3.0);
      if (inner && *inner == x) return Found{{UnaryKind::kHardSwish}, x};
    }
    if (factors.scalar != 1) continue;
    const Activation* function = match.Function(gate);
    if (function == nullptr) continue;
    const TensorId argument = match.WriterOf(gate)->inputs[0];
    if (function->kind == UnaryKind::kHardSigmoid && argument == x && Near(function->alpha, 1.0 / 6) &&
        Near(function->beta, 0.5)) {
      return Found{{UnaryKind::kHardSwish}, x};
    }
    if (function->kind == UnaryKind::kSigmoid && argument == x) return Found{{UnaryKind::kSwish, 1.0F}, x};
    if (function->kind == UnaryKind::kTanh) {
      if (const auto inner = match.Argument(argument, UnaryKind::kSoftplus); inner && *inner == x)
        return Found{{UnaryKind::kMish}, x};
    }
  }
  return std::nullopt;
}

// clip(x + 3, 0, 6) / 6.
std::optional<Found> OfHardSigmoid(const Matcher& match, TensorId id) {
  const auto clipped = match.Scaled(id, 1.0 / 6);
  const Activation* clip = clipped ? match.Function(*clipped) : nullptr;
  if (clip == nullptr || clip->kind != UnaryKind::kClip || clip->alpha != 0 || !Near(clip->beta, 6)) return std::nullopt;
  const auto x = match.WithScalar(*match.Argument(*clipped, UnaryKind::kClip), BinaryKind::kAdd, 3.0);
  if (!x) return std::nullopt;
  return Found{{UnaryKind::kHardSigmoid, 1.0F / 6, 0.5F}, *x};
}

// max(min(x, high), low), min(max(x, low), high), max(x, 0).
std::optional<Found> OfClip(const Matcher& match, TensorId id) {
  std::optional<float> low;
  std::optional<float> high;
  TensorId x = id;
  for (int step = 0; step < 2; ++step) {
    const BinaryKind kind = match.Operands(x, BinaryKind::kMax) ? BinaryKind::kMax : BinaryKind::kMin;
    std::optional<float>& bound = kind == BinaryKind::kMax ? low : high;
    const auto operands = match.Operands(x, kind);
    if (!operands || bound) break;
    const bool first = match.Scalar(operands->first).has_value();
    bound = match.Scalar(first ? operands->first : operands->second);
    if (!bound) break;
    x = first ? operands->second : operands->first;
  }
  if (low && high && *low <= *high) return Found{{UnaryKind::kClip, *low, *high}, x};
  if (low && !high && *low == 0) return Found{{UnaryKind::kRelu}, x};
  return std::nullopt;
}

class Recognizer {
 public:
  explicit Recognizer(runtime::Graph& graph) : editor_(graph), match_(editor_) {}

  void Run() {
    for (std::size_t i = 0; i < editor_.size(); ++i) {
      if (editor_.node(i).outputs.size() == 1 && std::holds_alternative<Binary>(editor_.node(i).op)) Visit(i);
    }
    editor_.Apply();
  }

 private:
  void Visit(std::size_t index) {
    Node& node = editor_.node(index);
    const TensorId out = node.outputs[0];
    const runtime::Tensor& tensor = editor_.At(out);
    if (tensor.type != runtime::DataType::kFloat32 || std::get<Binary>(node.op).activation.kind != UnaryKind::kIdentity) return;
    auto found = OfHardSigmoid(match_, out);
    if (!found) found = OfProduct(match_, out);
    if (!found) found = OfClip(match_, out);
    if (found && editor_.At(found->x).shape == tensor.shape) {
      node.op = Unary{found->function};
      editor_.SetInputs(index, {found->x});
      return;
    }
    LayerNormAt(index);
  }

  // The mean over the last dimensions: its argument and the first of them.
  struct Mean {
    TensorId x;
    std::int32_t axis;
  };
  std::optional<Mean> MeanOf(TensorId id) const {
    const Node* node = match_.WriterOf(id);
    const auto* reduce = node == nullptr ? nullptr : std::get_if<Reduce>(&node->op);
    if (reduce == nullptr || reduce->kind != ReduceKind::kMean || !reduce->keep_dims || reduce->axes.empty())
      return std::nullopt;
    const auto rank = static_cast<std::int64_t>(editor_.At(node->inputs[0]).shape.size());
    std::vector<bool> reduced(static_cast<std::size_t>(rank), false);
    for (const std::int64_t axis : reduce->axes) reduced[static_cast<std::size_t>(axis < 0 ? axis + rank : axis)] = true;
    const auto first = static_cast<std::int64_t>(std::find(reduced.begin(), reduced.end(), true) - reduced.begin());
    if (static_cast<std::int64_t>(reduce->axes.size()) != rank - first) return std::nullopt;
    return Mean{node->inputs[0], static_cast<std::int32_t>(first - rank)};
  }

  // d / sqrt(mean(d ^ 2) + epsilon) with d = x - mean(x), over the last dimensions; scale and shift behind it are taken in by
  // AbsorbScale().
  void LayerNormAt(std::size_t index) {
    Node& node = editor_.node(index);
    const auto quotient = match_.Operands(node.outputs[0], BinaryKind::kDiv);
    if (!quotient) {
      AbsorbScale(index);
      return;
    }
    const auto root = match_.Argument(quotient->second, UnaryKind::kSqrt);
    float epsilon = 0;
    const auto variance =
        root ? match_.WithScalar(*root, BinaryKind::kAdd, [&](float value) { return (epsilon = value) > 0; }) : std::nullopt;
    const auto squares = variance ? MeanOf(*variance) : std::nullopt;
    if (!squares) return;
    const TensorId d = quotient->first;
    const auto power = match_.WithScalar(squares->x, BinaryKind::kPow, 2.0);
    const auto product = match_.Operands(squares->x, BinaryKind::kMul);
    if (!(power && *power == d) && !(product && product->first == d && product->second == d)) return;
    const auto difference = match_.Operands(d, BinaryKind::kSub);
    const auto mean = difference ? MeanOf(difference->second) : std::nullopt;
    if (!mean || mean->x != difference->first || mean->axis != squares->axis) return;
    const auto& shape = editor_.At(mean->x).shape;
    const std::vector<std::int64_t> normalized(shape.end() + mean->axis, shape.end());
    const std::vector<float> ones(static_cast<std::size_t>(runtime::ElementCount(normalized)), 1.0F);
    const TensorId scale = editor_.AddConstant(editor_.At(node.outputs[0]).name + "_scale", normalized, ones);
    node.op = runtime::LayerNorm{mean->axis, epsilon};
    editor_.SetInputs(index, {mean->x, scale});
  }

  // LayerNorm(x, 1) * gamma, LayerNorm(x, gamma) + beta.
  void AbsorbScale(std::size_t index) {
    Node& node = editor_.node(index);
    const BinaryKind kind = std::get<Binary>(node.op).kind;
    if (kind != BinaryKind::kMul && kind != BinaryKind::kAdd) return;
    for (std::size_t side = 0; side < 2; ++side) {
      const auto feeder = editor_.SoleWriter(node.inputs[side]);
      const TensorId constant = node.inputs[1 - side];
      if (!feeder || !std::holds_alternative<runtime::LayerNorm>(editor_.node(*feeder).op)) continue;
      Node& norm = editor_.node(*feeder);
      if (editor_.At(constant).shape != editor_.At(norm.inputs[1]).shape || Floats(editor_.At(constant)).empty()) continue;
      if (kind == BinaryKind::kMul && norm.inputs.size() == 2 && match_.Scalar(norm.inputs[1]) == 1.0F) {
        editor_.SetInput(*feeder, 1, constant);
      } else if (kind == BinaryKind::kAdd && norm.inputs.size() == 2) {
        editor_.AddInput(*feeder, constant);
      } else {
        continue;
      }
      editor_.TakeOver(*feeder, index);
      return;
    }
  }

  GraphEditor editor_;
  Matcher match_;
};

}  // namespace

void RecognizePatterns(runtime::Graph& graph) { Recognizer(graph).Run(); }

}  // namespace edgefleet::compiler
