// The discrete Gaussian N_Z(0, sigma^2), P[x] proportional to exp(-x^2 / (2 sigma^2)) on the integers, drawn exactly with
// integers only: Canonne, Kamath and Steinke 2020, "The Discrete Gaussian for Differential Privacy", algorithms 1 to 3.
//
// Exact. Nothing is rounded. The one departure: |x| stays below 64 (floor(sigma) + 1). The rest of the distribution, less than
// 2^-2800 of it, is drawn again.
//
// Time and secrets. Not constant-time, as no exact rejection sampler is: a draw takes a varying number of words and branches on
// what they say. The number has a correlation of 0.12 to 0.17 with |x|: on average 12 words within one deviation, 23 beyond
// three. Who times single draws learns about single values (Jin, McMurtry, Rubinstein and Ohrimenko 2022, "Are We There Yet?
// Timing and Floating-Point Attacks on Differential Privacy Systems"). So a device adds noise to a whole vector before it sends
// anything of it, and measures nothing in between. The values that noise is added to do not influence the time. Memory is read
// in order.
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

  // 13 to 17 words of the stream on average.
  std::int32_t Draw(NoiseStream& stream) const;

 private:
  DiscreteGaussian(Variance variance, std::uint32_t scale);

  std::uint64_t numerator_;
  std::uint32_t scale_;               // floor(sigma) + 1 <= 2^20 + 1
  std::uint64_t scaled_denominator_;  // denominator * scale
  Wide rejection_denominator_;        // 2 * numerator * denominator * scale^2
};

}  // namespace edgefleet::secagg
