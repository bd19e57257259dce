#include "device_client/federated/identity_file.h"

#include <algorithm>
#include <optional>
#include <string>

#include "base/crypto/key_file.h"
#include "base/file.h"

namespace edgefleet::device {
namespace {

constexpr std::uint64_t kCertificateFileBytesMax = 1024;

// Nothing unless the file holds one certificate in hexadecimal.
std::optional<crypto::Ed25519Signature> ReadCertificate(const std::filesystem::path& file) {
  const auto content = ReadFile(file, kCertificateFileBytesMax);
  if (!content) return std::nullopt;
  std::string_view text = AsText(*content);
  while (!text.empty() && std::string_view(" \r\n\t").find(text.back()) != std::string_view::npos) text.remove_suffix(1);
  const auto bytes = HexDecode(text);
  crypto::Ed25519Signature certificate;
  if (!bytes || bytes->size() != certificate.size()) return std::nullopt;
  std::ranges::copy(*bytes, certificate.begin());
  return certificate;
}

}  // namespace

Result<crypto::Ed25519SecretKey> ReadOrMakeIdentityKey(const std::filesystem::path& file) {
  auto key = crypto::ReadEd25519SecretKey(file);
  if (key || key.error().reason() != "FILE_MISSING") return key;
  const auto fresh = crypto::Ed25519SecretKey::Generate();
  EF_RETURN_IF_ERROR(crypto::WriteEd25519SecretKey(file, fresh));
  return fresh;
}

Result<secagg::DeviceIdentity> ReadIdentity(const IdentityFiles& files, std::span<const crypto::Ed25519PublicKey> authorities) {
  if (authorities.empty()) {
    return FailedPrecondition("NO_IDENTITY",
                              "this device trusts no enrolment key, so it takes part in no active round; give it the "
                              "public key of its fleet's authority");
  }
  EF_ASSIGN_OR_RETURN(const auto key, ReadOrMakeIdentityKey(files.key));
  const auto certificate = ReadCertificate(files.certificate);
  if (!certificate || !secagg::IsEnrolled(authorities, key.public_key(), *certificate)) {
    const std::string hex = HexEncode(key.public_key());
    return FailedPrecondition("NO_IDENTITY", files.certificate.string() +
                                                 " holds no certificate by a trusted enrolment key for this device's identity; "
                                                 "make it with 'edgefleet device enroll --authority KEY_FILE --identity " +
                                                 hex + " --out " + files.certificate.filename().string() + "'");
  }
  return secagg::DeviceIdentity{key, *certificate};
}

Status WriteCertificate(const std::filesystem::path& file, const crypto::Ed25519Signature& certificate) {
  const std::string text = HexEncode(certificate) + "\n";
  return WriteFileAtomic(file, AsBytes(text));
}

}  // namespace edgefleet::device
