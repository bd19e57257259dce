// The selector role: CheckInService, CohortService and TelemetryService over the domain's Selector.
#pragma once

#include <memory>

#include "services/runtime/role.h"

namespace edgefleet::services {

// Presence is kept in memory, or in Redis where the configuration names one.
class SelectorRole final : public Role {
 public:
  explicit SelectorRole(RoleContext context);
  ~SelectorRole() override;
  std::string_view name() const override { return "selector"; }
  Status RegisterServices(grpc::ServerBuilder& builder) override;
  Status Start(const PeerChannels& peers) override;
  void Drain() override;
  void Stop() override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace edgefleet::services
