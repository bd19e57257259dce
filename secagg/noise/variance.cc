#include "secagg/noise/variance.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace edgefleet::secagg {

Result<Variance> VarianceAtLeast(double variance) {
  if (!(variance > 0 && variance <= 0x1p40)) {
    return InvalidArgument("BAD_NOISE", "a noise variance is in (0, 2^40], not " + std::to_string(variance));
  }
  int exponent = 0;
  std::frexp(variance, &exponent);  // variance <= 2^exponent
  const int shift = std::clamp(46 - exponent, 0, 46);
  // Scaling by a power of two is exact, as is the rounded value, which is at most 2^46.
  return Variance{static_cast<std::uint64_t>(std::ceil(std::ldexp(variance, shift))), std::uint64_t{1} << shift};
}

Status CheckVariance(Variance variance, std::uint64_t variance_max) {
  const auto [numerator, denominator] = variance;
  if (numerator == 0 || denominator == 0 || numerator > kVarianceTermMax || denominator > kVarianceTermMax) {
    return InvalidArgument("BAD_NOISE", "numerator and denominator of a noise variance are 1 to 2^46, not " +
                                            std::to_string(numerator) + " and " + std::to_string(denominator));
  }
  const std::uint64_t whole = numerator / denominator;
  if (whole > variance_max || (whole == variance_max && numerator % denominator != 0)) {
    return InvalidArgument("BAD_NOISE", "this noise has a variance of at most " + std::to_string(variance_max) + ", not " +
                                            std::to_string(numerator) + " / " + std::to_string(denominator) +
                                            ": use a smaller scale");
  }
  return {};
}

}  // namespace edgefleet::secagg
