// Skellam noise: the difference of two independent Poisson draws of the same mean, symmetric, with a variance of twice the
// mean. Sums of such noise are such noise with the sum of the variances, so shares add up exactly (Skellam 1946; Agarwal,
// Kairouz and Liu 2021, "The Skellam Mechanism for Differentially Private Federated Learning", whose Sk(0, mu) has the variance
// mu). How it is drawn, how exactly, and what its time tells: poisson.h.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "secagg/noise/poisson.h"
#include "secagg/noise/variance.h"

namespace edgefleet::secagg {

inline constexpr std::uint64_t kSkellamVarianceMax = 2 * kPoissonMeanMax;

// Immutable: threads may share it.
class Skellam {
 public:
  // Errors of CheckVariance with kSkellamVarianceMax.
  static Result<Skellam> Make(Variance variance) {
    EF_RETURN_IF_ERROR(CheckVariance(variance, kSkellamVarianceMax));
    EF_ASSIGN_OR_RETURN(const Poisson half, Poisson::Make({variance.numerator, 2 * variance.denominator}));
    return Skellam(half);
  }

  std::int32_t Draw(NoiseStream& stream) const {
    const auto added = static_cast<std::int32_t>(half_.Draw(stream));
    return added - static_cast<std::int32_t>(half_.Draw(stream));
  }

 private:
  explicit Skellam(const Poisson& half) : half_(half) {}
  Poisson half_;
};

}  // namespace edgefleet::secagg
