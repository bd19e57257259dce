// Operators of each element: functions, arithmetic, comparisons, choice and types.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::BinaryKind;
using runtime::DataType;
using runtime::UnaryKind;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// ---- functions of one value

template <UnaryKind kind>
Status ImportUnary(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  return node.Finish(runtime::Unary{{kind, 0, 0}}, {x});
}

// ---- functions of one value with attributes

Status FinishUnary(NodeContext& node, UnaryKind kind, float alpha, float beta) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  return node.Finish(runtime::Unary{{kind, alpha, beta}}, {x});
}

Status ImportElu(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 1));
  return FinishUnary(node, UnaryKind::kElu, alpha, 0);
}
Status ImportSelu(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 1.67326319217681884765625F));
  EF_ASSIGN_OR_RETURN(const float gamma, node.Float("gamma", 1.05070102214813232421875F));
  return FinishUnary(node, UnaryKind::kSelu, alpha, gamma);
}
Status ImportCelu(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 1));
  return FinishUnary(node, UnaryKind::kCelu, alpha, 0);
}
Status ImportLeakyRelu(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 0.01F));
  return FinishUnary(node, UnaryKind::kLeakyRelu, alpha, 0);
}
Status ImportThresholdedRelu(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 1));
  return FinishUnary(node, UnaryKind::kThresholdedRelu, alpha, 0);
}
Status ImportHardSigmoid(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 0.2F));
  EF_ASSIGN_OR_RETURN(const float beta, node.Float("beta", 0.5F));
  return FinishUnary(node, UnaryKind::kHardSigmoid, alpha, beta);
}
Status ImportIsInf(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const bool negative, node.Flag("detect_negative", true));
  EF_ASSIGN_OR_RETURN(const bool positive, node.Flag("detect_positive", true));
  return FinishUnary(node, UnaryKind::kIsInf, negative ? 1.0F : 0.0F, positive ? 1.0F : 0.0F);
}
Status ImportQuickGelu(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 1.702F));
  return FinishUnary(node, UnaryKind::kSwish, alpha, 0);
}

// x < -lambd: x + bias; x > lambd: x - bias; else 0.
Status ImportShrink(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const float bias, node.Float("bias", 0));
  EF_ASSIGN_OR_RETURN(const float lambd, node.Float("lambd", 0.5F));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId low, node.Scalar(node.TypeOf(x), -lambd));
  EF_ASSIGN_OR_RETURN(const TensorId high, node.Scalar(node.TypeOf(x), lambd));
  EF_ASSIGN_OR_RETURN(const TensorId shift, node.Scalar(node.TypeOf(x), bias));
  EF_ASSIGN_OR_RETURN(const TensorId zero, node.Scalar(node.TypeOf(x), 0));
  EF_ASSIGN_OR_RETURN(const TensorId below, node.Binary(BinaryKind::kLess, x, low));
  EF_ASSIGN_OR_RETURN(const TensorId above, node.Binary(BinaryKind::kGreater, x, high));
  EF_ASSIGN_OR_RETURN(const TensorId up, node.Binary(BinaryKind::kAdd, x, shift));
  EF_ASSIGN_OR_RETURN(const TensorId down, node.Binary(BinaryKind::kSub, x, shift));
  EF_ASSIGN_OR_RETURN(const TensorId upper, node.Emit(runtime::Where{}, {above, down, zero}));
  return node.Finish(runtime::Where{}, {below, up, upper});
}

// ---- clipping

Status ClipByTensors(NodeContext& node, TensorId x, TensorId min, TensorId max) {
  if (min != runtime::kAbsent) {
    EF_ASSIGN_OR_RETURN(x, node.Binary(BinaryKind::kMax, x, min));
  }
  if (max != runtime::kAbsent) {
    EF_ASSIGN_OR_RETURN(x, node.Binary(BinaryKind::kMin, x, max));
  }
  return node.Bind(0, x);
}

