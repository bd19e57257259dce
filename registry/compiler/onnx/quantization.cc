// Quantized networks: QDQ pairs, and the QLinear, Integer and dynamic operators, which become them or exact integer arithmetic.
#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::BinaryKind;
using runtime::DataType;
using runtime::kAbsent;
using runtime::Quantization;
using runtime::ReduceKind;
using runtime::UnaryKind;

// How a tensor is quantized, by tensors: the scale, and the zero point or kAbsent.
struct Scheme {
  TensorId scale = kAbsent;
  TensorId zero_point = kAbsent;
  std::int64_t axis = 1;  // of a scale a slice
};

Result<Scheme> ReadScheme(NodeContext& node, int scale, int zero_point, std::int64_t axis) {
  Scheme scheme;
  EF_ASSIGN_OR_RETURN(scheme.scale, node.Input(scale));
  EF_ASSIGN_OR_RETURN(scheme.zero_point, node.Input(zero_point));
  scheme.axis = axis;
  return scheme;
}

// As an attribute of a tensor of that shape; nothing if it is no constant.
Result<std::optional<Quantization>> ToAttribute(NodeContext& node, const Scheme& scheme, std::int64_t rank) {
  if (!node.IsConstantId(scheme.scale) || (scheme.zero_point != kAbsent && !node.IsConstantId(scheme.zero_point))) {
    return std::optional<Quantization>();
  }
  Quantization quantization;
  EF_ASSIGN_OR_RETURN(quantization.scales, node.Floats(scheme.scale));
  for (const float scale : quantization.scales) {
    if (!(scale > 0) || !std::isfinite(scale)) return node.Bad("its scales must be positive and finite");
  }
  if (scheme.zero_point != kAbsent) {
    EF_ASSIGN_OR_RETURN(const auto zero_points, node.IntegersOf(scheme.zero_point));
    if (zero_points.size() != quantization.scales.size()) return node.Bad("it needs as many zero points as scales");
    quantization.zero_points.assign(zero_points.begin(), zero_points.end());
    if (std::ranges::all_of(zero_points, [](std::int64_t z) { return z == 0; })) quantization.zero_points.clear();
  }
  if (quantization.scales.size() != 1) {
    EF_ASSIGN_OR_RETURN(const std::int64_t axis, node.Axis(scheme.axis, rank));
    quantization.axis = static_cast<int>(axis);
  }
  return std::optional(std::move(quantization));
}

// A scale or zero point a slice as a tensor that broadcasts along `axis`.
Result<TensorId> AlongAxis(NodeContext& node, TensorId id, std::int64_t axis, std::int64_t rank) {
  if (runtime::ElementCount(node.ShapeOf(id)) == 1) return node.Rank(id) == 0 ? Result<TensorId>(id) : node.Reshape(id, {});
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, rank));
  std::vector<std::int64_t> shape(static_cast<std::size_t>(rank - axis), 1);
  shape[0] = -1;
  return node.Reshape(id, shape);
}

// (q - zero point) * scale, computed.
Result<TensorId> DequantizeByArithmetic(NodeContext& node, TensorId q, const Scheme& scheme) {
  EF_ASSIGN_OR_RETURN(TensorId x, node.Cast(q, DataType::kFloat32));
  if (scheme.zero_point != kAbsent) {
    EF_ASSIGN_OR_RETURN(TensorId zero, AlongAxis(node, scheme.zero_point, scheme.axis, node.Rank(q)));
    EF_ASSIGN_OR_RETURN(zero, node.Cast(zero, DataType::kFloat32));
    EF_ASSIGN_OR_RETURN(x, node.Binary(BinaryKind::kSub, x, zero));
  }
  EF_ASSIGN_OR_RETURN(const TensorId scale, AlongAxis(node, scheme.scale, scheme.axis, node.Rank(q)));
  return node.Binary(BinaryKind::kMul, x, scale);
}

