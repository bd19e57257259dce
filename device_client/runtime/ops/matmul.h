// Fully connected layers (fp32, bf16, int8; weights also fp16, int8 and int4 constants) and matrix products (fp32, bf16, int8,
// int32, int64; products of integers wrap around).
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

Result<std::vector<TypedShape>> Infer(const FullyConnected& op, const InferCall& call);
Status Run(const FullyConnected& op, const RunCall& call);

// int8: both operands quantized as a whole, or the second, a constant, along its last dimension; K is at most
// kInt8ReductionMax. Of two types, one must be a constant that is widened to the other, fp32 or bf16.
Result<std::vector<TypedShape>> Infer(const MatMul& op, const InferCall& call);
Status Run(const MatMul& op, const RunCall& call);

}  // namespace edgefleet::runtime
