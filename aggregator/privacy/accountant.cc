#include "aggregator/privacy/accountant.h"

#include <cmath>
#include <limits>

namespace edgefleet::privacy {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Relative errors of the arithmetic below, with room: 64-bit mantissas, arguments of exp up to some thousands.
constexpr long double kSlack = 1e-15L;
constexpr double kMuMax = 1e6;  // beyond it the slack no longer covers the arithmetic, and nothing is private any more
constexpr double kRoundUp = 1 + 4e-15;

long double NormalCdf(long double x) { return std::erfc(-x / std::sqrt(2.0L)) / 2; }

// At most log Phi(x), for x < 0: far out, from phi(x) * |x| / (1 + x^2) <= Phi(x) (Gordon 1941).
long double LogNormalCdfBelow(long double x) {
  if (x > -100) return std::log(NormalCdf(x));
  constexpr long double kLogSqrtTwoPi = 0.918938533204672741780329736405617640L;
  return -x * x / 2 - kLogSqrtTwoPi + std::log(-x / (1 + x * x));
}

long double DeltaAbove(long double mu, long double epsilon) {
  const long double first = NormalCdf(mu / 2 - epsilon / mu);
  const long double exponent = epsilon + LogNormalCdfBelow(-mu / 2 - epsilon / mu);
  const long double second = std::exp(exponent) * (1 - kSlack * (1 + std::fabs(epsilon) * 1e-3L));
  return first * (1 + kSlack) - second;
}

}  // namespace

double GaussianDelta(double mu, double epsilon) {
  if (mu == 0) return 0;
  if (std::isinf(mu)) return 1;
  const double delta = static_cast<double>(DeltaAbove(mu, epsilon)) * kRoundUp;
  return std::fmin(1, std::fmax(0, delta));
}

double GaussianEpsilon(double mu, double delta) {
  if (mu == 0) return 0;
  if (!(mu < kMuMax)) return kInfinity;
  if (DeltaAbove(mu, 0) <= delta) return 0;
  long double low = 0;
  long double high = 1;
  while (DeltaAbove(mu, high) > delta) {
    low = high;
    high *= 2;
  }
  // delta(epsilon) falls; `high` keeps delta(high) <= delta, so it never understates.
  for (int step = 0; step < 200 && high - low > high * 1e-17L; ++step) {
    const long double middle = low + (high - low) / 2;
    (DeltaAbove(mu, middle) > delta ? low : high) = middle;
  }
  return std::nextafter(static_cast<double>(high), kInfinity);
}

Status GaussianAccountant::Charge(double noise_multiplier, std::uint64_t count) {
  if (!(noise_multiplier >= 0)) return InvalidArgument("BAD_NOISE", "a noise multiplier is a number >= 0");
  if (count == 0 || std::isinf(noise_multiplier)) return OkStatus();
  const double spent = noise_multiplier == 0 ? kInfinity : static_cast<double>(count) / (noise_multiplier * noise_multiplier);
  inverse_squares_ = (inverse_squares_ + spent) * kRoundUp;
  return OkStatus();
}

Result<double> GaussianAccountant::Epsilon(double delta) const {
  if (!(delta > 0 && delta < 1)) return InvalidArgument("BAD_DELTA", "delta lies between 0 and 1, both excluded");
  return GaussianEpsilon(std::sqrt(inverse_squares_) * kRoundUp, delta);
}

Result<double> GaussianAccountant::EpsilonAfter(double noise_multiplier, std::uint64_t count, double delta) const {
  GaussianAccountant later = *this;
  EF_RETURN_IF_ERROR(later.Charge(noise_multiplier, count));
  return later.Epsilon(delta);
}

}  // namespace edgefleet::privacy
