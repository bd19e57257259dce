#include "device_client/runtime/ops/elementwise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "device_client/runtime/ops/activation.h"
#include "device_client/runtime/ops/elements.h"
#include "device_client/runtime/ops/strided.h"

namespace edgefleet::runtime {
namespace {

// The kinds that integers have, too.
bool OfIntegers(UnaryKind kind, DataType type) {
  switch (kind) {
    case UnaryKind::kIdentity:
    case UnaryKind::kRelu:
    case UnaryKind::kClip:
    case UnaryKind::kAbs:
    case UnaryKind::kSign:
    case UnaryKind::kBitwiseNot:
      return true;
    case UnaryKind::kNeg:
      return type != DataType::kUint8;
    default:
      return false;
  }
}

bool Accepts(UnaryKind kind, const Tensor& x) {
  if (kind == UnaryKind::kIdentity) return x.type != DataType::kInt4;
  if (kind == UnaryKind::kNot) return x.type == DataType::kBool;
  if (kind == UnaryKind::kIsNan || kind == UnaryKind::kIsInf) return IsReal(x) && !IsQuantized(x);
  return IsReal(x) ? IsReal(kind) : IsInteger(x) && OfIntegers(kind, x.type);
}

std::int64_t OfInteger(UnaryKind kind, IntegerRange clip, std::int64_t x) {
  switch (kind) {
    case UnaryKind::kRelu:
      return std::max<std::int64_t>(x, 0);
    case UnaryKind::kClip:
      return std::min(std::max(x, clip.low), clip.high);
    case UnaryKind::kAbs:
      return x < 0 ? WrapSub(0, x) : x;
    case UnaryKind::kNeg:
      return WrapSub(0, x);
    case UnaryKind::kSign:
      return x > 0 ? 1 : x < 0 ? -1 : 0;
    case UnaryKind::kNot:
      return x == 0 ? 1 : 0;
    case UnaryKind::kBitwiseNot:
      return ~x;
    default:
      return x;
  }
}

void RunIntegers(const Activation& function, const Operand& x, const Destination& y) {
  IntegerRange clip = RangeOfType(x.type());
  const auto bound = [&](float value) { return std::clamp(Saturated<std::int64_t>(value), clip.low, clip.high); };
  if (function.kind == UnaryKind::kClip) clip = {bound(std::ceil(function.alpha)), bound(std::floor(function.beta))};
  std::array<std::int64_t, kBlock> block;
  for (std::int64_t first = 0; first < y.count(); first += kBlock) {
    const std::int64_t count = std::min(kBlock, y.count() - first);
    LoadIntegers(x.type(), x.data, first, 1, count, block.data());
    for (std::int64_t i = 0; i < count; ++i) {
      auto& value = block[static_cast<std::size_t>(i)];
      value = OfInteger(function.kind, clip, value);
    }
    StoreIntegers(y.type(), y.data, first, count, block.data());
  }
}

bool Classified(const Activation& function, double x) {
  if (function.kind == UnaryKind::kIsNan) return std::isnan(x);
  return std::isinf(x) && (x < 0 ? function.alpha : function.beta) != 0;
}

void RunReals(const Activation& function, const Operand& x, const Destination& y) {
  std::array<double, kBlock> block;
  for (std::int64_t first = 0; first < y.count(); first += kBlock) {
    const std::int64_t count = std::min(kBlock, y.count() - first);
    LoadReals(*x.tensor, x.data, first, 1, count, block.data());
    if (IsReal(function.kind)) {
      for (std::int64_t i = 0; i < count; ++i) {
        auto& value = block[static_cast<std::size_t>(i)];
        value = Apply(function, value);
      }
      StoreReals(*y.tensor, y.data, first, count, block.data());
    } else {
      for (std::int64_t i = 0; i < count; ++i) {
        y.as<std::uint8_t>()[first + i] = Classified(function, block[static_cast<std::size_t>(i)]) ? 1 : 0;
      }
    }
  }
}

// A function of 8 bits is a table.
void RunQuantized(const Activation& function, const Operand& x, const Destination& y) {
  static_assert(kBlock == 256);
  std::array<std::byte, 256> codes;
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(i);
  std::array<std::byte, 256> table;
  Tensor all_in = *x.tensor;
  Tensor all_out = *y.tensor;
  all_in.shape = all_out.shape = {256};
  RunReals(function, {&all_in, codes.data()}, {&all_out, table.data()});
  for (std::int64_t i = 0; i < y.count(); ++i) y.data[i] = table[static_cast<std::size_t>(x.data[i])];
}

template <typename T>
void Choose(const RunCall& call) {
  const Shape& shape = call.out().shape();
  const Strided<3> arrays(shape, {BroadcastStrides(call.in(0).shape(), shape), BroadcastStrides(call.in(1).shape(), shape),
                                  BroadcastStrides(call.in(2).shape(), shape)});
  std::byte* out = call.out().data;
  arrays.ForEach(1, [&](const auto& offsets) {
    const auto& strides = arrays.strides(0);
    const std::byte* condition = call.in(0).data + offsets[0];
    for (std::int64_t i = 0; i < arrays.size(0); ++i, out += sizeof(T)) {
      const std::size_t from = condition[i * strides[0]] != std::byte{0} ? 1 : 2;
      const std::int64_t at = offsets[from] + i * strides[from];
      std::memcpy(out, call.in(from).data + at * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
    }
  });
}

void CastBlock(const Operand& x, const Destination& y, std::int64_t first, std::int64_t count) {
  std::array<double, kBlock> reals;
  std::array<std::int64_t, kBlock> integers;
  const auto each = [&](auto&& f) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) f(i);
  };
  const bool to_reals = IsReal(*y.tensor);
  if (IsReal(*x.tensor)) {
    LoadReals(*x.tensor, x.data, first, 1, count, reals.data());
    const IntegerRange range = RangeOfType(y.type());
    if (y.type() == DataType::kBool) {
      each([&](std::size_t i) { integers[i] = reals[i] != 0 ? 1 : 0; });
    } else if (!to_reals) {
      each([&](std::size_t i) { integers[i] = std::clamp(Saturated<std::int64_t>(reals[i]), range.low, range.high); });
    }
  } else {
    LoadIntegers(x.type(), x.data, first, 1, count, integers.data());
    // To float first: the way by double would round int64 twice.
    if (to_reals) each([&](std::size_t i) { reals[i] = static_cast<float>(integers[i]); });
  }
  if (to_reals) {
    StoreReals(*y.tensor, y.data, first, count, reals.data());
  } else {
    StoreIntegers(y.type(), y.data, first, count, integers.data());
  }
}

}  // namespace

