#include "cdn_origin/manifest/dsse.h"

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

namespace edgefleet::dsse {
namespace {

using Json = nlohmann::json;

constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

Error Bad(const std::string& what) { return InvalidArgument("BAD_MANIFEST", "not a valid envelope: " + what); }

std::string Base64Encode(ByteView bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = bytes.size() - i;
    std::uint32_t group = std::to_integer<std::uint32_t>(bytes[i]) << 16;
    if (left > 1) group |= std::to_integer<std::uint32_t>(bytes[i + 1]) << 8;
    if (left > 2) group |= std::to_integer<std::uint32_t>(bytes[i + 2]);
    text += kAlphabet[group >> 18];
    text += kAlphabet[group >> 12 & 63];
    text += left > 1 ? kAlphabet[group >> 6 & 63] : '=';
    text += left > 2 ? kAlphabet[group & 63] : '=';
  }
  return text;
}

// The value of each character, in RFC 4648's standard (section 4) and URL-safe (section 5) alphabets; DSSE allows both.
int Base64Digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

std::optional<Bytes> Base64Decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  if (text.ends_with('=')) text.remove_suffix(1);
  if (text.ends_with('=')) text.remove_suffix(1);
  Bytes bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t group = 0;
  unsigned bits = 0;
  for (char c : text) {
    const int digit = Base64Digit(c);
    if (digit < 0) return std::nullopt;
    group = (group << 6 | static_cast<std::uint32_t>(digit)) & 0xFFFF;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes.push_back(static_cast<std::byte>(group >> bits & 0xFF));
    }
  }
  if ((group & ((1u << bits) - 1)) != 0) return std::nullopt;  // left-over bits must be zero: one text per value
  return bytes;
}

struct Signature {
  std::string key_id;
  Bytes bytes;
};

struct Envelope {
  Bytes payload;
  std::vector<Signature> signatures;
};

const std::string* Text(const Json& object, const char* member) {
  const auto found = object.find(member);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

Result<Signature> ParseSignature(const Json& json) {
  if (!json.is_object()) return Bad("a signature is not an object");
  const std::string* encoded = Text(json, "sig");
  if (encoded == nullptr) return Bad("a signature has no text member `sig`");
  auto bytes = Base64Decode(*encoded);
  if (!bytes) return Bad("`sig` is not base64");
  const std::string* key_id = Text(json, "keyid");  // optional and unauthenticated: only a hint
  return Signature{key_id == nullptr ? "" : *key_id, std::move(*bytes)};
}

Result<Envelope> Parse(ByteView text, std::string_view payload_type) {
  if (text.size() > kEnvelopeBytesMax) return Bad("larger than " + std::to_string(kEnvelopeBytesMax) + " bytes");
  const Json json = Json::parse(AsText(text), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Bad("not a JSON object");
  const std::string* type = Text(json, "payloadType");
  if (type == nullptr || *type != payload_type) return Bad("`payloadType` is not " + std::string(payload_type));
  const std::string* encoded = Text(json, "payload");
  if (encoded == nullptr) return Bad("no text member `payload`");
  auto payload = Base64Decode(*encoded);
  if (!payload) return Bad("`payload` is not base64");
  const auto signatures = json.find("signatures");
  if (signatures == json.end() || !signatures->is_array() || signatures->empty() || signatures->size() > kSignaturesMax) {
    return Bad("`signatures` is not a list of 1 to " + std::to_string(kSignaturesMax));
  }
  Envelope envelope{std::move(*payload), {}};
  for (const Json& entry : *signatures) {
    EF_ASSIGN_OR_RETURN(auto signature, ParseSignature(entry));
    envelope.signatures.push_back(std::move(signature));
  }
  return envelope;
}

bool SignedByOneOf(const Envelope& envelope, std::string_view payload_type, std::span<const crypto::Ed25519PublicKey> trusted) {
  const Bytes message = PreAuthEncode(payload_type, envelope.payload);
  for (const auto& key : trusted) {
    const std::string key_id = KeyId(key);
    for (const Signature& signature : envelope.signatures) {
      const bool may_match = signature.key_id.empty() || signature.key_id == key_id;
      if (may_match && crypto::Ed25519Verify(key, message, signature.bytes)) return true;
    }
  }
  return false;
}

}  // namespace

std::string KeyId(const crypto::Ed25519PublicKey& key) { return crypto::Sha256Hex(key); }

Bytes PreAuthEncode(std::string_view payload_type, ByteView payload) {
  std::string head = "DSSEv1 " + std::to_string(payload_type.size()) + " ";
  head.append(payload_type).append(" " + std::to_string(payload.size()) + " ");
  Bytes encoded = ToBytes(AsBytes(head));
  encoded.insert(encoded.end(), payload.begin(), payload.end());
  return encoded;
}

Result<Bytes> Seal(std::string_view payload_type, ByteView payload, std::span<const crypto::Ed25519SecretKey> keys) {
  if (keys.empty() || keys.size() > kSignaturesMax) return Bad("needs 1 to " + std::to_string(kSignaturesMax) + " keys");
  const Bytes message = PreAuthEncode(payload_type, payload);
  Json json = {{"payloadType", payload_type}, {"payload", Base64Encode(payload)}, {"signatures", Json::array()}};
  for (const auto& key : keys) {
    json["signatures"].push_back({{"keyid", KeyId(key.public_key())}, {"sig", Base64Encode(key.Sign(message))}});
  }
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kEnvelopeBytesMax) return Bad("larger than " + std::to_string(kEnvelopeBytesMax) + " bytes");
  return ToBytes(AsBytes(text));
}

Result<Bytes> Open(ByteView envelope, std::string_view payload_type, std::span<const crypto::Ed25519PublicKey> trusted) {
  EF_ASSIGN_OR_RETURN(auto parsed, Parse(envelope, payload_type));
  if (!SignedByOneOf(parsed, payload_type, trusted)) {
    return MakeError(StatusCode::kUnauthenticated, "BAD_SIGNATURE",
                     "no trusted key signed this envelope; check the device's trusted keys");
  }
  return std::move(parsed.payload);
}

Result<Bytes> OpenUnverified(ByteView envelope, std::string_view payload_type) {
  EF_ASSIGN_OR_RETURN(auto parsed, Parse(envelope, payload_type));
  return std::move(parsed.payload);
}

}  // namespace edgefleet::dsse