Status ImportClip(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, node.opset() < 11 ? 1 : 3));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  float low = -kInfinity;
  float high = kInfinity;
  if (node.opset() < 11) {
    EF_ASSIGN_OR_RETURN(low, node.Float("min", low));
    EF_ASSIGN_OR_RETURN(high, node.Float("max", high));
    return node.Finish(runtime::Unary{{UnaryKind::kClip, low, high}}, {x});
  }
  EF_ASSIGN_OR_RETURN(const TensorId min, node.Input(1));
  EF_ASSIGN_OR_RETURN(const TensorId max, node.Input(2));
  const auto bound = [&](TensorId id, float fallback) -> Result<float> {
    if (id == runtime::kAbsent) return fallback;
    EF_ASSIGN_OR_RETURN(const auto values, node.Floats(id));
    if (values.size() != 1) return node.Bad("its bounds must be scalars");
    return values[0];
  };
  const bool constant =
      (min == runtime::kAbsent || node.IsConstantId(min)) && (max == runtime::kAbsent || node.IsConstantId(max));
  if (node.TypeOf(x) != DataType::kFloat32 || !constant) return ClipByTensors(node, x, min, max);
  EF_ASSIGN_OR_RETURN(low, bound(min, low));
  EF_ASSIGN_OR_RETURN(high, bound(max, high));
  return node.Finish(runtime::Unary{{UnaryKind::kClip, low, high}}, {x});
}

// ---- two values

template <BinaryKind kind>
Status ImportBinary(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(const TensorId a, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId b, node.Input(1));
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Binary(kind, a, b));
  return node.Bind(0, y);
}

// The exponent may have another type than the base, which gives the result its type.
Status ImportPow(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(TensorId exponent, node.Input(1));
  const DataType type = node.TypeOf(x);
  const bool real = type == DataType::kFloat32 || node.TypeOf(exponent) == DataType::kFloat32;
  const DataType common = real ? DataType::kFloat32 : DataType::kInt64;
  if (type != node.TypeOf(exponent)) {
    EF_ASSIGN_OR_RETURN(x, node.Cast(x, common));
    EF_ASSIGN_OR_RETURN(exponent, node.Cast(exponent, common));
  }
  EF_ASSIGN_OR_RETURN(TensorId y, node.Binary(BinaryKind::kPow, x, exponent));
  EF_ASSIGN_OR_RETURN(y, node.Cast(y, type));
  return node.Bind(0, y);
}

Status ImportMod(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(const bool fmod, node.Flag("fmod", false));
  EF_ASSIGN_OR_RETURN(const TensorId a, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId b, node.Input(1));
  if (!fmod && node.TypeOf(a) == DataType::kFloat32) return node.Bad("float32 needs fmod = 1");
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Binary(fmod ? BinaryKind::kFmod : BinaryKind::kMod, a, b));
  return node.Bind(0, y);
}

// Shifts are products with and quotients by powers of two; sums beyond the type wrap.
Status ImportBitShift(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(const std::string direction, node.String("direction", ""));
  if (direction != "LEFT" && direction != "RIGHT") return node.Bad("'direction' must be LEFT or RIGHT");
  EF_ASSIGN_OR_RETURN(TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(TensorId count, node.Input(1));
  const DataType type = node.TypeOf(x);
  EF_ASSIGN_OR_RETURN(x, node.Cast(x, DataType::kInt64));
  EF_ASSIGN_OR_RETURN(count, node.Cast(count, DataType::kInt64));
  EF_ASSIGN_OR_RETURN(const TensorId two, node.Scalar(DataType::kInt64, 2));
  EF_ASSIGN_OR_RETURN(const TensorId factor, node.Binary(BinaryKind::kPow, two, count));
  EF_ASSIGN_OR_RETURN(TensorId y, node.Binary(direction == "LEFT" ? BinaryKind::kMul : BinaryKind::kDiv, x, factor));
  EF_ASSIGN_OR_RETURN(y, node.Cast(y, type));
  return node.Bind(0, y);
}

// ---- any number of values

template <BinaryKind kind>
Status ImportVariadic(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(node.input_count(), 1'024));
  if (node.input_count() == 0) return node.Bad("it has no inputs");
  EF_ASSIGN_OR_RETURN(TensorId y, node.Input(0));
  for (int i = 1; i < node.input_count(); ++i) {
    EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(i));
    EF_ASSIGN_OR_RETURN(y, node.Binary(kind, y, x));
  }
  return node.Bind(0, y);
}

Status ImportMean(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(node.input_count(), 1'024));
  if (node.input_count() == 0) return node.Bad("it has no inputs");
  EF_ASSIGN_OR_RETURN(TensorId y, node.Input(0));
  for (int i = 1; i < node.input_count(); ++i) {
    EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(i));
    EF_ASSIGN_OR_RETURN(y, node.Binary(BinaryKind::kAdd, y, x));
  }
  if (node.input_count() == 1) return node.Bind(0, y);
  EF_ASSIGN_OR_RETURN(const TensorId count, node.Scalar(static_cast<float>(node.input_count())));
  EF_ASSIGN_OR_RETURN(y, node.Binary(BinaryKind::kDiv, y, count));
  return node.Bind(0, y);
}

// ---- choice and types

Status ImportWhere(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(3, 3));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  return node.Finish(runtime::Where{}, std::move(inputs));
}

