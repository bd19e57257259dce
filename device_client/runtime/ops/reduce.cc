#include "device_client/runtime/ops/reduce.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "device_client/runtime/ops/elements.h"
#include "device_client/runtime/ops/strided.h"
#include "device_client/runtime/ops/widen.h"

namespace edgefleet::runtime {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Which dimensions go.
Result<std::vector<bool>> Reduced(const Reduce& op, std::size_t rank) {
  std::vector<bool> reduced(rank, op.axes.empty());
  for (const std::int64_t axis : op.axes) {
    EF_ASSIGN_OR_RETURN(const std::size_t d, Axis(axis, rank));
    if (reduced[d]) return BadAttribute("it names axis " + std::to_string(axis) + " twice");
    reduced[d] = true;
  }
  return reduced;
}

// The dimensions of a row-major array that `chosen` says.
Strided<1> Dimensions(const Shape& shape, const std::vector<bool>& chosen, bool which) {
  const Shape dense = DenseStrides(shape);
  Shape sizes;
  Shape strides;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    if (chosen[d] == which) sizes.push_back(shape[d]), strides.push_back(dense[d]);
  }
  return {sizes, {strides}};
}

// The kinds of the reals, block by block; `shift` is what kLogSumExp takes off first: the maximum.
class RealSum {
 public:
  explicit RealSum(ReduceKind kind, double shift = 0) : kind_(kind), shift_(shift) {
    if (kind == ReduceKind::kMax) value_ = -kInfinity;
    if (kind == ReduceKind::kMin) value_ = kInfinity;
    if (kind == ReduceKind::kProd) value_ = 1;
  }
  void Add(std::span<const double> values) {
    switch (kind_) {
      case ReduceKind::kMax:
        return Each(values, [](double a, double b) { return b > a || std::isnan(b) ? b : a; });
      case ReduceKind::kMin:
        return Each(values, [](double a, double b) { return b < a || std::isnan(b) ? b : a; });
      case ReduceKind::kProd:
        return Each(values, [](double a, double b) { return a * b; });
      case ReduceKind::kL1:
        return Each(values, [](double a, double b) { return a + std::abs(b); });
      case ReduceKind::kL2:
      case ReduceKind::kSumSquare:
        return Each(values, [](double a, double b) { return a + b * b; });
      case ReduceKind::kLogSumExp:
        return Each(values, [shift = shift_](double a, double b) { return a + std::exp(b - shift); });
      default:
        return Each(values, [](double a, double b) { return a + b; });
    }
  }
  double Result(std::int64_t count) const {
    switch (kind_) {
      case ReduceKind::kMean:
        return value_ / static_cast<double>(count);
      case ReduceKind::kL2:
        return std::sqrt(value_);
      case ReduceKind::kLogSum:
        return std::log(value_);
      case ReduceKind::kLogSumExp:
        return shift_ + std::log(value_);
      default:
        return value_;
    }
  }

 private:
  template <typename F>
  void Each(std::span<const double> values, F f) {
    double value = value_;
    for (const double each : values) value = f(value, each);
    value_ = value;
  }

  ReduceKind kind_;
  double shift_;
  double value_ = 0;
};

// The kinds that integers have of their own.
class IntegerSum {
 public:
  IntegerSum(ReduceKind kind, IntegerRange range) : kind_(kind) {
    if (kind == ReduceKind::kMax) value_ = range.low;
    if (kind == ReduceKind::kMin) value_ = range.high;
    if (kind == ReduceKind::kProd) value_ = 1;
  }
  void Add(std::span<const std::int64_t> values) {
    for (const std::int64_t each : values) value_ = Step(each);
  }
  std::int64_t Result(std::int64_t count) const {
    if (kind_ != ReduceKind::kMean) return value_;
    return count == 0 ? 0 : value_ / count;
  }

