#include "aggregator/privacy/accounting/adaptive_clipping.h"

#include <cmath>

namespace edgefleet::privacy {
namespace {
constexpr double kRounding = 4e-15;
}  // namespace

double CombinedNoiseMultiplier(double update_multiplier, double count_deviation) {
  const double count_multiplier = 2 * count_deviation;
  const double squares = 1 / (update_multiplier * update_multiplier) + 1 / (count_multiplier * count_multiplier);
  return 1 / std::sqrt(squares) * (1 - kRounding);
}

Result<double> UpdateNoiseMultiplier(double noise_multiplier, double count_deviation) {
  if (!(noise_multiplier > 0) || !(count_deviation > 0)) {
    return InvalidArgument("BAD_NOISE", "the noise multiplier and the deviation of the count's noise are above 0");
  }
  const double count_multiplier = 2 * count_deviation;
  const double squares = 1 / (noise_multiplier * noise_multiplier) - 1 / (count_multiplier * count_multiplier);
  if (!(squares > 0)) {
    return FailedPrecondition(
        "COUNT_NOISE_TOO_SMALL",
        "the count of clipped devices alone spends all: its noise must exceed half of the noise multiplier");
  }
  return 1 / std::sqrt(squares) * (1 + kRounding);
}

}  // namespace edgefleet::privacy
