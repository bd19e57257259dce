// Dead Simple Signing Envelope, version 1.0.2 (https://github.com/secure-systems-lab/dsse): protocol.md's pre-authentication
// encoding and envelope.md's JSON form, with Ed25519 keys.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/status.h"

namespace edgefleet::dsse {

inline constexpr std::size_t kEnvelopeBytesMax = 1024 * 1024;
inline constexpr std::size_t kSignaturesMax = 16;

// Lower-case hexadecimal SHA-256 of the public key.
std::string KeyId(const crypto::Ed25519PublicKey& key);

// PAE(type, payload): what is signed.
Bytes PreAuthEncode(std::string_view payload_type, ByteView payload);

// The envelope as JSON text, one signature a key. INVALID_ARGUMENT [BAD_MANIFEST] when it would be larger than
// kEnvelopeBytesMax, or with no key or more than kSignaturesMax.
Result<Bytes> Seal(std::string_view payload_type, ByteView payload, std::span<const crypto::Ed25519SecretKey> keys);

// The payload of an envelope that at least one of `trusted` signed. INVALID_ARGUMENT [BAD_MANIFEST]: not an envelope of this
// type, or beyond the limits. UNAUTHENTICATED [BAD_SIGNATURE]: well-formed, but no signature of a trusted key holds.
Result<Bytes> Open(ByteView envelope, std::string_view payload_type, std::span<const crypto::Ed25519PublicKey> trusted);

// The payload without looking at signatures; for stores that pass envelopes on, never for devices.
Result<Bytes> OpenUnverified(ByteView envelope, std::string_view payload_type);

}  // namespace edgefleet::dsse
