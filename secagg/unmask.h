// The last step of the server: from revealed shares to the masks that are left in the sum, and out of it.
#pragma once

#include <vector>

#include "base/status.h"
#include "secagg/mask/mask.h"
#include "secagg/server_states.h"

namespace edgefleet::secagg {

// What to apply to the sum: each survivor's self mask, subtracted, and for each dropped member and each survivor the mask that
// the survivor had added for it, undone. (Masks between two survivors have cancelled in the sum.) The ledger holds `threshold`
// answers. DATA_LOSS [BAD_MASK_KEY] when a dropped member's recovered key does not have the public key that it advertised.
Result<std::vector<MaskTerm>> RecoverMasks(const Ledger& ledger);

}  // namespace edgefleet::secagg
