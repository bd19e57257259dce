// BlobStore on a filesystem.
//
//   <dir>/<first two hex digits>/<sha256 hex>          complete blobs, read-only
//   <dir>/partial/<sha256 hex>.<size>                  uploads under way; their length is what has been received
//
// A blob reaches its place by rename after its bytes were synced and hashed. Uploads that nobody goes on with are dropped, the
// oldest first, when there are more than kPartialsMax.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "cdn_origin/blobs/blob_store.h"

namespace edgefleet::blobs {

inline constexpr std::size_t kPartialsMax = 256;

class FileBlobStore final : public BlobStore {
 public:
  // Creates `dir` if need be. One process at a time: FAILED_PRECONDITION [STORE_IN_USE].
  static Result<std::unique_ptr<FileBlobStore>> Open(std::filesystem::path dir);

  Result<BlobState> Stat(const crypto::Sha256Digest& sha256) override;
  Result<std::unique_ptr<BlobWriter>> Put(const crypto::Sha256Digest& sha256, std::uint64_t size,
                                          std::uint64_t offset) override;
  Result<FileHandle> Open(const crypto::Sha256Digest& sha256) override;

 private:
  friend class PartialWriter;
  // The upload of one blob. The writer that was made last owns it.
  struct Upload {
    std::mutex mutex;
    std::uint64_t generation = 0;
  };
  struct Partial {
    std::filesystem::path path;
    std::uint64_t size = 0;
    std::uint64_t received = 0;
  };

  FileBlobStore(std::filesystem::path dir, FileHandle lock) : dir_(std::move(dir)), lock_(std::move(lock)) {}
  std::filesystem::path PathOf(const crypto::Sha256Digest& sha256) const;
  bool Has(const crypto::Sha256Digest& sha256) const;
  std::optional<Partial> FindPartial(const crypto::Sha256Digest& sha256) const;
  std::shared_ptr<Upload> UploadOf(const crypto::Sha256Digest& sha256);
  bool IsActive(const std::string& partial_name);
  Status MakeRoom();
  Result<Partial> Resume(const crypto::Sha256Digest& sha256, std::uint64_t size, std::uint64_t offset);
  Status Publish(const std::filesystem::path& partial, const crypto::Sha256Digest& sha256);

  const std::filesystem::path dir_;
  const FileHandle lock_;
  std::mutex mutex_;
  std::map<crypto::Sha256Digest, std::weak_ptr<Upload>> uploads_;
};

}  // namespace edgefleet::blobs
