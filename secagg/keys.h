// The cryptography under the protocol: X25519 (RFC 7748), HKDF-SHA256 (RFC 5869) and ChaCha20-Poly1305 (RFC 8439). Every key is
// derived under a label of its own, which names the protocol's version, and bound to the session, so a key or message of one
// round or purpose is useless in another.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/random.h"
#include "base/status.h"
#include "secagg/messages.h"

namespace edgefleet::secagg {

// 32 secret bytes, wiped when destroyed or moved from.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::span<const std::byte, kKeySize> bytes);
  static Secret Random(RandomSource& random);
  ~Secret();
  Secret(Secret&& other) noexcept;
  Secret& operator=(Secret&& other) noexcept;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;

  std::span<const std::byte, kKeySize> bytes() const { return bytes_; }
  std::span<std::byte, kKeySize> mutable_bytes() { return bytes_; }
  // In constant time.
  bool operator==(const Secret& other) const { return crypto::ConstantTimeEqual(bytes_, other.bytes_); }

 private:
  std::array<std::byte, kKeySize> bytes_{};
};

// Overwrites memory in a way that the compiler does not remove.
void Wipe(std::span<std::byte> bytes);

struct KeyPair {
  Secret secret;
  Bytes public_key;
  static KeyPair Generate(RandomSource& random);
};

Bytes PublicKeyOf(const Secret& secret);

// Whether this can be a peer's key: kKeySize bytes, a canonical encoding (what PublicKeyOf makes: one point has one key), and
// no point of low order, of which every secret would agree on 0 (RFC 7748, section 6.1).
bool IsUsablePublicKey(ByteView key);

// The raw X25519 result, to be derived from, not used. INVALID_ARGUMENT [BAD_KEY] for a key that is not usable.
Result<Secret> Agree(const Secret& secret, ByteView peer_public_key);

// RFC 5869; out.size() at most 255 * 32.
void HkdfSha256(ByteView salt, ByteView key_material, ByteView info, std::span<std::byte> out);

// What all keys of one aggregation are bound to (secagg/session.h).
using SessionId = std::array<std::byte, 32>;

// What stands for a round's id in keys and signatures: a labelled SHA-256 of it.
using RoundDigest = std::array<std::byte, 32>;
RoundDigest DigestOfRound(std::string_view round_id);

// Two members of a session, and the public keys (kKeySize bytes each) whose secrets they agree with. Refers to all it names.
struct MemberPair {
  const RoundDigest& round;
  const SessionId& session;
  std::uint32_t one = 0;
  std::uint32_t other = 0;
  ByteView one_public_key;
  ByteView other_public_key;
};

// What `pair.one` seals for `pair.other` with, from the agreed secret of their cipher keys. Both ways differ.
Secret SealKey(const Secret& agreed, const MemberPair& pair);
// Of the agreed secret of their mask keys; whichever is `one`.
Secret PairwiseMaskKey(const Secret& agreed, const MemberPair& pair);
Secret SelfMaskKey(const Secret& seed, const SessionId& session, std::uint32_t index);

// A labelled SHA-256 that says nothing about a random seed and that no other seed of that member has: what a recovered seed is
// checked against.
crypto::Sha256Digest SeedCommitment(const Secret& seed, const SessionId& session, std::uint32_t index);

// Both shares that a sender has for a receiver.
struct SharePair {
  Secret mask_key;
  Secret self_mask;
};

// Seals what `pair.one` has for `pair.other`: kSealedSize bytes, ciphertext and tag. The nonce is zero, because a SealKey seals
// one message ever: X25519 keys are made for one session, and a sender shares once in it. All of `pair` is associated data.
Bytes SealShares(const Secret& key, const SharePair& shares, const MemberPair& pair);
// INVALID_ARGUMENT [BAD_SEALED_SHARES] for any other bytes, key or pair.
Result<SharePair> OpenShares(const Secret& key, ByteView sealed, const MemberPair& pair);

}  // namespace edgefleet::secagg
