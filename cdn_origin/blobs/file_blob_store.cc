#include "cdn_origin/blobs/file_blob_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "base/clock.h"
#include "base/file.h"

namespace edgefleet::blobs {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kHashBufferBytes = 1024 * 1024;

Result<crypto::Sha256Digest> HashFile(int fd, const fs::path& path) {
  crypto::Sha256Stream stream;
  Bytes buffer(kHashBufferBytes);
  for (off_t offset = 0;;) {
    const ssize_t got = ::pread(fd, buffer.data(), buffer.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return MakeError(FileError("read", path, errno));
    if (got == 0) return stream.Finish();
    stream.Update(ByteView(buffer).first(static_cast<std::size_t>(got)));
    offset += got;
  }
}

// "<64 hex digits>.<size>"; nothing for any other name.
std::optional<std::uint64_t> SizeInName(const std::string& name) {
  if (name.size() < 66 || name[64] != '.') return std::nullopt;
  std::uint64_t size = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + 65, end, size);
  return error == std::errc() && stop == end && size <= kBlobBytesMax ? std::optional(size) : std::nullopt;
}

// Takes what is sent for a blob that is here already.
class SwallowingWriter final : public BlobWriter {
 public:
  explicit SwallowingWriter(std::uint64_t size) : size_(size) {}
  Status Append(ByteView) override { return OkStatus(); }
  Result<BlobState> Finish() override { return BlobState{size_, size_, true}; }

 private:
  const std::uint64_t size_;
};

}  // namespace

class PartialWriter final : public BlobWriter {
 public:
  PartialWriter(FileBlobStore& store, std::shared_ptr<FileBlobStore::Upload> upload, const crypto::Sha256Digest& sha256,
                FileBlobStore::Partial partial, FileHandle file)
      : store_(store),
        upload_(std::move(upload)),
        generation_(upload_->generation),
        sha256_(sha256),
        partial_(std::move(partial)),
        file_(std::move(file)) {}

  Status Append(ByteView chunk) override {
    std::lock_guard lock(upload_->mutex);
    EF_RETURN_IF_ERROR(CheckOwner());
    if (chunk.size() > partial_.size - partial_.received) {
      return InvalidArgument("TOO_LARGE", "more bytes than the announced " + std::to_string(partial_.size));
    }
    while (!chunk.empty()) {
      const ssize_t written = ::pwrite(file_.fd(), chunk.data(), chunk.size(), static_cast<off_t>(partial_.received));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return MakeError(FileError("write", partial_.path, errno));
      partial_.received += static_cast<std::uint64_t>(written);
      chunk = chunk.subspan(static_cast<std::size_t>(written));
    }
    return OkStatus();
  }

  Result<BlobState> Finish() override {
    std::lock_guard lock(upload_->mutex);
    EF_RETURN_IF_ERROR(CheckOwner());
    if (partial_.received < partial_.size) return BlobState{partial_.received, partial_.size, false};
    ++upload_->generation;  // nobody writes to a finished upload
    EF_ASSIGN_OR_RETURN(const auto digest, HashFile(file_.fd(), partial_.path));
    if (digest != sha256_) {
      ::unlink(partial_.path.c_str());
      return DataLoss("CHECKSUM_MISMATCH", "the bytes received are not " + HexEncode(sha256_) + "; send them again from 0");
    }
    EF_RETURN_IF_ERROR(store_.Publish(partial_.path, sha256_));
    return BlobState{partial_.size, partial_.size, true};
  }

 private:
  Status CheckOwner() const {
    if (upload_->generation == generation_) return OkStatus();
    return Aborted("SUPERSEDED", "a later upload of this blob has taken over; ask StatBlob and go on from there");
  }

  FileBlobStore& store_;
  const std::shared_ptr<FileBlobStore::Upload> upload_;
  const std::uint64_t generation_;
  const crypto::Sha256Digest sha256_;
  FileBlobStore::Partial partial_;
  const FileHandle file_;
};

Result<std::unique_ptr<FileBlobStore>> FileBlobStore::Open(fs::path dir) {
  std::error_code error;
  fs::create_directories(dir / "partial", error);
  if (error) return Internal("FILE_IO", "create " + dir.string() + ": " + error.message());
  FileHandle lock(::open((dir / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644), 0);
  if (lock.fd() < 0) return MakeError(FileError("open", dir / "lock", errno));
  if (::flock(lock.fd(), LOCK_EX | LOCK_NB) != 0) {
    return FailedPrecondition("STORE_IN_USE", dir.string() + " is in use by another process");
  }
  return std::unique_ptr<FileBlobStore>(new FileBlobStore(std::move(dir), std::move(lock)));
}

fs::path FileBlobStore::PathOf(const crypto::Sha256Digest& sha256) const {
  return dir_ / HexEncode(std::span(sha256).first(1)) / HexEncode(sha256);
}

bool FileBlobStore::Has(const crypto::Sha256Digest& sha256) const {
  std::error_code error;
  return fs::is_regular_file(PathOf(sha256), error);
}

std::optional<FileBlobStore::Partial> FileBlobStore::FindPartial(const crypto::Sha256Digest& sha256) const {
  const std::string prefix = HexEncode(sha256) + ".";
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(dir_ / "partial", error)) {
    const std::string name = entry.path().filename();
    const auto size = SizeInName(name);
    if (!size || !name.starts_with(prefix)) continue;
    const std::uint64_t received = entry.file_size(error);
    if (!error && received <= *size) return Partial{entry.path(), *size, received};
  }
  return std::nullopt;
}

