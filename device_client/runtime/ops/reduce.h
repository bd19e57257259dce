// Operators that compute one value, or a selection, of many along dimensions. Reals are computed in double precision and
// rounded once; integers wrap, but what passes through reals (kL2, kLogSum, kLogSumExp) saturates.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

// Of floating-point types and integers; kSum, kMean, kMax and kMin of quantized 8-bit ones too. Of no elements: a sum of 0, a
// product of 1, a mean of NaN (0 of integers), and the lowest value as maximum, the highest as minimum. An integer mean
// truncates; NaN is passed on.
Result<std::vector<TypedShape>> Infer(const Reduce& op, const InferCall& call);
Status Run(const Reduce& op, const RunCall& call);

// Of reals and integers. NaN is never chosen unless it comes first.
Result<std::vector<TypedShape>> Infer(const ArgReduce& op, const InferCall& call);
Status Run(const ArgReduce& op, const RunCall& call);

// Of reals and integers. NaN counts as the largest.
Result<std::vector<TypedShape>> Infer(const TopK& op, const InferCall& call);
Status Run(const TopK& op, const RunCall& call);

// Of floating-point types and integers.
Result<std::vector<TypedShape>> Infer(const CumSum& op, const InferCall& call);
Status Run(const CumSum& op, const RunCall& call);

}  // namespace edgefleet::runtime
