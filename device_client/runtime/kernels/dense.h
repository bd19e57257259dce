// The dense and grouped kernels behind RunConvolution: a matrix product whose left rows are windows of the source.
#pragma once

#include "device_client/runtime/kernels/int8_conv.h"

namespace edgefleet::runtime::kernels {

std::size_t DenseScratchBytes(const Convolution& shape);
void RunDense(const Convolution& shape, const std::byte* packed, std::int64_t batch, const std::uint8_t* source,
              std::uint8_t* target, std::byte* scratch);

}  // namespace edgefleet::runtime::kernels
