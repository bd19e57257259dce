// Adaptive clipping: each round also releases how many devices stayed below the clip norm, and moves the norm towards a
// quantile (Andrew, Thakkar, McMahan and Ramaswamy 2021).
//
// A device's indicator enters the count as -1/2 or 1/2, so the count's sensitivity is 1/2 and its noise of deviation
// `count_deviation` (in devices) is a multiplier of 2 * count_deviation. Updates and count see the same cohort; both releases
// together are one Gaussian with z^-2 = z_update^-2 + (2 count_deviation)^-2 (ibid., theorem 1), also behind sampling. Pure
// functions, thread-safe.
#pragma once

#include "base/status.h"

namespace edgefleet::privacy {

// What both releases are charged as. Arguments > 0; an infinite one adds nothing.
double CombinedNoiseMultiplier(double update_multiplier, double count_deviation);

// The multiplier that updates need for both together to be `noise_multiplier`: somewhat more. FAILED_PRECONDITION
// [COUNT_NOISE_TOO_SMALL] if the count alone spends as much, INVALID_ARGUMENT [BAD_NOISE].
Result<double> UpdateNoiseMultiplier(double noise_multiplier, double count_deviation);

}  // namespace edgefleet::privacy
