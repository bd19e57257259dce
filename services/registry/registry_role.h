// The registry role: RegistryService over the domain's Registry.
#pragma once

#include <memory>

#include "services/runtime/role.h"

namespace edgefleet::services {

// Metadata is kept in SQLite, or in PostgreSQL where the configuration names one; uploads and artifacts always in files below
// data_dir/registry.
class RegistryRole final : public Role {
 public:
  explicit RegistryRole(RoleContext context);
  ~RegistryRole() override;
  std::string_view name() const override { return "registry"; }
  Status RegisterServices(grpc::ServerBuilder& builder) override;
  // Takes up interrupted compiles and manifests that were not published.
  Status Start(const PeerChannels& peers) override;
  void Drain() override;
  void Stop() override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace edgefleet::services
