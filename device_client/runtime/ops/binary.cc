#include <algorithm>
#include <array>
#include <cmath>

#include "device_client/runtime/ops/activation.h"
#include "device_client/runtime/ops/elements.h"
#include "device_client/runtime/ops/elementwise.h"
#include "device_client/runtime/ops/strided.h"

namespace edgefleet::runtime {
namespace {

using enum BinaryKind;

bool Compares(BinaryKind kind) { return kind >= kEqual && kind <= kGreaterOrEqual; }
bool IsLogic(BinaryKind kind) { return kind >= kAnd && kind <= kXor; }
bool IsBitwise(BinaryKind kind) { return kind >= kBitwiseAnd; }

// Writes f of each pair.
template <typename In, typename Out, typename F>
void Each(const In* a, const In* b, std::int64_t count, Out* out, F f) {
  for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<Out>(f(a[i], b[i]));
}

template <typename T>
void Compare(BinaryKind kind, const T* a, const T* b, std::int64_t count, std::int64_t* out) {
  switch (kind) {
    case kEqual:
      return Each(a, b, count, out, [](T x, T y) { return x == y; });
    case kLess:
      return Each(a, b, count, out, [](T x, T y) { return x < y; });
    case kLessOrEqual:
      return Each(a, b, count, out, [](T x, T y) { return x <= y; });
    case kGreater:
      return Each(a, b, count, out, [](T x, T y) { return x > y; });
    default:
      return Each(a, b, count, out, [](T x, T y) { return x >= y; });
  }
}

// The remainder with the sign of the divisor.
double FloorMod(double a, double b) {
  const double rest = std::fmod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
std::int64_t Quotient(std::int64_t a, std::int64_t b) {
  if (b == 0) return 0;
  return b == -1 ? WrapSub(0, a) : a / b;
}
std::int64_t Remainder(std::int64_t a, std::int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
std::int64_t FloorMod(std::int64_t a, std::int64_t b) {
  const std::int64_t rest = Remainder(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

std::int64_t Power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 1 || base == -1) return base == 1 || exponent % 2 == 0 ? 1 : -1;
    return 0;
  }
  std::int64_t power = 1;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1) power = WrapMul(power, base);
    base = WrapMul(base, base);
  }
  return power;
}

void Combine(BinaryKind kind, const double* a, const double* b, std::int64_t count, double* out) {
  switch (kind) {
    case kAdd:
      return Each(a, b, count, out, [](double x, double y) { return x + y; });
    case kSub:
      return Each(a, b, count, out, [](double x, double y) { return x - y; });
    case kMul:
      return Each(a, b, count, out, [](double x, double y) { return x * y; });
    case kDiv:
      return Each(a, b, count, out, [](double x, double y) { return x / y; });
    case kPow:
      return Each(a, b, count, out, [](double x, double y) { return std::pow(x, y); });
    case kMin:
      return Each(a, b, count, out, [](double x, double y) { return x < y || std::isnan(x) ? x : y; });
    case kMax:
      return Each(a, b, count, out, [](double x, double y) { return x > y || std::isnan(x) ? x : y; });
    case kMod:
      return Each(a, b, count, out, [](double x, double y) { return FloorMod(x, y); });
    case kFmod:
      return Each(a, b, count, out, [](double x, double y) { return std::fmod(x, y); });
    default:
      return Each(a, b, count, out, [](double x, double y) { return x < 0 ? x * y : x; });  // kPRelu
  }
}

void Combine(BinaryKind kind, const std::int64_t* a, const std::int64_t* b, std::int64_t count, std::int64_t* out) {
  using Int = std::int64_t;
  switch (kind) {
    case kAdd:
      return Each(a, b, count, out, WrapAdd);
    case kSub:
      return Each(a, b, count, out, WrapSub);
    case kMul:
      return Each(a, b, count, out, WrapMul);
    case kDiv:
      return Each(a, b, count, out, Quotient);
    case kPow:
      return Each(a, b, count, out, Power);
    case kMin:
      return Each(a, b, count, out, [](Int x, Int y) { return std::min(x, y); });
    case kMax:
      return Each(a, b, count, out, [](Int x, Int y) { return std::max(x, y); });
    case kMod:
      return Each(a, b, count, out, [](Int x, Int y) { return FloorMod(x, y); });
    case kFmod:
      return Each(a, b, count, out, Remainder);
    case kPRelu:
      return Each(a, b, count, out, [](Int x, Int y) { return x < 0 ? WrapMul(x, y) : x; });
    case kAnd:
    case kBitwiseAnd:
      return Each(a, b, count, out, [](Int x, Int y) { return x & y; });
    case kOr:
    case kBitwiseOr:
      return Each(a, b, count, out, [](Int x, Int y) { return x | y; });
    default:
      return Each(a, b, count, out, [](Int x, Int y) { return x ^ y; });
  }
}

Status CheckTypes(const Binary& op, const Tensor& a, const Tensor& b) {
  const auto both = [&](auto&& is) { return is(a) && is(b); };
  const auto text = [&] { return TypeText(a) + " and " + TypeText(b); };
  if (a.type != b.type) return BadType("its inputs must have one type, not " + text());
  const auto boolean = [](const Tensor& x) { return x.type == DataType::kBool; };
  const auto real = [](const Tensor& x) { return IsReal(x); };
  bool allowed = false;
  if (IsLogic(op.kind)) {
    allowed = both(boolean);
  } else if (IsBitwise(op.kind)) {
    allowed = both(IsInteger);
  } else {
    allowed = both(real) || both(IsInteger) || (op.kind == kEqual && both(boolean));
  }
  if (!allowed) return BadType(std::string(OperatorName(op)) + " does not apply to " + text());
  return OkStatus();
}

void Activate(const Activation& activation, std::int64_t count, double* values) {
  if (activation.kind == UnaryKind::kIdentity) return;
  for (std::int64_t i = 0; i < count; ++i) values[i] = Apply(activation, values[i]);
}

// Of one row: elements `stride` apart in each input, from the offsets on, to the output's from `to` on.
class RowKernel {
 public:
  RowKernel(const Binary& op, const RunCall& call) : op_(op), a_(call.in(0)), b_(call.in(1)), y_(call.out()) {}

