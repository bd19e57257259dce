#include "device_client/runtime/ops/conv.h"

#include <type_traits>

#include "device_client/runtime/ops/weighted.h"
#include "device_client/runtime/ops/widen.h"
#include "device_client/runtime/ops/window.h"

namespace edgefleet::runtime {
namespace {

// Sums of one row of outputs grow tap by tap, so that inner loops run over rows of memory.
template <typename T>
using SumOf = std::conditional_t<std::is_same_v<T, float>, double, std::int32_t>;  // int32 cannot overflow: kInt8ReductionMax

template <typename T>
struct Operands {
  const T* x;
  const T* weights;
  std::int32_t zero_point;  // of x
  const Shape& xs;
  const Shape& ws;
  const Shape& ys;
};

template <typename T>
SumOf<T> Distance(T value, std::int32_t zero_point) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    return value - zero_point;
  }
}

// Adds to the sums of output row `row` of channel `o` of example `n`.
template <typename T>
void AddRow(const Conv2d& op, const Operands<T>& in, std::int64_t n, std::int64_t o, std::int64_t row, SumOf<T>* sums) {
  const std::int64_t first = o / (in.ws[0] / op.groups) * in.ws[1];
  const std::int64_t top = row * op.strides[0] - op.pads[0];
  const Interval rows = Inside(in.ws[2], op.dilations[0], top, in.xs[2]);
  for (std::int64_t c = 0; c < in.ws[1]; ++c) {
    const T* plane = in.x + (n * in.xs[1] + first + c) * in.xs[2] * in.xs[3];
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
      const T* line = plane + (top + i * op.dilations[0]) * in.xs[3];
      const T* taps = in.weights + ((o * in.ws[1] + c) * in.ws[2] + i) * in.ws[3];
      for (std::int64_t j = 0; j < in.ws[3]; ++j) {
        const std::int64_t left = j * op.dilations[1] - op.pads[1];
        const Interval columns = Inside(in.ys[3], op.strides[1], left, in.xs[3]);
        const SumOf<T> weight = taps[j];
        for (std::int64_t k = columns.begin; k < columns.end; ++k) {
          sums[k] += Distance(line[left + k * op.strides[1]], in.zero_point) * weight;
        }
      }
    }
  }
}

template <typename T>
void AddRow(const ConvTranspose2d& op, const Operands<T>& in, std::int64_t n, std::int64_t o, std::int64_t row,
            SumOf<T>* sums) {
  const std::int64_t group_inputs = in.ws[0] / op.groups;
  const std::int64_t first = o / in.ws[1] * group_inputs;
  for (std::int64_t c = first; c < first + group_inputs; ++c) {
    const T* plane = in.x + (n * in.xs[1] + c) * in.xs[2] * in.xs[3];
    for (std::int64_t i = 0; i < in.ws[2]; ++i) {
      // Row y of the input reaches output row y * stride - pad + i * dilation.
      const std::int64_t steps = row + op.pads[0] - i * op.dilations[0];
      if (steps < 0 || steps % op.strides[0] != 0 || steps / op.strides[0] >= in.xs[2]) continue;
      const T* line = plane + steps / op.strides[0] * in.xs[3];
      const T* taps = in.weights + ((c * in.ws[1] + o % in.ws[1]) * in.ws[2] + i) * in.ws[3];
      for (std::int64_t j = 0; j < in.ws[3]; ++j) {
        const std::int64_t left = j * op.dilations[1] - op.pads[1];
        const Interval columns = Inside(in.xs[3], op.strides[1], left, in.ys[3]);
        const SumOf<T> weight = taps[j];
        for (std::int64_t k = columns.begin; k < columns.end; ++k) {
          sums[left + k * op.strides[1]] += Distance(line[k], in.zero_point) * weight;
        }
      }
    }
  }
}

// `finish_of(o)` makes the function that turns the sums of channel o into results.
template <typename Op, typename T>
Status Convolve(const Op& op, const Operands<T>& in, auto finish_of, T* out) {
  EF_ASSIGN_OR_RETURN(auto sums, Allocate<SumOf<T>>(in.ys[3]));
  for (std::int64_t n = 0; n < in.ys[0]; ++n) {
    for (std::int64_t o = 0; o < in.ys[1]; ++o) {
      const auto finish = finish_of(o);
      for (std::int64_t row = 0; row < in.ys[2]; ++row) {
        std::ranges::fill(sums, 0);
        AddRow(op, in, n, o, row, sums.data());
        out = std::ranges::transform(sums, out, finish).out;
      }
    }
  }
  return OkStatus();
}

