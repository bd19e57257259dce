#include "device_client/runtime/ops/normalize.h"

#include <algorithm>
#include <cmath>

#include "device_client/runtime/ops/widen.h"

namespace edgefleet::runtime {
namespace {

using Outputs = Result<std::vector<TypedShape>>;

std::int64_t Product(const Shape& shape, std::size_t begin, std::size_t end) {
  std::int64_t product = 1;
  for (std::size_t i = begin; i < end; ++i) product *= shape[i];
  return product;
}

// A tensor as [outer, size, inner] around one dimension.
struct Around {
  std::int64_t outer;
  std::int64_t size;
  std::int64_t inner;

  Around(const Shape& shape, std::size_t axis)
      : outer(Product(shape, 0, axis)), size(shape[axis]), inner(Product(shape, axis + 1, shape.size())) {}
};

// Calls lane(x, y, size, stride) for each line along the axis.
Status ForLanes(const RunCall& call, std::int32_t axis, auto lane) {
  EF_ASSIGN_OR_RETURN(const std::size_t dimension, Axis(axis, call.in(0).shape().size()));
  const Around around(call.in(0).shape(), dimension);
  EF_ASSIGN_OR_RETURN(const Reals x, Reals::Of(call.in(0)));
  EF_ASSIGN_OR_RETURN(RealOutput y, RealOutput::For(call.out()));
  for (std::int64_t outer = 0; outer < around.outer; ++outer) {
    for (std::int64_t inner = 0; inner < around.inner; ++inner) {
      const std::int64_t offset = outer * around.size * around.inner + inner;
      lane(x + offset, y.data() + offset, around.size, around.inner);
    }
  }
  return y.Store();
}

Outputs SameAsInput(const InferCall& call) { return std::vector<TypedShape>{{call.at(0).type(), call.at(0).shape()}}; }

Outputs InferAlong(const InferCall& call, std::int32_t axis) {
  EF_RETURN_IF_ERROR(call.CheckArity(1, 1));
  EF_RETURN_IF_ERROR(CheckReal(call.at(0), "its input"));
  if (auto dimension = Axis(axis, call.at(0).shape().size()); !dimension) return MakeError(std::move(dimension).error());
  return SameAsInput(call);
}

Status CheckEpsilon(float epsilon) {
  return epsilon >= 0 && std::isfinite(epsilon) ? OkStatus() : BadAttribute("its epsilon must be finite and not negative");
}

// Of operators on [N, C, ...] with `parameters` inputs of shape [C] after x.
Status CheckChannels(const InferCall& call, std::size_t parameters) {
  EF_RETURN_IF_ERROR(call.CheckArity(1 + parameters, 1 + parameters));
  EF_RETURN_IF_ERROR(CheckReal(call.at(0), "its input"));
  const Shape& x = call.at(0).shape();
  if (x.size() < 2) return BadShape("its input " + ToText(x) + " needs a batch and a channel dimension");
  for (std::size_t i = 1; i <= parameters; ++i) {
    EF_RETURN_IF_ERROR(CheckParameter(call.at(i), {x[1]}, "its input " + std::to_string(i)));
  }
  return OkStatus();
}

struct Moments {
  double mean = 0;
  double inverse_deviation = 0;
};

Moments MomentsOf(const float* x, std::int64_t count, double epsilon) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(count);
  double squares = 0;
  for (std::int64_t i = 0; i < count; ++i) squares += (x[i] - mean) * (x[i] - mean);
  return {mean, 1 / std::sqrt(squares / static_cast<double>(count) + epsilon)};
}

}  // namespace

Outputs Infer(const BatchNorm& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(CheckEpsilon(op.epsilon));
  EF_RETURN_IF_ERROR(CheckChannels(call, 4));
  return SameAsInput(call);
}

Status Run(const BatchNorm& op, const RunCall& call) {
  EF_ASSIGN_OR_RETURN(const Reals x, Reals::Of(call.in(0)));
  EF_ASSIGN_OR_RETURN(const Reals scale, Reals::Of(call.in(1)));
  EF_ASSIGN_OR_RETURN(const Reals shift, Reals::Of(call.in(2)));
  EF_ASSIGN_OR_RETURN(const Reals mean, Reals::Of(call.in(3)));
  EF_ASSIGN_OR_RETURN(const Reals variance, Reals::Of(call.in(4)));
  EF_ASSIGN_OR_RETURN(RealOutput y, RealOutput::For(call.out()));
  const Around around(call.in(0).shape(), 1);
  for (std::int64_t row = 0; row < around.outer * around.size; ++row) {
    const std::int64_t channel = row % around.size;
    const double factor = scale[channel] / std::sqrt(static_cast<double>(variance[channel]) + op.epsilon);
    const double center = mean[channel];
    const double offset = shift[channel];
    const auto normalize = [&](float value) { return static_cast<float>((value - center) * factor + offset); };
    std::transform(x + row * around.inner, x + (row + 1) * around.inner, y.data() + row * around.inner, normalize);
  }
  return y.Store();
}

