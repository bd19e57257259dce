// Ed25519 keys in files: the seed of a secret key, or a public key, as 64 hexadecimal digits.
#pragma once

#include <filesystem>

#include "base/crypto/crypto.h"
#include "base/status.h"

namespace edgefleet::crypto {

// INVALID_ARGUMENT [BAD_KEY] for anything but a seed with white space after it; errors of ReadFile.
Result<Ed25519SecretKey> ReadEd25519SecretKey(const std::filesystem::path& file);
// Atomically, and readable by its owner only from the first byte on. Errors of base/file.h.
Status WriteEd25519SecretKey(const std::filesystem::path& file, const Ed25519SecretKey& key);
// Atomically; ReadEd25519PublicKey reads it.
Status WriteEd25519PublicKey(const std::filesystem::path& file, const Ed25519PublicKey& key);

}  // namespace edgefleet::crypto