// A constant that is stored as it is: symmetric int8 or int32. uint8 around 128 is int8 around 0.
Result<std::optional<TensorId>> DequantizeConstant(NodeContext& node, TensorId q, Quantization quantization) {
  const DataType type = node.TypeOf(q);
  const Shape shape = node.ShapeOf(q);
  const ByteView data = node.At(q).data;
  Bytes bytes = ToBytes(data);
  if (type == DataType::kUint8) {
    const bool centred =
        !quantization.zero_points.empty() && std::ranges::all_of(quantization.zero_points, [](auto z) { return z == 128; });
    if (!centred) return std::optional<TensorId>();
    for (std::byte& each : bytes) each ^= std::byte{0x80};
    quantization.zero_points.clear();
  }
  if (!quantization.zero_points.empty()) return std::optional<TensorId>();
  const DataType stored = type == DataType::kUint8 ? DataType::kInt8 : type;
  EF_ASSIGN_OR_RETURN(const TensorId constant, node.Constant(stored, shape, bytes, std::move(quantization), node.At(q).name));
  EF_ASSIGN_OR_RETURN(const TensorId real, node.Emit(runtime::Dequantize{}, {constant}));
  node.RememberDequantized(real, constant);
  return std::optional(real);
}

Result<TensorId> EmitDequantize(NodeContext& node, TensorId q, const Scheme& scheme) {
  EF_ASSIGN_OR_RETURN(const auto quantization, ToAttribute(node, scheme, node.Rank(q)));
  if (!quantization) return DequantizeByArithmetic(node, q, scheme);
  if (node.IsConstantId(q)) {
    EF_ASSIGN_OR_RETURN(const auto real, DequantizeConstant(node, q, *quantization));
    if (real) return *real;
  } else if (node.At(q).quantization == quantization) {
    return node.Emit(runtime::Dequantize{}, {q});
  }
  return DequantizeByArithmetic(node, q, scheme);
}

// round(x / scale) + zero point, saturated, computed.
Result<TensorId> QuantizeByArithmetic(NodeContext& node, TensorId x, const Scheme& scheme, DataType type) {
  EF_ASSIGN_OR_RETURN(const TensorId scale, AlongAxis(node, scheme.scale, scheme.axis, node.Rank(x)));
  EF_ASSIGN_OR_RETURN(TensorId y, node.Binary(BinaryKind::kDiv, x, scale));
  EF_ASSIGN_OR_RETURN(y, node.Unary(UnaryKind::kRound, y));
  if (scheme.zero_point != kAbsent) {
    EF_ASSIGN_OR_RETURN(TensorId zero, AlongAxis(node, scheme.zero_point, scheme.axis, node.Rank(x)));
    EF_ASSIGN_OR_RETURN(zero, node.Cast(zero, DataType::kFloat32));
    EF_ASSIGN_OR_RETURN(y, node.Binary(BinaryKind::kAdd, y, zero));
  }
  const bool is_signed = type == DataType::kInt8;
  EF_ASSIGN_OR_RETURN(y, node.Unary(UnaryKind::kClip, y, is_signed ? -128.0F : 0.0F, is_signed ? 127.0F : 255.0F));
  return node.Cast(y, type);
}

Status FinishQuantize(NodeContext& node, TensorId x, const Scheme& scheme) {
  const DataType type = scheme.zero_point == kAbsent ? DataType::kUint8 : node.TypeOf(scheme.zero_point);
  if (type != DataType::kInt8 && type != DataType::kUint8) return node.Unsupported("only int8 and uint8 are supported");
  EF_ASSIGN_OR_RETURN(x, node.Cast(x, DataType::kFloat32));
  EF_ASSIGN_OR_RETURN(auto quantization, ToAttribute(node, scheme, node.Rank(x)));
  if (quantization && quantization->axis < 0) return node.Finish(runtime::Quantize{type}, {x}, std::move(quantization));
  EF_ASSIGN_OR_RETURN(const TensorId y, QuantizeByArithmetic(node, x, scheme, type));
  return node.Bind(0, y);
}

Result<std::int64_t> ReadAxis(NodeContext& node) {
  return node.opset() < 13 && !node.HasAttribute("axis") ? Result<std::int64_t>(1) : node.Int("axis", 1);
}

