#include "secagg/client_states.h"

#include <algorithm>
#include <string>
#include <utility>

#include "secagg/mask/mask.h"
#include "secagg/packing.h"
#include "secagg/roster.h"
#include "secagg/shamir.h"

namespace edgefleet::secagg {
namespace {

Error BelowThreshold(std::size_t count, std::uint32_t threshold, const std::string& what) {
  return FailedPrecondition("BELOW_THRESHOLD", "only " + std::to_string(count) + " neighbours " + what + ", the threshold is " +
                                                   std::to_string(threshold) + "; leave the round");
}

Error AlreadySaid() {
  return FailedPrecondition("ALREADY_SAID", "this device has spoken for other survivors before; it answers for one set only");
}

// One share for each sender whose shares are held, of one kind; the others are wiped.
UnmaskAnswer Reveal(const Neighbourhood& hood, HeldShares held, ByteView survivors) {
  UnmaskAnswer answer{.survivors_digest = ToBytes(SurvivorsDigest(survivors)), .held = Bytes(BitmapSize(held.pairs.size()))};
  std::size_t sender = 0;
  for (std::size_t place = 0; place < hood.neighbours.size(); ++place) {
    if (!TestBit(held.senders, place)) continue;
    if (const auto& pair = held.pairs[sender]) {
      SetBit(answer.held, sender);
      const bool survived = TestBit(survivors, hood.neighbours[place] - 1);
      const auto share = (survived ? pair->self_mask : pair->mask_key).bytes();
      answer.shares.insert(answer.shares.end(), share.begin(), share.end());
    }
    ++sender;
  }
  return answer;
}

}  // namespace

Error ClientState::Unexpected(std::string_view message) const {
  return FailedPrecondition("WRONG_PHASE",
                            "a client that is '" + std::string(name()) + "' does not expect " + std::string(message));
}
Result<ClientState::Step<KeyAdvert>> ClientState::AdvertiseKeys() { return Unexpected("to advertise keys"); }
Result<ClientState::Step<SharedKeys>> ClientState::ShareKeys(const RoundSetup&) { return Unexpected("a setup"); }
Result<ClientState::Step<UploadProof>> ClientState::Mask(const Inbox&, std::span<std::uint32_t>) {
  return Unexpected("an inbox");
}
Result<ClientState::Step<Confirmation>> ClientState::Confirm(ByteView) { return Unexpected("survivors to confirm"); }
Result<ClientState::Step<UnmaskAnswer>> ClientState::Unmask(const UnmaskRequest&) { return Unexpected("an unmasking request"); }

Result<ClientState::Step<KeyAdvert>> ClientStart::AdvertiseKeys() {
  const ClientOptions& options = context().options;
  if (options.round_id.empty() || options.round_id.size() > kRoundIdSizeMax) {
    return InvalidArgument("BAD_ROUND_ID", "a round id has 1 to " + std::to_string(kRoundIdSizeMax) + " bytes");
  }
  if (options.policy.adversary == Adversary::kActive && !context().active()) {
    return FailedPrecondition("POLICY_REFUSES", "this device takes part in rounds of the active variant only");
  }
  if (context().active() && (!options.identity || options.policy.authorities.empty())) {
    return FailedPrecondition("NO_IDENTITY",
                              "the active variant needs this device's certified identity and the enrolment authority's key");
  }
  KeyPair cipher = KeyPair::Generate(context().random);
  KeyPair mask = KeyPair::Generate(context().random);
  KeyAdvert advert{.cipher_public_key = cipher.public_key, .mask_public_key = mask.public_key};
  if (context().active()) {
    advert.identity_key = ToBytes(options.identity->key.public_key());
    advert.certificate = ToBytes(options.identity->certificate);
    advert.signature = ToBytes(SignAdvert(*options.identity, options.round_id, cipher.public_key, mask.public_key));
  }
  EF_RETURN_IF_ERROR(context().Bind(Statement::kAdvert, AdvertDigest(advert)));
  auto next = std::make_unique<ClientAdvertised>(TakeContext(), std::move(cipher), std::move(mask), advert);
  return Step<KeyAdvert>{std::move(advert), std::move(next)};
}

Result<ClientState::Step<KeyAdvert>> ClientAdvertised::AdvertiseKeys() { return Step<KeyAdvert>{advert_, nullptr}; }

Result<ClientState::Step<SharedKeys>> ClientAdvertised::ShareKeys(const RoundSetup& setup) {
  EF_ASSIGN_OR_RETURN(Neighbourhood hood, CheckSetup(setup, context().options, advert_));
  RandomSource& random = context().random;
  ClientShared::Secrets secrets{.cipher_public_key = cipher_.public_key, .self_mask_seed = Secret::Random(random)};
  const auto holders = static_cast<std::uint32_t>(hood.neighbours.size());
  auto mask_key_shares = SplitSecret(mask_.secret, hood.threshold, holders, random);
  auto self_mask_shares = SplitSecret(secrets.self_mask_seed, hood.threshold, holders, random);

  SharedKeys shared{.seed_commitment = ToBytes(SeedCommitment(secrets.self_mask_seed, hood.session, hood.index))};
  shared.sealed.reserve(hood.neighbours.size() * kSealedSize);
  for (std::size_t place = 0; place < hood.neighbours.size(); ++place) {
    const KeyAdvert& peer = setup.neighbours[place];
    const std::uint32_t index = hood.neighbours[place];
    EF_ASSIGN_OR_RETURN(const Secret cipher_agreed, Agree(cipher_.secret, peer.cipher_public_key));
    EF_ASSIGN_OR_RETURN(const Secret mask_agreed, Agree(mask_.secret, peer.mask_public_key));
    const SharePair pair{std::move(mask_key_shares[place]), std::move(self_mask_shares[place])};
    const MemberPair out{hood.round, hood.session, hood.index, index, cipher_.public_key, peer.cipher_public_key};
    const MemberPair in{hood.round, hood.session, index, hood.index, peer.cipher_public_key, cipher_.public_key};
    const MemberPair masks{hood.round, hood.session, hood.index, index, mask_.public_key, peer.mask_public_key};
    const Bytes sealed = SealShares(SealKey(cipher_agreed, out), pair, out);
    shared.sealed.insert(shared.sealed.end(), sealed.begin(), sealed.end());
    secrets.cipher_public_keys.push_back(peer.cipher_public_key);
    secrets.open_keys.push_back(SealKey(cipher_agreed, in));
    secrets.mask_keys.push_back(PairwiseMaskKey(mask_agreed, masks));
  }
  auto next = std::make_unique<ClientShared>(TakeContext(), std::move(hood), std::move(secrets));
  return Step<SharedKeys>{std::move(shared), std::move(next)};
}

// The sharers are what everything after this is bound to: the members must agree on them, or their masks do not cancel.
Status ClientShared::CheckSharers(const Inbox& inbox) const {
  const auto bad = [](const std::string& what) { return InvalidArgument("BAD_INBOX", what + "; leave the round"); };
  const Neighbourhood& hood = neighbourhood_;
  if (!IsBitmapOf(inbox.sharers, hood.members)) return bad("the sharers are no bitmap over the roster");
  if (!TestBit(inbox.sharers, hood.index - 1)) return bad("this device, which has shared keys, is not among the sharers");
  if (CountBits(inbox.sharers) < hood.survivors_min) return bad("the sharers are fewer than the sum must have members");
  for (std::size_t place = 0; place < hood.neighbours.size(); ++place) {
    if (TestBit(inbox.sharers, hood.neighbours[place] - 1) == TestBit(inbox.senders, place)) continue;
    return bad("the senders are not the sharers among the neighbours");
  }
  return OkStatus();
}

Status ClientShared::CheckInbox(const Inbox& inbox) const {
  const std::size_t neighbours = neighbourhood_.neighbours.size();
  if (!IsBitmapOf(inbox.senders, neighbours) || inbox.sealed.size() != CountBits(inbox.senders) * kSealedSize) {
    return InvalidArgument("BAD_INBOX", "the inbox must hold " + std::to_string(kSealedSize) +
                                            " bytes from each sender among the neighbours; leave the round");
  }
  const std::size_t senders = CountBits(inbox.senders);
  if (senders < neighbourhood_.threshold) return BelowThreshold(senders, neighbourhood_.threshold, "have shared keys");
  return CheckSharers(inbox);
}

Result<ClientState::Step<UploadProof>> ClientShared::Mask(const Inbox& inbox, std::span<std::uint32_t> update) {
  const SessionConfig& config = neighbourhood_.config;
  EF_RETURN_IF_ERROR(CheckInbox(inbox));
  const auto too_wide = [&](std::uint32_t word) { return (std::uint64_t{word} >> config.element_bits) != 0; };
  if (update.size() != config.vector_length || std::ranges::any_of(update, too_wide)) {
    return InvalidArgument("BAD_UPDATE", "an update of this round has " + std::to_string(config.vector_length) +
                                             " elements of " + std::to_string(config.element_bits) + " bits");
  }
  HeldShares held{.sharers = inbox.sharers, .senders = inbox.senders};
  std::size_t opened = 0;
  ByteView sealed = inbox.sealed;
  for (std::size_t place = 0; place < neighbourhood_.neighbours.size(); ++place) {
    if (!TestBit(inbox.senders, place)) continue;
    const MemberPair members{neighbourhood_.round,
                             neighbourhood_.session,
                             neighbourhood_.neighbours[place],
                             neighbourhood_.index,
                             secrets_.cipher_public_keys[place],
                             secrets_.cipher_public_key};
    auto pair = OpenShares(secrets_.open_keys[place], sealed.first(kSealedSize), members);
    sealed = sealed.subspan(kSealedSize);
    opened += pair ? 1 : 0;
    held.pairs.push_back(pair ? std::optional(std::move(*pair)) : std::nullopt);
  }
  if (opened < neighbourhood_.threshold) return BelowThreshold(opened, neighbourhood_.threshold, "sent shares that open");
  UploadProof proof;
  if (context().active()) {
    const auto sharers = SharersDigest(inbox.sharers);
    proof.signature = ToBytes(SignUpload(*context().options.identity, neighbourhood_.session, neighbourhood_.advert, sharers));
  }
  ApplyMasks(inbox.senders, update);
  auto next = std::make_unique<ClientMasked>(TakeContext(), std::move(neighbourhood_), std::move(held));
  return Step<UploadProof>{std::move(proof), std::move(next)};
}

void ClientShared::ApplyMasks(ByteView senders, std::span<std::uint32_t> update) {
  std::vector<MaskTerm> terms;
  terms.push_back({SelfMaskKey(secrets_.self_mask_seed, neighbourhood_.session, neighbourhood_.index), MaskSign::kAdd});
  for (std::size_t place = 0; place < neighbourhood_.neighbours.size(); ++place) {
    if (!TestBit(senders, place)) continue;
    terms.push_back(
        {std::move(secrets_.mask_keys[place]), PairwiseSign(neighbourhood_.index, neighbourhood_.neighbours[place])});
  }
  MaskSet(terms, neighbourhood_.config.cipher).Apply(0, update);
  TruncateWords(update, neighbourhood_.config.element_bits);
}

// What every set of survivors must be before this device says a word about it.
Status ClientMasked::CheckSurvivors(ByteView survivors) const {
  const Neighbourhood& hood = neighbourhood_;
  if (!IsBitmapOf(survivors, hood.members)) {
    return InvalidArgument("BAD_SURVIVORS", "the survivors are no bitmap over the roster; leave the round");
  }
  if (!TestBit(survivors, hood.index - 1)) {
    return FailedPrecondition("NOT_A_SURVIVOR", "the sum does not hold this device's update; leave the round");
  }
  for (std::size_t i = 0; i < survivors.size(); ++i) {
    if ((survivors[i] & ~held_.sharers[i]) == std::byte{0}) continue;
    return InvalidArgument("BAD_SURVIVORS", "a survivor has not shared keys; leave the round");
  }
  const std::size_t count = CountBits(survivors);
  const auto near = std::ranges::count_if(hood.neighbours, [&](std::uint32_t n) { return TestBit(survivors, n - 1); });
  if (count < hood.survivors_min || near < static_cast<std::ptrdiff_t>(hood.threshold)) {
    return FailedPrecondition("TOO_FEW_SURVIVORS", std::to_string(count) + " survivors, " + std::to_string(near) +
                                                       " of them neighbours, are fewer than the round allows; leave it");
  }
  if (!context().active()) return OkStatus();
  return CheckConnected(*hood.graph, hood.threshold, survivors, context().options.policy.corrupt_fraction);
}

Result<ClientState::Step<Confirmation>> ClientMasked::Confirm(ByteView survivors) {
  if (!context().active()) return Unexpected("survivors to confirm, in the semi-honest variant");
  if (!neighbourhood_.in_committee) {
    return FailedPrecondition("NOT_IN_COMMITTEE", "this device is not asked who the survivors are: others speak for all");
  }
  EF_RETURN_IF_ERROR(CheckSurvivors(survivors));
  const auto digest = SurvivorsDigest(survivors);
  EF_RETURN_IF_ERROR(context().Bind(Statement::kSurvivors, digest));
  Confirmation confirmation{
      ToBytes(SignSurvivors(*context().options.identity, neighbourhood_.session, SharersDigest(held_.sharers), survivors))};
  auto next =
      std::make_unique<ClientConfirmed>(TakeContext(), std::move(neighbourhood_), std::move(held_), digest, confirmation);
  return Step<Confirmation>{std::move(confirmation), std::move(next)};
}

// t of the committee have signed the same sharers and survivors: then no other members have been told other ones by as many.
Status ClientMasked::CheckConfirmations(const UnmaskRequest& request) const {
  const Neighbourhood& hood = neighbourhood_;
  std::size_t valid = 0;
  if (IsBitmapOf(request.signers, hood.committee.size()) &&
      request.signatures.size() == CountBits(request.signers) * kSignatureSize) {
    ByteView signatures = request.signatures;
    const auto sharers = SharersDigest(held_.sharers);
    for (std::size_t place = 0; place < hood.committee.size(); ++place) {
      if (!TestBit(request.signers, place)) continue;
      const ByteView signature = signatures.first(kSignatureSize);
      valid += VerifySurvivors(hood.committee[place], hood.session, sharers, request.survivors, signature) ? 1 : 0;
      signatures = signatures.subspan(kSignatureSize);
    }
  }
  if (valid >= hood.threshold) return OkStatus();
  return FailedPrecondition("UNCONFIRMED", std::to_string(valid) + " members of the committee have validly signed these " +
                                               "survivors, " + std::to_string(hood.threshold) + " are needed; leave the round");
}

// A share of a seed is for owners that masked, under the keys that this device knows, for the same sharers: the masks of one
// set do not come off updates that were masked for another.
Status ClientMasked::CheckUploads(const UnmaskRequest& request) const {
  const auto refused = [](const std::string& what) { return FailedPrecondition("UNCONFIRMED", what + "; leave the round"); };
  const auto sharers = SharersDigest(held_.sharers);
  ByteView signatures = request.uploads;
  for (std::size_t place = 0; place < neighbourhood_.neighbours.size(); ++place) {
    if (!TestBit(request.survivors, neighbourhood_.neighbours[place] - 1)) continue;
    if (signatures.size() < kSignatureSize) return refused("the upload of a surviving neighbour is not signed");
    if (!VerifyUpload(neighbourhood_.identities[place], neighbourhood_.session, neighbourhood_.adverts[place], sharers,
                      signatures.first(kSignatureSize))) {
      return refused("a surviving neighbour has not masked for the same members as this device");
    }
    signatures = signatures.subspan(kSignatureSize);
  }
  return signatures.empty() ? OkStatus() : Status(refused("there are more signed uploads than surviving neighbours"));
}

Result<ClientState::Step<UnmaskAnswer>> ClientMasked::Unmask(const UnmaskRequest& request) {
  EF_RETURN_IF_ERROR(CheckSurvivors(request.survivors));
  if (context().active()) {
    EF_RETURN_IF_ERROR(CheckConfirmations(request));
    EF_RETURN_IF_ERROR(CheckUploads(request));
  }
  const auto digest = SurvivorsDigest(request.survivors);
  EF_RETURN_IF_ERROR(context().Bind(Statement::kSurvivors, digest));
  UnmaskAnswer answer = Reveal(neighbourhood_, std::move(held_), request.survivors);
  auto next = std::make_unique<ClientAnswered>(TakeContext(), digest, answer);
  return Step<UnmaskAnswer>{std::move(answer), std::move(next)};
}

Result<ClientState::Step<Confirmation>> ClientConfirmed::Confirm(ByteView survivors) {
  if (SurvivorsDigest(survivors) != survivors_) return AlreadySaid();
  return Step<Confirmation>{confirmation_, nullptr};
}

Result<ClientState::Step<UnmaskAnswer>> ClientConfirmed::Unmask(const UnmaskRequest& request) {
  if (SurvivorsDigest(request.survivors) != survivors_) return AlreadySaid();
  return ClientMasked::Unmask(request);
}

Result<ClientState::Step<UnmaskAnswer>> ClientAnswered::Unmask(const UnmaskRequest& request) {
  if (SurvivorsDigest(request.survivors) != survivors_) return AlreadySaid();
  return Step<UnmaskAnswer>{answer_, nullptr};
}

}  // namespace edgefleet::secagg
