// Injected dropouts: a gateway between a virtual device and the fleet that goes silent for the rest of a round once the device
// has shared its keys, as a device does that loses power or network. Which rounds is drawn from a seed.
#pragma once

#include <functional>
#include <memory>

#include "base/random.h"
#include "device_client/federated/fleet_gateway.h"

namespace edgefleet::fleetsim {

// Every assignment is dropped with probability `rate`; `on_drop` runs when one is.
std::unique_ptr<device::FleetGateway> InjectDropouts(std::unique_ptr<device::FleetGateway> fleet, double rate,
                                                     std::uint64_t seed, std::function<void()> on_drop);

// The reason of the error that a dropped device sees.
inline constexpr char kDroppedReason[] = "INJECTED_DROPOUT";

}  // namespace edgefleet::fleetsim
