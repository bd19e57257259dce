// Between real numbers and their quantized representations.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

// To the output's quantization, as a whole or per slice: fp32, bf16, int8 and uint8 with quantization, int32 with quantization
// or, without it, as plain integers.
Result<std::vector<TypedShape>> Infer(const Quantize& op, const InferCall& call);
Status Run(const Quantize& op, const RunCall& call);

// int8, uint8 and int32 with quantization, as a whole or per slice, to fp32.
Result<std::vector<TypedShape>> Infer(const Dequantize& op, const InferCall& call);
Status Run(const Dequantize& op, const RunCall& call);

}  // namespace edgefleet::runtime
