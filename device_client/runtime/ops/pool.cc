#include "device_client/runtime/ops/pool.h"

#include <limits>

#include "device_client/runtime/ops/affine.h"
#include "device_client/runtime/ops/widen.h"
#include "device_client/runtime/ops/window.h"

namespace edgefleet::runtime {
namespace {

// One dimension of a window at one position: element `origin + i * step` for the taps i that lie inside.
struct Reach {
  Interval taps;
  std::int64_t origin;
  std::int64_t step;
  std::int64_t counted;  // taps inside, or also those in the padding if padding counts
};

Reach ReachOf(const Pool2d& op, std::size_t dimension, std::int64_t position, std::int64_t size) {
  const std::int64_t kernel = op.kernel[dimension];
  const std::int64_t step = op.dilations[dimension];
  const std::int64_t before = op.pads[dimension];
  const std::int64_t origin = position * op.strides[dimension] - before;
  const Interval taps = Inside(kernel, step, origin, size);
  const std::int64_t padded = Inside(kernel, step, origin + before, size + before + op.pads[dimension + 2]).length();
  return {taps, origin, step, op.count_include_pad ? padded : taps.length()};
}

// `result(plane, width, vertical, horizontal)` makes each output.
template <typename T>
void Slide(const Pool2d& op, const Shape& xs, const Shape& ys, const T* x, auto* y, auto result) {
  for (std::int64_t plane = 0; plane < xs[0] * xs[1]; ++plane) {
    const T* values = x + plane * xs[2] * xs[3];
    for (std::int64_t row = 0; row < ys[2]; ++row) {
      const Reach vertical = ReachOf(op, 0, row, xs[2]);
      for (std::int64_t column = 0; column < ys[3]; ++column) {
        *y++ = result(values, xs[3], vertical, ReachOf(op, 1, column, xs[3]));
      }
    }
  }
}

template <typename T>
T Maximum(const T* plane, std::int64_t width, const Reach& v, const Reach& h) {
  T best = std::numeric_limits<T>::lowest();
  for (std::int64_t i = v.taps.begin; i < v.taps.end; ++i) {
    const T* line = plane + (v.origin + i * v.step) * width;
    for (std::int64_t j = h.taps.begin; j < h.taps.end; ++j) best = std::max(best, line[h.origin + j * h.step]);
  }
  return best;
}

// Of distances to `zero_point`.
template <typename T>
double Average(const T* plane, std::int64_t width, const Reach& v, const Reach& h, std::int32_t zero_point) {
  double sum = 0;
  for (std::int64_t i = v.taps.begin; i < v.taps.end; ++i) {
    const T* line = plane + (v.origin + i * v.step) * width;
    for (std::int64_t j = h.taps.begin; j < h.taps.end; ++j) sum += static_cast<double>(line[h.origin + j * h.step]);
  }
  sum -= static_cast<double>(v.taps.length() * h.taps.length()) * zero_point;
  return sum / static_cast<double>(std::max<std::int64_t>(v.counted * h.counted, 1));
}

template <typename T>
Status PoolIntegers(const Pool2d& op, const RunCall& call) {
  const Shape& xs = call.in(0).shape();
  const Shape& ys = call.out().shape();
  const T* x = call.in(0).as<T>();
  T* y = call.out().as<T>();
  if (op.kind == Pool2d::Kind::kMax) {
    Slide(op, xs, ys, x, y, Maximum<T>);
    return OkStatus();
  }
  const Tensor& in = *call.in(0).tensor;
  const Tensor& out = *call.out().tensor;
  if (!CanWiden(out)) return BadType("its output has no quantization");
  Slide(op, xs, ys, x, y, [&](const T* plane, std::int64_t width, const Reach& v, const Reach& h) {
    return SaturateTo<T>(Average(plane, width, v, h, ZeroPoint(in)) * ScaleOf(in) / ScaleOf(out), ZeroPoint(out));
  });
  return OkStatus();
}

Status PoolReals(const Pool2d& op, const RunCall& call) {
  EF_ASSIGN_OR_RETURN(const Reals x, Reals::Of(call.in(0)));
  EF_ASSIGN_OR_RETURN(RealOutput y, RealOutput::For(call.out()));
  if (op.kind == Pool2d::Kind::kMax) {
    Slide(op, call.in(0).shape(), call.out().shape(), x.data(), y.data(), Maximum<float>);
  } else {
    Slide(op, call.in(0).shape(), call.out().shape(), x.data(), y.data(),
          [](const float* plane, std::int64_t width, const Reach& v, const Reach& h) {
            return static_cast<float>(Average(plane, width, v, h, 0));
          });
  }
  return y.Store();
}

Status CheckType(const Pool2d& op, const Operand& x) {
  const bool integers = x.type() == DataType::kInt8 || x.type() == DataType::kUint8;
  if (op.kind == Pool2d::Kind::kMax && integers) return OkStatus();
  return CheckReal(x, "its input");
}

}  // namespace

Result<std::vector<TypedShape>> Infer(const Pool2d& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  const Shape& x = call.at(0).shape();
  if (x.size() != 4) return BadShape("its input " + ToText(x) + " must have 4 dimensions");
  if (op.kind > Pool2d::Kind::kAverage) return BadAttribute("its kind is unknown");
  Shape y{x[0], x[1], 0, 0};
  for (std::size_t i = 0; i < 2; ++i) {
    const Sliding sliding = SlidingOf(op, i, op.kernel[i]);
    EF_RETURN_IF_ERROR(sliding.Check());
    if (sliding.pad_before >= sliding.extent() || sliding.pad_after >= sliding.extent()) {
      return BadAttribute("its pads must be smaller than its window, or windows would lie in padding only");
    }
    EF_ASSIGN_OR_RETURN(y[i + 2], sliding.Positions(x[i + 2], op.ceil));
  }
  EF_RETURN_IF_ERROR(CheckType(op, call.at(0)));
  return std::vector<TypedShape>{{call.at(0).type(), std::move(y)}};
}

Status Run(const Pool2d& op, const RunCall& call) {
  switch (call.in(0).type()) {
    case DataType::kInt8:
      return PoolIntegers<std::int8_t>(op, call);
    case DataType::kUint8:
      return PoolIntegers<std::uint8_t>(op, call);
    default:
      return PoolReals(op, call);
  }
}

}  // namespace edgefleet::runtime