Outputs Infer(const GroupNorm& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(CheckEpsilon(op.epsilon));
  EF_RETURN_IF_ERROR(CheckChannels(call, 2));
  const std::int64_t channels = call.at(0).shape()[1];
  if (op.groups < 0 || (op.groups > 0 && channels % op.groups != 0)) {
    return BadAttribute("its " + std::to_string(op.groups) + " groups do not divide " + std::to_string(channels) + " channels");
  }
  return SameAsInput(call);
}

Status Run(const GroupNorm& op, const RunCall& call) {
  EF_ASSIGN_OR_RETURN(const Reals x, Reals::Of(call.in(0)));
  EF_ASSIGN_OR_RETURN(const Reals scale, Reals::Of(call.in(1)));
  EF_ASSIGN_OR_RETURN(const Reals shift, Reals::Of(call.in(2)));
  EF_ASSIGN_OR_RETURN(RealOutput y, RealOutput::For(call.out()));
  const Around around(call.in(0).shape(), 1);
  const std::int64_t group = op.groups == 0 ? 1 : around.size / op.groups;
  for (std::int64_t first = 0; first < around.outer * around.size; first += group) {
    const Moments moments = MomentsOf(x + first * around.inner, group * around.inner, op.epsilon);
    for (std::int64_t row = first; row < first + group; ++row) {
      const double factor = scale[row % around.size] * moments.inverse_deviation;
      const double offset = shift[row % around.size];
      const auto normalize = [&](float value) { return static_cast<float>((value - moments.mean) * factor + offset); };
      std::transform(x + row * around.inner, x + (row + 1) * around.inner, y.data() + row * around.inner, normalize);
    }
  }
  return y.Store();
}

Outputs Infer(const LayerNorm& op, const InferCall& call) {
  EF_RETURN_IF_ERROR(CheckEpsilon(op.epsilon));
  EF_RETURN_IF_ERROR(call.CheckArity(2, 3, 3));
  EF_RETURN_IF_ERROR(CheckReal(call.at(0), "its input"));
  const Shape& x = call.at(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, x.size()));
  const Shape normalized(x.begin() + static_cast<std::ptrdiff_t>(axis), x.end());
  for (std::size_t i = 1; i < 3 && call.has(i); ++i) {
    const Shape& own = call.at(i).shape();
    EF_RETURN_IF_ERROR(CheckParameter(call.at(i), own, "its input " + std::to_string(i)));
    EF_ASSIGN_OR_RETURN(const Shape broadcast, Broadcast(own, normalized));
    if (broadcast != normalized) return BadShape(ToText(own) + " does not broadcast to " + ToText(normalized));
  }
  Shape statistics = x;
  std::fill(statistics.begin() + static_cast<std::ptrdiff_t>(axis), statistics.end(), 1);
  std::vector<TypedShape> outputs(call.outputs, {DataType::kFloat32, statistics});
  outputs[0] = {call.at(0).type(), x};
  return outputs;
}

namespace {

// An operand broadcast to `shape`, or `value` everywhere if it is absent.
Result<std::vector<float>> Spread(const RunCall& call, std::size_t i, const Shape& shape, float value) {
  EF_ASSIGN_OR_RETURN(std::vector<float> spread, Allocate<float>(ElementCount(shape), value));
  if (!call.has(i)) return spread;
  EF_ASSIGN_OR_RETURN(const Reals reals, Reals::Of(call.in(i)));
  const Shape& own = call.in(i).shape();
  for (std::size_t element = 0; element < spread.size(); ++element) {
    auto rest = static_cast<std::int64_t>(element);
    std::int64_t index = 0;
    std::int64_t stride = 1;
    for (std::size_t d = 0; d < own.size(); ++d) {
      const std::int64_t size = own[own.size() - 1 - d];
      const std::int64_t whole = shape[shape.size() - 1 - d];
      if (size != 1) index += rest % whole * stride;
      stride *= size;
      rest /= whole;
    }
    spread[element] = reals[index];
  }
  return spread;
}

}  // namespace