 private:
  std::int64_t Step(std::int64_t each) const {
    switch (kind_) {
      case ReduceKind::kMax:
        return std::max(value_, each);
      case ReduceKind::kMin:
        return std::min(value_, each);
      case ReduceKind::kProd:
        return WrapMul(value_, each);
      case ReduceKind::kL1:
        return WrapAdd(value_, each < 0 ? WrapSub(0, each) : each);
      case ReduceKind::kSumSquare:
        return WrapAdd(value_, WrapMul(each, each));
      default:
        return WrapAdd(value_, each);
    }
  }

  ReduceKind kind_;
  std::int64_t value_ = 0;
};

bool PassesThroughReals(ReduceKind kind) {
  return kind == ReduceKind::kL2 || kind == ReduceKind::kLogSum || kind == ReduceKind::kLogSumExp;
}

// Reads what is reduced to one value, in blocks.
class Reader {
 public:
  Reader(const Operand& x, const Strided<1>& reduced) : x_(x), reduced_(reduced), real_(IsReal(*x.tensor)) {}

  template <typename Sum>
  void Reals(std::int64_t first, Sum& sum) const {
    std::array<double, kBlock> reals;
    if (real_) {
      return Blocks(first, [&](std::int64_t at, std::int64_t stride, std::int64_t count) {
        LoadReals(*x_.tensor, x_.data, at, stride, count, reals.data());
        sum.Add(std::span(reals).first(static_cast<std::size_t>(count)));
      });
    }
    std::array<std::int64_t, kBlock> integers;
    Blocks(first, [&](std::int64_t at, std::int64_t stride, std::int64_t count) {
      LoadIntegers(x_.type(), x_.data, at, stride, count, integers.data());
      std::copy_n(integers.begin(), count, reals.begin());
      sum.Add(std::span(reals).first(static_cast<std::size_t>(count)));
    });
  }
  void Integers(std::int64_t first, IntegerSum& sum) const {
    std::array<std::int64_t, kBlock> integers;
    Blocks(first, [&](std::int64_t at, std::int64_t stride, std::int64_t count) {
      LoadIntegers(x_.type(), x_.data, at, stride, count, integers.data());
      sum.Add(std::span(integers).first(static_cast<std::size_t>(count)));
    });
  }

 private:
  template <typename Visit>
  void Blocks(std::int64_t first, Visit&& visit) const {
    const std::int64_t stride = reduced_.strides(0)[0];
    reduced_.ForEach(1, [&](const auto& offsets) {
      for (std::int64_t done = 0; done < reduced_.size(0); done += kBlock) {
        visit(first + offsets[0] + done * stride, stride, std::min(kBlock, reduced_.size(0) - done));
      }
    });
  }

  const Operand& x_;
  const Strided<1>& reduced_;
  bool real_;
};

double ReducedReal(ReduceKind kind, const Reader& reader, std::int64_t first, std::int64_t count) {
  double shift = 0;
  if (kind == ReduceKind::kLogSumExp) {
    RealSum maximum(ReduceKind::kMax);
    reader.Reals(first, maximum);
    shift = maximum.Result(count);
    if (!std::isfinite(shift)) return shift;
  }
  RealSum sum(kind, shift);
  reader.Reals(first, sum);
  return sum.Result(count);
}

// A row-major array around one axis.
struct Lines {
  std::int64_t outer = 1;
  std::int64_t size = 1;
  std::int64_t inner = 1;  // also the distance between neighbours along the axis

  Lines(const Shape& shape, std::size_t axis) : size(shape[axis]) {
    for (std::size_t d = 0; d < axis; ++d) outer *= shape[d];
    for (std::size_t d = axis + 1; d < shape.size(); ++d) inner *= shape[d];
  }
  // Calls visit(first, line): the array's element at which line number `line` begins.
  template <typename Visit>
  void ForEach(Visit&& visit) const {
    for (std::int64_t o = 0; o < outer; ++o) {
      for (std::int64_t i = 0; i < inner; ++i) visit(o * size * inner + i, o * inner + i);
    }
  }
};

template <typename T>
bool IsNan(T value) {
  if constexpr (std::is_floating_point_v<T>) return std::isnan(value);
  return false;
}

