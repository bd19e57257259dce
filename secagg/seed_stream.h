// Pseudo-random words that every platform derives alike from a seed: the key stream of ChaCha20 (Bernstein 2008) under the
// seed, with the purpose as the 64-bit nonce, read as little-endian words.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace edgefleet::secagg {

using Seed = std::array<std::byte, 32>;

// One owner at a time.
class SeedStream {
 public:
  // `purpose`: exactly 8 characters; different purposes give independent streams.
  SeedStream(const Seed& seed, std::string_view purpose);

  // The stream's next words. Each call begins a new block of 16 words, so only calls with multiples of 16 words continue each
  // other without a gap.
  void Fill(std::span<std::uint32_t> words);

 private:
  Seed seed_;
  std::array<unsigned char, 8> nonce_{};
  std::uint64_t block_ = 0;
};

}  // namespace edgefleet::secagg