Result<std::vector<TypedShape>> Infer(const Unary& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  const UnaryKind kind = op.function.kind;
  if (static_cast<int>(kind) >= kUnaryKinds) return BadAttribute("its function is not known");
  const Tensor& x = *call.at(0).tensor;
  if (!Accepts(kind, x)) return BadType(std::string(OperatorName(op)) + " does not apply to " + TypeText(x));
  const bool classifies = kind == UnaryKind::kIsNan || kind == UnaryKind::kIsInf;
  return std::vector<TypedShape>{{classifies ? DataType::kBool : x.type, x.shape}};
}

Status Run(const Unary& op, const RunCall& call) {
  const Operand& x = call.in(0);
  const Destination& y = call.out();
  if (op.function.kind == UnaryKind::kIdentity && !IsQuantized(*x.tensor)) {
    std::copy_n(x.data, static_cast<std::size_t>(y.count()) * SizeOf(y.type()), y.data);
  } else if (!IsReal(*x.tensor)) {
    RunIntegers(op.function, x, y);
  } else if (IsQuantized(*x.tensor)) {
    RunQuantized(op.function, x, y);
  } else {
    RunReals(op.function, x, y);
  }
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const Where&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(3, 3));
  const Tensor& a = *call.at(1).tensor;
  const Tensor& b = *call.at(2).tensor;
  if (call.at(0).type() != DataType::kBool) return BadType("its condition must be bool, not " + TypeText(*call.at(0).tensor));
  if (a.type != b.type || a.type == DataType::kInt4)
    return BadType("it chooses between " + TypeText(a) + " and " + TypeText(b));
  EF_ASSIGN_OR_RETURN(const Shape values, Broadcast(a.shape, b.shape));
  EF_ASSIGN_OR_RETURN(Shape shape, Broadcast(call.at(0).shape(), values));
  return std::vector<TypedShape>{{a.type, std::move(shape)}};
}

Status Run(const Where&, const RunCall& call) {
  switch (SizeOf(call.out().type())) {
    case 1:
      Choose<std::uint8_t>(call);
      break;
    case 2:
      Choose<std::uint16_t>(call);
      break;
    case 4:
      Choose<std::uint32_t>(call);
      break;
    default:
      Choose<std::uint64_t>(call);
      break;
  }
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const Cast& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  const Tensor& x = *call.at(0).tensor;
  if (static_cast<int>(op.to) >= kDataTypes || op.to == DataType::kInt4)
    return BadAttribute("it casts to an unknown type or to int4");
  if (x.type == DataType::kInt4 || IsQuantized(x)) return BadType("it cannot cast " + TypeText(x) + "; dequantize it");
  return std::vector<TypedShape>{{op.to, x.shape}};
}

Status Run(const Cast&, const RunCall& call) {
  const Operand& x = call.in(0);
  const Destination& y = call.out();
  if (x.type() == y.type() && x.type() != DataType::kBool) {
    std::copy_n(x.data, static_cast<std::size_t>(y.count()) * SizeOf(y.type()), y.data);
    return OkStatus();
  }
  for (std::int64_t first = 0; first < y.count(); first += kBlock) CastBlock(x, y, first, std::min(kBlock, y.count() - first));
  return OkStatus();
}

}  // namespace edgefleet::runtime
