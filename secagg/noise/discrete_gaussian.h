// The discrete Gaussian N_Z(0, sigma^2), P[x] proportional to exp(-x^2 / (2 sigma^2)) on the integers, drawn exactly with
// integers only: Canonne, Kamath and Steinke 2020, "The Discrete Gaussian for Differential Privacy", algorithms 1 to 3.
//
// Exact. Nothing is rounded. The one departure: |x| stays below 64 (floor(sigma) + 1). The rest of the distribution, less than
// 2^-2800 of it, is drawn again.
//
// Time and secrets. How long a draw takes depends on the draw: on how often it starts anew, and for a kept candidate on the
// whole multiples of sigma in it. Who times single draws to some nanoseconds learns about single values (Jin, McMurtry,
// Rubinstein and Ohrimenko 2022, "Are We There Yet? Timing and Floating-Point Attacks on Differential Privacy Systems"); who
// times a whole vector learns its sum of such numbers, a small part of which depends on the values that were kept. A device
// therefore adds all noise before it sends anything, and takes no time stamps in between. Which memory is touched depends on
// the number of words drawn alone.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "secagg/noise/bernoulli.h"
#include "secagg/noise/variance.h"

namespace edgefleet::secagg {

inline constexpr std::uint64_t kDiscreteGaussianVarianceMax = std::uint64_t{1} << 40;

// Immutable: threads may share it.
class DiscreteGaussian {
 public:
  // sigma^2. Errors of CheckVariance with kDiscreteGaussianVarianceMax.
  static Result<DiscreteGaussian> Make(Variance variance);

  // About 15 words of the stream on average.
  std::int32_t Draw(NoiseStream& stream) const;

 private:
  DiscreteGaussian(Variance variance, std::uint32_t scale);

  std::uint64_t numerator_;
  std::uint32_t scale_;               // floor(sigma) + 1 <= 2^20 + 1
  std::uint64_t scaled_denominator_;  // denominator * scale
  Wide rejection_denominator_;        // 2 * numerator * denominator * scale^2
};

}  // namespace edgefleet::secagg
