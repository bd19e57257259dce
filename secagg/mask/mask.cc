#include "secagg/mask/mask.h"

#include <algorithm>
#include <cstdlib>

#include "secagg/mask/engine.h"
#include "secagg/parallel.h"

namespace edgefleet::secagg {
namespace {

constexpr std::uint64_t kWordsPerCipherBlock = 4;

std::unique_ptr<const MaskEngine> MakeEngine(std::span<const MaskTerm> terms, MaskCipher cipher, MaskPath path) {
  if (!IsSupported(path)) std::abort();
#ifdef EDGEFLEET_MASK_X86
  if (path != MaskPath::kPortable) return MakeX86Engine(terms, cipher, path);
#endif
  return MakePortableEngine(terms, cipher);
}

}  // namespace

bool IsSupported(MaskPath path) {
#ifdef EDGEFLEET_MASK_X86
  if (path != MaskPath::kPortable) return HasX86Path(path);
#endif
  return path == MaskPath::kPortable;
}

MaskPath BestMaskPath() {
  for (const MaskPath path : {MaskPath::kVaes512, MaskPath::kAesNi}) {
    if (IsSupported(path)) return path;
  }
  return MaskPath::kPortable;
}

MaskSet::MaskSet(std::span<const MaskTerm> terms, MaskCipher cipher, MaskPath path)
    : engine_(MakeEngine(terms, cipher, path)) {}
MaskSet::~MaskSet() = default;
MaskSet::MaskSet(MaskSet&&) noexcept = default;
MaskSet& MaskSet::operator=(MaskSet&&) noexcept = default;

void MaskSet::Apply(std::uint64_t offset, std::span<std::uint32_t> words) const {
  if (offset % kWordsPerCipherBlock != 0 || offset > kMaskWordsMax || words.size() > kMaskWordsMax - offset) std::abort();
  for (std::size_t begin = 0; begin < words.size(); begin += kMaskBlockWords) {
    engine_->Apply((offset + begin) / kWordsPerCipherBlock,
                   words.subspan(begin, std::min(kMaskBlockWords, words.size() - begin)));
  }
}

void MaskSet::Apply(std::span<std::uint32_t> words, ThreadPool* pool) const {
  ParallelFor(pool, (words.size() + kMaskBlockWords - 1) / kMaskBlockWords, [&](std::size_t part) {
    const std::size_t begin = part * kMaskBlockWords;
    Apply(begin, words.subspan(begin, std::min(kMaskBlockWords, words.size() - begin)));
  });
}

}  // namespace edgefleet::secagg
