// What operators mean: the one rule for the types and shapes of their outputs, and the scalar, portable, integer-exact kernels
// that define their results. The importer, the validator and sessions infer with it; constant folding and the reference
// delegate run it.
//
// An operator's two functions lie together, in the file of its family:
//   Result<std::vector<TypedShape>> Infer(const Conv2d&, const InferCall&);
//   Status Run(const Conv2d&, const RunCall&);
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

// Types and shapes of a node's outputs, one for each (absent ones too). Every output has at most 2^31 - 1 elements and
// kDimensionsMax dimensions. INVALID_ARGUMENT [GRAPH_NODE | GRAPH_SHAPE | GRAPH_TYPE], UNIMPLEMENTED
// [SHAPE_DEPENDS_ON_DATA]. Attributes and inputs may come from anybody.
Result<std::vector<TypedShape>> InferOutputs(const Operator& op, const InferCall& call);

// Runs a node for which InferOutputs() succeeded with these inputs. Buffers do not overlap. INVALID_ARGUMENT [BAD_INDEX] for an
// index outside, RESOURCE_EXHAUSTED [OUT_OF_MEMORY]. Thread-safe.
Status RunOperator(const Operator& op, const RunCall& call);

}  // namespace edgefleet::runtime
