// Normalizations and softmax: fp32, bf16, and quantized int8 and uint8 by the real values that they stand for. Statistics are
// computed in double precision; parameters may be of any type that holds real numbers.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

Result<std::vector<TypedShape>> Infer(const BatchNorm& op, const InferCall& call);
Status Run(const BatchNorm& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const GroupNorm& op, const InferCall& call);
Status Run(const GroupNorm& op, const RunCall& call);
// Outputs y, mean? and inverse standard deviation?; the latter are fp32, with 1 for every normalized dimension. Scale and shift
// broadcast to the normalized dimensions.
Result<std::vector<TypedShape>> Infer(const LayerNorm& op, const InferCall& call);
Status Run(const LayerNorm& op, const RunCall& call);
// Where the norm is 0, so is the result.
Result<std::vector<TypedShape>> Infer(const LpNorm& op, const InferCall& call);
Status Run(const LpNorm& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Lrn& op, const InferCall& call);
Status Run(const Lrn& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Softmax& op, const InferCall& call);
Status Run(const Softmax& op, const RunCall& call);

}  // namespace edgefleet::runtime
