// The messages of the secure-aggregation protocol, as plain structs: Bonawitz et al. 2017 ("Practical Secure Aggregation for
// Privacy-Preserving Machine Learning") with double masking on the random k-regular Harary graph of Bell et al. 2020 ("Secure
// Single-Server Aggregation with (Poly)Logarithmic Overhead", SecAgg+). docs/specs/secagg.md has the whole protocol. They
// mirror proto/edgefleet/rounds/v1/rounds.proto; whoever moves them over a wire converts. Fields hold what came from outside:
// every length and index is checked by the state that receives the message.
//
// Members have indices 1 to n, in the order of their adverts. Everything that lists neighbours lists them by ascending index. A
// bitmap has bit i (0 the lowest of the first byte) for the i-th of its things; the bits after the last one are zero.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "secagg/mask/cipher.h"
#include "secagg/parameters.h"

namespace edgefleet::secagg {

inline constexpr std::uint32_t kMembersMax = 16'384;
inline constexpr std::size_t kKeySize = 32;                      // an X25519 or Ed25519 key, public or secret, and a mask seed
inline constexpr std::size_t kShareSize = 32;                    // a Shamir share of one 32-byte secret
inline constexpr std::size_t kSealedSize = 2 * kShareSize + 16;  // two shares and the tag
inline constexpr std::size_t kDigestSize = 32;
inline constexpr std::size_t kSignatureSize = 64;
inline constexpr std::size_t kFingerprintSize = 8;   // of an identity key
inline constexpr std::size_t kRosterLevelsMax = 14;  // of the tree over kMembersMax adverts
inline constexpr std::uint64_t kVectorLengthMax = 1ULL << 32;
inline constexpr std::uint32_t kElementBitsMax = 32;
inline constexpr std::size_t kRoundIdSizeMax = 256;

// What a round is before it has members.
struct SessionConfig {
  std::string round_id;  // 1 to kRoundIdSizeMax bytes, never used twice
  Adversary adversary = Adversary::kSemiHonest;
  MaskCipher cipher = MaskCipher::kAes256Ctr;
  std::uint64_t vector_length = 0;  // elements of an update: 1 to kVectorLengthMax - 1
  std::uint32_t element_bits = 0;   // sums are taken modulo 2^element_bits: 1 to 32
  bool operator==(const SessionConfig&) const = default;
};

// Device to server: fresh X25519 public keys. In the active variant signed by the device's identity, which an enrolment
// authority has certified (secagg/identity.h); otherwise the last three are empty.
struct KeyAdvert {
  Bytes cipher_public_key;  // seals the shares
  Bytes mask_public_key;    // agrees on pairwise masks
  Bytes identity_key;
  Bytes certificate;
  Bytes signature;
  bool operator==(const KeyAdvert&) const = default;
};

// Who a member of the committee is: an identity and its certificate (secagg/identity.h).
struct Credential {
  Bytes identity_key;
  Bytes certificate;
  bool operator==(const Credential&) const = default;
};

// Server to device: who takes part. The graph and every key of the session follow from these fields (secagg/session.h).
struct RoundSetup {
  SessionConfig config;
  std::uint32_t members = 0;          // n
  GraphParameters graph;              // degree k and threshold t
  std::uint32_t survivors_min = 0;    // a sum of fewer updates is never unmasked
  Bytes server_nonce;                 // kDigestSize: the server's part of the session id
  Bytes roster_digest;                // kDigestSize: over all adverts, the devices' part of the session id
  Bytes roster_path;                  // from the receiving device's advert to that digest: kDigestSize bytes a level
  std::uint32_t index = 0;            // of the receiving device
  Bytes fingerprints;                 // active: of all members' identity keys in order of their indices; otherwise empty
  std::vector<KeyAdvert> neighbours;  // of the receiving device, k of them
  // Active: of the members of the committee (secagg/session.h) that are neither the receiving device nor its neighbours, in the
  // order of the ring.
  std::vector<Credential> committee;
};

// Device to server: for each neighbour its two shares, sealed, in one piece of k * kSealedSize bytes.
struct SharedKeys {
  Bytes seed_commitment;  // kDigestSize: of this device's self-mask seed
  Bytes sealed;
};

// Server to device: who shared keys, and the sealed shares that the neighbours have for it.
struct Inbox {
  Bytes sharers;  // bitmap over all members: those that shared keys
  Bytes senders;  // bitmap over the neighbours: the sharers among them; the device masks with exactly these
  Bytes sealed;   // kSealedSize bytes of each sender
};

// Device to server, with its masked update: its signature over the session, its advert and the sharers. Empty in the
// semi-honest variant.
struct UploadProof {
  Bytes signature;
  bool operator==(const UploadProof&) const = default;
};

// Device to server, active variant, from members of the committee: its signature over the session, the sharers and the
// survivors.
struct Confirmation {
  Bytes signature;
};

// Server to device: reveal shares for the sum of these survivors.
struct UnmaskRequest {
  Bytes survivors;   // bitmap over all members
  Bytes signers;     // active: bitmap over the committee, in ring order, whose confirmations follow; otherwise empty
  Bytes signatures;  // kSignatureSize bytes of each signer
  Bytes uploads;     // active: the signature of the UploadProof of each surviving neighbour, kSignatureSize bytes each
};

// Device to server: for each sender of the inbox whose sealed shares opened, one share: of its self-mask seed if it survived,
// of its mask key if it did not.
struct UnmaskAnswer {
  Bytes survivors_digest;  // SHA-256 of the bitmap that this answers
  Bytes held;              // bitmap over the senders of the inbox; a missing one is a complaint about what it sent
  Bytes shares;            // kShareSize bytes of each that is held
};

// Two members of which at least one has sent what does not fit (Shamir's shares do not show which).
struct Blame {
  std::uint32_t owner = 0;      // whose secret the share is of
  std::uint32_t responder = 0;  // who revealed a share that does not lie on the owner's polynomial, or complained about it
  enum class Kind : std::uint8_t {
    kBadShare = 1,   // left out: `responder` altered the share, or `owner` dealt it a wrong one
    kComplaint = 2,  // `responder` says that what `owner` sent it did not open
    kBadDealer = 3,  // no t shares give the secret that `owner` committed to (responder 0)
  } kind = Kind::kBadShare;
  bool operator==(const Blame&) const = default;
};

// Bitmaps.
inline std::size_t BitmapSize(std::size_t things) { return (things + 7) / 8; }
inline bool TestBit(ByteView bitmap, std::size_t place) {
  return ((bitmap[place / 8] >> (place % 8)) & std::byte{1}) != std::byte{0};
}
inline void SetBit(Bytes& bitmap, std::size_t place) { bitmap[place / 8] |= std::byte{1} << (place % 8); }
std::size_t CountBits(ByteView bitmap);
// Whether it has the size for `things` and no bit beyond them.
bool IsBitmapOf(ByteView bitmap, std::size_t things);

}  // namespace edgefleet::secagg
