#include "secagg/sparsity.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace edgefleet::secagg {
namespace {

// Uniform in [0, bound): the high half of a product, redrawn where the low half would favour some values.
class Uniform {
 public:
  explicit Uniform(const Seed& seed) : stream_(seed, "sparsity") {}

  std::uint32_t Below(std::uint32_t bound) {
    std::uint64_t product = std::uint64_t{Next()} * bound;
    if (static_cast<std::uint32_t>(product) < bound) {
      const std::uint32_t rejected = (0U - bound) % bound;
      while (static_cast<std::uint32_t>(product) < rejected) product = std::uint64_t{Next()} * bound;
    }
    return static_cast<std::uint32_t>(product >> 32);
  }

 private:
  std::uint32_t Next() {
    if (next_ == words_.size()) {
      stream_.Fill(words_);
      next_ = 0;
    }
    return words_[next_++];
  }

  SeedStream stream_;
  std::array<std::uint32_t, 4096> words_{};
  std::size_t next_ = 4096;
};

}  // namespace

std::uint64_t KeptCount(double keep_fraction, std::uint64_t parameters) {
  const double wanted = std::ceil(keep_fraction * static_cast<double>(parameters));
  return std::clamp<std::uint64_t>(static_cast<std::uint64_t>(wanted), 1, parameters);
}

std::vector<std::uint32_t> KeptPositions(const Seed& seed, std::uint64_t parameters, std::uint64_t count) {
  std::vector<std::uint32_t> positions(count);
  Uniform uniform(seed);
  std::uint64_t chosen = 0;
  for (std::uint64_t position = 0; chosen < count; ++position) {
    positions[chosen] = static_cast<std::uint32_t>(position);
    chosen += uniform.Below(static_cast<std::uint32_t>(parameters - position)) < count - chosen ? 1 : 0;
  }
  return positions;
}

}  // namespace edgefleet::secagg
