// Masks: AES in counter mode (NIST SP 800-38A, section 6.5) under a key of its own and a zero initial counter block. Word i of
// a mask is bytes 4i to 4i+3 of the key stream, little-endian, and masks are applied to words modulo 2^32. Where elements are b
// < 32 bits wide, the mask of an element is the low b bits of its word: truncation modulo 2^b commutes with adding and
// subtracting.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/executor.h"
#include "secagg/keys.h"
#include "secagg/mask/cipher.h"

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

// Ways to compute the same words: OpenSSL and a separate addition, or key stream and addition fused in one pass with AES-NI, or
// with VAES on 512-bit registers.
enum class MaskPath : std::uint8_t { kPortable, kAesNi, kVaes512 };

// Whether this build and the processor have it. kPortable always is; the others only on x86-64.
bool IsSupported(MaskPath path);

// The fastest supported path, decided once.
MaskPath BestMaskPath();

// Positions reach to 2^42 words: 2^40 cipher blocks.
inline constexpr std::uint64_t kMaskWordsMax = std::uint64_t{1} << 42;

class MaskEngine;

// Masks to be applied together: their expanded key schedules, wiped when destroyed. Any path and any number of threads give the
// same words. Apply may be called by many threads at once. An unsupported path, a position that is not a multiple of 4 or
// beyond kMaskWordsMax, and a cipher that cannot start (no memory) abort: going on would upload an update without its masks.
class MaskSet {
 public:
  // Keeps nothing of `terms`.
  MaskSet(std::span<const MaskTerm> terms, MaskCipher cipher, MaskPath path = BestMaskPath());
  ~MaskSet();
  MaskSet(MaskSet&&) noexcept;
  MaskSet& operator=(MaskSet&&) noexcept;

  // Applies all masks to the words that lie at `offset` (a multiple of 4) of the vector, on the calling thread: a block that
  // fits the cache takes every mask before the next block does.
  void Apply(std::uint64_t offset, std::span<std::uint32_t> words) const;

  // The same from offset 0, shared between the calling thread and as much of `pool` (may be null) as is free.
  void Apply(std::span<std::uint32_t> words, ThreadPool* pool) const;

 private:
  std::unique_ptr<const MaskEngine> engine_;
};

}  // namespace edgefleet::secagg
