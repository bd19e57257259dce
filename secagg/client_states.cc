#include "secagg/client_states.h"

#include <algorithm>
#include <set>

#include "secagg/mask/mask.h"
#include "secagg/shamir.h"

namespace edgefleet::secagg {
namespace {

Error BelowThreshold(std::size_t have, std::uint32_t threshold, std::string_view what) {
  return FailedPrecondition("BELOW_THRESHOLD", std::to_string(have) + " members " + std::string(what) + ", " +
                                                   std::to_string(threshold) + " are needed; leave the round");
}

}  // namespace

Error ClientState::Unexpected(std::string_view message) const {
  return FailedPrecondition("WRONG_PHASE",
                            "a client in state '" + std::string(name()) + "' does not expect " + std::string(message));
}
Result<ClientState::Step<KeyAdvert>> ClientState::AdvertiseKeys() { return Unexpected("to advertise keys"); }
Result<ClientState::Step<std::vector<SealedShares>>> ClientState::ShareKeys(const RoundSetup&) {
  return Unexpected("a roster");
}
Result<std::unique_ptr<ClientState>> ClientState::Mask(std::span<const SealedShares>, std::span<std::uint32_t>) {
  return Unexpected("sealed shares");
}
Result<ClientState::Step<UnmaskAnswer>> ClientState::Unmask(std::span<const std::uint32_t>) {
  return Unexpected("an unmasking request");
}

Result<ClientState::Step<KeyAdvert>> ClientStart::AdvertiseKeys() {
  if (round_id_.empty() || round_id_.size() > kRoundIdSizeMax) {
    return InvalidArgument("BAD_ROUND_ID", "a round id has 1 to " + std::to_string(kRoundIdSizeMax) + " bytes");
  }
  auto next = std::make_unique<ClientAdvertised>(round_id_, random_);
  KeyAdvert advert = next->advert();
  return Step<KeyAdvert>{std::move(advert), std::move(next)};
}

ClientAdvertised::ClientAdvertised(std::string round_id, RandomSource& random)
    : round_id_(std::move(round_id)), random_(random), cipher_(KeyPair::Generate(random)), mask_(KeyPair::Generate(random)) {}

Result<ClientState::Step<KeyAdvert>> ClientAdvertised::AdvertiseKeys() { return Step<KeyAdvert>{advert(), nullptr}; }

Status ClientAdvertised::CheckSetup(const RoundSetup& setup) const {
  const std::size_t members = setup.roster.size();
  if (members < 2 || members > kMembersMax || setup.index < 1 || setup.index > members || setup.vector_length < 2 ||
      setup.vector_length > kVectorLengthMax) {
    return InvalidArgument("BAD_ROSTER", "the roster has " + std::to_string(members) +
                                             " members and gives this device the index " + std::to_string(setup.index) +
                                             "; leave the round");
  }
  if (setup.threshold > members || setup.threshold < SafeThreshold(static_cast<std::uint32_t>(members), 2)) {
    return InvalidArgument("UNSAFE_THRESHOLD", "a threshold of " + std::to_string(setup.threshold) + " of " +
                                                   std::to_string(members) +
                                                   " members does not protect updates; leave the round");
  }
  std::set<ByteView, decltype([](ByteView a, ByteView b) { return std::ranges::lexicographical_compare(a, b); })> keys;
  for (std::size_t i = 0; i < members; ++i) {
    const RosterMember& member = setup.roster[i];
    if (member.index != i + 1 || !IsUsablePublicKey(member.cipher_public_key) || !IsUsablePublicKey(member.mask_public_key) ||
        !keys.insert(member.cipher_public_key).second || !keys.insert(member.mask_public_key).second) {
      return InvalidArgument("BAD_ROSTER",
                             "entry " + std::to_string(i + 1) +
                                 " of the roster has a wrong index, or a key that is no usable point or occurs twice; "
                                 "leave the round");
    }
  }
  const RosterMember& own = setup.roster[setup.index - 1];
  if (own.cipher_public_key != cipher_.public_key || own.mask_public_key != mask_.public_key) {
    return InvalidArgument("BAD_ROSTER", "the roster does not hold this device's keys at its index; leave the round");
  }
  return OkStatus();
}

Result<ClientState::Step<std::vector<SealedShares>>> ClientAdvertised::ShareKeys(const RoundSetup& setup) {
  EF_RETURN_IF_ERROR(CheckSetup(setup));
  const auto members = static_cast<std::uint32_t>(setup.roster.size());
  const SessionId session = MakeSessionId(round_id_, setup.threshold, setup.vector_length, setup.roster);
  const RoundDigest round = DigestOfRound(round_id_);
  Secret seed = Secret::Random(random_);
  std::vector<Secret> mask_key_shares = SplitSecret(mask_.secret, setup.threshold, members, random_);
  std::vector<Secret> self_mask_shares = SplitSecret(seed, setup.threshold, members, random_);

  std::vector<SealedShares> sealed;
  sealed.reserve(members - 1);
  SharePair own_shares;
  for (const RosterMember& member : setup.roster) {
    SharePair pair{std::move(mask_key_shares[member.index - 1]), std::move(self_mask_shares[member.index - 1])};
    if (member.index == setup.index) {
      own_shares = std::move(pair);
      continue;
    }
    EF_ASSIGN_OR_RETURN(const Secret agreed, Agree(cipher_.secret, member.cipher_public_key));
    const MemberPair way{round, session, setup.index, member.index, cipher_.public_key, member.cipher_public_key};
    sealed.push_back({setup.index, member.index, SealShares(SealKey(agreed, way), pair, way)});
  }
  auto next = std::make_unique<ClientShared>(
      setup, round, session,
      ClientShared::Secrets{std::move(cipher_), std::move(mask_), std::move(seed), std::move(own_shares)});
  return Step<std::vector<SealedShares>>{std::move(sealed), std::move(next)};
}

Status ClientShared::CheckInbox(std::span<const SealedShares> inbox) const {
  std::vector<bool> seen(setup_.roster.size() + 1);
  for (const SealedShares& message : inbox) {
    if (message.sender < 1 || message.sender > setup_.roster.size() || message.sender == setup_.index ||
        message.receiver != setup_.index || seen[message.sender]) {
      return InvalidArgument("BAD_INBOX", "shares from member " + std::to_string(message.sender) + " to member " +
                                              std::to_string(message.receiver) +
                                              " do not belong here or came twice; leave the round");
    }
    seen[message.sender] = true;
  }
  if (inbox.size() + 1 < setup_.threshold) return BelowThreshold(inbox.size() + 1, setup_.threshold, "have shared keys");
  return OkStatus();
}

Result<std::unique_ptr<ClientState>> ClientShared::Mask(std::span<const SealedShares> inbox, std::span<std::uint32_t> update) {
  EF_RETURN_IF_ERROR(CheckInbox(inbox));
  if (update.size() != setup_.vector_length) {
    return InvalidArgument("BAD_UPDATE", "the update has " + std::to_string(update.size()) + " words, the round takes " +
                                             std::to_string(setup_.vector_length));
  }
  std::vector<ClientMasked::Held> held;
  std::vector<MaskTerm> masks;
  held.reserve(inbox.size() + 1);
  masks.reserve(inbox.size() + 1);
  for (const SealedShares& message : inbox) {
    const RosterMember& sender = Member(message.sender);
    EF_ASSIGN_OR_RETURN(const Secret cipher_agreed, Agree(secrets_.cipher.secret, sender.cipher_public_key));
    const MemberPair way{round_, session_, sender.index, setup_.index, sender.cipher_public_key, secrets_.cipher.public_key};
    EF_ASSIGN_OR_RETURN(SharePair shares, OpenShares(SealKey(cipher_agreed, way), message.ciphertext, way));
    EF_ASSIGN_OR_RETURN(const Secret mask_agreed, Agree(secrets_.mask.secret, sender.mask_public_key));
    held.push_back({sender.index, std::move(shares)});
    const MemberPair pair{round_, session_, setup_.index, sender.index, secrets_.mask.public_key, sender.mask_public_key};
    masks.push_back({PairwiseMaskKey(mask_agreed, pair), PairwiseSign(setup_.index, sender.index)});
  }
  held.push_back({setup_.index, std::move(secrets_.own_shares)});
  masks.push_back({SelfMaskKey(secrets_.self_mask_seed, session_, setup_.index), MaskSign::kAdd});
  MaskSet(masks, MaskCipher::kAes256Ctr).Apply(0, update);
  return std::make_unique<ClientMasked>(setup_.index, setup_.threshold, std::move(held));
}

Result<ClientState::Step<UnmaskAnswer>> ClientMasked::Unmask(std::span<const std::uint32_t> survivors) {
  std::vector<std::uint32_t> sorted(survivors.begin(),
                                    survivors.begin() + std::min<std::size_t>(survivors.size(), kMembersMax + 1));
  std::ranges::sort(sorted);
  const auto is_survivor = [&](std::uint32_t index) { return std::ranges::binary_search(sorted, index); };
  const auto known =
      static_cast<std::size_t>(std::ranges::count_if(held_, [&](const Held& h) { return is_survivor(h.owner); }));
  if (known != survivors.size()) {
    return InvalidArgument("BAD_SURVIVORS",
                           "the list of survivors repeats members or names some that did not share keys; no share is given");
  }
  if (!is_survivor(index_)) {
    return FailedPrecondition("NOT_A_SURVIVOR", "this device's update is not in the sum, so it does not unmask it");
  }
  if (sorted.size() < threshold_) return BelowThreshold(sorted.size(), threshold_, "have sent an update");

  UnmaskAnswer answer;
  for (const Held& h : held_) {
    const bool survived = is_survivor(h.owner);
    const Secret& share = survived ? h.shares.self_mask : h.shares.mask_key;
    (survived ? answer.self_mask_shares : answer.mask_key_shares).push_back({h.owner, ToBytes(share.bytes())});
  }
  auto next = std::make_unique<ClientAnswered>(std::move(sorted), answer);
  return Step<UnmaskAnswer>{std::move(answer), std::move(next)};
}

Result<ClientState::Step<UnmaskAnswer>> ClientAnswered::Unmask(std::span<const std::uint32_t> survivors) {
  std::vector<std::uint32_t> sorted(survivors.begin(),
                                    survivors.begin() + std::min<std::size_t>(survivors.size(), kMembersMax + 1));
  std::ranges::sort(sorted);
  if (sorted != survivors_) {
    return FailedPrecondition("CONTRADICTING_UNMASK",
                              "this device has answered for other survivors of this round; no share is given");
  }
  return Step<UnmaskAnswer>{answer_, nullptr};
}

}  // namespace edgefleet::secagg
