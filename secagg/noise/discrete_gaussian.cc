#include "secagg/noise/discrete_gaussian.h"

namespace edgefleet::secagg {
namespace {

// floor(sqrt(value)), value <= 2^40.
std::uint32_t FloorSqrt(std::uint64_t value) {
  std::uint64_t root = 0;
  for (std::uint64_t bit = std::uint64_t{1} << 20; bit > 0; bit >>= 1) {
    if ((root | bit) * (root | bit) <= value) root |= bit;
  }
  return static_cast<std::uint32_t>(root);
}

}  // namespace

Result<DiscreteGaussian> DiscreteGaussian::Make(Variance variance) {
  EF_RETURN_IF_ERROR(CheckVariance(variance, kDiscreteGaussianVarianceMax));
  return DiscreteGaussian(variance, FloorSqrt(variance.numerator / variance.denominator) + 1);
}

// With sigma^2 = a / b, a and b at most 2^46, and scale t: b t^2 <= (sqrt(a) + sqrt(b))^2 <= 2 (a + b) <= 2^48. So the
// denominator is at most 2^95, and below |x| b t <= 64 b t^2 <= 2^54, whose square fits.
DiscreteGaussian::DiscreteGaussian(Variance variance, std::uint32_t scale)
    : numerator_(variance.numerator),
      scale_(scale),
      scaled_denominator_(variance.denominator * scale),
      rejection_denominator_(Wide{2} * variance.numerator * scaled_denominator_ * scale) {}

std::int32_t DiscreteGaussian::Draw(NoiseStream& stream) const {
  for (;;) {
    const std::uint64_t magnitude = GeometricExp(scale_, stream);
    const bool negative = stream.Bit();
    if (negative && magnitude == 0) continue;  // 0 would come twice
    // The candidate is kept with probability exp(-(x - sigma^2 / t)^2 / (2 sigma^2)).
    const std::uint64_t at = magnitude * scaled_denominator_;
    const Wide distance = at > numerator_ ? at - numerator_ : numerator_ - at;
    if (!BernoulliExpMinus(distance * distance, rejection_denominator_, stream)) continue;
    const auto value = static_cast<std::int32_t>(magnitude);
    return negative ? -value : value;
  }
}

}  // namespace edgefleet::secagg
