// Distribution over OriginService, with manifests signed here.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "base/crypto/crypto.h"
#include "edgefleet/origin/v1/origin.grpc.pb.h"
#include "registry/distribution.h"

namespace edgefleet::services {

// Small calls wait some seconds for an origin that restarts; after that UNAVAILABLE, and the domain tries again.
class OriginDistribution final : public registry::Distribution {
 public:
  OriginDistribution(const std::shared_ptr<grpc::Channel>& origin, const crypto::Ed25519SecretKey& key)
      : stub_(origin::v1::OriginService::NewStub(origin)), key_(key) {}

  Status PutBlob(const registry::Digest& sha256, const std::filesystem::path& file) override;
  Result<registry::Delta> MakeDelta(const registry::Digest& from, const registry::Digest& to) override;
  Status Publish(const registry::Release& release) override;

 private:
  Result<origin::v1::BlobState> Stat(const registry::Digest& sha256);
  Status Send(const registry::Digest& sha256, ByteView content, std::uint64_t offset);

  const std::unique_ptr<origin::v1::OriginService::Stub> stub_;
  const crypto::Ed25519SecretKey key_;
};

}  // namespace edgefleet::services
