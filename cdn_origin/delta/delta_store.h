// The origin's patches, as files named after the two blobs they lead between.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>

#include "base/crypto/crypto.h"
#include "base/file_handle.h"
#include "base/status.h"
#include "cdn_origin/blobs/blob_store.h"
#include "cdn_origin/delta/encoder.h"

namespace edgefleet::delta {

// Thread-safe. A patch is visible whole or not at all.
class DeltaStore {
 public:
  // Creates `dir` if need be and removes left-overs. `blobs` outlives the store.
  static Result<std::unique_ptr<DeltaStore>> Open(std::filesystem::path dir, blobs::BlobStore& blobs);

  // Finds the patch or makes it, one at a time. NOT_FOUND [BLOB_UNKNOWN].
  Result<EncodedDelta> Make(const crypto::Sha256Digest& from, const crypto::Sha256Digest& to);
  // NOT_FOUND [DELTA_UNKNOWN].
  Result<FileHandle> Open(const crypto::Sha256Digest& from, const crypto::Sha256Digest& to);

 private:
  DeltaStore(std::filesystem::path dir, blobs::BlobStore& blobs) : dir_(std::move(dir)), blobs_(blobs) {}
  std::filesystem::path PathOf(const crypto::Sha256Digest& from, const crypto::Sha256Digest& to) const;

  const std::filesystem::path dir_;
  blobs::BlobStore& blobs_;
  std::mutex making_;  // bounds memory: one encoder at a time
};

}  // namespace edgefleet::delta
