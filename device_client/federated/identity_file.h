// A device's lasting identity in files: the Ed25519 seed, made by the device and never leaving it, and the certificate, which
// an enrolment authority makes for its public half (`edgefleet device enroll`) and somebody brings back.
#pragma once

#include <filesystem>
#include <span>

#include "base/crypto/crypto.h"
#include "base/status.h"
#include "secagg/identity.h"

namespace edgefleet::device {

struct IdentityFiles {
  std::filesystem::path key;          // the seed, 64 hexadecimal digits, readable by its owner only
  std::filesystem::path certificate;  // 128 hexadecimal digits
};

// The key in `file`; makes one when there is none. INVALID_ARGUMENT [BAD_KEY] for a damaged file, which is not replaced: the
// device would have to be enrolled again. Errors of base/file.h.
Result<crypto::Ed25519SecretKey> ReadOrMakeIdentityKey(const std::filesystem::path& file);

// Key and certificate; makes the key when there is none. FAILED_PRECONDITION [NO_IDENTITY], with a message that says how to
// enrol, when there is no certificate, it is malformed, or none of `authorities` has made it for this key. Errors of the key.
Result<secagg::DeviceIdentity> ReadIdentity(const IdentityFiles& files, std::span<const crypto::Ed25519PublicKey> authorities);

// Durably. For programs that enrol devices themselves (simulations, tests, provisioning lines).
Status WriteCertificate(const std::filesystem::path& file, const crypto::Ed25519Signature& certificate);

}  // namespace edgefleet::device
