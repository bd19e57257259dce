// ContentSource over the origin's three stores.
#pragma once

#include "cdn_origin/blobs/blob_store.h"
#include "cdn_origin/delta/delta_store.h"
#include "cdn_origin/http/responder.h"
#include "cdn_origin/manifest/manifest_store.h"

namespace edgefleet::http {

// Thread-safe; the stores outlive it.
class OriginContent final : public ContentSource {
 public:
  OriginContent(blobs::BlobStore& blobs, delta::DeltaStore& deltas, const manifest::ManifestStore& manifests)
      : blobs_(blobs), deltas_(deltas), manifests_(manifests) {}
  Result<Content> Open(const Resource& resource) override;

 private:
  blobs::BlobStore& blobs_;
  delta::DeltaStore& deltas_;
  const manifest::ManifestStore& manifests_;
};

}  // namespace edgefleet::http