Status Run(const LayerNorm& op, const RunCall& call) {
  const Shape& shape = call.in(0).shape();
  EF_ASSIGN_OR_RETURN(const std::size_t axis, Axis(op.axis, shape.size()));
  const Shape normalized(shape.begin() + static_cast<std::ptrdiff_t>(axis), shape.end());
  EF_ASSIGN_OR_RETURN(const std::vector<float> scale, Spread(call, 1, normalized, 1));
  EF_ASSIGN_OR_RETURN(const std::vector<float> shift, Spread(call, 2, normalized, 0));
  EF_ASSIGN_OR_RETURN(const Reals x, Reals::Of(call.in(0)));
  EF_ASSIGN_OR_RETURN(RealOutput y, RealOutput::For(call.out()));
  const std::int64_t inner = Product(shape, axis, shape.size());
  const std::int64_t rows = Product(shape, 0, axis);
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* from = x + row * inner;
    float* to = y.data() + row * inner;
    const Moments moments = MomentsOf(from, inner, op.epsilon);
    for (std::int64_t i = 0; i < inner; ++i) {
      to[i] = static_cast<float>((from[i] - moments.mean) * moments.inverse_deviation * scale[i] + shift[i]);
    }
    if (call.wants(1)) call.out(1).as<float>()[row] = static_cast<float>(moments.mean);
    if (call.wants(2)) call.out(2).as<float>()[row] = static_cast<float>(moments.inverse_deviation);
  }
  return y.Store();
}

Outputs Infer(const LpNorm& op, const InferCall& call) {
  if (op.p != 1 && op.p != 2) return BadAttribute("its p must be 1 or 2");
  return InferAlong(call, op.axis);
}

Status Run(const LpNorm& op, const RunCall& call) {
  return ForLanes(call, op.axis, [&](const float* x, float* y, std::int64_t size, std::int64_t stride) {
    double sum = 0;
    for (std::int64_t i = 0; i < size; ++i) {
      const double value = x[i * stride];
      sum += op.p == 1 ? std::abs(value) : value * value;
    }
    const double norm = op.p == 1 ? sum : std::sqrt(sum);
    for (std::int64_t i = 0; i < size; ++i) y[i * stride] = norm == 0 ? 0 : static_cast<float>(x[i * stride] / norm);
  });
}

Outputs Infer(const Lrn& op, const InferCall& call) {
  if (op.size < 1) return BadAttribute("its size must be at least 1");
  EF_RETURN_IF_ERROR(CheckChannels(call, 0));
  return SameAsInput(call);
}

Status Run(const Lrn& op, const RunCall& call) {
  return ForLanes(call, 1, [&](const float* x, float* y, std::int64_t size, std::int64_t stride) {
    const std::int64_t before = (op.size - 1) / 2;
    const std::int64_t after = op.size - 1 - before;
    for (std::int64_t c = 0; c < size; ++c) {
      double squares = 0;
      for (std::int64_t i = std::max<std::int64_t>(0, c - before); i <= std::min(size - 1, c + after); ++i) {
        squares += static_cast<double>(x[i * stride]) * x[i * stride];
      }
      const double base = op.bias + static_cast<double>(op.alpha) / op.size * squares;
      y[c * stride] = static_cast<float>(x[c * stride] * std::pow(base, -static_cast<double>(op.beta)));
    }
  });
}

Outputs Infer(const Softmax& op, const InferCall& call) { return InferAlong(call, op.axis); }

Status Run(const Softmax& op, const RunCall& call) {
  return ForLanes(call, op.axis, [&](const float* x, float* y, std::int64_t size, std::int64_t stride) {
    float top = x[0];
    for (std::int64_t i = 1; i < size; ++i) top = std::max(top, x[i * stride]);
    double sum = 0;
    for (std::int64_t i = 0; i < size; ++i) sum += std::exp(static_cast<double>(x[i * stride]) - top);
    const double log_sum = std::log(sum);
    for (std::int64_t i = 0; i < size; ++i) {
      const double distance = static_cast<double>(x[i * stride]) - top;
      y[i * stride] = static_cast<float>(op.log ? distance - log_sum : std::exp(distance) / sum);
    }
  });
}

}  // namespace edgefleet::runtime
