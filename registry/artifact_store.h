// The registry's files: uploads in progress, and finished artifacts by content.
//
//   uploads/<upload id>/<kind>   what has arrived of an artifact
//   artifacts/<sha256 hex>       complete, verified, read-only from then on
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "base/bytes.h"
#include "base/file.h"
#include "base/status.h"
#include "registry/model.h"

namespace edgefleet::registry {

// Thread-safe.
class ArtifactStore {
 public:
  // Makes the folders; removes what an interrupted write left.
  static Result<std::unique_ptr<ArtifactStore>> Open(const std::filesystem::path& folder);

  // How much of the artifact is here, durably.
  Result<ArtifactState> State(const std::string& upload_id, const ArtifactSpec& spec);
  // Adds `chunk` at `offset`; not durable before Complete or State. OUT_OF_RANGE [BAD_OFFSET] unless `offset` is where the file
  // ends, INVALID_ARGUMENT [TOO_LARGE] beyond its size, RESOURCE_EXHAUSTED [DISK_FULL].
  Status Append(const std::string& upload_id, const ArtifactSpec& spec, std::uint64_t offset, ByteView chunk);
  // Makes what arrived durable; verifies it when all is there. DATA_LOSS [CHECKSUM_MISMATCH]: the content is not what the
  // digest says; it is dropped and must be sent anew from offset 0.
  Result<ArtifactState> Complete(const std::string& upload_id, const ArtifactSpec& spec);
  // Removes what is left of an upload.
  void DropUpload(const std::string& upload_id);

  // Stores a finished file; storing it again is fine.
  Result<Digest> Put(ByteView content);
  std::filesystem::path PathOf(const Digest& sha256) const;
  bool Has(const Digest& sha256) const;
  // DATA_LOSS [ARTIFACT_MISSING].
  Result<std::shared_ptr<const MappedFile>> Map(const Digest& sha256) const;
  // Removes every finished artifact for which `used` says no; keeps those for which it fails.
  Status Sweep(const std::function<Result<bool>(const Digest&)>& used);

 private:
  explicit ArtifactStore(const std::filesystem::path& folder)
      : uploads_(folder / "uploads"), artifacts_(folder / "artifacts") {}
  std::filesystem::path UploadPath(const std::string& upload_id, ArtifactKind kind) const;

  const std::filesystem::path uploads_;
  const std::filesystem::path artifacts_;
  // One artifact of an upload is changed by one thread at a time; uploads share 16 locks.
  std::array<std::mutex, 16> locks_;
  std::mutex& LockOf(const std::string& upload_id) { return locks_[std::hash<std::string>{}(upload_id) % locks_.size()]; }
};

}  // namespace edgefleet::registry
