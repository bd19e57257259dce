// What all parties of one aggregation agree on, derived from the setup message. Members that were told different values of what
// is in the session id get different ones, so nothing between them opens.
#pragma once

#include <span>

#include "base/crypto/crypto.h"
#include "secagg/graph.h"
#include "secagg/identity.h"
#include "secagg/keys.h"
#include "secagg/messages.h"

namespace edgefleet::secagg {

// SHA-256 over label, config, n, k, t, survivors_min, server nonce, roster digest (secagg/roster.h) and fingerprints. Index,
// path and the neighbours' adverts differ between devices; who is in the committee follows.
SessionId SessionIdOf(const RoundSetup& setup);

// The seed of the neighbour graph: SHA-256 over a label and the session id, so no party chose it alone.
crypto::Sha256Digest GraphSeed(const SessionId& session);

// The digest of a bitmap over all members, as signed and answered: of those that shared keys, and of those that survived.
crypto::Sha256Digest SharersDigest(ByteView sharers);
crypto::Sha256Digest SurvivorsDigest(ByteView survivors);

// Active variant: the members on the first k places of the ring. No member reveals anything before t of them have signed the
// same sharers and survivors. Since 2t > k + (the corrupt ones among them), all members that reveal anything mean the same two
// sets.
std::span<const std::uint32_t> CommitteeOf(const Graph& graph);

// The security bits of a round's parameters (secagg/parameters.h). An active server can try nonces, rosters and its own
// members' keys until it likes the ring: each ring is bad with 2^-80, so 2^40 tries leave 2^-40.
std::uint32_t SecurityBitsOf(Adversary adversary);

// Against a server that picks who "dropped out" once it knows the ring; active variant. FAILED_PRECONDITION [DISCONNECTED] when
// some k/2 consecutive ring places hold more members that are no survivors than TolerableRun. O(n), and O(k^2) for the bound.
Status CheckConnected(const Graph& graph, std::uint32_t threshold, ByteView survivors, double corrupt_fraction);

// Active variant: INVALID_ARGUMENT [BAD_SIGNATURE] unless one of `authorities` has enrolled the advert's identity, which has
// signed its keys for this round.
Status CheckAdvertSignature(std::string_view round_id, const KeyAdvert& advert,
                            std::span<const crypto::Ed25519PublicKey> authorities);

// INVALID_ARGUMENT [BAD_SETUP] unless every field of `config` is in its range.
Status CheckConfig(const SessionConfig& config);
// CheckPrivacy with as many dropouts as `survivors_min` allows: what a round's parameters are worth to a member that takes
// `corrupt_fraction` of the others for corrupt.
Status CheckRoundPrivacy(Adversary adversary, std::uint32_t members, const GraphParameters& graph, std::uint32_t survivors_min,
                         double corrupt_fraction);

// INVALID_ARGUMENT [BAD_SETUP] unless n, k, t and survivors_min make a round: 3 <= n <= kMembersMax, ValidDegree, 2 <= t <= k,
// t <= survivors_min <= n, and 2t > k when active.
Status CheckGraph(Adversary adversary, std::uint32_t members, const GraphParameters& graph, std::uint32_t survivors_min);

}  // namespace edgefleet::secagg
