// Elements of 1 to 32 bits as a little-endian bit stream without gaps: element i is bits [i * bits, (i + 1) * bits), where bit
// k of the stream is bit k % 8 of byte k / 8. Eight elements are exactly `bits` bytes, so a stream may be written and read in
// pieces of a multiple of 8 elements, each of which begins on a byte; only the last piece may have another length. The bits of
// the last byte that no element uses are zero.
//
// Below, `bits` is 1 to 32 and a packed span has PackedSize(number of elements, bits) bytes; anything else aborts. Elements
// occupy the low bits of a 32-bit word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"

namespace edgefleet::secagg {

// How many bits an element takes when the sum of `participants` inputs from [0, values - 1] must not wrap: exactly
// ceil(log2(participants * (values - 1) + 1)) (Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving
// Machine Learning", section 7). INVALID_ARGUMENT [BAD_ELEMENT_WIDTH] for no participant, fewer than two values, or more than
// 32 bits.
Result<std::uint32_t> ElementBits(std::uint64_t participants, std::uint64_t values);

// In bytes: ceil(count * bits / 8).
constexpr std::size_t PackedSize(std::size_t count, std::uint32_t bits) {
  return count / 8 * bits + (count % 8 * bits + 7) / 8;
}

// Packs the low `bits` bits of each element.
void Pack(std::span<const std::uint32_t> elements, std::uint32_t bits, std::span<std::byte> packed);

void Unpack(std::span<const std::byte> packed, std::uint32_t bits, std::span<std::uint32_t> elements);

// Adds each element to a word of `sum` modulo 2^32. Sums of truncated elements are right modulo 2^bits: TruncateWords at the
// end.
void UnpackAdd(std::span<const std::byte> packed, std::uint32_t bits, std::span<std::uint32_t> sum);

// Reduces every word modulo 2^bits.
void TruncateWords(std::span<std::uint32_t> words, std::uint32_t bits);

// Whether the bits of the last byte that no element uses are zero. For receivers: so each vector has one encoding.
bool HasCleanTail(std::span<const std::byte> packed, std::size_t count, std::uint32_t bits);

}  // namespace edgefleet::secagg