Status FinishCast(NodeContext& node, TensorId x, DataType to) {
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Cast(x, to));
  return node.Bind(0, y);
}

Status ImportCast(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  node.Ignore("saturate");
  EF_ASSIGN_OR_RETURN(const DataType to, node.TypeAttribute("to", 0));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  return FinishCast(node, x, to);
}

Status ImportCastLike(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId like, node.Input(1));
  return FinishCast(node, x, node.TypeOf(like));
}

// ---- com.microsoft

// Gelu of x + bias; the bias may be absent for FastGelu.
template <UnaryKind kind>
Status ImportBiasGelu(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 2));
  EF_ASSIGN_OR_RETURN(TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId bias, node.Input(1));
  if (bias != runtime::kAbsent) {
    EF_ASSIGN_OR_RETURN(x, node.Binary(BinaryKind::kAdd, x, bias));
  }
  return node.Finish(runtime::Unary{{kind, 0, 0}}, {x});
}

constexpr const char* kMicrosoft = "com.microsoft";

constexpr std::array kOperators{
    OnnxOperator{"Abs", ImportUnary<UnaryKind::kAbs>},
    OnnxOperator{"Acos", ImportUnary<UnaryKind::kAcos>},
    OnnxOperator{"Acosh", ImportUnary<UnaryKind::kAcosh>, "", 9},
    OnnxOperator{"Add", ImportBinary<BinaryKind::kAdd>},
    OnnxOperator{"And", ImportBinary<BinaryKind::kAnd>},
    OnnxOperator{"Asin", ImportUnary<UnaryKind::kAsin>},
    OnnxOperator{"Asinh", ImportUnary<UnaryKind::kAsinh>, "", 9},
    OnnxOperator{"Atan", ImportUnary<UnaryKind::kAtan>},
    OnnxOperator{"Atanh", ImportUnary<UnaryKind::kAtanh>, "", 9},
    OnnxOperator{"BitShift", ImportBitShift,
                 "uint16 and uint32 are computed in int32 and int64: shifts to the left do not wrap", 11},
    OnnxOperator{"BitwiseAnd", ImportBinary<BinaryKind::kBitwiseAnd>, "", 18},
    OnnxOperator{"BitwiseNot", ImportUnary<UnaryKind::kBitwiseNot>, "", 18},
    OnnxOperator{"BitwiseOr", ImportBinary<BinaryKind::kBitwiseOr>, "", 18},
    OnnxOperator{"BitwiseXor", ImportBinary<BinaryKind::kBitwiseXor>, "", 18},
    OnnxOperator{"Cast", ImportCast, "float64, float16 and bfloat16 are kept as float32; no strings"},
    OnnxOperator{"CastLike", ImportCastLike, "as Cast", 15},
    OnnxOperator{"Ceil", ImportUnary<UnaryKind::kCeil>},
    OnnxOperator{"Celu", ImportCelu, "", 12},
    OnnxOperator{"Clip", ImportClip},
    OnnxOperator{"Cos", ImportUnary<UnaryKind::kCos>},
    OnnxOperator{"Cosh", ImportUnary<UnaryKind::kCosh>, "", 9},
    OnnxOperator{"Div", ImportBinary<BinaryKind::kDiv>},
    OnnxOperator{"Elu", ImportElu},
    OnnxOperator{"Equal", ImportBinary<BinaryKind::kEqual>},
    OnnxOperator{"Erf", ImportUnary<UnaryKind::kErf>, "", 9},
    OnnxOperator{"Exp", ImportUnary<UnaryKind::kExp>},
    OnnxOperator{"Floor", ImportUnary<UnaryKind::kFloor>},
    OnnxOperator{"Greater", ImportBinary<BinaryKind::kGreater>},
    OnnxOperator{"GreaterOrEqual", ImportBinary<BinaryKind::kGreaterOrEqual>, "", 12},
    OnnxOperator{"HardSigmoid", ImportHardSigmoid},
    OnnxOperator{"HardSwish", ImportUnary<UnaryKind::kHardSwish>, "", 14},
    OnnxOperator{"IsInf", ImportIsInf, "", 10},
    OnnxOperator{"IsNaN", ImportUnary<UnaryKind::kIsNan>, "", 9},
    OnnxOperator{"LeakyRelu", ImportLeakyRelu},
    OnnxOperator{"Less", ImportBinary<BinaryKind::kLess>},
    OnnxOperator{"LessOrEqual", ImportBinary<BinaryKind::kLessOrEqual>, "", 12},
    OnnxOperator{"Log", ImportUnary<UnaryKind::kLog>},
    OnnxOperator{"Max", ImportVariadic<BinaryKind::kMax>},
    OnnxOperator{"Mean", ImportMean},
    OnnxOperator{"Min", ImportVariadic<BinaryKind::kMin>},
    OnnxOperator{"Mish", ImportUnary<UnaryKind::kMish>, "", 18},
    OnnxOperator{"Mod", ImportMod, "", 10},
    OnnxOperator{"Mul", ImportBinary<BinaryKind::kMul>},
    OnnxOperator{"Neg", ImportUnary<UnaryKind::kNeg>},
    OnnxOperator{"Not", ImportUnary<UnaryKind::kNot>},
    OnnxOperator{"Or", ImportBinary<BinaryKind::kOr>},
    OnnxOperator{"PRelu", ImportBinary<BinaryKind::kPRelu>},
    OnnxOperator{"Pow", ImportPow},
    OnnxOperator{"Reciprocal", ImportUnary<UnaryKind::kReciprocal>},
    OnnxOperator{"Relu", ImportUnary<UnaryKind::kRelu>},
    OnnxOperator{"Round", ImportUnary<UnaryKind::kRound>, "", 11},
    OnnxOperator{"Selu", ImportSelu},
    OnnxOperator{"Shrink", ImportShrink, "", 9},
    OnnxOperator{"Sigmoid", ImportUnary<UnaryKind::kSigmoid>},
    OnnxOperator{"Sign", ImportUnary<UnaryKind::kSign>, "", 9},
    OnnxOperator{"Sin", ImportUnary<UnaryKind::kSin>},
    OnnxOperator{"Sinh", ImportUnary<UnaryKind::kSinh>, "", 9},
    OnnxOperator{"Softplus", ImportUnary<UnaryKind::kSoftplus>},
    OnnxOperator{"Softsign", ImportUnary<UnaryKind::kSoftsign>},
    OnnxOperator{"Sqrt", ImportUnary<UnaryKind::kSqrt>},
    OnnxOperator{"Sub", ImportBinary<BinaryKind::kSub>},
    OnnxOperator{"Sum", ImportVariadic<BinaryKind::kAdd>},
    OnnxOperator{"Tan", ImportUnary<UnaryKind::kTan>},
    OnnxOperator{"Tanh", ImportUnary<UnaryKind::kTanh>},
    OnnxOperator{"ThresholdedRelu", ImportThresholdedRelu, "", 10},
    OnnxOperator{"Where", ImportWhere, "", 9},
    OnnxOperator{"Xor", ImportBinary<BinaryKind::kXor>},
    OnnxOperator{"BiasGelu", ImportBiasGelu<UnaryKind::kGelu>, "", 1, 1'000, kMicrosoft},
    OnnxOperator{"FastGelu", ImportBiasGelu<UnaryKind::kGeluTanh>, "", 1, 1'000, kMicrosoft},
    OnnxOperator{"Gelu", ImportUnary<UnaryKind::kGelu>, "", 1, 1'000, kMicrosoft},
    OnnxOperator{"QuickGelu", ImportQuickGelu, "", 1, 1'000, kMicrosoft},
};

}  // namespace

std::span<const OnnxOperator> ElementwiseOperators() { return kOperators; }

}  // namespace edgefleet::compiler
