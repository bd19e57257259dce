#include "aggregator/aggregation/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/file.h"
#include "base/file_handle.h"

namespace edgefleet::aggregation {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little);  // the file's numbers are used in place

constexpr std::array<char, 8> kMagic = {'E', 'F', 'S', 'U', 'M', 'C', 'K', 'P'};
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kIdSizeMax = 256;

struct Header {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t element_bits = 0;
  std::uint64_t elements = 0;
  std::uint64_t table_bytes = 0;
};
static_assert(sizeof(Header) == 32);

void PutId(Bytes& table, const std::string& id) {
  const auto size = static_cast<std::uint16_t>(id.size());
  const ByteView size_bytes = std::as_bytes(std::span(&size, 1));
  table.insert(table.end(), size_bytes.begin(), size_bytes.end());
  table.insert(table.end(), AsBytes(id).begin(), AsBytes(id).end());
}

// The next id of `table`, which becomes the rest; empty if there is none.
std::string TakeId(ByteView& table) {
  std::uint16_t size = 0;
  if (table.size() < sizeof size) return {};
  std::memcpy(&size, table.data(), sizeof size);
  table = table.subspan(sizeof size);
  if (size > kIdSizeMax || size > table.size()) return {};
  std::string id = ToString(table.first(size));
  table = table.subspan(size);
  return id;
}

Error Damaged(const fs::path& path, const std::string& what) {
  return DataLoss("CHECKPOINT_DAMAGED", path.string() + ": " + what + "; the round's sum is lost, end the round as failed");
}

class HashingWriter {
 public:
  HashingWriter(int fd, const fs::path& path) : fd_(fd), path_(path) {}

  Status Write(ByteView bytes) {
    hash_.Update(bytes);
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return FileError("write", path_, errno);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return OkStatus();
  }
  Status WriteDigest() { return Write(hash_.Finish()); }

 private:
  const int fd_;
  const fs::path& path_;
  crypto::Sha256Stream hash_;
};

class HashingReader {
 public:
  HashingReader(int fd, const fs::path& path) : fd_(fd), path_(path) {}

  Status Read(std::span<std::byte> bytes) {
    for (auto rest = bytes; !rest.empty();) {
      const ssize_t got = ::read(fd_, rest.data(), rest.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return FileError("read", path_, errno);
      if (got == 0) return Damaged(path_, "the file became shorter");
      rest = rest.subspan(static_cast<std::size_t>(got));
    }
    hash_.Update(bytes);
    return OkStatus();
  }
  Status CheckDigest() {
    const crypto::Sha256Digest expected = hash_.Finish();
    hash_ = {};
    crypto::Sha256Digest digest;
    EF_RETURN_IF_ERROR(Read(digest));
    return digest == expected ? OkStatus() : Damaged(path_, "the content does not have its SHA-256");
  }

 private:
  const int fd_;
  const fs::path& path_;
  crypto::Sha256Stream hash_;
};

Status WriteTo(const fs::path& path, const SumShape& shape, const std::set<std::string>& devices,
               std::span<const std::uint32_t> words) {
  const FileHandle file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), 0);
  if (file.fd() < 0) return FileError("create", path, errno);
  Bytes table;
  PutId(table, shape.round_id);
  for (const std::string& device : devices) PutId(table, device);
  const Header header{.element_bits = shape.element_bits, .elements = shape.elements, .table_bytes = table.size()};
  HashingWriter writer(file.fd(), path);
  EF_RETURN_IF_ERROR(writer.Write(std::as_bytes(std::span(&header, 1))));
  EF_RETURN_IF_ERROR(writer.Write(table));
  EF_RETURN_IF_ERROR(writer.Write(std::as_bytes(words)));
  return writer.WriteDigest();
}

Result<std::set<std::string>> ParseTable(ByteView table, const SumShape& shape, const fs::path& path) {
  if (TakeId(table) != shape.round_id) return Damaged(path, "it is of another round");
  std::set<std::string> devices;
  while (!table.empty()) {
    std::string device = TakeId(table);
    if (device.empty() || (!devices.empty() && device <= *devices.rbegin())) return Damaged(path, "the device table is broken");
    devices.insert(devices.end(), std::move(device));
  }
  return devices;
}

}  // namespace

Status WriteCheckpoint(const fs::path& path, const SumShape& shape, const std::set<std::string>& devices,
                       std::span<const std::uint32_t> words) {
  fs::path temporary = path;
  temporary += ".tmp";
  Status status = WriteTo(temporary, shape, devices, words);
  if (status.ok()) status = RenameDurably(temporary, path);
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

Result<std::set<std::string>> ReadCheckpoint(const fs::path& path, const SumShape& shape, std::span<std::uint32_t> words) {
  EF_ASSIGN_OR_RETURN(const FileHandle file, FileHandle::Open(path));
  const std::uint64_t fixed_bytes = sizeof(Header) + words.size_bytes() + sizeof(crypto::Sha256Digest);
  if (file.size() < fixed_bytes) return Damaged(path, "the file is too short");
  HashingReader reader(file.fd(), path);
  Header header;
  EF_RETURN_IF_ERROR(reader.Read(std::as_writable_bytes(std::span(&header, 1))));
  if (header.magic != kMagic) return Damaged(path, "it is no checkpoint");
  if (header.version != kVersion) {
    return Damaged(
        path, "it has format version " + std::to_string(header.version) + ", this program reads " + std::to_string(kVersion));
  }
  if (header.elements != shape.elements || header.element_bits != shape.element_bits)
    return Damaged(path, "it is of updates of another shape");
  if (header.table_bytes != file.size() - fixed_bytes) return Damaged(path, "its size is not what its header says");
  Bytes table(header.table_bytes);
  EF_RETURN_IF_ERROR(reader.Read(table));
  EF_ASSIGN_OR_RETURN(auto devices, ParseTable(table, shape, path));
  EF_RETURN_IF_ERROR(reader.Read(std::as_writable_bytes(words)));
  EF_RETURN_IF_ERROR(reader.CheckDigest());
  return devices;
}

}  // namespace edgefleet::aggregation
