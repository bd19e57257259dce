#include "device_client/runtime/ops/window.h"

namespace edgefleet::runtime {

Status Sliding::Check() const {
  const auto within = [](std::int64_t value, std::int64_t low) { return value >= low && value <= kAttributeMax; };
  if (!within(kernel, 1))
    return BadShape("its window has " + std::to_string(kernel) + " elements in a row; 1 to 1024 are allowed");
  if (!within(stride, 1) || !within(dilation, 1)) return BadAttribute("its strides and dilations must be from 1 to 1024");
  if (!within(pad_before, 0) || !within(pad_after, 0)) return BadAttribute("its pads must be from 0 to 1024");
  return OkStatus();
}

Result<std::int64_t> Sliding::Positions(std::int64_t in, bool ceil) const {
  const std::int64_t slack = in + pad_before + pad_after - extent();
  if (slack < 0) {
    return BadShape("its window spans " + std::to_string(extent()) + " elements, of " + std::to_string(in) +
                    " and their padding");
  }
  std::int64_t positions = slack / stride + 1;
  if (ceil && slack % stride != 0 && positions * stride < in + pad_before) ++positions;
  return positions;
}

}  // namespace edgefleet::runtime
