// Affine quantization of single values, as graph.h defines it: real = scale * (q - zero_point).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "device_client/runtime/graph.h"
#include "device_client/runtime/ops/activation.h"

namespace edgefleet::runtime {

// Of the slice `slice` along the tensor's quantized axis, or of the tensor if it is quantized as a whole.
inline double ScaleOf(const Tensor& tensor, std::int64_t slice = 0) {
  const Quantization& q = *tensor.quantization;
  return q.scales[q.axis < 0 ? 0 : static_cast<std::size_t>(slice)];
}
inline std::int32_t ZeroPointOf(const Tensor& tensor, std::int64_t slice) {
  const Quantization& q = *tensor.quantization;
  return q.zero_points.empty() ? 0 : q.zero_points[q.axis < 0 ? 0 : static_cast<std::size_t>(slice)];
}

// Quantized values [low, high] that a result may have.
struct Range8 {
  std::int32_t low = -128;
  std::int32_t high = 127;
};

// `multiple` (of the scale) rounded half to even, shifted by `zero_point` and saturated to `range`; NaN becomes the lowest
// value.
inline std::int32_t Saturate(double multiple, std::int32_t zero_point, Range8 range) {
  const double shifted = std::nearbyint(multiple) + zero_point;
  if (!(shifted > range.low)) return range.low;
  return static_cast<std::int32_t>(std::min<double>(shifted, range.high));
}

// T is std::int8_t or std::uint8_t.
template <typename T>
T SaturateTo(double multiple, std::int32_t zero_point) {
  return static_cast<T>(Saturate(multiple, zero_point, {std::numeric_limits<T>::min(), std::numeric_limits<T>::max()}));
}

// What kIdentity, kRelu and kClip leave of the int8 values of a tensor quantized as a whole.
inline Range8 RangeOf(const Activation& activation, const Tensor& tensor) {
  const std::int32_t zero_point = ZeroPoint(tensor);
  if (activation.kind == UnaryKind::kRelu) return {zero_point, 127};
  if (activation.kind != UnaryKind::kClip) return {};
  const std::int32_t high = SaturateTo<std::int8_t>(activation.beta / ScaleOf(tensor), zero_point);
  return {std::min<std::int32_t>(SaturateTo<std::int8_t>(activation.alpha / ScaleOf(tensor), zero_point), high), high};
}

}  // namespace edgefleet::runtime
