// A device's checks of what the server tells it about the round.
#include <algorithm>
#include <set>
#include <string>

#include "secagg/client_states.h"
#include "secagg/roster.h"

namespace edgefleet::secagg {
namespace {

Error BadSetup(const std::string& what) { return InvalidArgument("BAD_SETUP", what + "; leave the round"); }
Error BadRoster(const std::string& what) { return InvalidArgument("BAD_ROSTER", what + "; leave the round"); }

// Sizes and ranges, and that it is this device's round.
Status CheckFields(const RoundSetup& setup, const ClientOptions& options) {
  EF_RETURN_IF_ERROR(CheckConfig(setup.config));
  EF_RETURN_IF_ERROR(CheckGraph(setup.config.adversary, setup.members, setup.graph, setup.survivors_min));
  if (setup.config.round_id != options.round_id || setup.config.adversary != options.adversary) {
    return BadSetup("the setup is of another round or variant than this device was assigned to");
  }
  if (setup.server_nonce.size() != kDigestSize || setup.roster_digest.size() != kDigestSize) {
    return BadSetup("the server's nonce and the roster's digest have 32 bytes each");
  }
  if (setup.index < 1 || setup.index > setup.members) return BadSetup("this device's index lies outside of the roster");
  if (setup.neighbours.size() != setup.graph.degree) return BadRoster("the setup does not hold one advert for each neighbour");
  const std::size_t fingerprints = options.adversary == Adversary::kActive ? setup.members * kFingerprintSize : 0;
  if (setup.fingerprints.size() != fingerprints) return BadRoster("the setup does not hold one fingerprint for each member");
  return OkStatus();
}

// What the device insists on, whatever the server offers.
Status CheckPolicy(const RoundSetup& setup, const ClientPolicy& policy) {
  if (setup.members < policy.members_min || setup.survivors_min < policy.survivors_min) {
    return FailedPrecondition("POLICY_REFUSES", "a roster of " + std::to_string(setup.members) + " with sums of " +
                                                    std::to_string(setup.survivors_min) + " is less than this device's " +
                                                    std::to_string(policy.members_min) + " and " +
                                                    std::to_string(policy.survivors_min));
  }
  return CheckRoundPrivacy(setup.config.adversary, setup.members, setup.graph, setup.survivors_min, policy.corrupt_fraction);
}

Status CheckDistinctKeys(const RoundSetup& setup, const KeyAdvert& own) {
  std::set<Bytes> keys{own.cipher_public_key, own.mask_public_key};
  for (const KeyAdvert& advert : setup.neighbours) {
    if (advert.cipher_public_key.size() != kKeySize || advert.mask_public_key.size() != kKeySize) {
      return BadRoster("a neighbour's keys have not 32 bytes each");
    }
    if (!keys.insert(advert.cipher_public_key).second || !keys.insert(advert.mask_public_key).second) {
      return BadRoster("a key appears twice among the neighbours");
    }
  }
  return OkStatus();
}

bool HasFingerprint(const RoundSetup& setup, std::uint32_t index, ByteView identity_key) {
  return std::ranges::equal(std::span(setup.fingerprints).subspan((index - 1) * kFingerprintSize, kFingerprintSize),
                            FingerprintOf(identity_key));
}

// No identity twice in the whole roster.
Status CheckFingerprints(const RoundSetup& setup) {
  std::set<Bytes> seen;
  for (ByteView left = setup.fingerprints; !left.empty(); left = left.subspan(kFingerprintSize)) {
    if (seen.insert(ToBytes(left.first(kFingerprintSize))).second) continue;
    return InvalidArgument("BAD_SIGNATURE", "an identity appears twice in the roster; leave the round");
  }
  return OkStatus();
}

crypto::Ed25519PublicKey ToPublicKey(const Bytes& bytes) {
  crypto::Ed25519PublicKey key;
  std::ranges::copy(bytes, key.begin());
  return key;
}

// This device at its place, each neighbour at its own, with keys signed by its enrolled identity.
Status CheckNeighbours(const RoundSetup& setup, const ClientOptions& options, const KeyAdvert& own, Neighbourhood& hood) {
  if (!HasFingerprint(setup, setup.index, own.identity_key)) {
    return BadRoster("this device's identity does not stand at its index");
  }
  for (std::size_t place = 0; place < hood.neighbours.size(); ++place) {
    const KeyAdvert& advert = setup.neighbours[place];
    if (!HasFingerprint(setup, hood.neighbours[place], advert.identity_key)) {
      return BadRoster("a neighbour's identity is not the one at its index");
    }
    EF_RETURN_IF_ERROR(CheckAdvertSignature(setup.config.round_id, advert, options.policy.authorities));
    hood.identities.push_back(ToPublicKey(advert.identity_key));
    hood.adverts.push_back(AdvertDigest(advert));
  }
  return OkStatus();
}

// The identity of a member of the committee that is neither this device nor a neighbour.
Result<crypto::Ed25519PublicKey> CheckCredential(const RoundSetup& setup, const ClientOptions& options, std::uint32_t index,
                                                 const Credential& credential) {
  if (credential.identity_key.size() != kKeySize || !HasFingerprint(setup, index, credential.identity_key)) {
    return BadRoster("an identity of the committee is not the one at its index");
  }
  const auto identity = ToPublicKey(credential.identity_key);
  if (IsEnrolled(options.policy.authorities, identity, credential.certificate)) return identity;
  return InvalidArgument("BAD_SIGNATURE", "no authority has enrolled an identity of the committee; leave the round");
}

Status CheckCommittee(const RoundSetup& setup, const ClientOptions& options, const KeyAdvert& own, Neighbourhood& hood) {
  auto next = setup.committee.begin();
  for (const std::uint32_t index : CommitteeOf(*hood.graph)) {
    const auto neighbour = std::ranges::lower_bound(hood.neighbours, index);
    if (index == setup.index) {
      hood.in_committee = true;
      hood.committee.push_back(ToPublicKey(own.identity_key));
    } else if (neighbour != hood.neighbours.end() && *neighbour == index) {
      hood.committee.push_back(hood.identities[static_cast<std::size_t>(neighbour - hood.neighbours.begin())]);
    } else {
      if (next == setup.committee.end()) return BadRoster("the setup does not name the whole committee");
      EF_ASSIGN_OR_RETURN(const auto identity, CheckCredential(setup, options, index, *next++));
      hood.committee.push_back(identity);
    }
  }
  return next == setup.committee.end() ? OkStatus() : Status(BadRoster("the setup names more than the committee"));
}

// The digest holds this device's fresh keys, so nobody knew the session, and the ring that follows from it, before them. In a
// complete graph the device sees every advert, so it can tell whether the digest is theirs.
Status CheckRosterDigest(const RoundSetup& setup, const KeyAdvert& own) {
  const auto digest = RosterDigestOf(own, setup.index, setup.members, setup.roster_path);
  if (!digest || !std::ranges::equal(*digest, setup.roster_digest)) {
    return BadSetup("the roster's digest does not hold this device's keys");
  }
  if (setup.graph.degree + 1 != setup.members) return OkStatus();
  std::vector<KeyAdvert> adverts = setup.neighbours;
  adverts.insert(adverts.begin() + setup.index - 1, own);
  if (std::ranges::equal(RosterDigest(adverts), setup.roster_digest)) return OkStatus();
  return BadSetup("the roster's digest is not that of its adverts");
}

}  // namespace

Result<Neighbourhood> CheckSetup(const RoundSetup& setup, const ClientOptions& options, const KeyAdvert& own) {
  EF_RETURN_IF_ERROR(CheckFields(setup, options));
  EF_RETURN_IF_ERROR(CheckPolicy(setup, options.policy));
  EF_RETURN_IF_ERROR(CheckDistinctKeys(setup, own));
  Neighbourhood neighbourhood{.config = setup.config,
                              .members = setup.members,
                              .threshold = setup.graph.threshold,
                              .survivors_min = setup.survivors_min,
                              .round = DigestOfRound(setup.config.round_id),
                              .session = SessionIdOf(setup),
                              .index = setup.index};
  Graph graph(GraphSeed(neighbourhood.session), setup.members, setup.graph.degree);
  neighbourhood.neighbours = graph.Neighbours(setup.index);
  EF_RETURN_IF_ERROR(CheckRosterDigest(setup, own));
  if (options.adversary == Adversary::kActive) {
    neighbourhood.graph = std::move(graph);
    neighbourhood.advert = AdvertDigest(own);
    EF_RETURN_IF_ERROR(CheckFingerprints(setup));
    EF_RETURN_IF_ERROR(CheckNeighbours(setup, options, own, neighbourhood));
    EF_RETURN_IF_ERROR(CheckCommittee(setup, options, own, neighbourhood));
  }
  return neighbourhood;
}

}  // namespace edgefleet::secagg
