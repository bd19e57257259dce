#include "aggregator/aggregation/journal.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <string>
#include <utility>

#include "base/crypto/crypto.h"
#include "base/file.h"

namespace edgefleet::aggregation {

namespace fs = std::filesystem;

// Head and header are as on disk.
struct Journal::RecordHead {
  std::uint32_t size = 0;
  std::uint32_t kind = 0;
  std::array<std::byte, 8> check{};
  Link link{};
};

namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::array<char, 8> kMagic = {'E', 'F', 'J', 'O', 'U', 'R', 'N', 'L'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kZeroBlockBytes = 1 << 16;

template <std::size_t size>
std::array<std::byte, size> FirstOf(const crypto::Sha256Digest& digest) {
  std::array<std::byte, size> first;
  std::copy_n(digest.begin(), size, first.begin());
  return first;
}

template <typename T>
ByteView BytesOf(const T& object) {
  return std::as_bytes(std::span(&object, 1));
}

struct Header {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t zero = 0;
  std::uint64_t synced = 0;
  std::array<std::byte, 8> synced_check{};

  static Header Of(std::uint64_t synced) {
    return {.synced = synced, .synced_check = FirstOf<8>(crypto::Sha256(BytesOf(synced)))};
  }
};
static_assert(sizeof(Header) == 32);

constexpr std::size_t kCheckedHeadBytes = 8;  // size and kind
constexpr std::size_t kLinkedHeadBytes = 16;  // and their check

Error Damaged(const fs::path& path, const std::string& what) {
  return DataLoss("JOURNAL_DAMAGED", path.string() + ": " + what + "; the round cannot be taken up, end it as failed");
}

Error Broken(const fs::path& path) {
  return FailedPrecondition("JOURNAL_BROKEN", "a write to " + path.string() + " has failed; open the journal anew");
}

// Head and link of a record behind one whose link is `former`.
template <typename Head, typename Link>
void Seal(Head& head, const Link& former, ByteView payload) {
  crypto::Sha256Stream check;
  check.Update(former);
  check.Update(BytesOf(head).first(kCheckedHeadBytes));
  head.check = FirstOf<8>(check.Finish());
  crypto::Sha256Stream link;
  link.Update(former);
  link.Update(BytesOf(head).first(kLinkedHeadBytes));
  link.Update(payload);
  head.link = FirstOf<16>(link.Finish());
}

// A journal without records; it gets its name only when it is whole.
Status Create(const fs::path& path) {
  fs::path temporary = path;
  temporary += ".tmp";
  const FileHandle file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), 0);
  if (file.fd() < 0) return FileError("create", temporary, errno);
  const Header header = Header::Of(sizeof(Header));
  if (::write(file.fd(), &header, sizeof header) != sizeof header) return FileError("write", temporary, errno);
  return RenameDurably(temporary, path);
}

}  // namespace

Result<std::unique_ptr<Journal>> Journal::Open(const fs::path& path, Options options) {
  std::error_code error;
  if (!fs::exists(path, error)) EF_RETURN_IF_ERROR(Create(path));
  FileHandle file(::open(path.c_str(), O_RDWR | O_CLOEXEC), 0);
  if (file.fd() < 0) return MakeError(FileError("open", path, errno));
  std::unique_ptr<Journal> journal(new Journal(path, std::move(file), options));
  EF_RETURN_IF_ERROR(journal->TakeUp());
  return journal;
}

Status Journal::TakeUp() {
  const off_t size = ::lseek(file_.fd(), 0, SEEK_END);
  if (size < 0) return FileError("measure", path_, errno);
  const auto end = static_cast<std::uint64_t>(size);
  if (end < sizeof(Header)) return Damaged(path_, "the file is too short");
  Header header;
  EF_RETURN_IF_ERROR(ReadAt(0, std::as_writable_bytes(std::span(&header, 1))));
  if (header.magic != kMagic || header.zero != 0) return Damaged(path_, "it is no journal");
  if (header.version != kVersion) {
    return Damaged(
        path_, "it has format version " + std::to_string(header.version) + ", this program reads " + std::to_string(kVersion));
  }
  if (header.synced_check != Header::Of(header.synced).synced_check || header.synced < sizeof(Header) || header.synced > end)
    return Damaged(path_, "synced records are missing");
  end_ = sizeof(Header);
  synced_ = header.synced;
  Bytes payload;
  for (RecordHead head; end_ < end; end_ += sizeof head + head.size, link_ = head.link) {
    EF_ASSIGN_OR_RETURN(const Found found, ReadRecord(end_, end, link_, head, payload));
    if (found == Found::kRecord) continue;
    if (found == Found::kDamaged || end_ < header.synced) return Damaged(path_, "a record is not what was written");
    if (::ftruncate(file_.fd(), static_cast<off_t>(end_)) != 0) return FileError("truncate", path_, errno);
    return OkStatus();
  }
  return OkStatus();
}

