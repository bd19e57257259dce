// The Poisson distribution with a rational mean, drawn exactly with integers only, in a time that does not grow with the mean.
//
// The mean is split into its whole part M and the rest f < 1; the sum of independent draws for both is the draw.
//
//   f   A draw n of mean 1, of which each of n coins keeps one with probability f (thinning). Mean 1 is rejection from the
//       geometric distribution 2^-(n+1), kept with probability 1/2 for n = 0 and otherwise the product of 2/m for m = 3 to n.
//
//   M   Rejection from a two-sided geometric distribution, as Devroye's for log-concave distributions (1986, "Non-Uniform
//   Random
//       Variate Generation", chapter X.3), except that every decision is a coin with the exact probability. With p the
//       distribution and j >= 0,
//
//         p(M + j)     = p(M) exp(-sum_{i=1}^{j} r_i),  r_i =  ln(1 + i/M)
//         p(M - 1 - j) = p(M) exp(-sum_{i=1}^{j} l_i),  l_i = -ln(1 - i/M)
//
//       A side comes from a fair bit, j with probability proportional to exp(-h j), h = k/M, where k is the largest integer
//       with k (k + 1) <= M. So r_k <= h <= r_{k+1}, and h <= l_{k+1}. Up to one constant for both sides, the candidate is to
//       be kept with probability exp(-D),
//
//         D = sum_{i=j+1}^{k} (h - r_i)  for j <= k,  sum_{i=k+1}^{j} (r_i - h) or (l_i - h) for j > k,
//             and on the left in addition sum_{i=1}^{min(j,k)} (l_i - r_i),  l_i - r_i = -ln(1 - i^2/M^2).
//
//       No term is negative, and each is a rational number and a power series with positive rational coefficients, in which a
//       coin needs to look at one random power only: with y = i / (M + i) for r_i, y = i / M for l_i, both are -ln(1 - y), and
//
//         -ln(1 - y) = y + y^2/(1-y) E[1/N] = y/(1-y) - y^2/(1-y) E[(N-1)/N],  N = 2 + Geometric(y).
//
//       A uniformly chosen term then is a coin for all of D, and coins with probability p make one with probability exp(-p)
//       (bernoulli.h). Coins from random powers are those of Flajolet, Pelletier and Soria 2011, "On Buffon Machines and
//       Numbers".
//
// Exact but for values more than 63 deviations from M (for M = 2: above 129), less than 2^-590 of the distribution, which are
// drawn again. Time and secrets: as discrete_gaussian.h says; the correlation with the distance from the
// mean is 0.16 to 0.25.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "secagg/noise/bernoulli.h"
#include "secagg/noise/variance.h"

namespace edgefleet::secagg {

inline constexpr std::uint64_t kPoissonMeanMax = std::uint64_t{1} << 29;

// Immutable: threads may share it.
class Poisson {
 public:
  // The mean, which is the variance. The denominator may be twice kVarianceTermMax. INVALID_ARGUMENT [BAD_NOISE] if a term is 0
  // or too large, or the mean larger than kPoissonMeanMax.
  static Result<Poisson> Make(Variance mean);

  // On average 17 words of the stream for whole means from 20 on, at most 28 for lower ones; 4 more for a fraction.
  std::uint32_t Draw(NoiseStream& stream) const;

 private:
  enum class Side { kRight, kLeft };
  Poisson(std::uint32_t whole, std::uint32_t slope, Variance rest) : whole_(whole), slope_(slope), rest_(rest) {}

  std::uint32_t DrawWhole(NoiseStream& stream) const;
  bool KeepInside(std::uint64_t j, NoiseStream& stream) const;
  bool KeepOutside(Side side, std::uint64_t j, NoiseStream& stream) const;
  bool KeepLeft(std::uint64_t terms, NoiseStream& stream) const;

  std::uint32_t whole_;  // M
  std::uint32_t slope_;  // k
  Variance rest_;        // f
};

}  // namespace edgefleet::secagg
