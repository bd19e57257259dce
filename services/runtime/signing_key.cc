#include "services/runtime/signing_key.h"

#include <system_error>

#include "base/crypto/key_file.h"
#include "base/file.h"

namespace edgefleet::services {

namespace fs = std::filesystem;

Result<crypto::Ed25519SecretKey> LoadSigningKey(const fs::path& key_file, const fs::path& data_dir, std::string_view name) {
  const fs::path folder = data_dir / "keys";
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return MakeError(FileError("create", folder, error.value()));
  const fs::path path = key_file.empty() ? folder / (std::string(name) + ".key") : key_file;
  if (key_file.empty() && !fs::exists(path, error)) {
    EF_RETURN_IF_ERROR(crypto::WriteEd25519SecretKey(path, crypto::Ed25519SecretKey::Generate()));
  }
  EF_ASSIGN_OR_RETURN(auto key, crypto::ReadEd25519SecretKey(path));
  EF_RETURN_IF_ERROR(crypto::WriteEd25519PublicKey(folder / (std::string(name) + ".pub"), key.public_key()));
  return key;
}

}  // namespace edgefleet::services
