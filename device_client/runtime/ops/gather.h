// Operators that read or write elements at places that other tensors name. An index counts from the end if it is negative; one
// outside the dimension is INVALID_ARGUMENT [BAD_INDEX], before anything is written, and already when types are inferred if the
// indices are known. Indices are int32 or int64.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

// They move elements of any type but kInt4.
Result<std::vector<TypedShape>> Infer(const Gather& op, const InferCall& call);
Status Run(const Gather& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const GatherElements& op, const InferCall& call);
Status Run(const GatherElements& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const GatherNd& op, const InferCall& call);
Status Run(const GatherNd& op, const RunCall& call);

// Updates are applied in their order, so that the last one of a place stays. kAdd and kMul of floating-point types and integers
// (which wrap); kMax and kMin also of quantized 8-bit ones, whose order is that of what they stand for; kSet of all types but
// kInt4.
Result<std::vector<TypedShape>> Infer(const ScatterElements& op, const InferCall& call);
Status Run(const ScatterElements& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const ScatterNd& op, const InferCall& call);
Status Run(const ScatterNd& op, const RunCall& call);

}  // namespace edgefleet::runtime
