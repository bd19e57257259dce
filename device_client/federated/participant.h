// A device's part in one federated round: secure aggregation (secagg/client.h) around local training.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/status.h"
#include "device_client/federated/control.h"
#include "device_client/federated/fleet_gateway.h"
#include "secagg/client.h"

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

// What the device brings to secure aggregation. `guard` outlives the call and, in devices that may be killed, the process.
struct Membership {
  secagg::ClientPolicy policy;
  std::optional<secagg::DeviceIdentity> identity;  // needed in active rounds
  secagg::OneShotGuard& guard;
};

// Takes part in the round of `assignment` and returns when the round is over for this device. Failures of the round itself are
// results, and so is a round that this device has been in before a restart [ALREADY_SAID]. Errors are a device that could not
// or would not go on: training failed, stopped by its host, the aggregator out of reach for longer than a minute,
// INVALID_ARGUMENT [BAD_PLAN] for a round that does not fit its plan, and all that secagg::Client refuses. In every case in
// which the server can still be reached it is told, so that nobody waits. Blocks; one caller at a time. `random` must be
// cryptographically secure outside of tests.
Result<RoundResult> TakePart(RoundGateway& round, const Assignment& assignment, const TrainFunction& train,
                             const Membership& membership, RandomSource& random, const Control& control);

}  // namespace edgefleet::device
