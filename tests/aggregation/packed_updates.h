// Updates packed bit by bit, as the plainest reading of the format does it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"

namespace edgefleet::aggregation::testing {

using Words = std::vector<std::uint32_t>;

inline std::uint32_t ElementMask(std::uint32_t bits) { return bits == 32 ? ~0U : (1U << bits) - 1; }

inline Words RandomWords(std::size_t size, std::uint32_t bits, std::uint64_t seed) {
  Words words(size);
  SeededRandom(seed).Fill(std::as_writable_bytes(std::span(words)));
  for (std::uint32_t& word : words) word &= ElementMask(bits);
  return words;
}

inline Bytes Pack(const Words& words, std::uint32_t bits) {
  Bytes packed((words.size() * bits + 7) / 8);
  for (std::size_t i = 0; i < words.size() * bits; ++i) {
    if ((words[i / bits] >> (i % bits) & 1) != 0) packed[i / 8] |= static_cast<std::byte>(1 << (i % 8));
  }
  return packed;
}

}  // namespace edgefleet::aggregation::testing
