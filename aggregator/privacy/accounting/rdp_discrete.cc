#include <algorithm>
#include <cmath>
#include <numbers>

#include "aggregator/privacy/accounting/rdp.h"

namespace edgefleet::privacy {
namespace {

constexpr double kRoundUp = 1 + 1e-11;

// The L2 norm after rounding each coordinate to a neighbouring integer, repeated until it is below this (Kairouz, Liu and
// Steinke 2021, theorem 1, in units of the grid).
double RoundedNorm(double norm, double dimension, double beta) {
  const double always = norm + std::sqrt(dimension);
  if (beta == 0) return always;
  const double mostly = norm * norm + dimension / 4 + std::sqrt(2 * std::log(1 / beta)) * (norm + std::sqrt(dimension) / 2);
  return std::min(always, std::sqrt(mostly));
}

// How far a sum of discrete Gaussians is from one, in each coordinate (theorem 1: tau). `deviation` is that of one client's
// share.
double Inflation(double deviation, std::uint64_t clients) {
  // Terms fall to their limit at once: those after the first thousand count as the last of these, which is above each of them.
  constexpr std::uint64_t kTerms = 1000;
  const double exponent = -2 * std::pow(std::numbers::pi * deviation, 2);
  double sum = 0;
  double term = 0;
  for (std::uint64_t k = 1; k < clients && k <= kTerms; ++k) {
    term = std::exp(exponent * static_cast<double>(k) / static_cast<double>(k + 1));
    sum += term;
  }
  if (clients > kTerms + 1) sum += static_cast<double>(clients - 1 - kTerms) * term;
  return 10 * sum;
}

}  // namespace

Sensitivities SensitivitiesOf(const IntegerVectors& vectors) {
  const auto dimension = static_cast<double>(vectors.dimension);
  if (vectors.rounding_beta < 0) return {.l1 = vectors.scale * std::sqrt(dimension), .l2 = vectors.scale};
  const double l2 = RoundedNorm(vectors.scale, dimension, vectors.rounding_beta);
  return {.l1 = l2 * std::min(std::sqrt(dimension), l2), .l2 = l2};
}

double SkellamRdp(const IntegerVectors& vectors, double sigma, double order) {
  const Sensitivities sensitivity = SensitivitiesOf(vectors);
  const double variance = std::pow(sigma * vectors.scale, 2);
  const double squared = sensitivity.l2 * sensitivity.l2;
  const double excess = std::min(((2 * order - 1) * squared + 6 * sensitivity.l1) / (4 * variance * variance),
                                 3 * sensitivity.l1 / (2 * variance));
  return (order * squared / (2 * variance) + excess) * kRoundUp;
}

double DistributedDiscreteGaussianRdp(const IntegerVectors& vectors, double sigma, std::uint64_t clients, double order) {
  const Sensitivities sensitivity = SensitivitiesOf(vectors);
  const double deviation = sigma * vectors.scale;
  const double l1 = sensitivity.l1 / deviation;
  const double l2 = sensitivity.l2 / deviation;
  const double tau = Inflation(deviation / std::sqrt(static_cast<double>(clients)), clients);
  const auto dimension = static_cast<double>(vectors.dimension);
  const double spread = order / 2 * l2 * l2 + tau * dimension;
  const double cross = order / 2 * (l2 * l2 + 2 * l1 * tau + tau * tau * dimension);
  const double triangle = order / 2 * std::pow(l2 + std::sqrt(dimension) * tau, 2);
  return std::min({spread, cross, triangle}) * kRoundUp;
}

}  // namespace edgefleet::privacy
