// Operators that compute each element of their output from one element of each input: Unary, Binary and Where with
// broadcasting, Cast.
//
// Reals (floating-point types and quantized 8-bit ones) are computed in double precision and rounded once. Integers wrap modulo
// their type's range; a division by 0 gives 0, as does its remainder, and the smallest integer divided by -1 wraps. A bool is 0
// or 1; what else its byte holds counts as 1. NaN is passed on by kMin and kMax.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

// kIdentity of any type; kRelu, kClip, kAbs, kNeg and kSign of reals and integers; kNot of bool; kBitwiseNot of integers; the
// others of reals.
Result<std::vector<TypedShape>> Infer(const Unary& op, const InferCall& call);
Status Run(const Unary& op, const RunCall& call);

// Arithmetic and order of reals and integers, kEqual of bool too; logic of bool; bitwise logic of integers. An integer's
// negative power is the truncated real one, and 0 of 0.
Result<std::vector<TypedShape>> Infer(const Binary& op, const InferCall& call);
Status Run(const Binary& op, const RunCall& call);

// Moves elements of any type.
Result<std::vector<TypedShape>> Infer(const Where& op, const InferCall& call);
Status Run(const Where& op, const RunCall& call);

// Between all types but kInt4. To integers from reals: truncated, saturated, NaN to 0; from integers: the low bits. To bool:
// whether it is not 0.
Result<std::vector<TypedShape>> Infer(const Cast& op, const InferCall& call);
Status Run(const Cast& op, const RunCall& call);

}  // namespace edgefleet::runtime
