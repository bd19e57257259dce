// Normalizations and softmax.
#include <algorithm>
#include <array>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::BinaryKind;
using runtime::DataType;
using runtime::kAbsent;
using runtime::ReduceKind;
using runtime::UnaryKind;

Status ImportBatchNormalization(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(5, 5));
  EF_ASSIGN_OR_RETURN(const float epsilon, node.Float("epsilon", 1e-5F));
  EF_ASSIGN_OR_RETURN(const bool training, node.Flag("training_mode", false));
  EF_ASSIGN_OR_RETURN(const bool spatial, node.Flag("spatial", true));
  node.Ignore("momentum");
  if (training) return node.Unsupported("it is in training mode; export for inference");
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  if (!spatial && node.Rank(x) > 2) return node.Unsupported("only spatial normalization is supported");
  EF_RETURN_IF_ERROR(node.CheckOutputs(1));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  return node.Finish(runtime::BatchNorm{epsilon}, std::move(inputs));
}

Status ImportInstanceNormalization(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(3, 3));
  EF_ASSIGN_OR_RETURN(const float epsilon, node.Float("epsilon", 1e-5F));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  return node.Finish(runtime::GroupNorm{0, epsilon}, std::move(inputs));
}

// Scale and bias have one value a group in opset 18; the graph's operator has one a channel.
Status ImportGroupNormalization(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(3, 3));
  EF_ASSIGN_OR_RETURN(const float epsilon, node.Float("epsilon", 1e-5F));
  EF_ASSIGN_OR_RETURN(const std::int64_t groups, node.Int("num_groups", 0));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  const Shape shape = node.ShapeOf(inputs[0]);
  if (shape.size() < 2 || groups < 1 || shape[1] % groups != 0) return node.Bad("'num_groups' does not divide its channels");
  for (std::size_t i = 1; i < 3; ++i) {
    if (node.ShapeOf(inputs[i]) != Shape{groups} || groups == shape[1]) continue;
    EF_ASSIGN_OR_RETURN(TensorId x, node.Unsqueeze(inputs[i], {1}));
    EF_ASSIGN_OR_RETURN(const TensorId wide, node.List({groups, shape[1] / groups}));
    EF_ASSIGN_OR_RETURN(x, node.Emit(runtime::Expand{}, {x, wide}));
    EF_ASSIGN_OR_RETURN(inputs[i], node.Reshape(x, {shape[1]}));
  }
  return node.Finish(runtime::GroupNorm{static_cast<std::int32_t>(groups), epsilon}, std::move(inputs));
}

// The optional outputs of LayerNormalization, as ONNX defines them.
Status BindStatistics(NodeContext& node, TensorId x, std::int64_t axis, float epsilon) {
  if (!node.wants(1) && !node.wants(2)) return OkStatus();
  std::vector<std::int64_t> axes;
  for (std::int64_t i = axis; i < node.Rank(x); ++i) axes.push_back(i);
  EF_ASSIGN_OR_RETURN(const TensorId mean, node.Reduce(ReduceKind::kMean, x, axes, true));
  EF_RETURN_IF_ERROR(node.Bind(1, mean));
  EF_ASSIGN_OR_RETURN(const TensorId centred, node.Binary(BinaryKind::kSub, x, mean));
  EF_ASSIGN_OR_RETURN(const TensorId squared, node.Binary(BinaryKind::kMul, centred, centred));
  EF_ASSIGN_OR_RETURN(const TensorId variance, node.Reduce(ReduceKind::kMean, squared, axes, true));
  EF_ASSIGN_OR_RETURN(const TensorId tiny, node.Scalar(epsilon));
  EF_ASSIGN_OR_RETURN(const TensorId shifted, node.Binary(BinaryKind::kAdd, variance, tiny));
  EF_ASSIGN_OR_RETURN(const TensorId deviation, node.Unary(UnaryKind::kSqrt, shifted));
  EF_ASSIGN_OR_RETURN(const TensorId inverse, node.Unary(UnaryKind::kReciprocal, deviation));
  return node.Bind(2, inverse);
}

Status ImportLayerNormalization(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 3));
  EF_RETURN_IF_ERROR(node.CheckOutputs(3));
  EF_ASSIGN_OR_RETURN(const float epsilon, node.Float("epsilon", 1e-5F));
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", -1));
  node.Ignore("stash_type");
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  const TensorId x = inputs[0];
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(x)));
  EF_ASSIGN_OR_RETURN(const TensorId y,
                      node.Emit(runtime::LayerNorm{static_cast<std::int32_t>(axis), epsilon}, std::move(inputs)));
  EF_RETURN_IF_ERROR(node.Bind(0, y));
  return BindStatistics(node, x, axis, epsilon);
}

