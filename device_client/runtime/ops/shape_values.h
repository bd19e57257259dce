// Operators that make tensors out of shapes and counts. What sizes the output must be known when types are inferred, else they
// are UNIMPLEMENTED [SHAPE_DEPENDS_ON_DATA].
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

// Of a tensor of any type. Negative bounds count from the last dimension.
Result<std::vector<TypedShape>> Infer(const ShapeOf& op, const InferCall& call);
Status Run(const ShapeOf& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const SizeOfTensor& op, const InferCall& call);
Status Run(const SizeOfTensor& op, const RunCall& call);

// Of fp32, int32 or int64: start + i * delta, rounded once.
Result<std::vector<TypedShape>> Infer(const Range& op, const InferCall& call);
Status Run(const Range& op, const RunCall& call);

// Elements of any type but kInt4.
Result<std::vector<TypedShape>> Infer(const Fill& op, const InferCall& call);
Status Run(const Fill& op, const RunCall& call);

// Indices and depth are numbers of any type but quantized ones, truncated to integers; values of any type but kInt4. An index
// outside
// [-depth, depth) selects nothing.
Result<std::vector<TypedShape>> Infer(const OneHot& op, const InferCall& call);
Status Run(const OneHot& op, const RunCall& call);

// Coordinates [rank, count] (of a scalar [1, count]), int64, in row-major order, of elements that do not stand for 0. Of reals,
// integers and bool.
Result<std::vector<TypedShape>> Infer(const NonZero& op, const InferCall& call);
Status Run(const NonZero& op, const RunCall& call);

}  // namespace edgefleet::runtime
