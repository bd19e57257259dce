// What all parties of one aggregation agree on, derived from the setup message. Members that were told different things get
// different session ids, so nothing between them opens.
#pragma once

#include <span>

#include "base/crypto/crypto.h"
#include "secagg/graph.h"
#include "secagg/identity.h"
#include "secagg/keys.h"
#include "secagg/messages.h"

namespace edgefleet::secagg {

// SHA-256 over label, config, n, k, t, survivors_min, server nonce, roster digest (secagg/roster.h) and fingerprints (index,
// path, neighbours and committee differ between devices or follow from these, and are no part of it).
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

// Against a server that picks who "dropped out" once it knows the ring. FAILED_PRECONDITION [DISCONNECTED] when two separate
// runs of k/2 ring places may hold more members that are no survivors than TolerableCut, so that with the corrupt members
// between them they could part the honest survivors into two, whose sums the server would learn. Takes twice the fullest run,
// which is no less than the two fullest separate ones. O(n).
Status CheckConnected(const Graph& graph, ByteView survivors, double corrupt_fraction);

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