// Whether a comes before b among the largest (or the smallest).
template <typename T>
bool Precedes(T a, T b, bool largest) {
  if (IsNan(a) || IsNan(b)) return IsNan(a) != IsNan(b) && IsNan(a) == largest;
  return largest ? a > b : a < b;
}

Status CheckNumbers(const Tensor& x, bool quantized) {
  if (IsInteger(x) || (IsReal(x) && (quantized || !IsQuantized(x)))) return OkStatus();
  return BadType("it does not apply to " + TypeText(x));
}

// The one value of an input that shapes depend on.
Result<std::int64_t> OneInteger(const InferCall& call, std::size_t i) {
  EF_ASSIGN_OR_RETURN(const auto values, call.Integers(i));
  if (values.size() != 1) return BadShape("its input " + std::to_string(i) + " must have one value, not " + ToText(values));
  return values[0];
}

}  // namespace

Result<std::vector<TypedShape>> Infer(const Reduce& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  if (static_cast<int>(op.kind) >= kReduceKinds) return BadAttribute("how it reduces is not known");
  const Tensor& x = *call.at(0).tensor;
  EF_RETURN_IF_ERROR(CheckNumbers(x, op.kind <= ReduceKind::kMin));
  EF_ASSIGN_OR_RETURN(const auto reduced, Reduced(op, x.shape.size()));
  Shape shape;
  for (std::size_t d = 0; d < reduced.size(); ++d) {
    if (!reduced[d]) shape.push_back(x.shape[d]);
    if (reduced[d] && op.keep_dims) shape.push_back(1);
  }
  return std::vector<TypedShape>{{x.type, std::move(shape)}};
}

Status Run(const Reduce& op, const RunCall& call) {
  const Operand& x = call.in(0);
  const Destination& y = call.out();
  if (y.count() == 0) return OkStatus();
  EF_ASSIGN_OR_RETURN(const auto chosen, Reduced(op, x.shape().size()));
  const Strided<1> reduced = Dimensions(x.shape(), chosen, true);
  const std::int64_t count = x.count() / y.count();
  const Reader reader(x, reduced);
  const IntegerRange range = RangeOfType(x.type());
  std::int64_t next = 0;
  Dimensions(x.shape(), chosen, false).ForEach(0, [&](const auto& offsets) {
    if (IsReal(*x.tensor)) {
      const double value = ReducedReal(op.kind, reader, offsets[0], count);
      StoreReals(*y.tensor, y.data, next++, 1, &value);
      return;
    }
    std::int64_t value = 0;
    if (PassesThroughReals(op.kind)) {
      value = std::clamp(Saturated<std::int64_t>(ReducedReal(op.kind, reader, offsets[0], count)), range.low, range.high);
    } else {
      IntegerSum sum(op.kind, range);
      reader.Integers(offsets[0], sum);
      value = sum.Result(count);
    }
    StoreIntegers(y.type(), y.data, next++, 1, &value);
  });
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const ArgReduce& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  EF_RETURN_IF_ERROR(CheckNumbers(*call.at(0).tensor, true));
  Shape shape = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, shape.size()));
  if (shape[axis] == 0) return BadShape("there is nothing to choose from along axis " + std::to_string(axis));
  if (op.keep_dims) {
    shape[axis] = 1;
  } else {
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  return std::vector<TypedShape>{{DataType::kInt64, std::move(shape)}};
}

Status Run(const ArgReduce& op, const RunCall& call) {
  const Operand& x = call.in(0);
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, x.shape().size()));
  const Lines lines(x.shape(), axis);
  WithStored(x.type(), [&]<typename T>(T) {
    lines.ForEach([&](std::int64_t first, std::int64_t line) {
      std::int64_t best = 0;
      auto value = Comparable(x.as<T>()[first]);
      for (std::int64_t i = 1; i < lines.size; ++i) {
        const auto other = Comparable(x.as<T>()[first + i * lines.inner]);
        const bool better = op.largest ? other > value : other < value;
        if (better || (op.last && other == value)) best = i, value = other;
      }
      call.out().as<std::int64_t>()[line] = best;
    });
  });
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const TopK& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2, 2));
  EF_RETURN_IF_ERROR(CheckNumbers(*call.at(0).tensor, true));
  Shape shape = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, shape.size()));
  EF_ASSIGN_OR_RETURN(const std::int64_t k, OneInteger(call, 1));
  if (k < 0 || k > shape[axis]) {
    return BadShape("it takes " + std::to_string(k) + " of " + std::to_string(shape[axis]) + " elements");
  }
  shape[axis] = k;
  std::vector<TypedShape> outputs{{call.at(0).type(), shape}, {DataType::kInt64, shape}};
  outputs.resize(call.outputs);
  return outputs;
}

