#include "device_client/runtime/graph.h"

#include <array>
#include <type_traits>
#include <utility>

namespace edgefleet::runtime {
namespace {

constexpr std::array<std::string_view, kUnaryKinds> kUnaryNames{
    "Identity", "Relu",        "Clip",      "LeakyRelu", "Elu",   "Selu",  "Celu",       "ThresholdedRelu",
    "Sigmoid",  "HardSigmoid", "HardSwish", "Swish",     "Tanh",  "Gelu",  "GeluTanh",   "Mish",
    "Softplus", "Softsign",    "Erf",       "Exp",       "Log",   "Sqrt",  "Reciprocal", "Abs",
    "Neg",      "Sign",        "Floor",     "Ceil",      "Round", "Sin",   "Cos",        "Tan",
    "Asin",     "Acos",        "Atan",      "Sinh",      "Cosh",  "Asinh", "Acosh",      "Atanh",
    "Not",      "IsNaN",       "IsInf",     "BitwiseNot"};
constexpr std::array<std::string_view, kBinaryKinds> kBinaryNames{
    "Add",       "Sub",  "Mul",         "Div",        "Pow",
    "Min",       "Max",  "Mod",         "Fmod",       "PRelu",
    "Equal",     "Less", "LessOrEqual", "Greater",    "GreaterOrEqual",
    "And",       "Or",   "Xor",         "BitwiseAnd", "BitwiseOr",
    "BitwiseXor"};
constexpr std::array<std::string_view, kReduceKinds> kReduceNames{
    "ReduceSum", "ReduceMean", "ReduceMax",    "ReduceMin",       "ReduceProd",
    "ReduceL1",  "ReduceL2",   "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"};
constexpr std::array<std::string_view, kDataTypes> kTypeNames{"float32", "int8",  "int32", "float16", "bfloat16",
                                                              "uint8",   "int64", "bool",  "int4"};

template <std::size_t n>
std::string_view NameIn(const std::array<std::string_view, n>& names, auto kind) {
  const auto index = static_cast<std::size_t>(kind);
  return index < n ? names[index] : "unknown";
}

}  // namespace

std::size_t SizeOf(DataType type) {
  switch (type) {
    case DataType::kInt8:
    case DataType::kUint8:
    case DataType::kBool:
      return 1;
    case DataType::kFloat16:
    case DataType::kBFloat16:
      return 2;
    case DataType::kFloat32:
    case DataType::kInt32:
      return 4;
    case DataType::kInt64:
      return 8;
    case DataType::kInt4:
      break;
  }
  return 0;
}

std::string_view DataTypeName(DataType type) { return NameIn(kTypeNames, type); }

std::optional<Operator> OperatorNamed(std::string_view name) {
  std::optional<Operator> found;
  const auto try_one = [&]<std::size_t i>(std::integral_constant<std::size_t, i>) {
    using Op = std::variant_alternative_t<i, Operator>;
    if (Op::kName == name) found = Op{};
  };
  [&]<std::size_t... i>(std::index_sequence<i...>) { (try_one(std::integral_constant<std::size_t, i>{}), ...); }
  (std::make_index_sequence<std::variant_size_v<Operator>>{});
  return found;
}

std::string_view OperatorName(const Operator& op) {
  if (const auto* unary = std::get_if<Unary>(&op)) return NameIn(kUnaryNames, unary->function.kind);
  if (const auto* binary = std::get_if<Binary>(&op)) return NameIn(kBinaryNames, binary->kind);
  if (const auto* reduce = std::get_if<Reduce>(&op)) return NameIn(kReduceNames, reduce->kind);
  if (const auto* arg = std::get_if<ArgReduce>(&op)) return arg->largest ? "ArgMax" : "ArgMin";
  if (const auto* pool = std::get_if<Pool2d>(&op)) return pool->kind == Pool2d::Kind::kMax ? "MaxPool2d" : "AveragePool2d";
  return std::visit([](const auto& each) { return each.kName; }, op);
}

std::int64_t ElementCount(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) count *= dimension;
  return count;
}

std::size_t ConstantBytes(DataType type, const std::vector<std::int64_t>& shape, std::int32_t group_size) {
  const std::int64_t count = ElementCount(shape);
  if (type != DataType::kInt4) return static_cast<std::size_t>(count) * SizeOf(type);
  const std::int64_t rows = shape.empty() ? 1 : shape[0];
  if (rows == 0 || group_size <= 0) return 0;
  const std::int64_t columns = count / rows;
  const std::int64_t packed = rows * ((columns + 1) / 2);
  return static_cast<std::size_t>((packed + 1) / 2 * 2 + rows * ((columns + group_size - 1) / group_size) * 2);
}

std::int32_t ZeroPoint(const Tensor& tensor) {
  return tensor.quantization && !tensor.quantization->zero_points.empty() ? tensor.quantization->zero_points[0] : 0;
}

}  // namespace edgefleet::runtime
