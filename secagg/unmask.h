// The last step of the server: from revealed shares to the masks that are left in the sum, and out of it.
#pragma once

#include <span>
#include <vector>

#include "base/executor.h"
#include "base/status.h"
#include "secagg/mask.h"
#include "secagg/server_states.h"

namespace edgefleet::secagg {

// What to apply to the sum: each survivor's self mask, subtracted, and for each dropped member and each survivor the mask that
// the survivor had added for it, undone. (Masks between two survivors have cancelled in the sum.) The ledger holds `threshold`
// answers. DATA_LOSS [BAD_MASK_KEY] when a dropped member's recovered key does not have the public key that it advertised.
Result<std::vector<MaskTerm>> RecoverMasks(const Ledger& ledger);

// Applies all masks block by block; blocks are shared between the calling thread and as much of `pool` (may be null) as is
// free.
void ApplyMasks(std::span<const MaskTerm> masks, std::span<std::uint32_t> words, ThreadPool* pool);

}  // namespace edgefleet::secagg
