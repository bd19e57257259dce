#include "tests/support/distributions.h"

#include <algorithm>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>
#include <numbers>
#include <numeric>

namespace edgefleet::testing {
namespace {

constexpr std::size_t kClassesMax = 4096;
constexpr long double kDeviations = 13;  // beyond: less than 1e-37

// weights[x] is in proportion to the probability of first + x.
Distribution FromWeights(std::int64_t first, const std::vector<long double>& weights, long double center, long double scale) {
  const long double total = std::accumulate(weights.begin(), weights.end(), 0.0L);
  Distribution result{{}, {}, {}, center, scale};
  const std::size_t width = (weights.size() + kClassesMax - 1) / kClassesMax;
  for (std::size_t x = 0; x < weights.size(); ++x) {
    const std::int64_t outcome = first + static_cast<std::int64_t>(x);
    const long double probability = weights[x] / total;
    if (x % width == 0) {
      result.last.push_back(outcome);
      result.probability.push_back(0);
    }
    result.last.back() = outcome;
    result.probability.back() += probability;
    long double power = probability;
    for (long double& moment : result.moments) {
      moment += power;
      power *= (static_cast<long double>(outcome) - center) / scale;
    }
  }
  return result;
}

}  // namespace

Distribution DiscreteGaussianDistribution(double variance) {
  const long double sigma = std::sqrt(static_cast<long double>(variance));
  const auto reach = static_cast<std::int64_t>(std::ceil(kDeviations * sigma)) + 8;
  if (sigma <= 4096) {
    std::vector<long double> weights;
    for (std::int64_t x = -reach; x <= reach; ++x) {
      weights.push_back(
          std::exp(-static_cast<long double>(x) * static_cast<long double>(x) / (2 * static_cast<long double>(variance))));
    }
    return FromWeights(-reach, weights, 0, std::max(sigma, 1e-3L));
  }
  Distribution result{{}, {}, {1, 0, 1, 0, 3, 0, 15, 0, 105}, 0, sigma};
  const auto width = static_cast<std::int64_t>(2 * reach / static_cast<std::int64_t>(kClassesMax) + 1);
  long double below = 0;
  for (std::int64_t last = -reach; last < reach + width; last += width) {
    const long double edge = (static_cast<long double>(last) + 0.5L) / (sigma * std::numbers::sqrt2_v<long double>);
    const long double cumulative = std::erfc(-edge) / 2;
    result.last.push_back(last);
    result.probability.push_back(cumulative - below);
    below = cumulative;
  }
  return result;
}

Distribution PoissonDistribution(double mean) {
  const long double m = mean;
  const auto mode = static_cast<std::int64_t>(std::floor(mean));
  const auto reach = static_cast<std::int64_t>(std::ceil(kDeviations * std::sqrt(m))) + 60;
  const std::int64_t first = std::max<std::int64_t>(0, mode - reach);
  std::vector<long double> weights(static_cast<std::size_t>(mode + reach - first + 1));
  const auto at = static_cast<std::size_t>(mode - first);
  weights[at] = 1;
  for (std::size_t x = at + 1; x < weights.size(); ++x)
    weights[x] = weights[x - 1] * m / static_cast<long double>(first + static_cast<std::int64_t>(x));
  for (std::size_t x = at; x > 0; --x)
    weights[x - 1] = weights[x] * static_cast<long double>(first + static_cast<std::int64_t>(x)) / m;
  return FromWeights(first, weights, m, std::max(std::sqrt(m), 1e-3L));
}

// P[x] = exp(-v) I_|x|(v), v the variance; the Bessel functions by their recurrence downwards (Miller's algorithm).
Distribution SkellamDistribution(double variance) {
  const long double v = variance;
  const auto reach = static_cast<std::int64_t>(std::ceil(kDeviations * std::sqrt(v))) + 40;
  std::vector<long double> weights(static_cast<std::size_t>(2 * reach + 1));
  const auto middle = static_cast<std::size_t>(reach);
  long double above = 0;
  long double here = 1e-3000L;
  for (std::int64_t order = 2 * reach; order >= 0; --order) {
    if (order <= reach) {
      weights[middle + static_cast<std::size_t>(order)] = here;
      weights[middle - static_cast<std::size_t>(order)] = here;
    }
    const long double below = above + 2 * static_cast<long double>(order) / v * here;
    above = here;
    here = below;
  }
  return FromWeights(-reach, weights, 0, std::max(std::sqrt(v), 1e-3L));
}

Fit::Fit(const Distribution& distribution) : distribution_(distribution), counts_(distribution.last.size()) {}

void Fit::Add(std::int64_t draw) {
  const auto& last = distribution_.last;
  const auto found = std::lower_bound(last.begin(), last.end() - 1, draw);
  ++counts_[static_cast<std::size_t>(found - last.begin())];
  const long double value = (static_cast<long double>(draw) - distribution_.center) / distribution_.scale;
  long double power = 1;
  for (long double& sum : powers_) {
    sum += power;
    power *= value;
  }
  ++draws_;
}

double Fit::ChiSquareP() const {
  constexpr long double kExpectedMin = 50;
  std::vector<std::pair<long double, long double>> cells;  // expected, observed
  long double expected = 0;
  long double observed = 0;
  for (std::size_t c = 0; c < counts_.size(); ++c) {
    expected += distribution_.probability[c] * static_cast<long double>(draws_);
    observed += static_cast<long double>(counts_[c]);
    if (expected < kExpectedMin) continue;
    cells.emplace_back(expected, observed);
    expected = observed = 0;
  }
  if (cells.empty()) return 1;
  cells.back().first += expected;
  cells.back().second += observed;
  if (cells.size() == 1) return 1;
  long double statistic = 0;
  for (const auto& [e, o] : cells) statistic += (o - e) * (o - e) / e;
  return boost::math::gamma_q((static_cast<double>(cells.size()) - 1) / 2, static_cast<double>(statistic) / 2);
}

double Fit::KolmogorovSmirnovP() const {
  long double expected = 0;
  long double observed = 0;
  long double distance = 0;
  for (std::size_t c = 0; c + 1 < counts_.size(); ++c) {
    expected += distribution_.probability[c];
    observed += static_cast<long double>(counts_[c]) / static_cast<long double>(draws_);
    distance = std::max(distance, std::abs(expected - observed));
  }
  return std::min(1.0, 2 * static_cast<double>(std::exp(-2 * static_cast<long double>(draws_) * distance * distance)));
}

double Fit::MomentZ(int r) const {
  const auto power = static_cast<std::size_t>(r);
  const long double exact = distribution_.moments[power];
  const long double variance = distribution_.moments[2 * power] - exact * exact;
  const auto n = static_cast<long double>(draws_);
  return static_cast<double>((powers_[power] / n - exact) / std::sqrt(variance / n));
}

}  // namespace edgefleet::testing
