#include "services/registry/signing_key.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "base/file.h"

namespace edgefleet::services {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kKeyFileBytesMax = 256;

// Secret from its first byte on: WriteFileAtomic would make it readable to all for a moment.
Status WriteSecret(const fs::path& path, const std::string& content) {
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

Result<crypto::Ed25519SecretKey> Read(const fs::path& path) {
  EF_ASSIGN_OR_RETURN(const Bytes content, ReadFile(path, kKeyFileBytesMax));
  std::string_view text = AsText(content);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.remove_suffix(1);
  const auto seed = HexDecode(text);
  if (!seed || seed->size() != 32) {
    return InvalidArgument("BAD_KEY", path.string() + " must hold an Ed25519 seed as 64 hexadecimal digits");
  }
  return crypto::Ed25519SecretKey::FromSeed(*seed);
}

}  // namespace

Result<crypto::Ed25519SecretKey> LoadSigningKey(const fs::path& key_file, const fs::path& data_dir) {
  const fs::path folder = data_dir / "keys";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return MakeError(FileError("create", folder, error.value()));
  const fs::path path = key_file.empty() ? folder / "manifest.key" : key_file;
  if (key_file.empty() && !fs::exists(path, error)) {
    const auto fresh = crypto::Ed25519SecretKey::Generate();
    EF_RETURN_IF_ERROR(WriteSecret(path, HexEncode(fresh.seed()) + "\n"));
  }
  EF_ASSIGN_OR_RETURN(auto key, Read(path));
  const std::string public_key = HexEncode(key.public_key()) + "\n";
  EF_RETURN_IF_ERROR(WriteFileAtomic(folder / "manifest.pub", AsBytes(public_key)));
  return key;
}

}  // namespace edgefleet::services
