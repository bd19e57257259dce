// Randomness as a dependency. Production passes crypto::SecureRandom (base/crypto); tests and simulations pass a seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace edgefleet {

// Thread-compatible: one owner at a time, unless the implementation says otherwise.
class RandomSource {
 public:
  using result_type = std::uint64_t;
  virtual ~RandomSource() = default;
  virtual void Fill(std::span<std::byte> out) = 0;

  // Makes a RandomSource usable with <random> and std::shuffle.
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return ~result_type{0}; }
  result_type operator()() {
    result_type value = 0;
    Fill(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  // Uniform in [0, bound), without bias; bound > 0.
  std::uint64_t Below(std::uint64_t bound) {
    const std::uint64_t rejected = (max() - bound + 1) % bound;
    std::uint64_t value = (*this)();
    while (value < rejected) value = (*this)();
    return value % bound;
  }
  // Uniform in [0, 1).
  double Unit() { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }
};

// SplitMix64 (Steele, Lea, Flood 2014): reproducible on every platform, not for secrets.
class SeededRandom final : public RandomSource {
 public:
  explicit SeededRandom(std::uint64_t seed) : state_(seed) {}
  void Fill(std::span<std::byte> out) override {
    while (!out.empty()) {
      std::uint64_t z = (state_ += 0x9E3779B97F4A7C15ULL);
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
      z ^= z >> 31;
      const std::size_t size = out.size() < sizeof z ? out.size() : sizeof z;
      std::memcpy(out.data(), &z, size);
      out = out.subspan(size);
    }
  }

 private:
  std::uint64_t state_;
};

}  // namespace edgefleet
