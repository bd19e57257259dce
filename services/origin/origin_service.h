// OriginService (proto/edgefleet/origin/v1/origin.proto) over the origin's stores.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "cdn_origin/blobs/blob_store.h"
#include "cdn_origin/delta/delta_store.h"
#include "cdn_origin/manifest/manifest_store.h"
#include "edgefleet/origin/v1/origin.grpc.pb.h"
#include "services/runtime/rpc_handlers.h"

namespace edgefleet::services {

// Thread-safe; the stores outlive it.
class OriginService final : public origin::v1::OriginService::CallbackService {
 public:
  OriginService(HandlerContext& handlers, blobs::BlobStore& blobs, delta::DeltaStore& deltas,
                manifest::ManifestStore& manifests)
      : handlers_(handlers), blobs_(blobs), deltas_(deltas), manifests_(manifests) {}

  // "http://host:port"; GetEndpoint is UNAVAILABLE [STARTING] before.
  void SetBaseUrl(std::string url);

  grpc::ServerReadReactor<origin::v1::PutBlobRequest>* PutBlob(grpc::CallbackServerContext* context,
                                                               origin::v1::BlobState* response) override;
  grpc::ServerUnaryReactor* StatBlob(grpc::CallbackServerContext* context, const origin::v1::StatBlobRequest* request,
                                     origin::v1::BlobState* response) override;
  grpc::ServerWriteReactor<origin::v1::BlobChunk>* GetBlob(grpc::CallbackServerContext* context,
                                                           const origin::v1::GetBlobRequest* request) override;
  grpc::ServerUnaryReactor* MakeDelta(grpc::CallbackServerContext* context, const origin::v1::MakeDeltaRequest* request,
                                      origin::v1::DeltaInfo* response) override;
  grpc::ServerUnaryReactor* PutManifest(grpc::CallbackServerContext* context, const origin::v1::PutManifestRequest* request,
                                        origin::v1::PutManifestResponse* response) override;
  grpc::ServerUnaryReactor* GetEndpoint(grpc::CallbackServerContext* context, const origin::v1::GetEndpointRequest* request,
                                        origin::v1::Endpoint* response) override;

 private:
  HandlerContext& handlers_;
  blobs::BlobStore& blobs_;
  delta::DeltaStore& deltas_;
  manifest::ManifestStore& manifests_;
  std::mutex mutex_;
  std::string base_url_;
};

}  // namespace edgefleet::services
