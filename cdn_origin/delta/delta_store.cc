#include "cdn_origin/delta/delta_store.h"

#include <sys/mman.h>

#include <span>
#include <system_error>

#include "base/file.h"

namespace edgefleet::delta {
namespace {

// A mapping of an open file.
class Mapping {
 public:
  explicit Mapping(const FileHandle& file) : size_(file.size()) {
    if (size_ > 0) address_ = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.fd(), 0);
  }
  ~Mapping() {
    if (valid()) ::munmap(address_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  bool valid() const { return address_ != MAP_FAILED; }
  ByteView bytes() const { return {static_cast<const std::byte*>(address_), size_}; }

 private:
  std::size_t size_;
  void* address_ = MAP_FAILED;
};

Result<EncodedDelta> Describe(const FileHandle& file) {
  const Mapping patch(file);
  if (!patch.valid()) return Internal("FILE_IO", "a stored delta cannot be mapped");
  return EncodedDelta{crypto::Sha256(patch.bytes()), file.size()};
}

}  // namespace

Result<std::unique_ptr<DeltaStore>> DeltaStore::Open(std::filesystem::path dir, blobs::BlobStore& blobs) {
  std::error_code error;
  std::filesystem::remove_all(dir / "making", error);
  if (!error) std::filesystem::create_directories(dir / "making", error);
  if (error) return Internal("FILE_IO", "prepare " + dir.string() + ": " + error.message());
  return std::unique_ptr<DeltaStore>(new DeltaStore(std::move(dir), blobs));
}

std::filesystem::path DeltaStore::PathOf(const crypto::Sha256Digest& from, const crypto::Sha256Digest& to) const {
  const std::string name = HexEncode(from) + "-" + HexEncode(to);
  return dir_ / HexEncode(std::span(to).first(1)) / name;
}

Result<EncodedDelta> DeltaStore::Make(const crypto::Sha256Digest& from, const crypto::Sha256Digest& to) {
  std::lock_guard lock(making_);
  if (auto present = Open(from, to)) return Describe(*present);
  EF_ASSIGN_OR_RETURN(const FileHandle from_file, blobs_.Open(from));
  EF_ASSIGN_OR_RETURN(const FileHandle to_file, blobs_.Open(to));
  const Mapping from_bytes(from_file);
  const Mapping to_bytes(to_file);
  if (!from_bytes.valid() || !to_bytes.valid())
    return InvalidArgument("BAD_DELTA_INPUT", "a blob is empty or cannot be mapped");
  const auto path = PathOf(from, to);
  const auto making = dir_ / "making" / path.filename();
  EF_ASSIGN_OR_RETURN(const EncodedDelta encoded, Encode(from_bytes.bytes(), to_bytes.bytes(), making));
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  if (error) return Internal("FILE_IO", "create " + path.parent_path().string() + ": " + error.message());
  EF_RETURN_IF_ERROR(RenameDurably(making, path));
  EF_RETURN_IF_ERROR(SyncPath(dir_));
  return encoded;
}

Result<FileHandle> DeltaStore::Open(const crypto::Sha256Digest& from, const crypto::Sha256Digest& to) {
  auto file = FileHandle::Open(PathOf(from, to));
  if (!file && file.error().code() == StatusCode::kNotFound) {
    return NotFound("DELTA_UNKNOWN", "no delta " + HexEncode(from) + "-" + HexEncode(to));
  }
  return file;
}

}  // namespace edgefleet::delta
