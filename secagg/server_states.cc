#include "secagg/server_states.h"

#include <algorithm>

#include "secagg/unmask.h"

namespace edgefleet::secagg {
namespace {

Error BelowThreshold(std::size_t have, std::uint32_t threshold, std::string_view what) {
  return FailedPrecondition("BELOW_THRESHOLD", std::to_string(have) + " members " + std::string(what) + ", " +
                                                   std::to_string(threshold) + " are needed; the round cannot be unmasked");
}

// The ciphertexts in order of receivers, in one piece; empty unless there is exactly one well-formed one for each other member.
Bytes PackOutbox(std::uint32_t sender, std::span<const SealedShares> shares, std::uint32_t members) {
  if (shares.size() != members - 1) return {};
  Bytes outbox((members - 1) * kSealedSize);
  std::vector<bool> seen(members + 1);
  for (const SealedShares& message : shares) {
    const std::uint32_t receiver = message.receiver;
    if (message.sender != sender || receiver < 1 || receiver > members || receiver == sender || seen[receiver] ||
        message.ciphertext.size() != kSealedSize) {
      return {};
    }
    seen[receiver] = true;
    const std::size_t slot = receiver < sender ? receiver - 1 : receiver - 2;
    std::ranges::copy(message.ciphertext, outbox.begin() + static_cast<std::ptrdiff_t>(slot * kSealedSize));
  }
  return outbox;
}

// Takes `revealed` into `shares`, which is ordered like `sharers`; false unless each owner is in `owners` and comes once.
bool PlaceShares(std::span<const RevealedShare> revealed, std::span<const std::uint32_t> owners,
                 std::span<const std::uint32_t> sharers, std::span<Secret> shares, std::vector<bool>& seen) {
  if (revealed.size() != owners.size()) return false;
  for (const RevealedShare& share : revealed) {
    if (!std::ranges::binary_search(owners, share.owner) || share.share.size() != kShareSize) return false;
    const auto place = static_cast<std::size_t>(std::ranges::lower_bound(sharers, share.owner) - sharers.begin());
    if (seen[place]) return false;
    seen[place] = true;
    shares[place] = Secret(std::span(share.share).first<kShareSize>());
  }
  return true;
}

// The same for the same shares in any order.
crypto::Sha256Digest AnswerDigest(std::span<const Secret> shares) {
  crypto::Sha256Stream hash;
  for (const Secret& share : shares) hash.Update(share.bytes());
  return hash.Finish();
}

}  // namespace

std::uint32_t Ledger::SharedCount() const {
  return static_cast<std::uint32_t>(std::ranges::count_if(outboxes, [](const Bytes& outbox) { return !outbox.empty(); }));
}

Error ServerState::Unexpected(std::string_view message) const {
  return FailedPrecondition("WRONG_PHASE",
                            "the aggregation in state '" + std::string(name()) + "' does not expect " + std::string(message));
}

Status ServerState::CheckMember(std::uint32_t index) const {
  if (ledger_->IsMember(index)) return OkStatus();
  return NotFound("NOT_A_MEMBER",
                  "the roster of " + std::to_string(ledger_->roster.size()) + " has no member " + std::to_string(index));
}

Result<std::uint32_t> ServerState::AddAdvert(const KeyAdvert&) { return Unexpected("a key advert"); }
ServerState::Next ServerState::CloseRoster(std::uint32_t) { return Unexpected("the end of advertising"); }
Result<RoundSetup> ServerState::Setup(std::uint32_t) const { return Unexpected("a request for the roster"); }
Status ServerState::AddShares(std::uint32_t, std::span<const SealedShares>) { return Unexpected("sealed shares"); }
ServerState::Next ServerState::CloseSharing() { return Unexpected("the end of sharing"); }
Result<std::vector<SealedShares>> ServerState::Inbox(std::uint32_t) const { return Unexpected("a request for sealed shares"); }
Status ServerState::AddUpload(std::uint32_t) { return Unexpected("an update"); }
ServerState::Next ServerState::CloseUploads() { return Unexpected("the end of collecting"); }
Status ServerState::AddAnswer(std::uint32_t, const UnmaskAnswer&) { return Unexpected("an unmasking answer"); }
ServerState::Next ServerState::Unmask(std::span<std::uint32_t>, ThreadPool*) { return Unexpected("to unmask"); }

Result<std::uint32_t> ServerAdvertising::AddAdvert(const KeyAdvert& advert) {
  Ledger& ledger = mutable_ledger();
  if (ledger.roster.size() >= ledger.options.members_max) {
    return ResourceExhausted("ROSTER_FULL", "the round has its " + std::to_string(ledger.options.members_max) + " members");
  }
  if (!IsUsablePublicKey(advert.cipher_public_key) || !IsUsablePublicKey(advert.mask_public_key)) {
    return InvalidArgument("BAD_KEY", "both keys must be X25519 points of 32 bytes, not of low order");
  }
  const auto has = [&](const Bytes& key) {
    return std::ranges::any_of(ledger.roster,
                               [&](const RosterMember& m) { return m.cipher_public_key == key || m.mask_public_key == key; });
  };
  if (advert.cipher_public_key == advert.mask_public_key || has(advert.cipher_public_key) || has(advert.mask_public_key)) {
    return AlreadyExists("DUPLICATE_KEY", "each key is used once; make fresh ones for each round");
  }
  const auto index = static_cast<std::uint32_t>(ledger.roster.size() + 1);
  ledger.roster.push_back({index, advert.cipher_public_key, advert.mask_public_key});
  return index;
}

ServerState::Next ServerAdvertising::CloseRoster(std::uint32_t threshold) {
  const auto members = static_cast<std::uint32_t>(ledger().roster.size());
  if (members < std::max(threshold, 2U)) return BelowThreshold(members, std::max(threshold, 2U), "have advertised keys");
  if (threshold < SafeThreshold(members, 2)) {
    return InvalidArgument("UNSAFE_THRESHOLD", "a threshold of " + std::to_string(threshold) + " of " +
                                                   std::to_string(members) +
                                                   " members does not protect updates; use SafeThreshold");
  }
  mutable_ledger().threshold = threshold;
  mutable_ledger().outboxes.resize(members);
  return std::make_unique<ServerSharing>(TakeLedger());
}

Result<RoundSetup> ServerWithRoster::Setup(std::uint32_t index) const {
  EF_RETURN_IF_ERROR(CheckMember(index));
  return RoundSetup{index, ledger().threshold, ledger().options.vector_length, ledger().roster};
}

Status ServerSharing::AddShares(std::uint32_t sender, std::span<const SealedShares> shares) {
  EF_RETURN_IF_ERROR(CheckMember(sender));
  Bytes outbox = PackOutbox(sender, shares, static_cast<std::uint32_t>(ledger().roster.size()));
  if (outbox.empty()) {
    return InvalidArgument("BAD_SHARES", "member " + std::to_string(sender) + " must send one message of " +
                                             std::to_string(kSealedSize) + " bytes to each other member");
  }
  Bytes& place = mutable_ledger().outboxes[sender - 1];
  if (!place.empty() && place != outbox) {
    return AlreadyExists("ALREADY_SUBMITTED", "member " + std::to_string(sender) + " has sent other shares before");
  }
  place = std::move(outbox);
  return OkStatus();
}

ServerState::Next ServerSharing::CloseSharing() {
  if (ledger().SharedCount() < ledger().threshold) {
    return BelowThreshold(ledger().SharedCount(), ledger().threshold, "have shared keys");
  }
  Ledger& open = mutable_ledger();
  for (const RosterMember& member : open.roster) {
    if (open.HasShared(member.index)) open.sharers.push_back(member.index);
  }
  return std::make_unique<ServerCollecting>(TakeLedger());
}

Result<std::vector<SealedShares>> ServerCollecting::Inbox(std::uint32_t receiver) const {
  EF_RETURN_IF_ERROR(CheckMember(receiver));
  if (!ledger().HasShared(receiver)) {
    return FailedPrecondition("DID_NOT_SHARE", "member " + std::to_string(receiver) + " did not share keys in time");
  }
  std::vector<SealedShares> inbox;
  for (const std::uint32_t sender : ledger().sharers) {
    if (sender == receiver) continue;
    const std::size_t slot = receiver < sender ? receiver - 1 : receiver - 2;
    inbox.push_back(
        {sender, receiver, ToBytes(std::span(ledger().outboxes[sender - 1]).subspan(slot * kSealedSize, kSealedSize))});
  }
  return inbox;
}

Status ServerCollecting::AddUpload(std::uint32_t index) {
  EF_RETURN_IF_ERROR(CheckMember(index));
  if (!ledger().HasShared(index)) {
    return FailedPrecondition("DID_NOT_SHARE",
                              "member " + std::to_string(index) + " did not share keys, so its mask cannot be removed");
  }
  auto& survivors = mutable_ledger().survivors;
  const auto place = std::ranges::lower_bound(survivors, index);
  if (place == survivors.end() || *place != index) survivors.insert(place, index);
  return OkStatus();
}

ServerState::Next ServerCollecting::CloseUploads() {
  if (ledger().survivors.size() < ledger().threshold) {
    return BelowThreshold(ledger().survivors.size(), ledger().threshold, "have sent an update");
  }
  Ledger& open = mutable_ledger();
  std::ranges::set_difference(open.sharers, open.survivors, std::back_inserter(open.dropped));
  open.outboxes = {};
  return std::make_unique<ServerUnmasking>(TakeLedger());
}

Status ServerUnmasking::AddAnswer(std::uint32_t index, const UnmaskAnswer& answer) {
  EF_RETURN_IF_ERROR(CheckMember(index));
  Ledger& open = mutable_ledger();
  if (!std::ranges::binary_search(open.survivors, index)) {
    return FailedPrecondition("NOT_A_SURVIVOR", "the update of member " + std::to_string(index) + " is not in the sum");
  }
  std::vector<Secret> shares(open.sharers.size());
  std::vector<bool> seen(open.sharers.size());
  if (!PlaceShares(answer.self_mask_shares, open.survivors, open.sharers, shares, seen) ||
      !PlaceShares(answer.mask_key_shares, open.dropped, open.sharers, shares, seen)) {
    return InvalidArgument("BAD_ANSWER",
                           "member " + std::to_string(index) + " must reveal one share of " + std::to_string(kShareSize) +
                               " bytes for each member that shared: of the seed if it survived, of the key if not");
  }
  const crypto::Sha256Digest digest = AnswerDigest(shares);
  const auto [known, fresh] = open.answer_digests.try_emplace(index, digest);
  if (!fresh) {
    if (known->second == digest) return OkStatus();
    return AlreadyExists("ALREADY_SUBMITTED", "member " + std::to_string(index) + " has revealed other shares before");
  }
  if (open.answerers.size() < open.threshold) {
    open.answerers.push_back(index);
    open.shares.push_back(std::move(shares));
  }
  return OkStatus();
}

ServerState::Next ServerUnmasking::Unmask(std::span<std::uint32_t> sum, ThreadPool* pool) {
  if (ledger().answerers.size() < ledger().threshold) {
    return BelowThreshold(ledger().answerers.size(), ledger().threshold, "have revealed their shares");
  }
  if (sum.size() != ledger().options.vector_length) {
    return InvalidArgument("BAD_SUM", "the sum has " + std::to_string(sum.size()) + " words, the round's vectors " +
                                          std::to_string(ledger().options.vector_length));
  }
  EF_ASSIGN_OR_RETURN(const std::vector<MaskTerm> masks, RecoverMasks(ledger()));
  MaskSet(masks, MaskCipher::kAes256Ctr).Apply(sum, pool);
  mutable_ledger().shares.clear();
  return std::make_unique<ServerDone>(TakeLedger());
}

}  // namespace edgefleet::secagg
