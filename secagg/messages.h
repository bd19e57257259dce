// The messages of the secure-aggregation protocol (Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving
// Machine Learning", figure 4; semi-honest, complete graph), as plain structs. They mirror
// proto/edgefleet/rounds/v1/rounds.proto; whoever moves them over a wire converts. Fields hold what came from outside: every
// length and index is checked by the state that receives the message.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace edgefleet::secagg {

inline constexpr std::uint32_t kMembersMax = 4096;
inline constexpr std::uint32_t kModulusBits = 32;
inline constexpr std::size_t kKeySize = 32;                      // an X25519 key, public or secret, and a mask seed
inline constexpr std::size_t kShareSize = 32;                    // a Shamir share of one 32-byte secret
inline constexpr std::size_t kSealedSize = 2 * kShareSize + 16;  // ChaCha20-Poly1305: two shares, tag
inline constexpr std::uint64_t kVectorLengthMax = 1ULL << 32;
inline constexpr std::size_t kRoundIdSizeMax = 256;

// Round 0, device to server: fresh X25519 public keys, kKeySize bytes each.
struct KeyAdvert {
  Bytes cipher_public_key;  // seals the shares
  Bytes mask_public_key;    // agrees on pairwise masks
  bool operator==(const KeyAdvert&) const = default;
};

struct RosterMember {
  std::uint32_t index = 0;  // 1 to n: the member's Shamir abscissa
  Bytes cipher_public_key;
  Bytes mask_public_key;
  bool operator==(const RosterMember&) const = default;
};

// Round 1, server to device: who takes part. `roster` lists the members in order of their indices 1, 2, ... n.
struct RoundSetup {
  std::uint32_t index = 0;  // of the receiving device
  std::uint32_t threshold = 0;
  std::uint64_t vector_length = 0;  // words in an update: parameters + 1
  std::vector<RosterMember> roster;
};

// Rounds 1 and 2: `sender`'s two shares for `receiver`, which the server can only pass on. kSealedSize bytes.
struct SealedShares {
  std::uint32_t sender = 0;
  std::uint32_t receiver = 0;
  Bytes ciphertext;
  bool operator==(const SealedShares&) const = default;
};

// Round 4: one share, kShareSize bytes, of a secret of member `owner`.
struct RevealedShare {
  std::uint32_t owner = 0;
  Bytes share;
  bool operator==(const RevealedShare&) const = default;
};

// Round 4, device to server: for each member that shared keys exactly one share.
struct UnmaskAnswer {
  std::vector<RevealedShare> self_mask_shares;  // of members whose update is in the sum
  std::vector<RevealedShare> mask_key_shares;   // of members that shared keys and sent no update
  bool operator==(const UnmaskAnswer&) const = default;
};

// The least threshold that is safe for n members and, where it can be, no smaller than `participants_min`:
// max(floor(n/2) + 1, min(participants_min, n)). With t > n/2 a server that tells different devices different survivors cannot
// gather t shares of both kinds for one member; clients and servers refuse anything lower.
std::uint32_t SafeThreshold(std::uint32_t members, std::uint32_t participants_min);

}  // namespace edgefleet::secagg
