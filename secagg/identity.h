// Long-lived Ed25519 (RFC 8032) identities of devices, for rounds in which the server itself is not trusted to name the members
// and the survivors (Bonawitz et al. 2017, section 6.2: active adversaries): devices sign the keys that they advertise and the
// set of sharers that they mask for, those of the committee also the set of survivors. Every signature is made under a label of
// its own, in front of fields of fixed size.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "secagg/keys.h"

namespace edgefleet::secagg {

struct DeviceIdentity {
  crypto::Ed25519SecretKey key;
  crypto::Ed25519Signature certificate;  // by an enrolment authority
};

// The certificate of a device: its public key, signed.
crypto::Ed25519Signature EnrolIdentity(const crypto::Ed25519SecretKey& authority, const crypto::Ed25519PublicKey& device);
// Whether any of `authorities` has made this certificate for `device`.
bool IsEnrolled(std::span<const crypto::Ed25519PublicKey> authorities, const crypto::Ed25519PublicKey& device,
                ByteView certificate);

// Names an identity in lists of all members: the first bytes of a labelled SHA-256 of its key. One key has one fingerprint, so
// a list without repeated fingerprints holds no identity twice, however short they are; of honest ones, two among 2^14 are
// alike with a probability of 2^-37.
using Fingerprint = std::array<std::byte, kFingerprintSize>;
Fingerprint FingerprintOf(ByteView identity_key);

// Over the round's digest and both X25519 public keys. Keys of another size than kKeySize are signed by no one: signing them is
// a programming error that ends the program, verifying them is false.
crypto::Ed25519Signature SignAdvert(const DeviceIdentity& identity, std::string_view round_id, ByteView cipher_public_key,
                                    ByteView mask_public_key);
bool VerifyAdvert(const crypto::Ed25519PublicKey& device, std::string_view round_id, ByteView cipher_public_key,
                  ByteView mask_public_key, ByteView signature);

// Over the session, the digest of the device's own advert (secagg/roster.h) and the SHA-256 of the bitmap of sharers, as the
// protocol encodes it: under which keys and for whom the device's update is masked.
crypto::Ed25519Signature SignUpload(const DeviceIdentity& identity, const SessionId& session,
                                    const crypto::Sha256Digest& advert, const crypto::Sha256Digest& sharers);
bool VerifyUpload(const crypto::Ed25519PublicKey& device, const SessionId& session, const crypto::Sha256Digest& advert,
                  const crypto::Sha256Digest& sharers, ByteView signature);

// Over the session and the SHA-256 of the bitmaps of sharers and of survivors.
crypto::Ed25519Signature SignSurvivors(const DeviceIdentity& identity, const SessionId& session,
                                       const crypto::Sha256Digest& sharers, ByteView survivor_bitmap);
bool VerifySurvivors(const crypto::Ed25519PublicKey& device, const SessionId& session, const crypto::Sha256Digest& sharers,
                     ByteView survivor_bitmap, ByteView signature);

}  // namespace edgefleet::secagg
