#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "aggregator/privacy/accounting/rdp.h"

namespace edgefleet::privacy {
namespace {

constexpr long double kInfinity = std::numeric_limits<long double>::infinity();
constexpr double kRoundUp = 1 + 1e-11;

// log(exp(a) + exp(b))
long double LogAdd(long double a, long double b) {
  if (a < b) std::swap(a, b);
  return b == -kInfinity ? a : a + std::log1p(std::exp(b - a));
}

long double LogBinomial(int n, int k) { return std::lgamma(n + 1.0L) - std::lgamma(k + 1.0L) - std::lgamma(n - k + 1.0L); }

// log(exp(x) - 1), x > 0
long double LogExpm1(long double x) { return x > 60 ? x : std::log(std::expm1(x)); }

// The divergence from the logarithm of E[(P/Q)^order] - 1.
double FromLogExcess(long double log_excess, double order) {
  const long double log_moment = log_excess > 60 ? log_excess + std::exp(-log_excess) : std::log1p(std::exp(log_excess));
  return static_cast<double>(log_moment / (order - 1)) * kRoundUp;
}

// log E[exp(f(L))] for the loss L = (2x - 1) / (2 sigma^2) of x in N(0, sigma^2), by the trapezoidal rule in x / sigma with
// `step` from below every peak of the integrand to above: exp(f) grows at most like exp(power * L).
template <typename F>
long double LogExpectation(long double sigma, long double power, long double step, F f) {
  constexpr long double kReach = 14;
  constexpr long double kLogSqrtTwoPi = 0.918938533204672741780329736405617640L;
  long double sum = -kInfinity;
  const long double last = power / sigma + kReach;
  const auto steps = static_cast<std::int64_t>(std::ceil((last + kReach) / step));
  for (std::int64_t i = 0; i <= steps; ++i) {
    const long double y = -kReach + static_cast<long double>(i) * step;
    sum = LogAdd(sum, f(y / sigma - 1 / (2 * sigma * sigma)) - y * y / 2);
  }
  return sum + std::log(step) - kLogSqrtTwoPi;
}

// log((1 + t)^order - 1 - order t), which is positive for order > 1, from t and log(1 + t).
long double LogConvexExcess(long double t, long double log1p_t, long double order) {
  if (std::fabs(t) < 1e-3L) {
    long double coefficient = order * (order - 1) / 2;
    long double term = coefficient;  // of t^2 sum_k
    long double sum = 0;
    long double power = 1;
    for (int k = 2; k < 16; ++k) {
      sum += term * power;
      term *= (order - k) / (k + 1);
      power *= t;
    }
    if (sum > 0 && std::fabs(order * t) < 0.1L) return t == 0 ? -kInfinity : 2 * std::log(std::fabs(t)) + std::log(sum);
  }
  const long double log_power = order * log1p_t;
  if (log_power > 60) return log_power + std::log1p(-std::exp(std::log(order) + log1p_t - log_power));  // t is all but 1 + t
  const long double excess = std::expm1(log_power) - order * t;
  return excess > 0 ? std::log(excess) : -kInfinity;
}

// Whole orders: E[(P/Q)^k] = exp(k (k - 1) / (2 sigma^2)) in the binomial sum, whose terms 0 and 1 are 1 in sum with the rest's
// 1s.
long double LogExcessWhole(double sigma, double rate, int order) {
  const long double log_rate = std::log(static_cast<long double>(rate));
  const long double log_rest = std::log1p(-static_cast<long double>(rate));
  long double sum = -kInfinity;
  for (int k = 2; k <= order; ++k) {
    const long double exponent = static_cast<long double>(k) * (k - 1) / (2 * static_cast<long double>(sigma) * sigma);
    sum = LogAdd(sum, LogBinomial(order, k) + k * log_rate + (order - k) * log_rest + LogExpm1(exponent));
  }
  return sum;
}

long double LogExcessFractional(double sigma, double rate, double order) {
  // The integrand's singularities are pi sigma (in x / sigma) off the real line: 45 or more factors of e below it.
  const long double step = std::min(0.25L, 0.4L * sigma);
  return LogExpectation(sigma, order, step, [&](long double loss) {
    if (loss > 10000) return order * (loss + std::log(static_cast<long double>(rate)));
    const long double t = rate * std::expm1(loss);
    return LogConvexExcess(t, std::log1p(t), order);
  });
}

// log E[(P/Q - 1)^even]
long double LogCentralMoment(double sigma, int even) {
  return LogExpectation(sigma, even, 0.25L, [&](long double loss) {
    const long double size = std::fabs(std::expm1(loss));
    return size == 0 ? -kInfinity : even * (loss > 60 ? loss : std::log(size));
  });
}

// log of the sum in theorem 27, less its 1.
long double LogExcessSubset(double sigma, double rate, int order, std::span<const long double> moments) {
  const long double inverse = 1 / (static_cast<long double>(sigma) * sigma);
  const long double log_rate = std::log(static_cast<long double>(rate));
  const long double log_two = std::numbers::ln2_v<long double>;
  long double sum = -kInfinity;
  for (int j = 2; j <= order; ++j) {
    const long double by_power = log_two + static_cast<long double>(j) * (j - 1) * inverse / 2;
    const long double by_moments =
        2 * log_two + (j == 2
                           ? LogExpm1(inverse)
                           : (moments[static_cast<std::size_t>(j / 2)] + moments[static_cast<std::size_t>((j + 1) / 2)]) / 2);
    sum = LogAdd(sum, LogBinomial(order, j) + j * log_rate + std::min(by_power, by_moments));
  }
  return sum;
}

bool IsWhole(double order) { return order == std::floor(order); }

}  // namespace

double PoissonGaussianRdp(double sigma, double rate, double order) {
  if (rate == 0) return 0;
  if (rate == 1) return GaussianRdp(sigma, order);
  const long double log_excess =
      IsWhole(order) ? LogExcessWhole(sigma, rate, static_cast<int>(order)) : LogExcessFractional(sigma, rate, order);
  return std::min(FromLogExcess(log_excess, order), GaussianRdp(sigma, order));
}

std::vector<double> SubsetGaussianRdp(double sigma, double rate, std::span<const double> orders) {
  std::vector<double> result;
  const double highest = *std::ranges::max_element(orders);
  std::vector<long double> moments(static_cast<std::size_t>(std::ceil(highest)) / 2 + 2);  // [k]: log of the moment 2k
  for (std::size_t k = 1; k < moments.size(); ++k) moments[k] = LogCentralMoment(sigma, static_cast<int>(2 * k));
  // (order - 1) times the divergence, convex in the order.
  const auto cumulant = [&](int order) -> double {
    if (order == 1) return 0;
    return FromLogExcess(LogExcessSubset(sigma, rate, order, moments), order) * (order - 1);
  };
  for (const double order : orders) {
    if (rate == 1 || rate == 0) {
      result.push_back(rate * GaussianRdp(sigma, order));
      continue;
    }
    const int floor = static_cast<int>(std::floor(order));
    const double share = order - floor;
    const double value = share == 0 ? cumulant(floor) : (1 - share) * cumulant(floor) + share * cumulant(floor + 1);
    result.push_back(std::min(value / (order - 1), GaussianRdp(sigma, order)));
  }
  return result;
}

double PoissonRdp(double rate, int order, const std::function<double(int)>& rdp) {
  if (rate == 0) return 0;
  const double unsampled = rdp(order);
  if (rate == 1) return unsampled;
  const long double log_rate = std::log(static_cast<long double>(rate));
  const long double log_rest = std::log1p(-static_cast<long double>(rate));
  long double sum = (order - 1) * log_rest + std::log1p(static_cast<long double>(order - 1) * rate);
  for (int k = 2; k <= order; ++k) {
    const long double factor = k == 2 ? 0 : std::log(3.0L);
    sum = LogAdd(sum, factor + LogBinomial(order, k) + k * log_rate + (order - k) * log_rest +
                          (k - 1) * static_cast<long double>(rdp(k)));
  }
  return std::min(static_cast<double>(std::max(0.0L, sum) / (order - 1)) * kRoundUp, unsampled);
}

}  // namespace edgefleet::privacy
