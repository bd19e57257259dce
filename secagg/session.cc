#include "secagg/session.h"

#include <algorithm>
#include <string>

#include "secagg/field_digest.h"

namespace edgefleet::secagg {
namespace {

Error BadSetup(const std::string& what) { return InvalidArgument("BAD_SETUP", what); }

}  // namespace

SessionId SessionIdOf(const RoundSetup& setup) {
  const SessionConfig& config = setup.config;
  FieldDigest digest("edgefleet/secagg/v1/session");
  digest.Add(AsBytes(config.round_id));
  digest.Add(static_cast<std::uint64_t>(config.adversary)).Add(static_cast<std::uint64_t>(config.cipher));
  digest.Add(config.vector_length).Add(config.element_bits);
  digest.Add(setup.members).Add(setup.graph.degree).Add(setup.graph.threshold).Add(setup.survivors_min);
  digest.Add(setup.server_nonce).Add(setup.roster_digest).Add(setup.fingerprints);
  return digest.Finish();
}

crypto::Sha256Digest GraphSeed(const SessionId& session) {
  return FieldDigest("edgefleet/secagg/v1/graph").Add(session).Finish();
}

crypto::Sha256Digest SharersDigest(ByteView sharers) { return crypto::Sha256(sharers); }
crypto::Sha256Digest SurvivorsDigest(ByteView survivors) { return crypto::Sha256(survivors); }

std::span<const std::uint32_t> CommitteeOf(const Graph& graph) { return std::span(graph.ring()).first(graph.degree()); }

std::uint32_t SecurityBitsOf(Adversary adversary) { return adversary == Adversary::kActive ? 80 : 40; }

Status CheckConnected(const Graph& graph, std::uint32_t threshold, ByteView survivors, double corrupt_fraction) {
  const auto& ring = graph.ring();
  const std::size_t n = ring.size(), run = graph.degree() / 2;
  if (graph.degree() + 1 >= n) return OkStatus();
  const auto missing = [&](std::size_t place) -> std::size_t { return TestBit(survivors, ring[place % n] - 1) ? 0 : 1; };
  std::size_t held = 0;
  for (std::size_t place = 0; place < run; ++place) held += missing(place);
  std::size_t fullest = held;
  for (std::size_t place = 0; place < n; ++place) {
    held += missing(place + run) - missing(place);
    fullest = std::max(fullest, held);
  }
  const std::int64_t tolerable =
      TolerableRun(n, {graph.degree(), threshold},
                   {.corrupt_fraction = corrupt_fraction, .security_bits = SecurityBitsOf(Adversary::kActive)});
  if (static_cast<std::int64_t>(fullest) <= tolerable) return OkStatus();
  return FailedPrecondition("DISCONNECTED", std::to_string(fullest) + " members that are no survivors lie within " +
                                                std::to_string(run) +
                                                " places of the ring, which is more than chance explains; leave the round");
}

Status CheckAdvertSignature(std::string_view round_id, const KeyAdvert& advert,
                            std::span<const crypto::Ed25519PublicKey> authorities) {
  crypto::Ed25519PublicKey identity;
  const bool right = advert.identity_key.size() == identity.size() && [&] {
    std::ranges::copy(advert.identity_key, identity.begin());
    return IsEnrolled(authorities, identity, advert.certificate) &&
           VerifyAdvert(identity, round_id, advert.cipher_public_key, advert.mask_public_key, advert.signature);
  }();
  if (right) return OkStatus();
  return InvalidArgument("BAD_SIGNATURE", "session keys are not signed by an identity that an authority has enrolled");
}

Status CheckConfig(const SessionConfig& config) {
  if (config.round_id.empty() || config.round_id.size() > kRoundIdSizeMax) {
    return BadSetup("a round id has 1 to " + std::to_string(kRoundIdSizeMax) + " bytes");
  }
  if (config.adversary != Adversary::kSemiHonest && config.adversary != Adversary::kActive) {
    return BadSetup("the variant is neither semi-honest nor active; this library may be too old for the round");
  }
  if (config.cipher != MaskCipher::kAes256Ctr && config.cipher != MaskCipher::kAes128Ctr) {
    return BadSetup("the mask cipher is unknown; this library may be too old for the round");
  }
  if (config.vector_length < 1 || config.vector_length >= kVectorLengthMax) {
    return BadSetup("an update has 1 to 2^32 - 1 elements, not " + std::to_string(config.vector_length));
  }
  if (config.element_bits < 1 || config.element_bits > kElementBitsMax) {
    return BadSetup("an element has 1 to 32 bits, not " + std::to_string(config.element_bits));
  }
  return OkStatus();
}

Status CheckRoundPrivacy(Adversary adversary, std::uint32_t members, const GraphParameters& graph, std::uint32_t survivors_min,
                         double corrupt_fraction) {
  // Half a member more, so that rounding cannot make it one fewer.
  const double dropouts = (members - survivors_min + 0.5) / members;
  return CheckPrivacy(members, graph,
                      {.adversary = adversary,
                       .corrupt_fraction = corrupt_fraction,
                       .dropout_fraction = std::min(dropouts, 1.0),
                       .security_bits = SecurityBitsOf(adversary)});
}

Status CheckGraph(Adversary adversary, std::uint32_t members, const GraphParameters& graph, std::uint32_t survivors_min) {
  if (members < 3 || members > kMembersMax) {
    return BadSetup("a roster has 3 to " + std::to_string(kMembersMax) + " members, not " + std::to_string(members));
  }
  if (!ValidDegree(members, graph.degree)) {
    return BadSetup("degree " + std::to_string(graph.degree) + " makes no graph of " + std::to_string(members) +
                    " members: it must be even and below n - 1, or n - 1");
  }
  if (graph.threshold < 2 || graph.threshold > graph.degree) {
    return BadSetup("threshold " + std::to_string(graph.threshold) + " must be 2 to the degree " +
                    std::to_string(graph.degree));
  }
  if (adversary == Adversary::kActive && 2 * graph.threshold <= graph.degree) {
    return BadSetup("against an active adversary the threshold must exceed half of the degree");
  }
  if (survivors_min < graph.threshold || survivors_min > members) {
    return BadSetup("survivors_min " + std::to_string(survivors_min) + " must be the threshold to the number of members");
  }
  return OkStatus();
}

}  // namespace edgefleet::secagg
