// What is behind MaskSet: one engine for each way to compute masks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "secagg/mask/mask.h"

namespace edgefleet::secagg {

// Key schedules of some terms. Thread-safe.
class MaskEngine {
 public:
  virtual ~MaskEngine() = default;
  // Applies every term to `words`, at most kMaskBlockWords, whose first is the first word of cipher block `block`.
  virtual void Apply(std::uint64_t block, std::span<std::uint32_t> words) const = 0;
};

inline constexpr std::size_t kMaskBlockWords = 16 * 1024;

std::unique_ptr<const MaskEngine> MakePortableEngine(std::span<const MaskTerm> terms, MaskCipher cipher);

// Defined where EDGEFLEET_MASK_X86 is. The path is kAesNi or kVaes512.
bool HasX86Path(MaskPath path);
std::unique_ptr<const MaskEngine> MakeX86Engine(std::span<const MaskTerm> terms, MaskCipher cipher, MaskPath path);

}  // namespace edgefleet::secagg