std::shared_ptr<FileBlobStore::Upload> FileBlobStore::UploadOf(const crypto::Sha256Digest& sha256) {
  std::erase_if(uploads_, [](const auto& entry) { return entry.second.expired(); });
  auto& known = uploads_[sha256];
  auto upload = known.lock();
  if (!upload) known = upload = std::make_shared<Upload>();
  return upload;
}

Result<BlobState> FileBlobStore::Stat(const crypto::Sha256Digest& sha256) {
  if (Has(sha256)) {
    EF_ASSIGN_OR_RETURN(const FileHandle file, Open(sha256));
    return BlobState{file.size(), file.size(), true};
  }
  std::lock_guard lock(mutex_);
  const auto partial = FindPartial(sha256);
  return partial ? BlobState{partial->received, partial->size, false} : BlobState{};
}

bool FileBlobStore::IsActive(const std::string& partial_name) {
  return std::any_of(uploads_.begin(), uploads_.end(), [&](const auto& entry) {
    return !entry.second.expired() && partial_name.starts_with(HexEncode(entry.first));
  });
}

Status FileBlobStore::MakeRoom() {
  std::error_code error;
  std::vector<std::pair<fs::file_time_type, fs::path>> idle;
  std::size_t count = 0;
  for (const auto& entry : fs::directory_iterator(dir_ / "partial", error)) {
    ++count;
    if (!IsActive(entry.path().filename())) idle.emplace_back(entry.last_write_time(error), entry.path());
  }
  if (count < kPartialsMax) return OkStatus();
  if (idle.empty())
    return ResourceExhausted("TOO_MANY_UPLOADS", "too many uploads are under way; retry later").RetryAfter(Millis(5000));
  const auto oldest = std::min_element(idle.begin(), idle.end());
  fs::remove(oldest->second, error);
  return OkStatus();
}

Result<FileBlobStore::Partial> FileBlobStore::Resume(const crypto::Sha256Digest& sha256, std::uint64_t size,
                                                     std::uint64_t offset) {
  auto partial = FindPartial(sha256);
  if (partial && partial->size != size && offset == 0) {
    ::unlink(partial->path.c_str());
    partial.reset();
  }
  const std::uint64_t received = partial ? partial->received : 0;
  if (offset != received || (partial && partial->size != size)) {
    return MakeError(StatusCode::kOutOfRange, "BAD_OFFSET",
                     "the origin holds " + std::to_string(received) + " bytes; go on from there");
  }
  if (partial) return *partial;
  return Partial{dir_ / "partial" / (HexEncode(sha256) + "." + std::to_string(size)), size, 0};
}

Result<std::unique_ptr<BlobWriter>> FileBlobStore::Put(const crypto::Sha256Digest& sha256, std::uint64_t size,
                                                       std::uint64_t offset) {
  if (size > kBlobBytesMax) return InvalidArgument("TOO_LARGE", "a blob has at most 4 GiB");
  std::shared_ptr<Upload> upload;
  {
    std::lock_guard lock(mutex_);
    if (!Has(sha256) && !FindPartial(sha256)) {
      EF_RETURN_IF_ERROR(MakeRoom());
    }
    upload = UploadOf(sha256);
  }
  std::lock_guard owner(upload->mutex);  // waits for a write or publication under way
  if (Has(sha256)) {
    EF_ASSIGN_OR_RETURN(const BlobState state, Stat(sha256));
    return std::make_unique<SwallowingWriter>(state.size);
  }
  EF_ASSIGN_OR_RETURN(Partial partial, Resume(sha256, size, offset));
  FileHandle file(::open(partial.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644), size);
  if (file.fd() < 0) return MakeError(FileError("open", partial.path, errno));
  ++upload->generation;
  return std::make_unique<PartialWriter>(*this, upload, sha256, std::move(partial), std::move(file));
}

Status FileBlobStore::Publish(const fs::path& partial, const crypto::Sha256Digest& sha256) {
  const fs::path path = PathOf(sha256);
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) return Internal("FILE_IO", "create " + path.parent_path().string() + ": " + error.message());
  EF_RETURN_IF_ERROR(RenameDurably(partial, path));
  return SyncPath(dir_);
}

Result<FileHandle> FileBlobStore::Open(const crypto::Sha256Digest& sha256) {
  auto file = FileHandle::Open(PathOf(sha256));
  if (!file && file.error().code() == StatusCode::kNotFound) {
    return NotFound("BLOB_UNKNOWN", "no blob " + HexEncode(sha256));
  }
  return file;
}

}  // namespace edgefleet::blobs