Status ImportQuantizeLinear(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 3));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const std::int64_t axis, ReadAxis(node));
  EF_ASSIGN_OR_RETURN(const Scheme scheme, ReadScheme(node, 1, 2, axis));
  return FinishQuantize(node, x, scheme);
}

Status ImportDequantizeLinear(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 3));
  EF_ASSIGN_OR_RETURN(const TensorId q, node.Input(0));
  EF_ASSIGN_OR_RETURN(const std::int64_t axis, ReadAxis(node));
  EF_ASSIGN_OR_RETURN(const Scheme scheme, ReadScheme(node, 1, 2, axis));
  EF_ASSIGN_OR_RETURN(const TensorId y, EmitDequantize(node, q, scheme));
  return node.Bind(0, y);
}

// Largest and smallest value, 0 included, over 0 to 255 (ONNX's definition).
Status ImportDynamicQuantizeLinear(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_RETURN_IF_ERROR(node.CheckOutputs(3));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId zero, node.Scalar(0.0F));
  EF_ASSIGN_OR_RETURN(const TensorId steps, node.Scalar(255.0F));
  EF_ASSIGN_OR_RETURN(TensorId high, node.Reduce(ReduceKind::kMax, x, {}, false));
  EF_ASSIGN_OR_RETURN(high, node.Binary(BinaryKind::kMax, high, zero));
  EF_ASSIGN_OR_RETURN(TensorId low, node.Reduce(ReduceKind::kMin, x, {}, false));
  EF_ASSIGN_OR_RETURN(low, node.Binary(BinaryKind::kMin, low, zero));
  EF_ASSIGN_OR_RETURN(const TensorId range, node.Binary(BinaryKind::kSub, high, low));
  EF_ASSIGN_OR_RETURN(const TensorId scale, node.Binary(BinaryKind::kDiv, range, steps));
  EF_RETURN_IF_ERROR(node.Bind(1, scale));
  EF_ASSIGN_OR_RETURN(const TensorId offset, node.Binary(BinaryKind::kDiv, low, scale));
  EF_ASSIGN_OR_RETURN(TensorId point, node.Binary(BinaryKind::kSub, zero, offset));
  EF_ASSIGN_OR_RETURN(point, node.Unary(UnaryKind::kClip, point, 0, 255));
  EF_ASSIGN_OR_RETURN(point, node.Unary(UnaryKind::kRound, point));
  EF_ASSIGN_OR_RETURN(point, node.Cast(point, DataType::kUint8));
  EF_RETURN_IF_ERROR(node.Bind(2, point));
  EF_ASSIGN_OR_RETURN(const TensorId y, QuantizeByArithmetic(node, x, {scale, point, 0}, DataType::kUint8));
  return node.Bind(0, y);
}

// ---- QLinear operators: dequantize, compute, quantize

Result<TensorId> DequantizeInput(NodeContext& node, int first, std::int64_t axis) {
  EF_ASSIGN_OR_RETURN(const TensorId q, node.Input(first));
  EF_ASSIGN_OR_RETURN(const Scheme scheme, ReadScheme(node, first + 1, first + 2, axis));
  return EmitDequantize(node, q, scheme);
}

Status ImportQLinearMatMul(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(8, 8));
  EF_ASSIGN_OR_RETURN(const TensorId a, DequantizeInput(node, 0, -2));
  EF_ASSIGN_OR_RETURN(const TensorId b, DequantizeInput(node, 3, -1));
  EF_ASSIGN_OR_RETURN(const TensorId y, EmitMatMul(node, a, b));
  EF_ASSIGN_OR_RETURN(const Scheme scheme, ReadScheme(node, 6, 7, 1));
  return FinishQuantize(node, y, scheme);
}

