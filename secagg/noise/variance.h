// How strong integer noise is, and adding it.
#pragma once

#include <cstdint>
#include <span>

#include "base/status.h"
#include "secagg/noise/stream.h"

namespace edgefleet::secagg {

// numerator / denominator > 0. Need not be in lowest terms.
struct Variance {
  std::uint64_t numerator = 0;
  std::uint64_t denominator = 1;
};

// Numerators and denominators go up to this; products of all that samplers multiply then fit into 128 bits.
inline constexpr std::uint64_t kVarianceTermMax = std::uint64_t{1} << 46;

// The least fraction with a denominator of a power of two, and a numerator of up to 2^46, that is at least `variance`: above it
// by a part of less than 2^-45, or for variances below 1/2 by less than 2^-46. So a protection that was computed for `variance`
// holds. INVALID_ARGUMENT [BAD_NOISE] unless it is in (0, 2^40].
Result<Variance> VarianceAtLeast(double variance);

// INVALID_ARGUMENT [BAD_NOISE] if a term is 0 or larger than kVarianceTermMax, or the variance is larger than `variance_max`.
Status CheckVariance(Variance variance, std::uint64_t variance_max);

// Adds a draw to each word, modulo 2^32 (and so modulo every smaller power of two). Samplers are immutable: threads share one,
// each with a stream of its own.
template <typename Sampler>
void AddNoise(const Sampler& sampler, std::span<std::uint32_t> words, NoiseStream& stream) {
  for (std::uint32_t& word : words) word += static_cast<std::uint32_t>(sampler.Draw(stream));
}
// Values must be further than 2^31 from the ends of 64 bits.
template <typename Sampler>
void AddNoise(const Sampler& sampler, std::span<std::int64_t> values, NoiseStream& stream) {
  for (std::int64_t& value : values) value += sampler.Draw(stream);
}

}  // namespace edgefleet::secagg
