#include "base/crypto/key_file.h"

#include <fcntl.h>
#include <sodium.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "base/file.h"

namespace edgefleet::crypto {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kKeyFileBytesMax = 256;
constexpr std::size_t kSeedSize = 32;

// Secret from its first byte on: WriteFileAtomic would make it readable to all for a moment.
Status WriteSecret(const fs::path& path, std::string_view content) {
  const fs::path temporary = path.string() + ".new";
  ::unlink(temporary.c_str());  // left by a crash
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return FileError("create", temporary, errno);
  const ssize_t written = ::write(fd, content.data(), content.size());
  const int error = errno;
  ::close(fd);
  if (written != static_cast<ssize_t>(content.size())) return FileError("write", temporary, written < 0 ? error : ENOSPC);
  return RenameDurably(temporary, path);
}

}  // namespace

Result<Ed25519SecretKey> ReadEd25519SecretKey(const fs::path& file) {
  EF_ASSIGN_OR_RETURN(Bytes content, ReadFile(file, kKeyFileBytesMax));
  std::string_view text = AsText(content);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.remove_suffix(1);
  auto seed = HexDecode(text);
  sodium_memzero(content.data(), content.size());
  if (!seed || seed->size() != kSeedSize) {
    return InvalidArgument("BAD_KEY", file.string() + " must hold an Ed25519 seed as 64 hexadecimal digits");
  }
  auto key = Ed25519SecretKey::FromSeed(*seed);
  sodium_memzero(seed->data(), seed->size());
  return key;
}

Status WriteEd25519SecretKey(const fs::path& file, const Ed25519SecretKey& key) {
  Bytes seed = key.seed();
  std::string text = HexEncode(seed) + "\n";
  Status status = WriteSecret(file, text);
  sodium_memzero(seed.data(), seed.size());
  sodium_memzero(text.data(), text.size());
  return status;
}

Status WriteEd25519PublicKey(const fs::path& file, const Ed25519PublicKey& key) {
  const std::string text = HexEncode(key) + "\n";
  return WriteFileAtomic(file, AsBytes(text));
}

}  // namespace edgefleet::crypto
