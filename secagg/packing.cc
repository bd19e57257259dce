#include "secagg/packing.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace edgefleet::secagg {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::uint32_t kBitsMax = 32;
constexpr std::size_t kGroup = 8;           // elements that are `bits` bytes
constexpr std::size_t kGroupBytesMax = 64;  // of memory that a group's loads and stores may touch, and more

constexpr std::uint64_t Mask(std::uint32_t bits) { return (std::uint64_t{1} << bits) - 1; }

// Loads and stores are 64 bits wide and so reach past a group's `bits` bytes: this far from its first.
constexpr std::size_t ReadReach(std::uint32_t bits) { return (kGroup - 1) * bits / 8 + sizeof(std::uint64_t); }
constexpr std::size_t WriteReach(std::uint32_t bits) { return (bits + 7) / 8 * sizeof(std::uint64_t); }

// With the width and the place in the group known to the compiler, an element is a load, a shift and a mask.
template <std::uint32_t kBits, bool kAdd>
inline void UnpackGroup(const std::byte* packed, std::uint32_t* elements) {
  for (std::size_t i = 0; i < kGroup; ++i) {
    std::uint64_t window;
    std::memcpy(&window, packed + i * kBits / 8, sizeof window);
    const auto element = static_cast<std::uint32_t>((window >> (i * kBits % 8)) & Mask(kBits));
    elements[i] = kAdd ? elements[i] + element : element;
  }
}

template <std::uint32_t kBits>
inline void PackGroup(const std::uint32_t* elements, std::byte* packed) {
  std::array<std::uint64_t, WriteReach(kBits) / sizeof(std::uint64_t)> words{};
  for (std::size_t i = 0; i < kGroup; ++i) {
    const std::uint64_t element = elements[i] & Mask(kBits);
    const std::size_t word = i * kBits / 64, shift = i * kBits % 64;
    words[word] |= element << shift;
    if (shift + kBits > 64) words[word + 1] |= element >> (64 - shift);
  }
  for (std::size_t word = 0; word < words.size(); ++word) {  // a wider copy would wait for the words to reach the cache
    std::memcpy(packed + word * sizeof(std::uint64_t), &words[word], sizeof(std::uint64_t));
  }
}

template <std::uint32_t kBits, bool kAdd>
void UnpackAll(std::span<const std::byte> packed, std::span<std::uint32_t> elements) {
  while (elements.size() >= kGroup && packed.size() >= ReadReach(kBits)) {
    UnpackGroup<kBits, kAdd>(packed.data(), elements.data());
    packed = packed.subspan(kBits);
    elements = elements.subspan(kGroup);
  }
  while (!elements.empty()) {
    std::array<std::byte, kGroupBytesMax> bytes{};
    std::array<std::uint32_t, kGroup> group{};
    const std::size_t count = std::min(kGroup, elements.size()), size = PackedSize(count, kBits);
    std::memcpy(bytes.data(), packed.data(), size);
    std::memcpy(group.data(), elements.data(), count * sizeof(std::uint32_t));
    UnpackGroup<kBits, kAdd>(bytes.data(), group.data());
    std::memcpy(elements.data(), group.data(), count * sizeof(std::uint32_t));
    packed = packed.subspan(size);
    elements = elements.subspan(count);
  }
}

template <std::uint32_t kBits>
void PackAll(std::span<const std::uint32_t> elements, std::span<std::byte> packed) {
  while (elements.size() >= kGroup && packed.size() >= WriteReach(kBits)) {
    PackGroup<kBits>(elements.data(), packed.data());
    elements = elements.subspan(kGroup);
    packed = packed.subspan(kBits);
  }
  while (!elements.empty()) {
    std::array<std::byte, kGroupBytesMax> bytes{};
    std::array<std::uint32_t, kGroup> group{};
    const std::size_t count = std::min(kGroup, elements.size()), size = PackedSize(count, kBits);
    std::memcpy(group.data(), elements.data(), count * sizeof(std::uint32_t));
    PackGroup<kBits>(group.data(), bytes.data());
    std::memcpy(packed.data(), bytes.data(), size);
    elements = elements.subspan(count);
    packed = packed.subspan(size);
  }
}

// One function of each kind for every width, by bits - 1.
template <std::uint32_t... kBitsLessOne>
constexpr auto Packers(std::integer_sequence<std::uint32_t, kBitsLessOne...>) {
  return std::array{&PackAll<kBitsLessOne + 1>...};
}
template <bool kAdd, std::uint32_t... kBitsLessOne>
constexpr auto Unpackers(std::integer_sequence<std::uint32_t, kBitsLessOne...>) {
  return std::array{&UnpackAll<kBitsLessOne + 1, kAdd>...};
}
using Widths = std::make_integer_sequence<std::uint32_t, kBitsMax>;
constexpr auto kPack = Packers(Widths());
constexpr auto kUnpack = Unpackers<false>(Widths());
constexpr auto kUnpackAdd = Unpackers<true>(Widths());

void CheckShape(std::size_t count, std::uint32_t bits, std::size_t packed_size) {
  if (bits < 1 || bits > kBitsMax || packed_size != PackedSize(count, bits)) std::abort();
}

}  // namespace

Result<std::uint32_t> ElementBits(std::uint64_t participants, std::uint64_t values) {
  constexpr std::uint64_t kSumMax = Mask(kBitsMax);
  if (participants < 1 || values < 2 || values - 1 > kSumMax / participants) {
    return InvalidArgument("BAD_ELEMENT_WIDTH", "the sum of " + std::to_string(participants) + " inputs of " +
                                                    std::to_string(values) +
                                                    " values each does not fit an element of 1 to 32 bits; send fewer values "
                                                    "or aggregate fewer participants at once");
  }
  return static_cast<std::uint32_t>(std::bit_width(participants * (values - 1)));
}

void Pack(std::span<const std::uint32_t> elements, std::uint32_t bits, std::span<std::byte> packed) {
  CheckShape(elements.size(), bits, packed.size());
  kPack[bits - 1](elements, packed);
}

void Unpack(std::span<const std::byte> packed, std::uint32_t bits, std::span<std::uint32_t> elements) {
  CheckShape(elements.size(), bits, packed.size());
  kUnpack[bits - 1](packed, elements);
}

void UnpackAdd(std::span<const std::byte> packed, std::uint32_t bits, std::span<std::uint32_t> sum) {
  CheckShape(sum.size(), bits, packed.size());
  kUnpackAdd[bits - 1](packed, sum);
}

void TruncateWords(std::span<std::uint32_t> words, std::uint32_t bits) {
  if (bits < 1 || bits > kBitsMax) std::abort();
  const auto mask = static_cast<std::uint32_t>(Mask(bits));
  for (std::uint32_t& word : words) word &= mask;
}

bool HasCleanTail(std::span<const std::byte> packed, std::size_t count, std::uint32_t bits) {
  CheckShape(count, bits, packed.size());
  const std::size_t used = count % 8 * bits % 8;
  return used == 0 || std::to_integer<unsigned>(packed.back()) >> used == 0;
}

}  // namespace edgefleet::secagg
