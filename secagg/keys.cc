#include "secagg/keys.h"

#include <sodium.h>

#include <algorithm>
#include <cstdlib>

#include "base/crypto/crypto.h"

namespace edgefleet::secagg {
namespace {

constexpr std::size_t kPlainSize = 2 * kShareSize;
constexpr std::array<unsigned char, crypto_aead_chacha20poly1305_ietf_NPUBBYTES> kZeroNonce{};
static_assert(kPlainSize + crypto_aead_chacha20poly1305_ietf_ABYTES == kSealedSize);
static_assert(crypto_scalarmult_BYTES == kKeySize && crypto_scalarmult_SCALARBYTES == kKeySize);

const unsigned char* In(ByteView bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

// libsodium picks its fastest code in one initialization before first use.
void EnsureSodium() {
  static const bool ready = sodium_init() >= 0;
  if (!ready) std::abort();
}

unsigned char* Out(std::span<std::byte> bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }

consteval std::array<std::byte, kKeySize> FromHex(std::string_view text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::array<std::byte, kKeySize> bytes{};
  for (std::size_t i = 0; i < kKeySize; ++i) {
    bytes[i] = static_cast<std::byte>(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
  }
  return bytes;
}

void AppendText(Bytes& to, std::string_view text) {
  const ByteView bytes = AsBytes(text);
  to.insert(to.end(), bytes.begin(), bytes.end());
  to.push_back(std::byte{0});
}

void AppendInteger(Bytes& to, std::uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) to.push_back(static_cast<std::byte>(value >> shift));
}

void AppendBytes(Bytes& to, ByteView bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

// Labels end in a zero byte and all else has a fixed size, so no two of these are equal by accident.
Bytes Labelled(std::string_view label, const SessionId& session, std::uint32_t index) {
  Bytes info;
  AppendText(info, label);
  AppendBytes(info, session);
  AppendInteger(info, index);
  return info;
}

Bytes Labelled(std::string_view label, const MemberPair& pair) {
  Bytes info = Labelled(label, pair.session, pair.one);
  AppendInteger(info, pair.other);
  AppendBytes(info, pair.round);
  AppendBytes(info, pair.one_public_key);
  AppendBytes(info, pair.other_public_key);
  return info;
}

Secret Derive(const Secret& from, ByteView info) {
  Secret key;
  HkdfSha256({}, from.bytes(), info, key.mutable_bytes());
  return key;
}

constexpr std::string_view kSharesLabel = "edgefleet/secagg/v1/shares";

}  // namespace

Secret::Secret(std::span<const std::byte, kKeySize> bytes) { std::copy(bytes.begin(), bytes.end(), bytes_.begin()); }
Secret Secret::Random(RandomSource& random) {
  Secret secret;
  random.Fill(secret.bytes_);
  return secret;
}
Secret::~Secret() { Wipe(bytes_); }
Secret::Secret(Secret&& other) noexcept : bytes_(other.bytes_) { Wipe(other.bytes_); }
Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    bytes_ = other.bytes_;
    Wipe(other.bytes_);
  }
  return *this;
}

void Wipe(std::span<std::byte> bytes) { sodium_memzero(bytes.data(), bytes.size()); }

KeyPair KeyPair::Generate(RandomSource& random) {
  KeyPair pair{Secret::Random(random), {}};
  pair.public_key = PublicKeyOf(pair.secret);
  return pair;
}

Bytes PublicKeyOf(const Secret& secret) {
  EnsureSodium();
  Bytes key(kKeySize);
  crypto_scalarmult_base(Out(key), In(secret.bytes()));
  return key;
}

bool IsUsablePublicKey(ByteView key) {
  if (key.size() != kKeySize) return false;
  // Little-endian: below the field's prime, and no u-coordinate of order 1, 2, 4 or 8 on the curve or its twist.
  static constexpr std::array<std::byte, kKeySize> kPrime =
      FromHex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
  static constexpr std::array kLowOrder{FromHex("0000000000000000000000000000000000000000000000000000000000000000"),
                                        FromHex("0100000000000000000000000000000000000000000000000000000000000000"),
                                        FromHex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
                                        FromHex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
                                        FromHex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")};
  return std::lexicographical_compare(key.rbegin(), key.rend(), kPrime.rbegin(), kPrime.rend()) &&
         std::ranges::none_of(kLowOrder, [&](const auto& point) { return std::ranges::equal(point, key); });
}

Result<Secret> Agree(const Secret& secret, ByteView peer_public_key) {
  EnsureSodium();
  Secret agreed;
  if (!IsUsablePublicKey(peer_public_key) ||
      crypto_scalarmult(Out(agreed.mutable_bytes()), In(secret.bytes()), In(peer_public_key)) != 0) {
    return InvalidArgument("BAD_KEY", "a public key is no usable X25519 point of 32 bytes; leave the round");
  }
  return agreed;
}

void HkdfSha256(ByteView salt, ByteView key_material, ByteView info, std::span<std::byte> out) {
  EnsureSodium();
  if (out.size() > 255 * crypto_auth_hmacsha256_BYTES) std::abort();
  crypto_auth_hmacsha256_state state;
  std::array<unsigned char, crypto_auth_hmacsha256_BYTES> pseudorandom_key;
  static constexpr std::array<std::byte, crypto_auth_hmacsha256_BYTES> kNoSalt{};  // section 2.2
  if (salt.empty()) salt = kNoSalt;
  crypto_auth_hmacsha256_init(&state, In(salt), salt.size());
  crypto_auth_hmacsha256_update(&state, In(key_material), key_material.size());
  crypto_auth_hmacsha256_final(&state, pseudorandom_key.data());

  std::array<unsigned char, crypto_auth_hmacsha256_BYTES> block;
  for (unsigned char counter = 1; !out.empty(); ++counter) {
    crypto_auth_hmacsha256_init(&state, pseudorandom_key.data(), pseudorandom_key.size());
    if (counter > 1) crypto_auth_hmacsha256_update(&state, block.data(), block.size());
    crypto_auth_hmacsha256_update(&state, In(info), info.size());
    crypto_auth_hmacsha256_update(&state, &counter, 1);
    crypto_auth_hmacsha256_final(&state, block.data());
    const std::size_t size = std::min(out.size(), block.size());
    std::copy_n(reinterpret_cast<const std::byte*>(block.data()), size, out.begin());
    out = out.subspan(size);
  }
  sodium_memzero(&state, sizeof state);
  sodium_memzero(pseudorandom_key.data(), pseudorandom_key.size());
  sodium_memzero(block.data(), block.size());
}

RoundDigest DigestOfRound(std::string_view round_id) {
  Bytes text;
  AppendText(text, "edgefleet/secagg/v1/round");
  AppendBytes(text, AsBytes(round_id));
  return crypto::Sha256(text);
}

Secret SealKey(const Secret& agreed, const MemberPair& pair) { return Derive(agreed, Labelled(kSharesLabel, pair)); }

Secret PairwiseMaskKey(const Secret& agreed, const MemberPair& pair) {
  constexpr std::string_view kLabel = "edgefleet/secagg/v1/pairwise-mask";
  if (pair.one < pair.other) return Derive(agreed, Labelled(kLabel, pair));
  return Derive(agreed,
                Labelled(kLabel, {pair.round, pair.session, pair.other, pair.one, pair.other_public_key, pair.one_public_key}));
}

Secret SelfMaskKey(const Secret& seed, const SessionId& session, std::uint32_t index) {
  return Derive(seed, Labelled("edgefleet/secagg/v1/self-mask", session, index));
}

crypto::Sha256Digest SeedCommitment(const Secret& seed, const SessionId& session, std::uint32_t index) {
  crypto::Sha256Stream hash;
  hash.Update(Labelled("edgefleet/secagg/v1/seed-commitment", session, index));
  hash.Update(seed.bytes());
  return hash.Finish();
}

Bytes SealShares(const Secret& key, const SharePair& shares, const MemberPair& pair) {
  std::array<std::byte, kPlainSize> plain;
  std::ranges::copy(shares.mask_key.bytes(), plain.begin());
  std::ranges::copy(shares.self_mask.bytes(), plain.begin() + kShareSize);
  const Bytes associated = Labelled(kSharesLabel, pair);
  Bytes sealed(kSealedSize);
  crypto_aead_chacha20poly1305_ietf_encrypt(Out(sealed), nullptr, In(plain), plain.size(), In(associated), associated.size(),
                                            nullptr, kZeroNonce.data(), In(key.bytes()));
  Wipe(plain);
  return sealed;
}

Result<SharePair> OpenShares(const Secret& key, ByteView sealed, const MemberPair& pair) {
  const Bytes associated = Labelled(kSharesLabel, pair);
  std::array<std::byte, kPlainSize> plain;
  if (sealed.size() != kSealedSize ||
      crypto_aead_chacha20poly1305_ietf_decrypt(Out(plain), nullptr, nullptr, In(sealed), sealed.size(), In(associated),
                                                associated.size(), kZeroNonce.data(), In(key.bytes())) != 0) {
    return InvalidArgument("BAD_SEALED_SHARES",
                           "the shares from member " + std::to_string(pair.one) +
                               " do not open: altered, or made for another round or member; leave the round");
  }
  SharePair shares{Secret(std::span(plain).first<kShareSize>()), Secret(std::span(plain).last<kShareSize>())};
  Wipe(plain);
  return shares;
}

}  // namespace edgefleet::secagg
