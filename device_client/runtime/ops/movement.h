// Operators that move elements of any type but kInt4, unchanged: the output has the input's type and stands for the same
// numbers. Where they add a 0 (Trilu, Pad without a value), a quantized tensor gets its zero point.
//
// Several inputs of one operator must have one type.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

Result<std::vector<TypedShape>> Infer(const Reshape& op, const InferCall& call);
Status Run(const Reshape& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Flatten& op, const InferCall& call);
Status Run(const Flatten& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Squeeze& op, const InferCall& call);
Status Run(const Squeeze& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Unsqueeze& op, const InferCall& call);
Status Run(const Unsqueeze& op, const RunCall& call);

// No permutation: dimensions in reverse.
Result<std::vector<TypedShape>> Infer(const Transpose& op, const InferCall& call);
Status Run(const Transpose& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Concat& op, const InferCall& call);
Status Run(const Concat& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Split& op, const InferCall& call);
Status Run(const Split& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Slice& op, const InferCall& call);
Status Run(const Slice& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Expand& op, const InferCall& call);
Status Run(const Expand& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Tile& op, const InferCall& call);
Status Run(const Tile& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const DepthToSpace& op, const InferCall& call);
Status Run(const DepthToSpace& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const SpaceToDepth& op, const InferCall& call);
Status Run(const SpaceToDepth& op, const RunCall& call);

// Negative pads take elements away, before others repeat what is left: as often as need be. The value of a quantized tensor may
// be a float: the real number.
Result<std::vector<TypedShape>> Infer(const Pad& op, const InferCall& call);
Status Run(const Pad& op, const RunCall& call);
Result<std::vector<TypedShape>> Infer(const Trilu& op, const InferCall& call);
Status Run(const Trilu& op, const RunCall& call);
// A length of 0 to the size of the time axis; [BAD_INDEX].
Result<std::vector<TypedShape>> Infer(const ReverseSequence& op, const InferCall& call);
Status Run(const ReverseSequence& op, const RunCall& call);

}  // namespace edgefleet::runtime
