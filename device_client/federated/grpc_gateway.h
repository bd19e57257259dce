// FleetGateway over gRPC to edgefleetd's selector and aggregator.
#pragma once

#include <memory>
#include <string>

#include "device_client/federated/fleet_gateway.h"

namespace edgefleet::device {

// Connections that many gateways of one process may share (a simulated fleet does). Thread-safe.
class GrpcChannels {
 public:
  virtual ~GrpcChannels() = default;
  static std::shared_ptr<GrpcChannels> Create();
};

// `fleet_address`: the selector's gRPC target ("host:port"). Connects on first use; calls time out after 30 seconds.
std::unique_ptr<FleetGateway> MakeGrpcFleetGateway(std::string fleet_address, std::string device_id, std::string device_class,
                                                   std::shared_ptr<GrpcChannels> channels);

}  // namespace edgefleet::device
