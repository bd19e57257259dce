#include "device_client/runtime/ops/weighted.h"

#include <algorithm>
#include <string>

#include "device_client/runtime/ops/widen.h"
#include "device_client/runtime/validate.h"

namespace edgefleet::runtime {
namespace {

Status CheckInt8(const InferCall& call, int channel_axis, std::int64_t reduction) {
  const Operand& weights = call.at(1);
  if (weights.type() != DataType::kInt8 || !CanWiden(*weights.tensor)) {
    return BadType("its weights must be quantized int8, as its input is, not " + std::string(DataTypeName(weights.type())));
  }
  if (!call.known(1)) return BadType("its weights must be constant where it computes in int8");
  const Quantization& q = *weights.tensor->quantization;
  if (q.axis >= 0 && q.axis != channel_axis) {
    return BadType("its int8 weights must be quantized as a whole or along dimension " + std::to_string(channel_axis));
  }
  if (!std::ranges::all_of(q.zero_points, [](std::int32_t zero_point) { return zero_point == 0; })) {
    return BadType("its int8 weights must have the zero point 0");
  }
  if (reduction > kInt8ReductionMax) {
    return BadShape("it sums " + std::to_string(reduction) + " int8 products; an int32 holds " +
                    std::to_string(kInt8ReductionMax));
  }
  return OkStatus();
}

Status CheckWeights(const InferCall& call) {
  const Operand& weights = call.at(1);
  if (weights.type() == call.at(0).type()) return OkStatus();
  if (!CanWiden(*weights.tensor) || !call.known(1)) {
    return BadType("its weights must be of its input's type, or constants that hold real numbers");
  }
  return OkStatus();
}

}  // namespace

Status CheckWeighted(const InferCall& call, const Activation& activation, std::int64_t channels, int channel_axis,
                     std::int64_t reduction) {
  EF_RETURN_IF_ERROR(CheckReal(call.at(0), "its input"));
  if (call.at(0).type() == DataType::kUint8) return BadType("its input must be float32, bfloat16 or int8, not uint8");
  const bool int8 = call.at(0).type() == DataType::kInt8;
  EF_RETURN_IF_ERROR(CheckActivation(activation, int8));
  EF_RETURN_IF_ERROR(int8 ? CheckInt8(call, channel_axis, reduction) : CheckWeights(call));
  if (!call.has(2)) return OkStatus();
  if (!int8) return CheckParameter(call.at(2), {channels}, "its bias");
  if (call.at(2).type() != DataType::kInt32) return BadType("its bias must be int32 where it computes in int8");
  if (call.at(2).shape() != Shape{channels}) {
    return BadShape("its bias has the shape " + ToText(call.at(2).shape()) + "; " + ToText({channels}) + " is wanted");
  }
  return OkStatus();
}

Int8Finish FinishOf(const RunCall& call, const Activation& activation, std::int64_t channel, std::int64_t slice) {
  const Tensor& output = *call.out().tensor;
  return {.multiplier = ScaleOf(*call.in(0).tensor) * ScaleOf(*call.in(1).tensor, slice) / ScaleOf(output),
          .bias = call.has(2) ? call.in(2).as<std::int32_t>()[channel] : 0,
          .zero_point = ZeroPoint(output),
          .range = RangeOf(activation, output)};
}

Status CheckQuantized(const Destination& destination) {
  return CanWiden(*destination.tensor) ? OkStatus() : BadType("its output has no quantization");
}

}  // namespace edgefleet::runtime
