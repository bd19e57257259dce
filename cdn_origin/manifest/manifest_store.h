// The origin's signed manifests, as files below one folder. What is stored was read as a manifest, but not verified: the origin
// holds no keys, devices do that.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet::manifest {

struct StoredManifest {
  Bytes envelope;
  std::string etag;  // strong, with its quotes: the SHA-256 of the envelope
};

// Thread-safe. Replaces atomically; survives crashes with the former or the new manifest.
class ManifestStore {
 public:
  // Creates `dir` if need be.
  static Result<std::unique_ptr<ManifestStore>> Open(std::filesystem::path dir);

  // Yields the ETag. INVALID_ARGUMENT [BAD_PATH], [BAD_MANIFEST] also when `sequence` is not the manifest's own;
  // FAILED_PRECONDITION [STALE_SEQUENCE] below the present one's, or with the same sequence and other bytes. The same again
  // succeeds.
  Result<std::string> Put(std::string_view path, std::uint64_t sequence, ByteView envelope);
  // NOT_FOUND [MANIFEST_UNKNOWN].
  Result<StoredManifest> Get(std::string_view path) const;

 private:
  explicit ManifestStore(std::filesystem::path dir) : dir_(std::move(dir)) {}

  const std::filesystem::path dir_;
  std::mutex mutex_;  // of Put: compares, then replaces
};

}  // namespace edgefleet::manifest
