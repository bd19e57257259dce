// Addition and subtraction modulo 2^32 of whole vectors: the only loops that run over every word of every update. Their source
// is compiled with -O3 and, where the compiler can, for several vector widths, chosen at load time.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace edgefleet::secagg {

// Words travel and rest little-endian, and are used in place.
static_assert(std::endian::native == std::endian::little);

// `words` has the size of `into` and does not overlap it.
void AddWords(std::span<std::uint32_t> into, std::span<const std::uint32_t> words);
void SubtractWords(std::span<std::uint32_t> from, std::span<const std::uint32_t> words);

}  // namespace edgefleet::secagg
