// How much privacy a series of Gaussian releases has spent, exactly, without any amplification by sampling.
//
// A release with noise multiplier z (deviation / sensitivity) is mu-Gaussian-DP with mu = 1/z; releases compose to
// mu = sqrt(sum 1/z_i^2) (Dong, Roth and Su 2019, corollary 3.3), so T equal ones are one with z/sqrt(T). Its exact curve is
// (Balle and Wang 2018, theorem 8)
//
//   delta(epsilon) = Phi(mu/2 - epsilon/mu) - exp(epsilon) * Phi(-mu/2 - epsilon/mu).
//
// Epsilon is found by bisection and always rounded outwards: `upper` never understates what was spent.
#pragma once

#include <cstdint>

#include "aggregator/privacy/accounting/bracket.h"
#include "base/status.h"

namespace edgefleet::privacy {

// delta(epsilon); tight to about 1e-15 relative. mu >= 0 (may be infinite), epsilon >= 0.
Bracket GaussianDeltaBracket(double mu, double epsilon);
double GaussianDelta(double mu, double epsilon);  // its upper end

// The least epsilon with delta(epsilon) <= delta. Infinity for mu of 1e6 and more, 0 for mu = 0. `delta` in (0, 1).
Bracket GaussianEpsilonBracket(double mu, double delta);
double GaussianEpsilon(double mu, double delta);  // its upper end

// Value type; not thread-safe.
class GaussianAccountant {
 public:
  // Charges `count` releases of the same multiplier. A multiplier of 0 is a release without noise: epsilon is infinite from
  // then on. INVALID_ARGUMENT [BAD_NOISE] for a negative or NaN multiplier.
  Status Charge(double noise_multiplier, std::uint64_t count = 1);

  // Of everything charged so far. INVALID_ARGUMENT [BAD_DELTA] unless 0 < delta < 1.
  Result<double> Epsilon(double delta) const;

  // What Epsilon would be after `count` more releases; charges nothing. Errors of both.
  Result<double> EpsilonAfter(double noise_multiplier, std::uint64_t count, double delta) const;

 private:
  double inverse_squares_ = 0;  // sum of 1/z^2, rounded up
};

}  // namespace edgefleet::privacy