// The bias is int32 with scale x_scale * w_scale.
Result<TensorId> DequantizeBias(NodeContext& node, int index, TensorId x_scale, TensorId w_scale) {
  if (!node.has_input(index)) return kAbsent;
  EF_ASSIGN_OR_RETURN(const TensorId bias, node.Input(index));
  EF_ASSIGN_OR_RETURN(const TensorId scale, node.Binary(BinaryKind::kMul, x_scale, w_scale));
  return EmitDequantize(node, bias, {scale, kAbsent, 0});
}

Status ImportQLinearConv(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(8, 9));
  EF_ASSIGN_OR_RETURN(const TensorId x, DequantizeInput(node, 0, 1));
  EF_ASSIGN_OR_RETURN(const TensorId w, DequantizeInput(node, 3, 0));
  EF_ASSIGN_OR_RETURN(const TensorId x_scale, node.Input(1));
  EF_ASSIGN_OR_RETURN(const TensorId w_scale, node.Input(4));
  EF_ASSIGN_OR_RETURN(const TensorId bias, DequantizeBias(node, 8, x_scale, w_scale));
  EF_ASSIGN_OR_RETURN(const TensorId y, EmitConvolution(node, x, w, bias));
  EF_ASSIGN_OR_RETURN(const Scheme scheme, ReadScheme(node, 6, 7, 1));
  return FinishQuantize(node, y, scheme);
}

// com.microsoft: a, scale, zero point, b, scale, zero point, scale, zero point.
template <BinaryKind kind>
Status ImportQLinearBinary(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(7, 8));
  EF_ASSIGN_OR_RETURN(const TensorId a, DequantizeInput(node, 0, 1));
  EF_ASSIGN_OR_RETURN(const TensorId b, DequantizeInput(node, 3, 1));
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Binary(kind, a, b));
  EF_ASSIGN_OR_RETURN(const Scheme scheme, ReadScheme(node, 6, 7, 1));
  return FinishQuantize(node, y, scheme);
}

// com.microsoft: x, scale, zero point, scale, zero point.
template <UnaryKind kind>
Status ImportQLinearUnary(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(4, 5));
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", kind == UnaryKind::kLeakyRelu ? 0.01F : 0.0F));
  EF_ASSIGN_OR_RETURN(const TensorId x, DequantizeInput(node, 0, 1));
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Unary(kind, x, alpha));
  EF_ASSIGN_OR_RETURN(const Scheme scheme, ReadScheme(node, 3, 4, 1));
  return FinishQuantize(node, y, scheme);
}

Status ImportQLinearGlobalAveragePool(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(5, 5));
  EF_ASSIGN_OR_RETURN(const bool channels_last, node.Flag("channels_last", false));
  EF_ASSIGN_OR_RETURN(const TensorId x, DequantizeInput(node, 0, 1));
  const std::int64_t first = channels_last ? 1 : 2;
  std::vector<std::int64_t> axes;
  for (std::int64_t axis = first; axis < first + node.Rank(x) - 2; ++axis) axes.push_back(axis);
  if (axes.empty()) return node.Bad("its input has no spatial dimensions");
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Reduce(ReduceKind::kMean, x, std::move(axes), true));
  EF_ASSIGN_OR_RETURN(const Scheme scheme, ReadScheme(node, 3, 4, 1));
  return FinishQuantize(node, y, scheme);
}

// com.microsoft: output scale and zero point, then x, scale, zero point of each part.
Status ImportQLinearConcat(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(5, 3 * 1'024 + 2));
  if (node.input_count() % 3 != 2) return node.Bad("it needs a scale and a zero point for each part");
  std::vector<TensorId> parts;
  for (int i = 2; i < node.input_count(); i += 3) {
    EF_ASSIGN_OR_RETURN(const TensorId part, DequantizeInput(node, i, 1));
    parts.push_back(part);
  }
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", 0));
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(parts[0])));
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Emit(runtime::Concat{static_cast<std::int32_t>(axis)}, std::move(parts)));
  EF_ASSIGN_OR_RETURN(const Scheme scheme, ReadScheme(node, 0, 1, 1));
  return FinishQuantize(node, y, scheme);
}

// ---- Integer operators: exact in float32 as long as sums stay below 2^24

