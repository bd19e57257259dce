#include "aggregator/selection/pace.h"

#include <algorithm>
#include <cmath>

namespace edgefleet::selection {

Millis Pace::Delay(Millis base, std::uint64_t devices, RandomSource& random) const {
  const double bounded_ms = static_cast<double>(devices) * 1000.0 / options_.arrivals_per_s_max;
  const double mean_ms = std::max(static_cast<double>(base.count()), bounded_ms);
  const double factor = 1.0 + options_.jitter * (2.0 * random.Unit() - 1.0);
  return Millis(std::max<std::int64_t>(1, std::llround(mean_ms * factor)));
}

}  // namespace edgefleet::selection
