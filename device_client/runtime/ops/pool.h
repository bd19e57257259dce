// Pooling of images: fp32, bf16, int8, uint8. Maxima keep their input's quantization (integers without one are allowed);
// averages of integers are rescaled to the output's. A window without an element inside, between dilated taps, has the lowest
// value as its maximum and the average 0. Elements beyond the padding, which last windows of `ceil` may have, never count.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

Result<std::vector<TypedShape>> Infer(const Pool2d& op, const InferCall& call);
Status Run(const Pool2d& op, const RunCall& call);

}  // namespace edgefleet::runtime