  void Reals(const std::array<std::int64_t, 2>& from, const std::array<std::int64_t, 2>& strides, std::int64_t to,
             std::int64_t count) const {
    std::array<double, kBlock> a;
    std::array<double, kBlock> b;
    LoadReals(*a_.tensor, a_.data, from[0], strides[0], count, a.data());
    LoadReals(*b_.tensor, b_.data, from[1], strides[1], count, b.data());
    if (Compares(op_.kind)) {
      std::array<std::int64_t, kBlock> truths;
      Compare(op_.kind, a.data(), b.data(), count, truths.data());
      StoreIntegers(DataType::kBool, y_.data, to, count, truths.data());
    } else {
      Combine(op_.kind, a.data(), b.data(), count, a.data());
      Activate(op_.activation, count, a.data());
      StoreReals(*y_.tensor, y_.data, to, count, a.data());
    }
  }
  void Integers(const std::array<std::int64_t, 2>& from, const std::array<std::int64_t, 2>& strides, std::int64_t to,
                std::int64_t count) const {
    std::array<std::int64_t, kBlock> a;
    std::array<std::int64_t, kBlock> b;
    LoadIntegers(a_.type(), a_.data, from[0], strides[0], count, a.data());
    LoadIntegers(b_.type(), b_.data, from[1], strides[1], count, b.data());
    if (Compares(op_.kind)) {
      Compare(op_.kind, a.data(), b.data(), count, a.data());
    } else {
      Combine(op_.kind, a.data(), b.data(), count, a.data());
    }
    StoreIntegers(y_.type(), y_.data, to, count, a.data());
  }

 private:
  const Binary& op_;
  const Operand& a_;
  const Operand& b_;
  const Destination& y_;
};

}  // namespace

Result<std::vector<TypedShape>> Infer(const Binary& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  if (static_cast<int>(op.kind) >= kBinaryKinds) return BadAttribute("its function is not known");
  const Tensor& a = *call.at(0).tensor;
  const Tensor& b = *call.at(1).tensor;
  EF_RETURN_IF_ERROR(CheckTypes(op, a, b));
  const bool arithmetic = op.kind < kEqual;
  if (op.activation.kind != UnaryKind::kIdentity && !(arithmetic && IsReal(a))) {
    return BadAttribute("only arithmetic of reals has a fused activation");
  }
  EF_RETURN_IF_ERROR(CheckActivation(op.activation, IsQuantized(a)));
  EF_ASSIGN_OR_RETURN(Shape shape, Broadcast(a.shape, b.shape));
  if (op.kind == kPRelu && shape != a.shape)
    return BadShape("slopes of shape " + ToText(b.shape) + " do not fit " + ToText(a.shape));
  return std::vector<TypedShape>{{Compares(op.kind) ? DataType::kBool : a.type, std::move(shape)}};
}

Status Run(const Binary& op, const RunCall& call) {
  const Shape& shape = call.out().shape();
  const Strided<2> inputs(shape, {BroadcastStrides(call.in(0).shape(), shape), BroadcastStrides(call.in(1).shape(), shape)});
  const RowKernel kernel(op, call);
  const bool reals = IsReal(*call.in(0).tensor);
  const auto& strides = inputs.strides(0);
  std::int64_t to = 0;
  inputs.ForEach(1, [&](std::array<std::int64_t, 2> from) {
    for (std::int64_t done = 0; done < inputs.size(0); done += kBlock) {
      const std::int64_t count = std::min(kBlock, inputs.size(0) - done);
      reals ? kernel.Reals(from, strides, to, count) : kernel.Integers(from, strides, to, count);
      for (std::size_t k = 0; k < 2; ++k) from[k] += count * strides[k];
      to += count;
    }
  });
  return OkStatus();
}

}  // namespace edgefleet::runtime
