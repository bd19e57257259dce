// What runs between oneDNN's primitives on row-major memory. Internal to the onednn delegate.
#pragma once

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime::onednn {

// As RunOperator(), in vectors where it is fp32 arithmetic of two operands, however they are broadcast, or a sum or mean over
// the last dimensions. Results are the reference's, but for the order of sums.
Status RunNative(const Operator& op, const RunCall& call);

}  // namespace edgefleet::runtime::onednn
