// The life of an edgefleetd process: one gRPC server with health and reflection for all of its roles, metrics, the port file,
// and the orderly stop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "services/runtime/config.h"
#include "services/runtime/role.h"

namespace edgefleet::services {

struct RoleSpec {
  std::string name;
  std::function<std::unique_ptr<Role>(RoleContext)> make;
};

struct BoundAddresses {  // "host:port"; http is empty without an origin
  std::string grpc;
  std::string http;
  std::string metrics;
};

// A serving process; also usable inside a test. `config` has passed CheckConfig.
class Process {
 public:
  // Starts `roles` in their order (a role that others call comes first): builds and starts the gRPC server, starts the roles,
  // reports SERVING, writes the port file. Whatever fails is undone; the error says what to change.
  static Result<std::unique_ptr<Process>> Start(const Config& config, const std::vector<RoleSpec>& roles);
  // Stops if Stop() has not been called.
  ~Process();

  const BoundAddresses& addresses() const;
  // Health becomes NOT_SERVING. Calls are still answered.
  void ReportNotServing();
  // The rest of the orderly stop: roles drain, the server stops within config.server.shutdown_grace_ms (calls that last longer
  // are cancelled), stores close. Idempotent; not thread-safe.
  void Stop();

 private:
  struct State;
  explicit Process(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Blocks SIGTERM and SIGINT in the calling thread and in those it starts from now on. Call it first in main().
void BlockStopSignals();

// Starts, serves until SIGTERM or SIGINT, stops.
Status ServeUntilSignal(const Config& config, const std::vector<RoleSpec>& roles);

}  // namespace edgefleet::services
