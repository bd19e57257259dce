#include "secagg/graph.h"

#include <sodium.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <numeric>

namespace edgefleet::secagg {
namespace {

static_assert(crypto_stream_chacha20_ietf_KEYBYTES == kGraphSeedSize);

// Unbiased draws from the keystream of a seed.
class Draws {
 public:
  explicit Draws(std::span<const std::byte, kGraphSeedSize> seed) {
    std::ranges::transform(seed, key_.begin(), [](std::byte b) { return static_cast<unsigned char>(b); });
  }

  // Uniform in [0, bound): words in the incomplete last stretch of multiples of `bound` are passed over.
  std::uint32_t Below(std::uint32_t bound) {
    const std::uint32_t rejected = -bound % bound;  // 2^32 mod bound
    std::uint32_t word = Next();
    while (word < rejected) word = Next();
    return word % bound;
  }

 private:
  static constexpr std::size_t kChunk = 1024;  // bytes, whole 64-byte blocks

  std::uint32_t Next() {
    if (used_ == kChunk) Refill();
    const unsigned char* bytes = &chunk_[used_];
    used_ += 4;
    return std::uint32_t{bytes[0]} | std::uint32_t{bytes[1]} << 8 | std::uint32_t{bytes[2]} << 16 |
           std::uint32_t{bytes[3]} << 24;
  }

  void Refill() {
    static constexpr std::array<unsigned char, crypto_stream_chacha20_ietf_NONCEBYTES> kNonce{};
    chunk_.fill(0);
    crypto_stream_chacha20_ietf_xor_ic(chunk_.data(), chunk_.data(), kChunk, kNonce.data(), block_, key_.data());
    block_ += kChunk / 64;
    used_ = 0;
  }

  std::array<unsigned char, kGraphSeedSize> key_;
  std::array<unsigned char, kChunk> chunk_;
  std::size_t used_ = kChunk;
  std::uint32_t block_ = 0;
};

}  // namespace

bool ValidDegree(std::uint32_t members, std::uint32_t degree) {
  if (members < 2 || degree < 1) return false;
  return degree == members - 1 || (degree % 2 == 0 && degree < members - 1);
}

Graph::Graph(std::span<const std::byte, kGraphSeedSize> seed, std::uint32_t members, std::uint32_t degree)
    : degree_(degree), ring_(members), place_(members) {
  assert(ValidDegree(members, degree) && members <= kGraphMembersMax);
  std::iota(ring_.begin(), ring_.end(), 1u);
  Draws draws(seed);
  for (std::uint32_t left = members; left > 1; --left) std::swap(ring_[left - 1], ring_[draws.Below(left)]);
  for (std::uint32_t place = 0; place < members; ++place) place_[ring_[place] - 1] = place;
}

std::vector<std::uint32_t> Graph::Around(std::uint32_t member) const {
  std::vector<std::uint32_t> found;
  if (!IsMember(member)) return found;
  found.reserve(degree_);
  // From k/2 places before to k/2 places after; the complete graph, whose degree may be odd, ends up all around.
  const std::uint32_t n = members();
  const std::uint32_t start = place_[member - 1] + n - degree_ / 2;
  for (std::uint32_t step = 0; step <= degree_; ++step) {
    const std::uint32_t other = ring_[(start + step) % n];
    if (other != member) found.push_back(other);
  }
  return found;
}

std::vector<std::uint32_t> Graph::Neighbours(std::uint32_t member) const {
  std::vector<std::uint32_t> neighbours = Around(member);
  std::ranges::sort(neighbours);
  return neighbours;
}

bool Graph::AreNeighbours(std::uint32_t one, std::uint32_t other) const {
  if (!IsMember(one) || !IsMember(other) || one == other) return false;
  const std::uint32_t a = place_[one - 1], b = place_[other - 1];
  const std::uint32_t apart = a > b ? a - b : b - a;
  return std::min(apart, members() - apart) <= (degree_ + 1) / 2;
}

std::uint32_t Graph::Slot(std::uint32_t owner, std::uint32_t holder) const {
  if (!AreNeighbours(owner, holder)) return 0;
  const std::vector<std::uint32_t> around = Around(owner);
  return 1 + static_cast<std::uint32_t>(std::ranges::count_if(around, [&](std::uint32_t other) { return other < holder; }));
}

}  // namespace edgefleet::secagg
