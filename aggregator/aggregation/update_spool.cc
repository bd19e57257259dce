#include "aggregator/aggregation/update_spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/file_handle.h"

namespace edgefleet::aggregation {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kIdSizeMax = 256;
constexpr std::size_t kNameSize = 32;
constexpr std::uint64_t kEntryBytes =
    4096;  // reserved for each upload besides its content, so that their number is bounded too
constexpr std::size_t kReadBytes = 1 << 20;
constexpr auto kFullRetryAfter = std::chrono::seconds(10);

enum class State { kPart, kDone, kUsed };

std::string_view Suffix(State state) {
  switch (state) {
    case State::kPart:
      return ".part";
    case State::kDone:
      return ".done";
    case State::kUsed:
      break;
  }
  return ".used";
}

std::string NameOf(const std::string& id) { return crypto::Sha256Hex(AsBytes(id)).substr(0, kNameSize); }

struct Entry {
  std::mutex mutex;  // held while the file is read or written
  fs::path stem;     // <folder>/<round>/<device>.<size>.<sha256>
  std::uint64_t size = 0;
  std::string sha256_hex;
  std::uint64_t received = 0;
  State state = State::kPart;
  bool removed = false;
  std::optional<crypto::Sha256Stream> hash;  // of what has been received; absent after a restart until the next chunk

  fs::path File(State of) const { return stem.string() + std::string(Suffix(of)); }
  UploadProgress progress() const { return {received, size, state != State::kPart}; }
};

using EntryPtr = std::shared_ptr<Entry>;

std::string EntryName(const UploadKey& key) { return NameOf(key.round_id) + "/" + NameOf(key.device_id); }

// Feeds the first `size` bytes of a file to `hash`.
Status HashPrefix(const fs::path& path, std::uint64_t size, crypto::Sha256Stream& hash) {
  EF_ASSIGN_OR_RETURN(const FileHandle file, FileHandle::Open(path));
  Bytes block(kReadBytes);
  for (std::uint64_t done = 0; done < size;) {
    const ssize_t got =
        ::pread(file.fd(), block.data(), std::min<std::uint64_t>(block.size(), size - done), static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return FileError("read", path, got < 0 ? errno : EIO);
    hash.Update(ByteView(block).first(static_cast<std::size_t>(got)));
    done += static_cast<std::uint64_t>(got);
  }
  return OkStatus();
}

Status WriteAt(const fs::path& path, std::uint64_t offset, ByteView chunk) {
  const FileHandle file(::open(path.c_str(), O_WRONLY | O_CLOEXEC), 0);
  if (file.fd() < 0) return FileError("open", path, errno);
  while (!chunk.empty()) {
    const ssize_t written = ::pwrite(file.fd(), chunk.data(), chunk.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("write", path, errno);
    chunk = chunk.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
  return OkStatus();
}

Status CreateEmpty(const fs::path& path) {
  const FileHandle file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), 0);
  return file.fd() < 0 ? FileError("create", path, errno) : OkStatus();
}

// A used upload is an empty file that keeps its name.
Status Truncate(const fs::path& path) {
  return ::truncate(path.c_str(), 0) == 0 ? OkStatus() : FileError("truncate", path, errno);
}

// Starts an upload anew.
Status Empty(Entry& entry) {
  entry.hash.reset();
  entry.received = 0;
  return CreateEmpty(entry.File(State::kPart));
}

// <device>.<size>.<sha256>.<state>; nothing for a file that is not the spool's.
EntryPtr ParseFile(const fs::path& path) {
  const std::string name = path.filename().string();
  const auto size_at = name.find('.');
  const auto sha_at = size_at == std::string::npos ? size_at : name.find('.', size_at + 1);
  const auto state_at = sha_at == std::string::npos ? sha_at : name.find('.', sha_at + 1);
  if (state_at == std::string::npos || size_at != kNameSize || state_at - sha_at != 65) return nullptr;
  auto entry = std::make_shared<Entry>();
  const auto parsed = std::from_chars(name.data() + size_at + 1, name.data() + sha_at, entry->size);
  if (parsed.ec != std::errc() || parsed.ptr != name.data() + sha_at) return nullptr;
  entry->sha256_hex = name.substr(sha_at + 1, 64);
  entry->stem = path.parent_path() / name.substr(0, state_at);
  for (const State state : {State::kPart, State::kDone, State::kUsed}) {
    if (name.substr(state_at) != Suffix(state)) continue;
    entry->state = state;
    return entry;
  }
  return nullptr;
}

// What a restart finds: a done file of the wrong size or a part that is too long is not trusted, and its device starts anew.
Status TakeUp(Entry& entry) {
  if (entry.state == State::kUsed) {
    entry.received = entry.size;
    return Truncate(entry.File(State::kUsed));
  }
  EF_ASSIGN_OR_RETURN(const FileHandle file, FileHandle::Open(entry.File(entry.state)));
  entry.received = file.size();
  if (entry.state == State::kDone && file.size() != entry.size) {
    EF_RETURN_IF_ERROR(RenameDurably(entry.File(State::kDone), entry.File(State::kPart)));
    entry.state = State::kPart;
    return Empty(entry);
  }
  // A part that is all there was cut off before its verification: the last byte is asked for again, and verifies it.
  if (entry.state == State::kPart && file.size() == entry.size) entry.received = entry.size - 1;
  return file.size() > entry.size ? Empty(entry) : OkStatus();
}

}  // namespace

struct UpdateSpool::Impl {
  Options options;
  mutable std::mutex mutex;  // of the table; never taken while an entry's is held
  std::map<std::string, EntryPtr> entries;
  std::uint64_t reserved = 0;

