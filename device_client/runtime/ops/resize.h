// Resizing of any dimensions, as ONNX defines it and its reference implementation computes it: where `scales` are given,
// coordinates follow from them and not from the rounded sizes. Nearest neighbours are elements of any type (except kInt4);
// other modes, and kCropAndResize, take fp32, bf16 and quantized int8 and uint8.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

Result<std::vector<TypedShape>> Infer(const Resize& op, const InferCall& call);
Status Run(const Resize& op, const RunCall& call);

}  // namespace edgefleet::runtime
