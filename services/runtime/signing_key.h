// The keys that sign what the process gives out: manifests, transcripts.
#pragma once

#include <filesystem>
#include <string_view>

#include "base/crypto/crypto.h"
#include "base/status.h"

namespace edgefleet::services {

// Reads the Ed25519 seed (64 hexadecimal digits) in `key_file`. When `key_file` is empty: data_dir/keys/<name>.key, which is
// made at the first start, readable by its owner only. Writes the public key in hexadecimal to data_dir/keys/<name>.pub: that
// is what others trust. INVALID_ARGUMENT [BAD_KEY]; errors of base/file.h.
Result<crypto::Ed25519SecretKey> LoadSigningKey(const std::filesystem::path& key_file, const std::filesystem::path& data_dir,
                                                std::string_view name);

}  // namespace edgefleet::services
