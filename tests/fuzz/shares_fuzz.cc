// Recovers secrets from shares at any slots, of which the input alters some: as many as redundancy allows are found and named,
// and what is recovered is always right. Then packs the input as elements of any width and back.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/random.h"
#include "secagg/packing.h"
#include "secagg/shamir.h"
#include "secagg/share_decoding.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {
namespace {

using secagg::Secret;

constexpr std::uint32_t kHolders = 24;

// Byte 0: the threshold; 1: how many holders answer; 2: from where on; then bytes that are laid over the shares.
void Recover(ByteView input) {
  const std::uint32_t threshold = 1 + std::to_integer<std::uint32_t>(input[0]) % kHolders;
  const std::size_t answering = std::to_integer<std::uint32_t>(input[1]) % (kHolders + 1);
  const std::uint32_t from = std::to_integer<std::uint32_t>(input[2]);
  SeededRandom random(from);
  const Secret secret = Secret::Random(random);
  std::vector<Secret> shares = secagg::SplitSecret(secret, threshold, kHolders, random);
  std::vector<std::uint32_t> slots, bad;
  std::vector<const Secret*> values;
  ByteView altering = input.subspan(3);
  for (std::size_t k = 0; k < answering; ++k) {
    const auto holder = static_cast<std::uint32_t>((from + k) % kHolders);
    const ByteView laid = altering.first(std::min(altering.size(), secagg::kKeySize));
    altering = altering.subspan(laid.size());
    for (std::size_t i = 0; i < laid.size(); ++i) shares[holder].mutable_bytes()[i] ^= laid[i];
    slots.push_back(holder + 1);
    values.push_back(&shares[holder]);
    if (std::ranges::any_of(laid, [](std::byte b) { return b != std::byte{0}; })) bad.push_back(holder + 1);
  }
  std::ranges::sort(bad);
  const auto decoded = secagg::RecoverSecret(slots, values, threshold, [&](const Secret& s) { return s == secret; });
  if (!decoded) {
    const bool beyond = slots.size() < threshold || 2 * bad.size() > slots.size() - threshold;
    if (!beyond || decoded.error().reason() != "SHARES_BEYOND_REPAIR") std::abort();
    return;
  }
  // Beyond the radius errors may cancel in a set of shares that was tried, and who is named is not certain.
  if (!(decoded->secret == secret)) std::abort();
  if (2 * bad.size() + threshold <= slots.size() && decoded->bad_slots != bad) std::abort();
}

void PackAndUnpack(ByteView input) {
  const std::uint32_t bits = 1 + std::to_integer<std::uint32_t>(input[0]) % 32;
  const std::size_t count = (input.size() - 1) * 8 / bits;
  const ByteView stream = input.subspan(1, secagg::PackedSize(count, bits));
  std::vector<std::uint32_t> elements(count), sum(count);
  secagg::Unpack(stream, bits, elements);
  secagg::UnpackAdd(stream, bits, sum);
  Bytes again(stream.size());
  secagg::Pack(elements, bits, again);
  if (elements != sum || !secagg::HasCleanTail(again, count, bits)) std::abort();
  if (std::ranges::equal(again, stream) != secagg::HasCleanTail(stream, count, bits)) std::abort();
  secagg::TruncateWords(sum, bits);
  if (elements != sum) std::abort();
}

}  // namespace

// Twelve of all shares are needed; none is altered.
const Bytes& Seed() {
  static const Bytes seed = [] {
    Bytes bytes(3 + kHolders * secagg::kKeySize);
    bytes[0] = std::byte{11};
    bytes[1] = std::byte{kHolders};
    return bytes;
  }();
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const edgefleet::ByteView input{reinterpret_cast<const std::byte*>(data), size};
  if (size < 3) return 0;
  edgefleet::fuzz::Recover(input);
  edgefleet::fuzz::PackAndUnpack(input);
  return 0;
}
