#include "aggregator/selection/pace.h"

#include <algorithm>
#include <cmath>

namespace edgefleet::selection {

Millis Pace::Mean(Millis base, std::uint64_t devices) const {
  const double bounded_ms = static_cast<double>(devices) * 1000.0 / options_.arrivals_per_s_max;
  return std::max(base, Millis(std::llround(bounded_ms)));
}

Millis Pace::Delay(Millis base, std::uint64_t devices, RandomSource& random) const {
  const double factor = 1.0 + options_.jitter * (2.0 * random.Unit() - 1.0);
  const double delay_ms = static_cast<double>(Mean(base, devices).count()) * factor;
  return Millis(std::max<std::int64_t>(1, std::llround(delay_ms)));
}

}  // namespace edgefleet::selection
