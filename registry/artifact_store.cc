#include "registry/artifact_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/bytes.h"

namespace edgefleet::registry {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kReadBytes = 1 << 20;

class File {
 public:
  File(const fs::path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

std::uint64_t SizeOf(const fs::path& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : size;
}

Status WriteAt(int fd, std::uint64_t offset, ByteView chunk, const fs::path& path) {
  while (!chunk.empty()) {
    const ssize_t written = ::pwrite(fd, chunk.data(), chunk.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return FileError("write", path, errno);
    }
    chunk = chunk.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return OkStatus();
}

Result<Digest> HashFile(const fs::path& path) {
  const File file(path, O_RDONLY);
  if (file.fd() < 0) return MakeError(FileError("open", path, errno));
  crypto::Sha256Stream hash;
  Bytes buffer(kReadBytes);
  while (true) {
    const ssize_t got = ::read(file.fd(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return MakeError(FileError("read", path, errno));
    if (got == 0) return hash.Finish();
    hash.Update(ByteView(buffer).first(static_cast<std::size_t>(got)));
  }
}

std::string_view KindName(ArtifactKind kind) {
  switch (kind) {
    case ArtifactKind::kOnnx:
      return "onnx";
    case ArtifactKind::kCalibration:
      return "calibration";
    case ArtifactKind::kEvaluation:
      return "evaluation";
  }
  return "unknown";
}

}  // namespace

Result<std::unique_ptr<ArtifactStore>> ArtifactStore::Open(const fs::path& folder) {
  std::unique_ptr<ArtifactStore> store(new ArtifactStore(folder));
  std::error_code error;
  fs::create_directories(store->uploads_, error);
  if (!error) fs::create_directories(store->artifacts_, error);
  if (error) return MakeError(FileError("create", folder, error.value()));
  return store;
}

fs::path ArtifactStore::UploadPath(const std::string& upload_id, ArtifactKind kind) const {
  return uploads_ / upload_id / KindName(kind);
}

fs::path ArtifactStore::PathOf(const Digest& sha256) const { return artifacts_ / HexEncode(sha256); }

bool ArtifactStore::Has(const Digest& sha256) const {
  std::error_code error;
  return fs::exists(PathOf(sha256), error);
}

Result<ArtifactState> ArtifactStore::State(const std::string& upload_id, const ArtifactSpec& spec) {
  std::lock_guard lock(LockOf(upload_id));
  ArtifactState state{spec.kind, 0, spec.size, Has(spec.sha256)};
  const fs::path path = UploadPath(upload_id, spec.kind);
  if (state.complete) {
    state.received = spec.size;
  } else if ((state.received = SizeOf(path)) > 0) {
    EF_RETURN_IF_ERROR(SyncPath(path));
  }
  return state;
}

Status ArtifactStore::Append(const std::string& upload_id, const ArtifactSpec& spec, std::uint64_t offset, ByteView chunk) {
  std::lock_guard lock(LockOf(upload_id));
  const fs::path path = UploadPath(upload_id, spec.kind);
  const std::uint64_t size = Has(spec.sha256) ? spec.size : SizeOf(path);
  if (offset != size) {
    return MakeError(StatusCode::kOutOfRange, "BAD_OFFSET",
                     "the next offset to send is " + std::to_string(size) + ", not " + std::to_string(offset));
  }
  if (chunk.size() > spec.size - size) {
    return InvalidArgument("TOO_LARGE", "more bytes than the " + std::to_string(spec.size) + " that were announced");
  }
  if (chunk.empty()) return OkStatus();
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  const File file(path, O_WRONLY | O_CREAT);
  if (file.fd() < 0) return FileError("open", path, errno);
  Status written = WriteAt(file.fd(), offset, chunk, path);
  // A part of a chunk would be a good prefix as well, but the sender counts in chunks.
  if (!written.ok() && ::ftruncate(file.fd(), static_cast<off_t>(offset)) != 0) return FileError("truncate", path, errno);
  return written;
}

Result<ArtifactState> ArtifactStore::Complete(const std::string& upload_id, const ArtifactSpec& spec) {
  EF_ASSIGN_OR_RETURN(ArtifactState state, State(upload_id, spec));
  if (state.complete || state.received < spec.size) return state;
  std::lock_guard lock(LockOf(upload_id));
  const fs::path path = UploadPath(upload_id, spec.kind);
  EF_ASSIGN_OR_RETURN(const Digest digest, HashFile(path));
  if (digest != spec.sha256) {
    std::error_code error;
    fs::remove(path, error);
    return DataLoss("CHECKSUM_MISMATCH", "the " + std::string(KindName(spec.kind)) + " artifact has SHA-256 " +
                                             HexEncode(digest) + ", announced was " + HexEncode(spec.sha256) +
                                             "; send it again from offset 0");
  }
  EF_RETURN_IF_ERROR(RenameDurably(path, PathOf(spec.sha256)));
  state.complete = true;
  return state;
}

void ArtifactStore::DropUpload(const std::string& upload_id) {
  std::lock_guard lock(LockOf(upload_id));
  std::error_code error;
  fs::remove_all(uploads_ / upload_id, error);
}

Result<Digest> ArtifactStore::Put(ByteView content) {
  const Digest digest = crypto::Sha256(content);
  if (!Has(digest)) EF_RETURN_IF_ERROR(WriteFileAtomic(PathOf(digest), content));
  return digest;
}

Result<std::shared_ptr<const MappedFile>> ArtifactStore::Map(const Digest& sha256) const {
  auto mapped = MappedFile::Open(PathOf(sha256));
  if (mapped) return mapped;
  if (mapped.error().code() != StatusCode::kNotFound) return mapped;
  return DataLoss("ARTIFACT_MISSING", "the file " + PathOf(sha256).string() + " is gone; restore the data directory");
}

Status ArtifactStore::Sweep(const std::function<Result<bool>(const Digest&)>& used) {
  std::error_code error;
  for (fs::directory_iterator entry(artifacts_, error), end; !error && entry != end; entry.increment(error)) {
    Digest digest{};
    const auto bytes = HexDecode(entry->path().filename().string());
    const bool finished = bytes && bytes->size() == digest.size();
    if (finished) std::copy(bytes->begin(), bytes->end(), digest.begin());
    const Result<bool> keep = finished ? used(digest) : Result<bool>(false);  // else: left by an interrupted write
    std::error_code ignored;
    if (keep && !*keep) fs::remove(entry->path(), ignored);
  }
  return error ? FileError("list", artifacts_, error.value()) : OkStatus();
}

}  // namespace edgefleet::registry
