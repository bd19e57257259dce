// Pace steering (Bonawitz et al. 2019, "Towards Federated Learning at Scale: System Design", section 2.3): every answer tells
// the device when to come back, so that the fleet's load is spread and bounded without the server keeping state per device.
#pragma once

#include <cstdint>

#include "base/clock.h"
#include "base/random.h"

namespace edgefleet::selection {

struct PaceOptions {
  Millis idle{30'000};               // nothing to do
  Millis waiting{1'000};             // in the pool of an open selection
  double jitter = 0.2;               // in [0, 1)
  double arrivals_per_s_max = 2000;  // check-ins a second that this fleet's selectors are to receive together
};

// With N devices that each come back after a delay of mean W, check-ins arrive at N / W a second in the long run, whatever the
// shape of the delay (renewal theorem). So
//     W = max(base, N / arrivals_per_s_max)
// bounds the rate, and a delay uniform in [(1 - jitter) W, (1 + jitter) W] keeps devices that once came together from doing so
// for ever. A small fleet sees only the base period: the devices of one pool stay close enough in time to form a cohort (the
// small- population case of section 2.3); a large one is spread over a longer period (its large-population case). Thread-safe
// as far as `random` is.
class Pace {
 public:
  explicit Pace(PaceOptions options) : options_(options) {}

  // For a device without work, where `present` devices take part in the fleet.
  Millis Idle(std::uint64_t present, RandomSource& random) const { return Delay(options_.idle, present, random); }
  // For a device that waits together with `waiting` others.
  Millis Waiting(std::uint64_t waiting, RandomSource& random) const { return Delay(options_.waiting, waiting, random); }

  // W of Idle: how long a device of a fleet of `present` stays away on average.
  Millis MeanIdle(std::uint64_t present) const { return Mean(options_.idle, present); }

 private:
  Millis Mean(Millis base, std::uint64_t devices) const;
  Millis Delay(Millis base, std::uint64_t devices, RandomSource& random) const;

  PaceOptions options_;
};

}  // namespace edgefleet::selection
