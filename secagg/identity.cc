#include "secagg/identity.h"

#include <algorithm>
#include <cstdlib>
#include <initializer_list>

#include "secagg/field_digest.h"

namespace edgefleet::secagg {
namespace {

Bytes Statement(std::string_view label, std::initializer_list<ByteView> fields) {
  Bytes statement = ToBytes(AsBytes(label));
  for (const ByteView field : fields) statement.insert(statement.end(), field.begin(), field.end());
  return statement;
}

Bytes EnrolmentStatement(const crypto::Ed25519PublicKey& device) { return Statement("edgefleet/device-identity/v1", {device}); }

bool AreKeys(ByteView one, ByteView other) { return one.size() == kKeySize && other.size() == kKeySize; }

Bytes AdvertStatement(std::string_view round_id, ByteView cipher_public_key, ByteView mask_public_key) {
  return Statement("edgefleet/secagg/v1/advert", {DigestOfRound(round_id), cipher_public_key, mask_public_key});
}

Bytes UploadStatement(const SessionId& session, const crypto::Sha256Digest& advert, const crypto::Sha256Digest& sharers) {
  return Statement("edgefleet/secagg/v1/upload", {session, advert, sharers});
}

Bytes SurvivorsStatement(const SessionId& session, const crypto::Sha256Digest& sharers, ByteView survivor_bitmap) {
  return Statement("edgefleet/secagg/v1/survivors", {session, sharers, crypto::Sha256(survivor_bitmap)});
}

}  // namespace

crypto::Ed25519Signature EnrolIdentity(const crypto::Ed25519SecretKey& authority, const crypto::Ed25519PublicKey& device) {
  return authority.Sign(EnrolmentStatement(device));
}

bool IsEnrolled(std::span<const crypto::Ed25519PublicKey> authorities, const crypto::Ed25519PublicKey& device,
                ByteView certificate) {
  const Bytes statement = EnrolmentStatement(device);
  return std::ranges::any_of(authorities, [&](const crypto::Ed25519PublicKey& authority) {
    return crypto::Ed25519Verify(authority, statement, certificate);
  });
}

Fingerprint FingerprintOf(ByteView identity_key) {
  const auto digest = FieldDigest("edgefleet/secagg/v1/fingerprint").Add(identity_key).Finish();
  Fingerprint fingerprint;
  std::copy_n(digest.begin(), fingerprint.size(), fingerprint.begin());
  return fingerprint;
}

crypto::Ed25519Signature SignAdvert(const DeviceIdentity& identity, std::string_view round_id, ByteView cipher_public_key,
                                    ByteView mask_public_key) {
  if (!AreKeys(cipher_public_key, mask_public_key)) std::abort();
  return identity.key.Sign(AdvertStatement(round_id, cipher_public_key, mask_public_key));
}

bool VerifyAdvert(const crypto::Ed25519PublicKey& device, std::string_view round_id, ByteView cipher_public_key,
                  ByteView mask_public_key, ByteView signature) {
  return AreKeys(cipher_public_key, mask_public_key) &&
         crypto::Ed25519Verify(device, AdvertStatement(round_id, cipher_public_key, mask_public_key), signature);
}

crypto::Ed25519Signature SignUpload(const DeviceIdentity& identity, const SessionId& session,
                                    const crypto::Sha256Digest& advert, const crypto::Sha256Digest& sharers) {
  return identity.key.Sign(UploadStatement(session, advert, sharers));
}

bool VerifyUpload(const crypto::Ed25519PublicKey& device, const SessionId& session, const crypto::Sha256Digest& advert,
                  const crypto::Sha256Digest& sharers, ByteView signature) {
  return crypto::Ed25519Verify(device, UploadStatement(session, advert, sharers), signature);
}

crypto::Ed25519Signature SignSurvivors(const DeviceIdentity& identity, const SessionId& session,
                                       const crypto::Sha256Digest& sharers, ByteView survivor_bitmap) {
  return identity.key.Sign(SurvivorsStatement(session, sharers, survivor_bitmap));
}

bool VerifySurvivors(const crypto::Ed25519PublicKey& device, const SessionId& session, const crypto::Sha256Digest& sharers,
                     ByteView survivor_bitmap, ByteView signature) {
  return crypto::Ed25519Verify(device, SurvivorsStatement(session, sharers, survivor_bitmap), signature);
}

}  // namespace edgefleet::secagg