// x - zero point in float32; `axis` is that of a zero point a slice.
Result<TensorId> Centred(NodeContext& node, int index, int zero_index, std::int64_t axis) {
  EF_ASSIGN_OR_RETURN(const TensorId q, node.Input(index));
  EF_ASSIGN_OR_RETURN(TensorId x, node.Cast(q, DataType::kFloat32));
  if (!node.has_input(zero_index)) return x;
  EF_ASSIGN_OR_RETURN(TensorId zero, node.Input(zero_index));
  EF_ASSIGN_OR_RETURN(zero, AlongAxis(node, zero, axis, node.Rank(q)));
  EF_ASSIGN_OR_RETURN(zero, node.Cast(zero, DataType::kFloat32));
  return node.Binary(BinaryKind::kSub, x, zero);
}

Status FinishInteger(NodeContext& node, TensorId y) {
  EF_ASSIGN_OR_RETURN(y, node.Cast(y, DataType::kInt32));
  return node.Bind(0, y);
}

Status ImportMatMulInteger(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 4));
  EF_ASSIGN_OR_RETURN(const TensorId a, Centred(node, 0, 2, -2));
  EF_ASSIGN_OR_RETURN(const TensorId b, Centred(node, 1, 3, -1));
  EF_ASSIGN_OR_RETURN(const TensorId y, EmitMatMul(node, a, b));
  return FinishInteger(node, y);
}

Status ImportConvInteger(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 4));
  EF_ASSIGN_OR_RETURN(const TensorId x, Centred(node, 0, 2, 1));
  EF_ASSIGN_OR_RETURN(const TensorId w, Centred(node, 1, 3, 0));
  EF_ASSIGN_OR_RETURN(const TensorId y, EmitConvolution(node, x, w, kAbsent));
  return FinishInteger(node, y);
}

constexpr const char* kMicrosoft = "com.microsoft";
constexpr const char* kExact = "in float32: exact while sums stay below 2^24";

constexpr std::array kOperators{
    OnnxOperator{"ConvInteger", ImportConvInteger, kExact, 10},
    OnnxOperator{"DequantizeLinear", ImportDequantizeLinear, "int8, uint8, int32", 10},
    OnnxOperator{"DynamicQuantizeLinear", ImportDynamicQuantizeLinear, "", 11},
    OnnxOperator{"MatMulInteger", ImportMatMulInteger, kExact, 10},
    OnnxOperator{"QLinearConv", ImportQLinearConv, "", 10},
    OnnxOperator{"QLinearMatMul", ImportQLinearMatMul, "", 10},
    OnnxOperator{"QuantizeLinear", ImportQuantizeLinear, "int8, uint8", 10},
    OnnxOperator{"DequantizeLinear", ImportDequantizeLinear, "int8, uint8, int32", 1, 1'000, kMicrosoft},
    OnnxOperator{"QLinearAdd", ImportQLinearBinary<BinaryKind::kAdd>, "", 1, 1'000, kMicrosoft},
    OnnxOperator{"QLinearConcat", ImportQLinearConcat, "", 1, 1'000, kMicrosoft},
    OnnxOperator{"QLinearGlobalAveragePool", ImportQLinearGlobalAveragePool, "", 1, 1'000, kMicrosoft},
    OnnxOperator{"QLinearLeakyRelu", ImportQLinearUnary<UnaryKind::kLeakyRelu>, "", 1, 1'000, kMicrosoft},
    OnnxOperator{"QLinearMul", ImportQLinearBinary<BinaryKind::kMul>, "", 1, 1'000, kMicrosoft},
    OnnxOperator{"QLinearSigmoid", ImportQLinearUnary<UnaryKind::kSigmoid>, "", 1, 1'000, kMicrosoft},
    OnnxOperator{"QuantizeLinear", ImportQuantizeLinear, "int8, uint8", 1, 1'000, kMicrosoft},
};

}  // namespace

std::span<const OnnxOperator> QuantizationOperators() { return kOperators; }

}  // namespace edgefleet::compiler
