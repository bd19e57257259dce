// A device's part in one federated round: secure aggregation after Bonawitz et al. 2017 (figure 4) around local training.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/status.h"
#include "device_client/federated/control.h"
#include "device_client/federated/fleet_gateway.h"

namespace edgefleet::device {

// The outcome of local training: what changed, and how much it weighs.
struct LocalUpdate {
  std::vector<float> delta;  // new parameters - global parameters, in the order of the flat vector
  std::uint64_t examples = 0;
};

// Trains from the round's global model; called once, between the sharing of keys and the upload.
using TrainFunction = std::function<Result<LocalUpdate>()>;

struct RoundResult {
  bool contributed = false;  // the server took the update, and the round did not fail afterwards as far as this device saw
  Phase phase = Phase::kSelecting;  // the last that this device saw
  std::string reason;               // stable; why it did not contribute, or why the round failed
};

// Takes part in the round of `assignment` and returns when the round is over for this device. Failures of the round itself are
// results; errors are a device that could not go on (training failed, stopped by its host, the aggregator out of reach for
// longer than a minute). In every case in which the server can still be reached it is told, so that nobody waits. Blocks; one
// caller at a time. `random` must be cryptographically secure outside of tests.
Result<RoundResult> TakePart(RoundGateway& round, const Assignment& assignment, const TrainFunction& train,
                             RandomSource& random, const Control& control);

}  // namespace edgefleet::device
