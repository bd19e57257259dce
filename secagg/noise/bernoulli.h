// Coins with exact probabilities, made of integers only. Probabilities are given as fractions, as exponentials of fractions, or
// as other coins. Loops end with probability 1; none needs more memory for being longer.
#pragma once

#include <cstdint>

#include "secagg/noise/stream.h"

namespace edgefleet::secagg {

using Wide = unsigned __int128;

// True with probability numerator / denominator, at most 1; 0 < denominator < 2^96. Compares the binary digits of a uniform
// number with those of the fraction, 32 at a time, until they differ.
inline bool Bernoulli(Wide numerator, Wide denominator, NoiseStream& stream) {
  for (;;) {
    const Wide fraction = numerator << 32;
    const Wide drawn = stream.Word() * denominator;
    if (drawn >= fraction) return false;
    if (drawn + denominator <= fraction) return true;
    numerator = fraction - drawn;  // in (0, denominator): the digits were equal
  }
}

// True with probability exp(-p), where coin() is true with probability p, independently each time it is called. For k = 1, 2
// ... a trial succeeds with probability p / k; the number of the first to fail is odd with probability 1 - p + p^2/2! - p^3/3!
// ... (Canonne, Kamath and Steinke 2020, algorithm 1; von Neumann 1951.) At most e calls on average.
template <typename Coin>
bool BernoulliExpMinusCoin(const Coin& coin, NoiseStream& stream) {
  std::uint64_t k = 1;
  while ((k == 1 || Bernoulli(1, k, stream)) && coin()) ++k;
  return k % 2 == 1;
}

// True with probability exp(-1).
inline bool BernoulliExpMinusOne(NoiseStream& stream) {
  return BernoulliExpMinusCoin([] { return true; }, stream);
}

// True with probability exp(-numerator / denominator); 0 < denominator < 2^96. The rest of algorithm 1.
inline bool BernoulliExpMinus(Wide numerator, Wide denominator, NoiseStream& stream) {
  for (; numerator >= denominator; numerator -= denominator) {
    if (!BernoulliExpMinusOne(stream)) return false;
  }
  return numerator == 0 || BernoulliExpMinusCoin([&] { return Bernoulli(numerator, denominator, stream); }, stream);
}

// Scales beyond this are not drawn: what they stand for is too improbable to matter (discrete_gaussian.h, poisson.h).
inline constexpr std::uint32_t kScalesMax = 64;

// x in [0, kScalesMax * scale) with probability proportional to exp(-x / scale); scale > 0. Algorithm 2 of the same paper
// without sign and division.
inline std::uint64_t GeometricExp(std::uint32_t scale, NoiseStream& stream) {
  for (;;) {
    const std::uint32_t low = stream.Below(scale);
    if (!BernoulliExpMinus(low, scale, stream)) continue;
    std::uint32_t high = 0;
    while (high < kScalesMax && BernoulliExpMinusOne(stream)) ++high;
    if (high < kScalesMax) return low + std::uint64_t{high} * scale;
  }
}

}  // namespace edgefleet::secagg
