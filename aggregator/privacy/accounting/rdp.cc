#include "aggregator/privacy/accounting/rdp.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace edgefleet::privacy {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kRoundUp = 1 + 1e-11;

// Epsilon of one order at `delta`; the second form has no value near order 1, where it is of no use either.
double EpsilonOfOrder(double order, double rdp, double delta) {
  if (delta * delta + std::expm1(-rdp) > 0) return 0;
  if (order <= 1.01) return kInfinity;
  return std::max(0.0, rdp + std::log1p(-1 / order) - std::log(delta * order) / (order - 1));
}

double LogDeltaOfOrder(double order, double rdp, double epsilon) {
  const double by_divergence = rdp == 0 ? -kInfinity : 0.5 * std::log(-std::expm1(-rdp));
  if (order <= 1.01) return by_divergence;
  return std::min(by_divergence, (order - 1) * (rdp - epsilon + std::log1p(-1 / order)) - std::log(order));
}

}  // namespace

double GaussianRdp(double sigma, double order) { return order / (2 * sigma * sigma) * kRoundUp; }

RdpAnswer RdpEpsilon(std::span<const double> orders, std::span<const double> rdp, double delta) {
  RdpAnswer best{.value = kInfinity};
  for (std::size_t i = 0; i < orders.size(); ++i) {
    const double epsilon = EpsilonOfOrder(orders[i], rdp[i], delta);
    if (epsilon < best.value) best = {.value = epsilon, .order = orders[i]};
  }
  return {.value = best.value * (1 + 1e-14), .order = best.order};
}

RdpAnswer RdpDelta(std::span<const double> orders, std::span<const double> rdp, double epsilon) {
  RdpAnswer best{.value = 0};
  for (std::size_t i = 0; i < orders.size(); ++i) {
    const double log_delta = LogDeltaOfOrder(orders[i], rdp[i], epsilon);
    if (log_delta < best.value || best.order == 0) best = {.value = std::min(0.0, log_delta), .order = orders[i]};
  }
  return {.value = std::min(1.0, std::exp(best.value) * (1 + 1e-11)), .order = best.order};
}

}  // namespace edgefleet::privacy
