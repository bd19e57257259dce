// Masks: AES-256-CTR (NIST SP 800-38A) under a key of its own and a zero counter; word i is bytes 4i to 4i+3 of the key stream.
#pragma once

#include <cstdint>
#include <span>

#include "secagg/keys.h"

namespace edgefleet::secagg {

enum class MaskSign { kAdd, kSubtract };

// What member `one` does with the mask it shares with `other`: the higher index adds, the lower subtracts, so they cancel.
inline MaskSign PairwiseSign(std::uint32_t one, std::uint32_t other) {
  return one > other ? MaskSign::kAdd : MaskSign::kSubtract;
}
inline MaskSign Opposite(MaskSign sign) { return sign == MaskSign::kAdd ? MaskSign::kSubtract : MaskSign::kAdd; }

struct MaskTerm {
  Secret key;
  MaskSign sign = MaskSign::kAdd;
};

// Applies the mask's words from `offset` (a multiple of 4) on to `words`, modulo 2^32. Constant extra memory.
void ApplyMask(const MaskTerm& term, std::uint64_t offset, std::span<std::uint32_t> words);

}  // namespace edgefleet::secagg
