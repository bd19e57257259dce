// The last step of the server: from revealed shares to the masks that are left in the sum, and out of it.
#pragma once

#include <cstdint>
#include <span>

#include "base/executor.h"
#include "base/status.h"
#include "secagg/server_states.h"

namespace edgefleet::secagg {

// Makes the survivors' masked sum the sum of their plain updates modulo 2^element_bits: subtracts each survivor's self mask,
// and for each dropped sharer and each of its surviving neighbours undoes the mask that the survivor had added for it. (Masks
// between two survivors have cancelled.) Recovered secrets are checked against what their owner advertised or committed to;
// wrong shares are left out, and named in ledger.blames with every complaint. Key agreements and masks are spread over `pool`
// (may be null). DATA_LOSS [SHARES_BEYOND_REPAIR] when the shares of some owner do not give its secret; the sum is then
// untouched.
Status RemoveMasks(Ledger& ledger, std::span<std::uint32_t> sum, ThreadPool* pool);

}  // namespace edgefleet::secagg
