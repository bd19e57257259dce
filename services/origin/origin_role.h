// The origin role: OriginService for the registry, and the HTTP server that devices and CDNs fetch from. Files live below
// <data_dir>/origin.
#pragma once

#include <memory>
#include <string>

#include "services/runtime/role.h"

namespace edgefleet::services {

class OriginRole final : public Role {
 public:
  explicit OriginRole(RoleContext context);
  ~OriginRole() override;
  std::string_view name() const override { return "origin"; }
  Status RegisterServices(grpc::ServerBuilder& builder) override;
  Status Start(const PeerChannels& peers) override;
  void Drain() override;
  void Stop() override;
  std::string http_address() const override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace edgefleet::services
