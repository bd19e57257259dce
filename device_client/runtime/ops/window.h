// Arithmetic of windows that slide over an image: of convolutions and pools.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

inline constexpr std::int32_t kAttributeMax = 1024;  // strides, pads, dilations and windows

// Indices [begin, end).
struct Interval {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t length() const { return end - begin; }
};

// The i in [0, count) with 0 <= offset + i * step < size: taps of a window that lie inside, or positions whose tap does. step >
// 0.
inline Interval Inside(std::int64_t count, std::int64_t step, std::int64_t offset, std::int64_t size) {
  const std::int64_t begin = offset >= 0 ? 0 : (-offset + step - 1) / step;
  const std::int64_t end = offset >= size ? 0 : std::min(count, (size - offset + step - 1) / step);
  return {begin, std::max(begin, end)};
}

// One dimension of a window: what is wanted of strides, dilations and pads. INVALID_ARGUMENT [GRAPH_NODE | GRAPH_SHAPE].
struct Sliding {
  std::int64_t kernel = 1;
  std::int32_t stride = 1;
  std::int32_t dilation = 1;
  std::int32_t pad_before = 0;
  std::int32_t pad_after = 0;

  std::int64_t extent() const { return (kernel - 1) * dilation + 1; }
  Status Check() const;
  // Positions over `in` elements; Check() succeeded. With `ceil` a last window counts that begins inside the input or its
  // padding before.
  Result<std::int64_t> Positions(std::int64_t in, bool ceil = false) const;
};

template <typename Op>
Sliding SlidingOf(const Op& op, std::size_t dimension, std::int64_t kernel) {
  return {kernel, op.strides[dimension], op.dilations[dimension], op.pads[dimension], op.pads[dimension + 2]};
}

}  // namespace edgefleet::runtime