// Weights of channel o have slice o % `slices`.
template <typename Op>
Status RunAny(const Op& op, const RunCall& call, std::int64_t slices) {
  const Shape& xs = call.in(0).shape();
  const Shape& ws = call.in(1).shape();
  const Shape& ys = call.out().shape();
  if (call.in(0).type() == DataType::kInt8) {
    EF_RETURN_IF_ERROR(CheckQuantized(call.out()));
    const Operands<std::int8_t> in{
        call.in(0).as<std::int8_t>(), call.in(1).as<std::int8_t>(), ZeroPoint(*call.in(0).tensor), xs, ws, ys};
    const auto finish_of = [&](std::int64_t o) { return FinishOf(call, op.activation, o, o % slices); };
    return Convolve(op, in, finish_of, call.out().as<std::int8_t>());
  }
  EF_ASSIGN_OR_RETURN(const Reals x, Reals::Of(call.in(0)));
  EF_ASSIGN_OR_RETURN(const Reals weights, Reals::Of(call.in(1)));
  Reals bias;
  if (call.has(2)) {
    EF_ASSIGN_OR_RETURN(bias, Reals::Of(call.in(2)));
  }
  EF_ASSIGN_OR_RETURN(RealOutput y, RealOutput::For(call.out()));
  const Operands<float> in{x.data(), weights.data(), 0, xs, ws, ys};
  const auto finish_of = [&](std::int64_t o) { return RealFinish{op.activation, call.has(2) ? bias[o] : 0.0F}; };
  EF_RETURN_IF_ERROR(Convolve(op, in, finish_of, y.data()));
  return y.Store();
}

// Of both: 4-dimensional operands and groups that divide `channels`, the first dimension of the weights and the input's
// channels.
Status CheckShapes(const InferCall& call, std::int32_t groups) {
  const Shape& x = call.at(0).shape();
  const Shape& w = call.at(1).shape();
  if (x.size() != 4 || w.size() != 4) {
    return BadShape("its input " + ToText(x) + " and its weights " + ToText(w) + " must have 4 dimensions");
  }
  if (groups < 1) return BadAttribute("its groups must be at least 1");
  if (w[0] < 1 || w[1] < 1 || x[1] % groups != 0 || w[0] % groups != 0) {
    return BadShape(std::to_string(groups) + " groups divide neither " + ToText(x) + " nor weights " + ToText(w));
  }
  return OkStatus();
}

}  // namespace

Result<std::vector<TypedShape>> Infer(const Conv2d& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 3));
  EF_RETURN_IF_ERROR(CheckShapes(call, op.groups));
  const Shape& x = call.at(0).shape();
  const Shape& w = call.at(1).shape();
  if (w[1] != x[1] / op.groups) {
    return BadShape("its weights " + ToText(w) + " do not fit the channels of " + ToText(x) + " in " +
                    std::to_string(op.groups) + " groups");
  }
  Shape y{x[0], w[0], 0, 0};
  for (std::size_t i = 0; i < 2; ++i) {
    const Sliding sliding = SlidingOf(op, i, w[i + 2]);
    EF_RETURN_IF_ERROR(sliding.Check());
    EF_ASSIGN_OR_RETURN(y[i + 2], sliding.Positions(x[i + 2]));
  }
  EF_RETURN_IF_ERROR(CheckWeighted(call, op.activation, w[0], 0, w[1] * w[2] * w[3]));
  return std::vector<TypedShape>{{call.at(0).type(), std::move(y)}};
}

Status Run(const Conv2d& op, const RunCall& call) { return RunAny(op, call, call.in(1).shape()[0]); }

Result<std::vector<TypedShape>> Infer(const ConvTranspose2d& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(call.CheckArity(2, 3));
  EF_RETURN_IF_ERROR(CheckShapes(call, op.groups));
  const Shape& x = call.at(0).shape();
  const Shape& w = call.at(1).shape();
  if (w[0] != x[1]) return BadShape("its weights " + ToText(w) + " do not fit the channels of " + ToText(x));
  Shape y{x[0], w[1] * op.groups, 0, 0};
  for (std::size_t i = 0; i < 2; ++i) {
    const Sliding sliding = SlidingOf(op, i, w[i + 2]);
    EF_RETURN_IF_ERROR(sliding.Check());
    if (op.output_pads[i] < 0 || op.output_pads[i] > kAttributeMax)
      return BadAttribute("its output pads must be from 0 to 1024");
    y[i + 2] = (x[i + 2] - 1) * sliding.stride + op.output_pads[i] + sliding.extent() - sliding.pad_before - sliding.pad_after;
    if (y[i + 2] < 1) return BadShape("its pads leave nothing of the output");
  }
  EF_RETURN_IF_ERROR(CheckWeighted(call, op.activation, y[1], 1, w[0] / op.groups * w[2] * w[3]));
  return std::vector<TypedShape>{{call.at(0).type(), std::move(y)}};
}

Status Run(const ConvTranspose2d& op, const RunCall& call) { return RunAny(op, call, call.in(1).shape()[1]); }

}  // namespace edgefleet::runtime
