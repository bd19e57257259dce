// A role is one service of the suite inside an edgefleetd process. main() makes the roles that --role names and moves all of
// them through the same life: constructor -> RegisterServices -> (the gRPC server starts) -> Start -> Drain -> (the gRPC server
// stops) -> Stop.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/status.h"
#include "services/runtime/config.h"

namespace edgefleet::services {

struct HandlerContext;  // services/runtime/rpc_handlers.h

// What every role is given; all of it outlives the role.
struct RoleContext {
  const Config& config;
  Logger& logger;
  Metrics& metrics;
  const Clock& clock;
  // For the handlers of this role's gRPC services. Its pool (config.server) belongs to this role alone and is stopped after the
  // gRPC server and before Stop(); calls are answered UNAVAILABLE [STARTING] until Start() has returned.
  HandlerContext& handlers;
};

// Channels to the other roles; with --role=all they lead back into this process. Connecting is lazy: a peer that is not there
// yet shows as UNAVAILABLE when it is called.
struct PeerChannels {
  std::shared_ptr<grpc::Channel> registry;
  std::shared_ptr<grpc::Channel> origin;
  std::shared_ptr<grpc::Channel> selector;
  std::shared_ptr<grpc::Channel> aggregator;
  // What devices and other roles dial to reach this process's gRPC server ("host:port").
  std::string advertised_address;
};

class Role {
 public:
  virtual ~Role() = default;
  virtual std::string_view name() const = 0;
  // Opens stores and makes the gRPC services; they must live until Stop() has returned.
  virtual Status RegisterServices(grpc::ServerBuilder& builder) = 0;
  // Called once the server listens. Calls that arrive earlier are answered UNAVAILABLE [STARTING]. Must not wait for a peer:
  // other roles may start later.
  virtual Status Start(const PeerChannels& peers) = 0;
  // Refuses new work and lets what runs come to an end.
  virtual void Drain() = 0;
  // After the gRPC server has stopped: joins threads, closes stores.
  virtual void Stop() = 0;
  // Where this role serves HTTP ("host:port"), for the port file; empty: it does not. Known once Start() has returned.
  virtual std::string http_address() const { return {}; }
};

}  // namespace edgefleet::services
