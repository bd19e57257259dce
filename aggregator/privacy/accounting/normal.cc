#include "aggregator/privacy/accounting/normal.h"

#include <cmath>
#include <numbers>

namespace edgefleet::privacy {
namespace {

constexpr long double kLogSqrtTwoPi = 0.918938533204672741780329736405617640L;
constexpr long double kFar = -100;  // beyond it, Phi nears the smallest numbers there are

}  // namespace

long double NormalCdf(long double x) { return std::erfc(-x / std::numbers::sqrt2_v<long double>) / 2; }

// Far out, from phi(x) |x| / (1 + x^2) <= Phi(x) <= phi(x) / |x| (Gordon 1941).
long double LogNormalCdfBelow(long double x) {
  if (x > kFar) return std::log(NormalCdf(x));
  return -x * x / 2 - kLogSqrtTwoPi + std::log(-x / (1 + x * x));
}

long double LogNormalCdfAbove(long double x) {
  if (x > kFar) return std::log(NormalCdf(x));
  return -x * x / 2 - kLogSqrtTwoPi - std::log(-x);
}

}  // namespace edgefleet::privacy