Status Run(const TopK& op, const RunCall& call) {
  const Operand& x = call.in(0);
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, x.shape().size()));
  EF_ASSIGN_OR_RETURN(const std::int64_t k, OneInteger({call.inputs, 1}, 1));
  const Lines lines(x.shape(), axis);
  EF_ASSIGN_OR_RETURN(auto order, Allocate<std::int64_t>(lines.size));
  WithStored(x.type(), [&]<typename T>(T) {
    lines.ForEach([&](std::int64_t first, std::int64_t line) {
      const T* values = x.as<T>() + first;
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](std::int64_t i, std::int64_t j) {
        const auto a = Comparable(values[i * lines.inner]);
        const auto b = Comparable(values[j * lines.inner]);
        return Precedes(a, b, op.largest) || (!Precedes(b, a, op.largest) && i < j);
      });
      const std::int64_t to = line / lines.inner * k * lines.inner + line % lines.inner;
      for (std::int64_t i = 0; i < k; ++i) {
        const std::int64_t chosen = order[static_cast<std::size_t>(i)];
        if (call.wants(0)) call.out(0).as<T>()[to + i * lines.inner] = values[chosen * lines.inner];
        if (call.wants(1)) call.out(1).as<std::int64_t>()[to + i * lines.inner] = chosen;
      }
    });
  });
  return OkStatus();
}

Result<std::vector<TypedShape>> Infer(const CumSum&, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 2));
  EF_RETURN_IF_ERROR(CheckNumbers(*call.at(0).tensor, false));
  EF_ASSIGN_OR_RETURN(const std::int64_t axis, OneInteger(call, 1));
  EF_ASSIGN_OR_RETURN([[maybe_unused]] const std::size_t d, Axis(axis, call.at(0).shape().size()));
  return std::vector<TypedShape>{{call.at(0).type(), call.at(0).shape()}};
}

Status Run(const CumSum& op, const RunCall& call) {
  const Operand& x = call.in(0);
  const Destination& y = call.out();
  EF_ASSIGN_OR_RETURN(const std::int64_t named, OneInteger({call.inputs, 1}, 1));
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(named, x.shape().size()));
  const Lines lines(x.shape(), axis);
  const bool reals = IsReal(*x.tensor);
  lines.ForEach([&](std::int64_t first, std::int64_t) {
    double real_sum = 0;
    std::int64_t integer_sum = 0;
    for (std::int64_t i = 0; i < lines.size; ++i) {
      const std::int64_t at = first + (op.reverse ? lines.size - 1 - i : i) * lines.inner;
      if (reals) {
        double value = 0;
        LoadReals(*x.tensor, x.data, at, 1, 1, &value);
        if (op.exclusive) StoreReals(*y.tensor, y.data, at, 1, &real_sum);
        real_sum += value;
        if (!op.exclusive) StoreReals(*y.tensor, y.data, at, 1, &real_sum);
      } else {
        std::int64_t value = 0;
        LoadIntegers(x.type(), x.data, at, 1, 1, &value);
        if (op.exclusive) StoreIntegers(y.type(), y.data, at, 1, &integer_sum);
        integer_sum = WrapAdd(integer_sum, value);
        if (!op.exclusive) StoreIntegers(y.type(), y.data, at, 1, &integer_sum);
      }
    }
  });
  return OkStatus();
}

}  // namespace edgefleet::runtime
