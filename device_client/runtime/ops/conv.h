// Convolutions and transposed convolutions of images: fp32, bf16, int8.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

Result<std::vector<TypedShape>> Infer(const Conv2d& op, const InferCall& call);
Status Run(const Conv2d& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const ConvTranspose2d& op, const InferCall& call);
Status Run(const ConvTranspose2d& op, const RunCall& call);

}  // namespace edgefleet::runtime
