#include "device_client/runtime/ops/shape_values.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "device_client/runtime/ops/elements.h"
#include "device_client/runtime/ops/strided.h"

namespace edgefleet::runtime {
namespace {

constexpr std::int64_t kSizeMax = std::numeric_limits<std::int32_t>::max();

// The dimensions [first, second) that a ShapeOf takes.
std::pair<std::size_t, std::size_t> Bounds(const ShapeOf& op, std::size_t rank) {
  const auto signed_rank = static_cast<std::int64_t>(rank);
  const auto bound = [&](std::int64_t value) {
    return static_cast<std::size_t>(std::clamp<std::int64_t>(value < 0 ? value + signed_rank : value, 0, signed_rank));
  };
  return {bound(op.start), std::max(bound(op.start), bound(op.end))};
}

Status CheckOne(const InferCall& call, std::size_t i) {
  if (call.at(i).count() == 1) return OkStatus();
  return BadShape("its input " + std::to_string(i) + " must be one element, not " + ToText(call.at(i).shape()));
}

Status CheckKnown(const InferCall& call, std::size_t i) {
  if (call.known(i)) return OkStatus();
  return Unimplemented(
      "SHAPE_DEPENDS_ON_DATA",
      "its input " + std::to_string(i) + " is computed from data, so that the shape of its output is not known before");
}

bool IsNumber(const Tensor& tensor) { return IsInteger(tensor) || (IsReal(tensor) && !IsQuantized(tensor)); }

std::int64_t IntegerAt(const Operand& x, std::int64_t i) {
  std::int64_t value = 0;
  if (IsReal(*x.tensor)) {
    double real = 0;
    LoadReals(*x.tensor, x.data, i, 1, 1, &real);
    value = Saturated<std::int64_t>(real);
  } else {
    LoadIntegers(x.type(), x.data, i, 1, 1, &value);
  }
  return value;
}

Result<std::int64_t> RangeSize(double start, double limit, double delta) {
  const double size = std::ceil((limit - start) / delta);
  if (delta == 0 || std::isnan(size) || size > static_cast<double>(kSizeMax)) return BadShape("its range does not end");
  return static_cast<std::int64_t>(std::max(size, 0.0));
}

Result<std::int64_t> RangeSize(std::int64_t start, std::int64_t limit, std::int64_t delta) {
  if (delta == 0) return BadShape("its range does not end");
  if (delta > 0 ? limit <= start : limit >= start) return 0;
  const auto distance = static_cast<std::uint64_t>(delta > 0 ? WrapSub(limit, start) : WrapSub(start, limit));
  const auto step = static_cast<std::uint64_t>(delta > 0 ? delta : WrapSub(0, delta));
  const std::uint64_t size = (distance - 1) / step + 1;
  if (size > static_cast<std::uint64_t>(kSizeMax)) return BadShape("its range has more than 2^31 - 1 elements");
  return static_cast<std::int64_t>(size);
}

// Calls visit(i) for each element that does not stand for 0.
template <typename Visit>
void ForEachNonZero(const Operand& x, Visit&& visit) {
  std::array<double, kBlock> reals;
  std::array<std::int64_t, kBlock> integers;
  const bool real = IsReal(*x.tensor);
  for (std::int64_t first = 0; first < x.count(); first += kBlock) {
    const std::int64_t count = std::min(kBlock, x.count() - first);
    if (real) {
      LoadReals(*x.tensor, x.data, first, 1, count, reals.data());
    } else {
      LoadIntegers(x.type(), x.data, first, 1, count, integers.data());
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
      if (real ? reals[i] != 0 : integers[i] != 0) visit(first + static_cast<std::int64_t>(i));
    }
  }
}

}  // namespace

Result<std::vector<TypedShape>> Infer(const ShapeOf& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  const auto [first, last] = Bounds(op, call.at(0).shape().size());
  return std::vector<TypedShape>{{DataType::kInt64, {static_cast<std::int64_t>(last - first)}}};
}
Status Run(const ShapeOf& op, const RunCall& call) {
  const Shape& shape = call.in(0).shape();
  const auto [first, last] = Bounds(op, shape.size());
  std::copy_n(shape.begin() + static_cast<std::ptrdiff_t>(first), last - first, call.out().as<std::int64_t>());
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const SizeOfTensor&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  return std::vector<TypedShape>{{DataType::kInt64, {}}};
}
Status Run(const SizeOfTensor&, const RunCall& call) {
  *call.out().as<std::int64_t>() = call.in(0).count();
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const Range&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(3, 3));
  const DataType type = call.at(0).type();
  for (std::size_t i = 0; i < 3; ++i) {
    EF_RETURN_IF_ERROR(CheckOne(call, i));
    if (call.at(i).type() != type) return BadType("its start, limit and delta must have one type");
    EF_RETURN_IF_ERROR(CheckKnown(call, i));
  }
  std::int64_t size = 0;
  if (type == DataType::kFloat32) {
    const auto value = [&](std::size_t i) { return double{*call.at(i).as<float>()}; };
    EF_ASSIGN_OR_RETURN(size, RangeSize(value(0), value(1), value(2)));
  } else if (type == DataType::kInt32 || type == DataType::kInt64) {
    EF_ASSIGN_OR_RETURN(size, RangeSize(IntegerAt(call.at(0), 0), IntegerAt(call.at(1), 0), IntegerAt(call.at(2), 0)));
  } else {
    return BadType("a range must be float32, int32 or int64, not " + TypeText(*call.at(0).tensor));
  }
  return std::vector<TypedShape>{{type, {size}}};
}
Status Run(const Range&, const RunCall& call) {
  const Operand& start = call.in(0);
  const Operand& delta = call.in(2);
  const Destination& y = call.out();
  if (y.type() == DataType::kFloat32) {
    const double first = *start.as<float>();
    const double step = *delta.as<float>();
    for (std::int64_t i = 0; i < y.count(); ++i) y.as<float>()[i] = static_cast<float>(first + static_cast<double>(i) * step);
    return OkStatus();
  }
  const std::int64_t step = IntegerAt(delta, 0);
  std::int64_t value = IntegerAt(start, 0);
  for (std::int64_t i = 0; i < y.count(); ++i, value = WrapAdd(value, step)) StoreIntegers(y.type(), y.data, i, 1, &value);
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const Fill&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(1).tensor));
  EF_RETURN_IF_ERROR(CheckOne(call, 1));
  EF_ASSIGN_OR_RETURN(Shape shape, call.Integers(0));
  return std::vector<TypedShape>{{call.at(1).type(), std::move(shape)}};
}
Status Run(const Fill&, const RunCall& call) {
  FillElements(SizeOf(call.out().type()), call.in(1).data, call.out().count(), call.out().data);
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const OneHot& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(3, 3));
  EF_RETURN_IF_ERROR(CheckMovable(*call.at(2).tensor));
  for (std::size_t i = 0; i < 2; ++i) {
    if (!IsNumber(*call.at(i).tensor)) return BadType("its indices and depth cannot be " + TypeText(*call.at(i).tensor));
  }
  if (call.at(2).shape() != Shape{2}) return BadShape("its values must have shape [2], not " + ToText(call.at(2).shape()));
  EF_RETURN_IF_ERROR(CheckOne(call, 1));
  EF_RETURN_IF_ERROR(CheckKnown(call, 1));
  Shape shape = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, shape.size() + 1));
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), IntegerAt(call.at(1), 0));
  return std::vector<TypedShape>{{call.at(2).type(), std::move(shape)}};
}
Status Run(const OneHot& op, const RunCall& call) {
  const Destination& y = call.out();
  const auto element = static_cast<std::int64_t>(SizeOf(y.type()));
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, y.shape().size()));
  const std::int64_t depth = y.shape()[axis];
  const std::int64_t inner = DenseStrides(y.shape())[axis];
  FillElements(SizeOf(y.type()), call.in(2).data, y.count(), y.data);
  for (std::int64_t i = 0; i < call.in(0).count(); ++i) {
    std::int64_t index = IntegerAt(call.in(0), i);
    if (index < -depth || index >= depth) continue;
    if (index < 0) index += depth;
    std::copy_n(call.in(2).data + element, element, y.data + ((i / inner * depth + index) * inner + i % inner) * element);
  }
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const NonZero&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  const Operand& x = call.at(0);
  if (!IsReal(*x.tensor) && !IsInteger(*x.tensor) && x.type() != DataType::kBool) {
    return BadType("it does not apply to " + TypeText(*x.tensor));
  }
  EF_RETURN_IF_ERROR(CheckKnown(call, 0));
  std::int64_t count = 0;
  ForEachNonZero(x, [&](std::int64_t) { ++count; });
  const auto rank = static_cast<std::int64_t>(std::max<std::size_t>(x.shape().size(), 1));
  return std::vector<TypedShape>{{DataType::kInt64, {rank, count}}};
}
Status Run(const NonZero&, const RunCall& call) {
  const Operand& x = call.in(0);
  const Shape sizes = x.shape().empty() ? Shape{1} : x.shape();
  const std::int64_t count = call.out().shape()[1];
  std::int64_t* next = call.out().as<std::int64_t>();
  ForEachNonZero(x, [&](std::int64_t place) {
    for (std::size_t d = sizes.size(); d-- > 0; place /= sizes[d])
      next[static_cast<std::int64_t>(d) * count] = place % sizes[d];
    ++next;
  });
  return OkStatus();
}

}  // namespace edgefleet::runtime
