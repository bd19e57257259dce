// Injected dropouts: a gateway between a virtual device and the fleet that goes silent for the rest of a round once the device
// has done a step, as a device does that loses power or network. Which rounds is drawn from a seed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/random.h"
#include "device_client/federated/control.h"
#include "device_client/federated/fleet_gateway.h"

namespace edgefleet::fleetsim {

struct DropoutOptions {
  double rate = 0;                                           // every assignment is dropped with this probability
  device::RoundStep after = device::RoundStep::kSharedKeys;  // kAdvertisedKeys, kSharedKeys, kUploaded or kConfirmed
  std::uint64_t seed = 1;
};

// `on_drop` runs when a device drops out.
std::unique_ptr<device::FleetGateway> InjectDropouts(std::unique_ptr<device::FleetGateway> fleet, const DropoutOptions& options,
                                                     std::function<void()> on_drop);

// The reason of the error that a dropped device sees.
inline constexpr char kDroppedReason[] = "INJECTED_DROPOUT";

}  // namespace edgefleet::fleetsim