  EntryPtr Find(const UploadKey& key) const {
    std::lock_guard lock(mutex);
    const auto found = entries.find(EntryName(key));
    return found == entries.end() ? nullptr : found->second;
  }
  Status Scan();
  Result<EntryPtr> FindOrCreate(const UploadKey& key, std::uint64_t size, const std::string& sha256_hex);
};

namespace {

Error UnknownUpload() {
  return NotFound("UPLOAD_UNKNOWN", "no upload of this device has begun in this round; send the header first");
}

Status CheckBegin(const UpdateSpool::Options& options, const UploadKey& key, std::uint64_t size, ByteView sha256) {
  const auto bad_id = [](const std::string& id) { return id.empty() || id.size() > kIdSizeMax; };
  if (bad_id(key.round_id) || bad_id(key.device_id))
    return InvalidArgument("BAD_UPDATE", "round and device ids have 1 to 256 bytes");
  if (size == 0 || size > options.upload_bytes_max) {
    return InvalidArgument("BAD_UPDATE", "an update of " + std::to_string(size) + " bytes is not taken: 1 to " +
                                             std::to_string(options.upload_bytes_max) + " bytes");
  }
  if (sha256.size() != 32) return InvalidArgument("BAD_UPDATE", "the update's SHA-256 must have 32 bytes");
  return OkStatus();
}

// Verifies a whole part file and makes it a done one.
Status Complete(Entry& entry) {
  const bool genuine = HexEncode(entry.hash->Finish()) == entry.sha256_hex;
  entry.hash.reset();
  if (!genuine) {
    EF_RETURN_IF_ERROR(Empty(entry));
    return DataLoss("CHECKSUM_MISMATCH",
                    "the update does not have the announced SHA-256; it is dropped, send it again from offset 0");
  }
  if (Status status = RenameDurably(entry.File(State::kPart), entry.File(State::kDone)); !status.ok()) {
    // After a failed sync nobody knows what is on the disk, and a later sync that succeeds does not tell.
    ::unlink(entry.File(State::kDone).c_str());
    entry.received = 0;
    return status;
  }
  entry.state = State::kDone;
  return OkStatus();
}

Status CheckChunk(const Entry& entry, std::uint64_t offset, ByteView chunk) {
  if (entry.removed) return UnknownUpload();
  if (entry.state != State::kPart) return AlreadyExists("ALREADY_SUBMITTED", "this device's update of this round is complete");
  if (offset != entry.received) {
    return MakeError(
        StatusCode::kOutOfRange, "BAD_OFFSET",
        "the chunk starts at " + std::to_string(offset) + ", the upload goes on at " + std::to_string(entry.received));
  }
  if (chunk.empty() || chunk.size() > entry.size - offset) {
    return InvalidArgument("BAD_UPDATE", "a chunk of " + std::to_string(chunk.size()) + " bytes at " + std::to_string(offset) +
                                             " does not fit the announced size of " + std::to_string(entry.size));
  }
  return OkStatus();
}

}  // namespace

Status UpdateSpool::Impl::Scan() {
  std::error_code error;
  fs::create_directories(options.folder, error);
  if (error) return FileError("create", options.folder, error.value());
  for (fs::recursive_directory_iterator at(options.folder, error), end; !error && at != end; at.increment(error)) {
    if (at.depth() != 1) continue;
    EntryPtr entry = ParseFile(at->path());
    if (entry == nullptr || entry->size == 0) continue;
    EF_RETURN_IF_ERROR(TakeUp(*entry));
    const std::string device = at->path().filename().string().substr(0, kNameSize);
    const std::uint64_t held = kEntryBytes + (entry->state == State::kUsed ? 0 : entry->size);
    if (entries.emplace(at->path().parent_path().filename().string() + "/" + device, std::move(entry)).second) reserved += held;
  }
  return error ? FileError("list", options.folder, error.value()) : OkStatus();
}

Result<EntryPtr> UpdateSpool::Impl::FindOrCreate(const UploadKey& key, std::uint64_t size, const std::string& sha256_hex) {
  std::lock_guard lock(mutex);
  const std::string name = EntryName(key);
  if (const auto found = entries.find(name); found != entries.end()) return found->second;
  if (size + kEntryBytes > options.bytes_max || reserved > options.bytes_max - size - kEntryBytes) {
    return ResourceExhausted("SPOOL_FULL", "the spool holds " + std::to_string(reserved) + " of at most " +
                                               std::to_string(options.bytes_max) + " bytes; try again later")
        .RetryAfter(kFullRetryAfter);
  }
  auto entry = std::make_shared<Entry>();
  entry->stem = options.folder / (name + "." + std::to_string(size) + "." + sha256_hex);
  entry->size = size;
  entry->sha256_hex = sha256_hex;
  std::error_code error;
  fs::create_directories(entry->stem.parent_path(), error);
  if (error) return MakeError(FileError("create", entry->stem.parent_path(), error.value()));
  EF_RETURN_IF_ERROR(CreateEmpty(entry->File(State::kPart)));
  reserved += size + kEntryBytes;
  entries.emplace(name, entry);
  return entry;
}

Result<std::unique_ptr<UpdateSpool>> UpdateSpool::Open(Options options) {
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  EF_RETURN_IF_ERROR(impl->Scan());
  return std::unique_ptr<UpdateSpool>(new UpdateSpool(std::move(impl)));
}

UpdateSpool::UpdateSpool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
UpdateSpool::~UpdateSpool() = default;

Result<UploadProgress> UpdateSpool::Begin(const UploadKey& key, std::uint64_t size, ByteView sha256) {
  EF_RETURN_IF_ERROR(CheckBegin(impl_->options, key, size, sha256));
  const std::string sha256_hex = HexEncode(sha256);
  EF_ASSIGN_OR_RETURN(const EntryPtr entry, impl_->FindOrCreate(key, size, sha256_hex));
  std::lock_guard lock(entry->mutex);
  if (entry->removed) return UnknownUpload();
  if (entry->size != size || entry->sha256_hex != sha256_hex) {
    return AlreadyExists("ALREADY_SUBMITTED", "this device has begun another update in this round");
  }
  return entry->progress();
}

Result<UploadProgress> UpdateSpool::Progress(const UploadKey& key) const {
  const EntryPtr entry = impl_->Find(key);
  if (entry == nullptr) return UnknownUpload();
  std::lock_guard lock(entry->mutex);
  return entry->progress();
}

Result<UploadProgress> UpdateSpool::Append(const UploadKey& key, std::uint64_t offset, ByteView chunk) {
  const EntryPtr entry = impl_->Find(key);
  if (entry == nullptr) return UnknownUpload();
  std::lock_guard lock(entry->mutex);
  EF_RETURN_IF_ERROR(CheckChunk(*entry, offset, chunk));
  if (offset == 0) EF_RETURN_IF_ERROR(CreateEmpty(entry->File(State::kPart)));  // whatever a failure has left
  if (!entry->hash) {
    crypto::Sha256Stream hash;
    EF_RETURN_IF_ERROR(HashPrefix(entry->File(State::kPart), entry->received, hash));
    entry->hash = std::move(hash);
  }
  EF_RETURN_IF_ERROR(WriteAt(entry->File(State::kPart), offset, chunk));
  entry->hash->Update(chunk);
  entry->received += chunk.size();
  if (entry->received == entry->size) EF_RETURN_IF_ERROR(Complete(*entry));
  return entry->progress();
}

Result<fs::path> UpdateSpool::CompleteFile(const UploadKey& key) const {
  const EntryPtr entry = impl_->Find(key);
  if (entry == nullptr) return UnknownUpload();
  std::lock_guard lock(entry->mutex);
  if (entry->state == State::kUsed)
    return FailedPrecondition("UPLOAD_USED", "this upload has been added and its bytes are gone");
  if (entry->state == State::kPart) {
    return FailedPrecondition("UPLOAD_INCOMPLETE", "this upload has " + std::to_string(entry->received) + " of " +
                                                       std::to_string(entry->size) + " bytes");
  }
  return entry->File(State::kDone);
}

Status UpdateSpool::Discard(const UploadKey& key) {
  const EntryPtr entry = impl_->Find(key);
  if (entry == nullptr) return UnknownUpload();
  {
    std::lock_guard lock(entry->mutex);
    if (entry->removed) return UnknownUpload();
    if (entry->state == State::kUsed) return OkStatus();
    if (entry->state == State::kPart) return FailedPrecondition("UPLOAD_INCOMPLETE", "only a complete upload can be discarded");
    if (::rename(entry->File(State::kDone).c_str(), entry->File(State::kUsed).c_str()) != 0) {
      return FileError("rename", entry->File(State::kDone), errno);
    }
    entry->state = State::kUsed;
    EF_RETURN_IF_ERROR(Truncate(entry->File(State::kUsed)));
  }
  std::lock_guard lock(impl_->mutex);
  impl_->reserved -= entry->size;
  return OkStatus();
}

Status UpdateSpool::RemoveRound(const std::string& round_id) {
  const std::string round = NameOf(round_id);
  std::lock_guard lock(impl_->mutex);
  const auto first = impl_->entries.lower_bound(round + "/");
  const auto last = impl_->entries.lower_bound(round + "0");  // '0' follows '/'
  for (auto at = first; at != last; ++at) {
    std::lock_guard entry_lock(at->second->mutex);
    at->second->removed = true;
    impl_->reserved -= kEntryBytes + (at->second->state == State::kUsed ? 0 : at->second->size);
  }
  impl_->entries.erase(first, last);
  std::error_code error;
  fs::remove_all(impl_->options.folder / round, error);
  return error ? FileError("remove", impl_->options.folder / round, error.value()) : OkStatus();
}

fs::path UpdateSpool::RoundFolder(const std::string& round_id) const { return impl_->options.folder / NameOf(round_id); }

std::uint64_t UpdateSpool::bytes_reserved() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->reserved;
}

bool UpdateSpool::Crowded() const { return bytes_reserved() > impl_->options.bytes_max / 2; }

}  // namespace edgefleet::aggregation