// x / sqrt(mean(x^2) + epsilon) * scale over the last dimensions (Zhang and Sennrich 2019).
Result<TensorId> RootMeanSquareNorm(NodeContext& node, TensorId x, TensorId scale, std::int64_t axis, float epsilon) {
  std::vector<std::int64_t> axes;
  for (std::int64_t i = axis; i < node.Rank(x); ++i) axes.push_back(i);
  EF_ASSIGN_OR_RETURN(const TensorId squared, node.Binary(BinaryKind::kMul, x, x));
  EF_ASSIGN_OR_RETURN(const TensorId mean, node.Reduce(ReduceKind::kMean, squared, std::move(axes), true));
  EF_ASSIGN_OR_RETURN(const TensorId tiny, node.Scalar(epsilon));
  EF_ASSIGN_OR_RETURN(const TensorId shifted, node.Binary(BinaryKind::kAdd, mean, tiny));
  EF_ASSIGN_OR_RETURN(const TensorId root, node.Unary(UnaryKind::kSqrt, shifted));
  EF_ASSIGN_OR_RETURN(const TensorId normal, node.Binary(BinaryKind::kDiv, x, root));
  return node.Binary(BinaryKind::kMul, normal, scale);
}

Status ImportSimplifiedLayerNormalization(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_RETURN_IF_ERROR(node.CheckOutputs(1));
  EF_ASSIGN_OR_RETURN(const float epsilon, node.Float("epsilon", 1e-5F));
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", -1));
  node.Ignore("stash_type");
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId scale, node.Input(1));
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(x)));
  EF_ASSIGN_OR_RETURN(const TensorId y, RootMeanSquareNorm(node, x, scale, axis, epsilon));
  return node.Bind(0, y);
}

// com.microsoft: normalizes input + skip (+ bias); output 3 is that sum.
template <bool simplified>
Status ImportSkipLayerNormalization(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(3, simplified ? 4 : 5));
  if (node.wants(1) || node.wants(2)) return node.Unsupported("its statistics are not supported; export for inference");
  EF_ASSIGN_OR_RETURN(const float epsilon, node.Float("epsilon", 1e-5F));
  EF_ASSIGN_OR_RETURN(const TensorId input, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId skip, node.Input(1));
  EF_ASSIGN_OR_RETURN(const TensorId scale, node.Input(2));
  EF_ASSIGN_OR_RETURN(const TensorId shift, simplified ? Result<TensorId>(kAbsent) : node.Input(3));
  EF_ASSIGN_OR_RETURN(const TensorId bias, node.Input(simplified ? 3 : 4));
  EF_ASSIGN_OR_RETURN(TensorId sum, node.Binary(BinaryKind::kAdd, input, skip));
  if (bias != kAbsent) {
    EF_ASSIGN_OR_RETURN(sum, node.Binary(BinaryKind::kAdd, sum, bias));
  }
  EF_RETURN_IF_ERROR(node.Bind(3, sum));
  const std::int64_t axis = node.Rank(sum) - 1;
  EF_ASSIGN_OR_RETURN(const TensorId y, simplified ? RootMeanSquareNorm(node, sum, scale, axis, epsilon)
                                                   : node.Emit(runtime::LayerNorm{static_cast<std::int32_t>(axis), epsilon},
                                                               {sum, scale, shift}));
  return node.Bind(0, y);
}

Status ImportLpNormalization(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", -1));
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(x)));
  EF_ASSIGN_OR_RETURN(const std::int64_t p, node.Int("p", 2));
  if (p != 1 && p != 2) return node.Bad("'p' must be 1 or 2");
  return node.Finish(runtime::LpNorm{static_cast<std::int32_t>(axis), static_cast<std::int32_t>(p)}, {x});
}

Status ImportLrn(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const std::int64_t size, node.Int("size", 0));
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 1e-4F));
  EF_ASSIGN_OR_RETURN(const float beta, node.Float("beta", 0.75F));
  EF_ASSIGN_OR_RETURN(const float bias, node.Float("bias", 1));
  if (size < 1 || size > 65'536) return node.Bad("'size' must be 1 to 65536");
  return node.Finish(runtime::Lrn{static_cast<std::int32_t>(size), alpha, beta, bias}, {x});
}

