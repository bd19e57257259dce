#include "secagg/server_states.h"

#include <algorithm>
#include <string>
#include <utility>

#include "secagg/session.h"
#include "secagg/unmask.h"

namespace edgefleet::secagg {
namespace {

Error BelowThreshold(std::size_t count, std::size_t needed, const std::string& what) {
  return FailedPrecondition("BELOW_THRESHOLD",
                            std::to_string(count) + " " + what + ", " + std::to_string(needed) + " are needed");
}
Error AlreadySubmitted(std::uint32_t index, const std::string& what) {
  return AlreadyExists("ALREADY_SUBMITTED", "member " + std::to_string(index) + " has sent other " + what + " before");
}
Error NotASurvivor(std::uint32_t index) {
  return FailedPrecondition("NOT_A_SURVIVOR", "the update of member " + std::to_string(index) + " is not in the sum");
}

Bytes FingerprintsOf(const std::vector<KeyAdvert>& adverts) {
  Bytes fingerprints;
  fingerprints.reserve(adverts.size() * kFingerprintSize);
  for (const KeyAdvert& advert : adverts) {
    const Fingerprint fingerprint = FingerprintOf(advert.identity_key);
    fingerprints.insert(fingerprints.end(), fingerprint.begin(), fingerprint.end());
  }
  return fingerprints;
}

// Leaves out members with fewer than t neighbours that are left, until all have enough.
void KeepConnected(Ledger& ledger) {
  std::vector<std::uint32_t> degrees(ledger.members());
  std::vector<std::uint32_t> leaving;
  for (std::uint32_t index = 1; index <= ledger.members(); ++index) {
    for (const std::uint32_t n : ledger.NeighboursOf(index)) degrees[index - 1] += ledger.IsSharer(n) ? 1 : 0;
    if (ledger.IsSharer(index) && degrees[index - 1] < ledger.parameters.threshold) leaving.push_back(index);
  }
  while (!leaving.empty()) {
    const std::uint32_t index = leaving.back();
    leaving.pop_back();
    ledger.is_sharer[index - 1] = false;
    for (const std::uint32_t n : ledger.NeighboursOf(index)) {
      // Exactly when it falls below: once.
      if (degrees[n - 1]-- == ledger.parameters.threshold && ledger.IsSharer(n)) leaving.push_back(n);
    }
  }
}

}  // namespace

// --- what is remembered ---

std::size_t Ledger::PlaceOf(std::uint32_t index, std::uint32_t neighbour) const {
  const auto& all = NeighboursOf(index);
  return static_cast<std::size_t>(std::ranges::lower_bound(all, neighbour) - all.begin());
}

std::vector<std::uint32_t> Ledger::Senders(std::uint32_t index) const {
  std::vector<std::uint32_t> senders;
  std::ranges::copy_if(NeighboursOf(index), std::back_inserter(senders), [this](std::uint32_t n) { return IsSharer(n); });
  return senders;
}

bool Ledger::IsNeeded(std::uint32_t index) const {
  return IsSurvivor(index) || std::ranges::any_of(NeighboursOf(index), [this](std::uint32_t n) { return IsSurvivor(n); });
}

crypto::Ed25519PublicKey Ledger::IdentityOf(std::uint32_t index) const {
  crypto::Ed25519PublicKey identity;
  std::ranges::copy(adverts[index - 1].identity_key, identity.begin());
  return identity;
}

RoundSetup Ledger::SetupWithoutMember() const {
  return {.config = options.config,
          .members = members(),
          .graph = parameters,
          .survivors_min = survivors_min,
          .server_nonce = options.server_nonce,
          .roster_digest = ToBytes(roster.root()),
          .fingerprints = fingerprints};
}

// --- the base: every message is unexpected ---

Error ServerState::Unexpected(std::string_view message) const {
  return FailedPrecondition("WRONG_PHASE",
                            "a server that is '" + std::string(name()) + "' does not expect " + std::string(message));
}

Status ServerState::CheckMember(std::uint32_t index) const {
  if (index >= 1 && index <= ledger_->members()) return OkStatus();
  return NotFound("NOT_A_MEMBER", "the round has no member " + std::to_string(index));
}

Result<std::uint32_t> ServerState::AddAdvert(const KeyAdvert&) { return Unexpected("a key advert"); }
ServerState::Next ServerState::CloseRoster(const GraphParameters&, std::uint32_t) {
  return Unexpected("the end of the roster");
}
Result<RoundSetup> ServerState::Setup(std::uint32_t) const { return Unexpected("a request for the setup"); }
Status ServerState::AddShares(std::uint32_t, const SharedKeys&) { return Unexpected("sealed shares"); }
ServerState::Next ServerState::CloseSharing() { return Unexpected("the end of sharing"); }
Result<Inbox> ServerState::InboxOf(std::uint32_t) const { return Unexpected("a request for sealed shares"); }
Status ServerState::CheckUpload(std::uint32_t, const UploadProof&) const { return Unexpected("an update"); }
Status ServerState::AddUpload(std::uint32_t, const UploadProof&) { return Unexpected("an update"); }
Status ServerState::CheckUploads() const { return Unexpected("the end of collecting"); }
ServerState::Next ServerState::CloseUploads() { return Unexpected("the end of collecting"); }
Status ServerState::AddConfirmation(std::uint32_t, const Confirmation&) { return Unexpected("a confirmation"); }
Status ServerState::CheckConfirmations() const { return Unexpected("the end of confirming"); }
ServerState::Next ServerState::CloseConfirmations() { return Unexpected("the end of confirming"); }
Result<UnmaskRequest> ServerState::Request(std::uint32_t) const { return Unexpected("to ask for shares"); }
Status ServerState::AddAnswer(std::uint32_t, const UnmaskAnswer&) { return Unexpected("an unmasking answer"); }
ServerState::Next ServerState::Unmask(std::span<std::uint32_t>, ThreadPool*) { return Unexpected("to unmask"); }

// --- advertising ---

Result<std::uint32_t> ServerAdvertising::AddAdvert(const KeyAdvert& advert) {
  Ledger& open = mutable_ledger();
  if (open.adverts.size() >= open.options.members_max) {
    return ResourceExhausted("ROSTER_FULL", "the round has its " + std::to_string(open.options.members_max) + " members");
  }
  if (!IsUsablePublicKey(advert.cipher_public_key) || !IsUsablePublicKey(advert.mask_public_key)) {
    return InvalidArgument("BAD_KEY", "both keys must be X25519 points of 32 bytes, not of low order");
  }
  if (advert.cipher_public_key == advert.mask_public_key || keys_.contains(advert.cipher_public_key) ||
      keys_.contains(advert.mask_public_key)) {
    return AlreadyExists("DUPLICATE_KEY", "each key is used once; make fresh ones for each round");
  }
  if (open.active()) {
    EF_RETURN_IF_ERROR(CheckAdvertSignature(open.options.config.round_id, advert, open.options.authorities));
    if (keys_.contains(advert.identity_key)) return AlreadyExists("DUPLICATE_KEY", "this identity is in the round already");
    keys_.insert(advert.identity_key);
  } else if (!advert.identity_key.empty() || !advert.certificate.empty() || !advert.signature.empty()) {
    return InvalidArgument("BAD_SIGNATURE", "rounds of the semi-honest variant take no identities");
  }
  keys_.insert(advert.cipher_public_key);
  keys_.insert(advert.mask_public_key);
  open.adverts.push_back(advert);
  return open.members();
}

ServerState::Next ServerAdvertising::CloseRoster(const GraphParameters& graph, std::uint32_t survivors_min) {
  const std::uint32_t members = ledger().members();
  if (members < survivors_min) return BelowThreshold(members, survivors_min, "members have advertised keys");
  EF_RETURN_IF_ERROR(CheckGraph(ledger().options.config.adversary, members, graph, survivors_min));
  Ledger& open = mutable_ledger();
  open.parameters = graph;
  open.survivors_min = survivors_min;
  open.roster = RosterTree(open.adverts);
  if (open.active()) open.fingerprints = FingerprintsOf(open.adverts);
  open.session = SessionIdOf(open.SetupWithoutMember());
  const Graph edges(GraphSeed(open.session), members, graph.degree);
  for (std::uint32_t index = 1; index <= members; ++index) open.neighbours.push_back(edges.Neighbours(index));
  if (open.active()) {
    std::ranges::copy(CommitteeOf(edges), std::back_inserter(open.committee));
    open.in_committee.resize(members);
    for (const std::uint32_t member : open.committee) open.in_committee[member - 1] = true;
  }
  open.shared.resize(members);
  return std::make_unique<ServerSharing>(TakeLedger());
}

Result<RoundSetup> ServerWithRoster::Setup(std::uint32_t index) const {
  EF_RETURN_IF_ERROR(CheckMember(index));
  RoundSetup setup = ledger().SetupWithoutMember();
  setup.index = index;
  setup.roster_path = ledger().roster.Path(index);
  for (const std::uint32_t neighbour : ledger().NeighboursOf(index)) {
    setup.neighbours.push_back(ledger().adverts[neighbour - 1]);
  }
  for (const std::uint32_t member : ledger().committee) {
    if (member == index || std::ranges::binary_search(ledger().NeighboursOf(index), member)) continue;
    const KeyAdvert& advert = ledger().adverts[member - 1];
    setup.committee.push_back({advert.identity_key, advert.certificate});
  }
  return setup;
}

// --- sharing ---

Status ServerSharing::AddShares(std::uint32_t sender, const SharedKeys& shared) {
  EF_RETURN_IF_ERROR(CheckMember(sender));
  if (shared.seed_commitment.size() != kDigestSize || shared.sealed.size() != ledger().parameters.degree * kSealedSize) {
    return InvalidArgument("BAD_SHARES", "member " + std::to_string(sender) + " must send a commitment of 32 bytes and " +
                                             std::to_string(kSealedSize) + " bytes for each of its " +
                                             std::to_string(ledger().parameters.degree) + " neighbours");
  }
  SharedKeys& place = mutable_ledger().shared[sender - 1];
  if (ledger().HasShared(sender)) {
    const bool same = place.seed_commitment == shared.seed_commitment && place.sealed == shared.sealed;
    return same ? OkStatus() : Status(AlreadySubmitted(sender, "shares"));
  }
  place = shared;
  return OkStatus();
}

ServerState::Next ServerSharing::CloseSharing() {
  Ledger& open = mutable_ledger();
  open.is_sharer.assign(open.members(), false);
  for (std::uint32_t index = 1; index <= open.members(); ++index) open.is_sharer[index - 1] = open.HasShared(index);
  KeepConnected(open);
  open.sharers.clear();
  for (std::uint32_t index = 1; index <= open.members(); ++index) {
    if (open.IsSharer(index)) open.sharers.push_back(index);
  }
  if (open.sharers.size() < open.survivors_min) {
    return BelowThreshold(open.sharers.size(), open.survivors_min, "members have shared keys with enough neighbours");
  }
  open.sharer_bitmap.assign(BitmapSize(open.members()), std::byte{0});
  for (const std::uint32_t sharer : open.sharers) SetBit(open.sharer_bitmap, sharer - 1);
  open.is_survivor.assign(open.members(), false);
  open.upload_signatures.resize(open.members());
  return std::make_unique<ServerCollecting>(TakeLedger());
}

// --- collecting ---

Result<Inbox> ServerCollecting::InboxOf(std::uint32_t receiver) const {
  EF_RETURN_IF_ERROR(CheckMember(receiver));
  if (!ledger().IsSharer(receiver)) {
    return FailedPrecondition("DID_NOT_SHARE", "member " + std::to_string(receiver) +
                                                   " did not share keys in time, or too few of its neighbours did");
  }
  const auto& neighbours = ledger().NeighboursOf(receiver);
  Inbox inbox{.sharers = ledger().sharer_bitmap, .senders = Bytes(BitmapSize(neighbours.size()))};
  for (std::size_t place = 0; place < neighbours.size(); ++place) {
    const std::uint32_t sender = neighbours[place];
    if (!ledger().IsSharer(sender)) continue;
    SetBit(inbox.senders, place);
    const std::size_t at = ledger().PlaceOf(sender, receiver) * kSealedSize;
    const auto sealed = std::span(ledger().shared[sender - 1].sealed).subspan(at, kSealedSize);
    inbox.sealed.insert(inbox.sealed.end(), sealed.begin(), sealed.end());
  }
  return inbox;
}

Status ServerCollecting::CheckUpload(std::uint32_t index, const UploadProof& proof) const {
  EF_RETURN_IF_ERROR(CheckMember(index));
  if (!ledger().IsSharer(index)) {
    return FailedPrecondition("DID_NOT_SHARE",
                              "member " + std::to_string(index) + " did not share keys, so its masks cannot be removed");
  }
  if (!ledger().active()) {
    if (proof.signature.empty()) return OkStatus();
    return InvalidArgument("BAD_SIGNATURE", "rounds of the semi-honest variant take no signatures");
  }
  const auto sharers = SharersDigest(ledger().sharer_bitmap);
  const auto advert = AdvertDigest(ledger().adverts[index - 1]);
  if (VerifyUpload(ledger().IdentityOf(index), ledger().session, advert, sharers, proof.signature)) return OkStatus();
  return InvalidArgument("BAD_SIGNATURE", "member " + std::to_string(index) + " has not signed whom its update is masked for");
}

Status ServerCollecting::AddUpload(std::uint32_t index, const UploadProof& proof) {
  EF_RETURN_IF_ERROR(CheckUpload(index, proof));
  if (ledger().IsSurvivor(index)) return OkStatus();
  Ledger& open = mutable_ledger();
  open.upload_signatures[index - 1] = proof.signature;
  open.is_survivor[index - 1] = true;
  open.survivors.insert(std::ranges::lower_bound(open.survivors, index), index);
  return OkStatus();
}

Status ServerCollecting::CheckUploads() const {
  if (ledger().survivors.size() < ledger().survivors_min) {
    return BelowThreshold(ledger().survivors.size(), ledger().survivors_min, "members have sent an update");
  }
  // Every needed secret has t holders that can answer.
  for (const std::uint32_t owner : ledger().sharers) {
    if (!ledger().IsNeeded(owner)) continue;
    const auto holders =
        std::ranges::count_if(ledger().NeighboursOf(owner), [this](std::uint32_t n) { return ledger().IsSurvivor(n); });
    if (holders >= ledger().parameters.threshold) continue;
    return BelowThreshold(static_cast<std::size_t>(holders), ledger().parameters.threshold,
                          "neighbours of member " + std::to_string(owner) + " have sent an update");
  }
  return OkStatus();
}

ServerState::Next ServerCollecting::CloseUploads() {
  EF_RETURN_IF_ERROR(CheckUploads());
  Ledger& open = mutable_ledger();
  std::ranges::set_difference(open.sharers, open.survivors, std::back_inserter(open.dropped));
  open.survivor_bitmap.resize(BitmapSize(open.members()));
  for (const std::uint32_t survivor : open.survivors) SetBit(open.survivor_bitmap, survivor - 1);
  for (SharedKeys& shared : open.shared) Bytes().swap(shared.sealed);
  open.confirmations.resize(open.members());
  open.answers.resize(open.members());
  open.share_counts.resize(open.members());
  if (open.active()) return std::make_unique<ServerConfirming>(TakeLedger());
  return std::make_unique<ServerUnmasking>(TakeLedger());
}

// --- confirming ---

Status ServerConfirming::AddConfirmation(std::uint32_t index, const Confirmation& confirmation) {
  EF_RETURN_IF_ERROR(CheckMember(index));
  if (!ledger().IsSurvivor(index)) return NotASurvivor(index);
  if (!ledger().IsInCommittee(index)) {
    return FailedPrecondition("NOT_IN_COMMITTEE", "member " + std::to_string(index) + " is not asked who the survivors are");
  }
  const auto sharers = SharersDigest(ledger().sharer_bitmap);
  if (!VerifySurvivors(ledger().IdentityOf(index), ledger().session, sharers, ledger().survivor_bitmap,
                       confirmation.signature)) {
    return InvalidArgument("BAD_SIGNATURE", "member " + std::to_string(index) + " has not signed these survivors");
  }
  // Ed25519 signatures are not unique for a dishonest signer; the first valid one counts.
  Bytes& place = mutable_ledger().confirmations[index - 1];
  if (place.empty()) place = confirmation.signature;
  return OkStatus();
}

Status ServerConfirming::CheckConfirmations() const {
  const auto& confirmations = ledger().confirmations;
  const auto count =
      static_cast<std::uint32_t>(std::ranges::count_if(confirmations, [](const Bytes& c) { return !c.empty(); }));
  if (count >= ledger().parameters.threshold) return OkStatus();
  return BelowThreshold(count, ledger().parameters.threshold, "members of the committee have confirmed the survivors");
}

ServerState::Next ServerConfirming::CloseConfirmations() {
  EF_RETURN_IF_ERROR(CheckConfirmations());
  return std::make_unique<ServerUnmasking>(TakeLedger());
}

// --- unmasking ---

Result<UnmaskRequest> ServerUnmasking::Request(std::uint32_t index) const {
  EF_RETURN_IF_ERROR(CheckMember(index));
  if (!ledger().IsSurvivor(index)) return NotASurvivor(index);
  UnmaskRequest request{.survivors = ledger().survivor_bitmap};
  if (!ledger().active()) return request;
  // As many as it needs, no more: they were verified when they came.
  const auto& committee = ledger().committee;
  request.signers.resize(BitmapSize(committee.size()));
  std::uint32_t signers = 0;
  for (std::size_t place = 0; place < committee.size() && signers < ledger().parameters.threshold; ++place) {
    const Bytes& signature = ledger().confirmations[committee[place] - 1];
    if (signature.empty()) continue;
    SetBit(request.signers, place);
    request.signatures.insert(request.signatures.end(), signature.begin(), signature.end());
    ++signers;
  }
  for (const std::uint32_t neighbour : ledger().NeighboursOf(index)) {
    if (!ledger().IsSurvivor(neighbour)) continue;
    const Bytes& signature = ledger().upload_signatures[neighbour - 1];
    request.uploads.insert(request.uploads.end(), signature.begin(), signature.end());
  }
  return request;
}

Status ServerUnmasking::AddAnswer(std::uint32_t index, const UnmaskAnswer& answer) {
  EF_RETURN_IF_ERROR(CheckMember(index));
  if (!ledger().IsSurvivor(index)) return NotASurvivor(index);
  const std::vector<std::uint32_t> senders = ledger().Senders(index);
  if (!std::ranges::equal(answer.survivors_digest, SurvivorsDigest(ledger().survivor_bitmap)) ||
      !IsBitmapOf(answer.held, senders.size()) || answer.shares.size() != CountBits(answer.held) * kShareSize) {
    return InvalidArgument("BAD_ANSWER", "member " + std::to_string(index) +
                                             " must reveal, for the survivors it was asked about, " +
                                             std::to_string(kShareSize) + " bytes of each share that it holds");
  }
  KeptAnswer kept{.held = answer.held, .digest = crypto::Sha256(answer.shares)};
  std::optional<KeptAnswer>& place = mutable_ledger().answers[index - 1];
  if (place) {
    const bool same = place->held == kept.held && place->digest == kept.digest;
    return same ? OkStatus() : Status(AlreadySubmitted(index, "shares"));
  }
  const std::span<const std::byte> shares = answer.shares;
  for (std::size_t at = 0; at < shares.size(); at += kShareSize) {
    kept.shares.emplace_back(shares.subspan(at).first<kShareSize>());
  }
  Ledger& open = mutable_ledger();
  for (std::size_t sender = 0; sender < senders.size(); ++sender) {
    if (TestBit(answer.held, sender)) {
      ++open.share_counts[senders[sender] - 1];
    } else {
      open.blames.push_back({senders[sender], index, Blame::Kind::kComplaint});
    }
  }
  place = std::move(kept);
  ++open.answer_count;
  return OkStatus();
}

bool ServerUnmasking::CanUnmask() const {
  return std::ranges::all_of(ledger().sharers, [this](std::uint32_t owner) {
    return !ledger().IsNeeded(owner) || ledger().share_counts[owner - 1] >= ledger().parameters.threshold;
  });
}

ServerState::Next ServerUnmasking::Unmask(std::span<std::uint32_t> sum, ThreadPool* pool) {
  for (const std::uint32_t owner : ledger().sharers) {
    if (!ledger().IsNeeded(owner) || ledger().share_counts[owner - 1] >= ledger().parameters.threshold) continue;
    return BelowThreshold(ledger().share_counts[owner - 1], ledger().parameters.threshold,
                          "shares of member " + std::to_string(owner) + "'s secret were revealed");
  }
  if (sum.size() != ledger().options.config.vector_length) {
    return InvalidArgument("BAD_SUM", "the sum has " + std::to_string(sum.size()) + " words, the round's vectors " +
                                          std::to_string(ledger().options.config.vector_length));
  }
  EF_RETURN_IF_ERROR(RemoveMasks(mutable_ledger(), sum, pool));
  for (auto& answer : mutable_ledger().answers) {
    if (answer) answer->shares.clear();
  }
  return std::make_unique<ServerDone>(TakeLedger());
}

}  // namespace edgefleet::secagg
