// The functions of one value: what UnaryKind means.
#pragma once

#include "base/status.h"
#include "device_client/runtime/operators.h"

namespace edgefleet::runtime {

// Whether Apply() defines the kind: all but those of bools, bit patterns and to bool.
bool IsReal(UnaryKind kind);

// The function's value in double precision; NaN outside its domain and for NaN, also in kRelu, kClip and kSign. IsReal(kind).
double Apply(const Activation& function, double x);

// That a node's fused activation has a kind that IsReal(), of those that int8 results can have if `int8`. INVALID_ARGUMENT
// [GRAPH_NODE].
Status CheckActivation(const Activation& activation, bool int8);

}  // namespace edgefleet::runtime