// (x - mean) / (sqrt(mean(x^2) - mean^2) + 1e-9).
Status ImportMeanVarianceNormalization(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(auto axes, node.Ints("axes"));
  if (axes.empty()) axes = {0, 2, 3};
  EF_ASSIGN_OR_RETURN(const TensorId mean, node.Reduce(ReduceKind::kMean, x, axes, true));
  EF_ASSIGN_OR_RETURN(const TensorId centred, node.Binary(BinaryKind::kSub, x, mean));
  EF_ASSIGN_OR_RETURN(const TensorId squared, node.Binary(BinaryKind::kMul, centred, centred));
  EF_ASSIGN_OR_RETURN(const TensorId variance, node.Reduce(ReduceKind::kMean, squared, axes, true));
  EF_ASSIGN_OR_RETURN(const TensorId deviation, node.Unary(UnaryKind::kSqrt, variance));
  EF_ASSIGN_OR_RETURN(const TensorId tiny, node.Scalar(1e-9F));
  EF_ASSIGN_OR_RETURN(const TensorId divisor, node.Binary(BinaryKind::kAdd, deviation, tiny));
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Binary(BinaryKind::kDiv, centred, divisor));
  return node.Bind(0, y);
}

// ---- softmax

// 1 in place of the largest value along `axis`, the first of equals; 0 elsewhere.
Result<TensorId> EmitHardmax(NodeContext& node, TensorId x, std::int64_t axis) {
  const std::int64_t depth = node.ShapeOf(x)[static_cast<std::size_t>(axis)];
  EF_ASSIGN_OR_RETURN(const TensorId largest,
                      node.Emit(runtime::ArgReduce{true, static_cast<std::int32_t>(axis), false, false}, {x}));
  EF_ASSIGN_OR_RETURN(const TensorId size, node.Scalar(DataType::kInt64, static_cast<double>(depth)));
  EF_ASSIGN_OR_RETURN(const TensorId values, node.FloatList({0, 1}, {2}));
  return node.Emit(runtime::OneHot{static_cast<std::int32_t>(axis)}, {largest, size, values});
}

enum class Kind { kSoftmax, kLogSoftmax, kHardmax };

Result<TensorId> EmitSoftmax(NodeContext& node, Kind kind, TensorId x, std::int64_t axis) {
  if (kind == Kind::kHardmax) return EmitHardmax(node, x, axis);
  return node.Emit(runtime::Softmax{static_cast<std::int32_t>(axis), kind == Kind::kLogSoftmax}, {x});
}

template <Kind kind>
Status ImportSoftmax(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  const std::int64_t rank = node.Rank(x);
  // Before opset 13 the default was 1, and dimensions from the axis on were taken together.
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", node.opset() < 13 ? 1 : -1));
  const bool flattens = node.opset() < 13;
  if (!(flattens && axis == rank)) {
    EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, rank));
  }
  if (!flattens || axis == rank - 1) {
    EF_ASSIGN_OR_RETURN(const TensorId y, EmitSoftmax(node, kind, x, axis));
    return node.Bind(0, y);
  }
  EF_ASSIGN_OR_RETURN(const TensorId shape, node.Emit(runtime::ShapeOf{}, {x}));
  EF_ASSIGN_OR_RETURN(const TensorId flat, node.Emit(runtime::Flatten{static_cast<std::int32_t>(axis)}, {x}));
  EF_ASSIGN_OR_RETURN(TensorId y, EmitSoftmax(node, kind, flat, 1));
  EF_ASSIGN_OR_RETURN(y, node.Emit(runtime::Reshape{}, {y, shape}));
  return node.Bind(0, y);
}

constexpr const char* kMicrosoft = "com.microsoft";

constexpr std::array kOperators{
    OnnxOperator{"BatchNormalization", ImportBatchNormalization, "for inference: one output"},
    OnnxOperator{"GroupNormalization", ImportGroupNormalization, "", 18},
    OnnxOperator{"Hardmax", ImportSoftmax<Kind::kHardmax>},
    OnnxOperator{"InstanceNormalization", ImportInstanceNormalization},
    OnnxOperator{"LRN", ImportLrn},
    OnnxOperator{"LayerNormalization", ImportLayerNormalization},
    OnnxOperator{"LogSoftmax", ImportSoftmax<Kind::kLogSoftmax>},
    OnnxOperator{"LpNormalization", ImportLpNormalization},
    OnnxOperator{"MeanVarianceNormalization", ImportMeanVarianceNormalization, "", 9},
    OnnxOperator{"SimplifiedLayerNormalization", ImportSimplifiedLayerNormalization, "as ONNX Runtime writes it"},
    OnnxOperator{"Softmax", ImportSoftmax<Kind::kSoftmax>},
    OnnxOperator{"SimplifiedLayerNormalization", ImportSimplifiedLayerNormalization, "", 1, 1'000, kMicrosoft},
    OnnxOperator{"SkipLayerNormalization", ImportSkipLayerNormalization<false>, "without statistics", 1, 1'000, kMicrosoft},
    OnnxOperator{"SkipSimplifiedLayerNormalization", ImportSkipLayerNormalization<true>, "without statistics", 1, 1'000,
                 kMicrosoft},
};

}  // namespace

std::span<const OnnxOperator> NormalizationOperators() { return kOperators; }

}  // namespace edgefleet::compiler
