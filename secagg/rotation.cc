#include "secagg/rotation.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "secagg/clones.h"

namespace edgefleet::secagg {
namespace {

constexpr std::size_t kCacheFloats = 4096;  // half of a first-level cache
constexpr std::size_t kSignWords = 512;

// Two levels at once: sums and differences at distances `stride` and 2 * `stride`.
EDGEFLEET_VECTOR_CLONES("default", "avx2", "avx512f") void TwoLevels(float* values, std::size_t size, std::size_t stride) {
  for (std::size_t begin = 0; begin < size; begin += 4 * stride) {
    float* __restrict first = values + begin;
    float* __restrict second = first + stride;
    float* __restrict third = second + stride;
    float* __restrict fourth = third + stride;
    for (std::size_t i = 0; i < stride; ++i) {
      const float a = first[i] + second[i];
      const float b = first[i] - second[i];
      const float c = third[i] + fourth[i];
      const float d = third[i] - fourth[i];
      first[i] = a + c;
      second[i] = b + d;
      third[i] = a - c;
      fourth[i] = b - d;
    }
  }
}

EDGEFLEET_VECTOR_CLONES("default", "avx2", "avx512f") void OneLevel(float* values, std::size_t size) {
  float* __restrict first = values;
  float* __restrict second = values + size / 2;
  for (std::size_t i = 0; i < size / 2; ++i) {
    const float a = first[i] + second[i];
    second[i] = first[i] - second[i];
    first[i] = a;
  }
}

// values_i *= +-scale; bit i of `signs` set: minus.
EDGEFLEET_VECTOR_CLONES("default", "avx2", "avx512f")
void Scale(float* __restrict values, std::size_t size, const std::uint32_t* __restrict signs, float scale) {
  for (std::size_t i = 0; i < size; ++i) {
    const std::uint32_t sign = (signs[i / 32] >> (i % 32)) << 31;
    values[i] *= std::bit_cast<float>(std::bit_cast<std::uint32_t>(scale) ^ sign);
  }
}

// Random signs, and the factor that makes the transform orthonormal.
void Sign(std::span<float> block, const Seed& seed, std::string_view purpose) {
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(block.size())));
  SeedStream stream(seed, purpose);
  std::array<std::uint32_t, kSignWords> signs;
  while (!block.empty()) {
    const std::size_t size = std::min(block.size(), 32 * kSignWords);
    stream.Fill(signs);
    Scale(block.data(), size, signs.data(), scale);
    block = block.subspan(size);
  }
}

constexpr std::string_view kFirst = "rotate-1";
constexpr std::string_view kLast = "rotate-2";

}  // namespace

std::uint64_t RotationBlock(std::uint64_t size) { return std::bit_floor(size); }

void WalshHadamard(std::span<float> values) {
  std::size_t size = values.size();
  if (size > kCacheFloats) {
    // The widest distances first; what is left are four transforms that fit the next smaller cache.
    TwoLevels(values.data(), size, size / 4);
    for (std::size_t part = 0; part < 4; ++part) WalshHadamard(values.subspan(part * (size / 4), size / 4));
    return;
  }
  std::size_t stride = 1;
  for (; 4 * stride <= size; stride *= 4) TwoLevels(values.data(), size, stride);
  if (2 * stride == size) OneLevel(values.data(), size);
}

void Rotate(std::span<float> values, const Seed& seed) {
  const std::uint64_t size = RotationBlock(values.size());
  Sign(values.first(size), seed, kFirst);
  WalshHadamard(values.first(size));
  if (size == values.size()) return;
  Sign(values.last(size), seed, kLast);
  WalshHadamard(values.last(size));
}

void RotateBack(std::span<float> values, const Seed& seed) {
  const std::uint64_t size = RotationBlock(values.size());
  if (size < values.size()) {
    WalshHadamard(values.last(size));
    Sign(values.last(size), seed, kLast);
  }
  WalshHadamard(values.first(size));
  Sign(values.first(size), seed, kFirst);
}

}  // namespace edgefleet::secagg