Result<Journal::Found> Journal::ReadRecord(std::uint64_t at, std::uint64_t end, const Link& former, RecordHead& head,
                                           Bytes& payload) const {
  static_assert(sizeof(RecordHead) == 32);
  if (end - at < sizeof head) return Found::kTorn;
  EF_RETURN_IF_ERROR(ReadAt(at, std::as_writable_bytes(std::span(&head, 1))));
  RecordHead genuine{.size = head.size, .kind = head.kind};
  Seal(genuine, former, {});
  if (head.check != genuine.check || head.size > kRecordBytesMax) {
    EF_ASSIGN_OR_RETURN(const bool zeros, ZerosOnly(at, end));
    return zeros ? Found::kTorn : Found::kDamaged;
  }
  const std::uint64_t rest = end - at - sizeof head;
  if (head.size > rest) return Found::kTorn;
  payload.resize(head.size);
  EF_RETURN_IF_ERROR(ReadAt(at + sizeof head, payload));
  Seal(genuine, former, payload);
  if (head.link == genuine.link) return Found::kRecord;
  return head.size == rest ? Found::kTorn : Found::kDamaged;
}

Result<bool> Journal::ZerosOnly(std::uint64_t at, std::uint64_t end) const {
  Bytes block(kZeroBlockBytes);
  for (; at < end; at += block.size()) {
    const auto part = std::span(block).first(std::min<std::uint64_t>(block.size(), end - at));
    EF_RETURN_IF_ERROR(ReadAt(at, part));
    if (std::ranges::any_of(part, [](std::byte byte) { return byte != std::byte{0}; })) return false;
  }
  return true;
}

Status Journal::ReadAt(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(file_.fd(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return FileError("read", path_, got < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return OkStatus();
}

Status Journal::Append(std::uint8_t kind, ByteView record) {
  std::lock_guard lock(mutex_);
  if (broken_) return Broken(path_);
  if (record.size() > kRecordBytesMax) {
    return InvalidArgument("RECORD_TOO_LARGE", "a record of " + std::to_string(record.size()) +
                                                   " bytes is not taken: at most " + std::to_string(kRecordBytesMax));
  }
  const std::size_t whole = sizeof(RecordHead) + record.size();
  if (end_ + whole > options_.bytes_max) {
    return ResourceExhausted("JOURNAL_FULL", path_.string() + " would pass " + std::to_string(options_.bytes_max) + " bytes");
  }
  RecordHead head{.size = static_cast<std::uint32_t>(record.size()), .kind = kind};
  Seal(head, link_, record);
  const std::array<iovec, 2> parts = {{{&head, sizeof head}, {const_cast<std::byte*>(record.data()), record.size()}}};
  const ssize_t written = ::pwritev(file_.fd(), parts.data(), parts.size(), static_cast<off_t>(end_));
  if (written != static_cast<ssize_t>(whole)) {
    const int error = written < 0 ? errno : ENOSPC;
    broken_ = ::ftruncate(file_.fd(), static_cast<off_t>(end_)) != 0;
    return FileError("write", path_, error);
  }
  end_ += whole;
  link_ = head.link;
  return OkStatus();
}

std::uint64_t Journal::end() const {
  std::lock_guard lock(mutex_);
  return end_;
}

// Whoever waits for a sync finds its records synced by the next one, which began after they were there.
Status Journal::SyncTo(std::uint64_t bytes) {
  std::lock_guard syncing(syncing_);
  std::uint64_t end = 0;
  {
    std::lock_guard lock(mutex_);
    if (broken_) return Broken(path_);
    if (bytes <= synced_) return OkStatus();
    end = end_;
  }
  const int error = ::fdatasync(file_.fd()) == 0 ? 0 : errno;
  {
    std::lock_guard lock(mutex_);
    broken_ = broken_ || error != 0;  // the kernel may have dropped what it could not write, and tells only once
    if (error != 0) return FileError("sync", path_, error);
    synced_ = end;
  }
  // The note itself is durable with the next sync; an older one is true as well.
  const Header header = Header::Of(end);
  if (::pwrite(file_.fd(), &header, sizeof header, 0) != sizeof header) return FileError("write", path_, errno);
  return OkStatus();
}

Status Journal::Replay(const Visitor& visitor) {
  std::lock_guard lock(mutex_);
  Bytes payload;
  Link link{};
  RecordHead head;
  for (std::uint64_t at = sizeof(Header); at < end_; at += sizeof head + head.size, link = head.link) {
    EF_ASSIGN_OR_RETURN(const Found found, ReadRecord(at, end_, link, head, payload));
    if (found != Found::kRecord) return Damaged(path_, "a record is not what was written");
    EF_RETURN_IF_ERROR(visitor(static_cast<std::uint8_t>(head.kind), payload));
  }
  return OkStatus();
}

}  // namespace edgefleet::aggregation
