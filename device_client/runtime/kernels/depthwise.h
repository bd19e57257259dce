// The depthwise kernels behind RunConvolution.
#pragma once

#include "device_client/runtime/kernels/int8_conv.h"

namespace edgefleet::runtime::kernels {

std::size_t DepthwiseScratchBytes(const Convolution& shape);
void RunDepthwise(const Convolution& shape, const std::byte* packed, std::int64_t batch, const std::uint8_t* source,
                  std::uint8_t* target, std::byte* scratch);

}  // namespace edgefleet::runtime::kernels
