// What hostile members may send: each is refused with its reason or found out and named, and the honest rest completes with the
// exact sum.
#include <gtest/gtest.h>

#include <functional>
#include <memory>

#include "secagg/server_states.h"
#include "secagg/session.h"
#include "tests/secagg/fleet.h"

namespace edgefleet::secagg {
namespace {

using testing::BitmapOf;
using testing::Fleet;
using testing::FleetOptions;
using testing::LeavingOut;
using testing::Words;

FleetOptions Options(Adversary adversary) {
  return {.members = 9, .graph = {8, 5}, .survivors_min = 5, .vector_length = 20, .adversary = adversary};
}

template <typename T>
std::string Reason(const Result<T>& result) {
  return result ? "" : result.error().reason();
}

class HostileClients : public ::testing::TestWithParam<Adversary> {
 protected:
  bool active() const { return GetParam() == Adversary::kActive; }

  // Everything up to the answers, which are collected and not sent. Member `dropped` (0: none) goes before its upload.
  void PlayToAnswers(std::uint32_t dropped) {
    ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
    ASSERT_TRUE(fleet_.ShareAndClose().ok());
    ASSERT_TRUE(fleet_.UploadAndClose({dropped}).ok());
    ASSERT_TRUE(fleet_.ConfirmAndClose().ok());
    for (const std::uint32_t i : fleet_.server.survivors()) {
      answers_[i] = fleet_.client(i).Unmask(fleet_.server.Request(i).value()).value();
    }
  }
  void SendAll() {
    for (const auto& [index, answer] : answers_) EXPECT_TRUE(fleet_.server.AddAnswer(index, answer).ok()) << index;
  }
  void ExpectTheExactSum() {
    const Status status = fleet_.server.Unmask(fleet_.sum, nullptr);
    ASSERT_TRUE(status.ok()) << status.ToString();
    EXPECT_EQ(fleet_.sum, fleet_.PlainSum(fleet_.server.survivors()));
  }

  Fleet fleet_{Options(GetParam())};
  std::map<std::uint32_t, UnmaskAnswer> answers_;
};
INSTANTIATE_TEST_SUITE_P(Variants, HostileClients, ::testing::Values(Adversary::kSemiHonest, Adversary::kActive));

TEST_P(HostileClients, Adverts) {
  const KeyAdvert honest = fleet_.client(1).AdvertiseKeys().value();
  const auto refused = [&](const char* what, const std::function<void(KeyAdvert&)>& alter) {
    KeyAdvert altered = honest;
    alter(altered);
    const std::string reason = Reason(fleet_.server.AddAdvert(altered));
    EXPECT_TRUE(reason == "BAD_KEY" || reason == "BAD_SIGNATURE" || reason == "DUPLICATE_KEY") << what << ": " << reason;
    EXPECT_EQ(fleet_.server.member_count(), 0U);
  };
  refused("nothing", [](KeyAdvert& a) { a = {}; });
  refused("a short key", [](KeyAdvert& a) { a.cipher_public_key.pop_back(); });
  refused("an absurdly long key", [](KeyAdvert& a) { a.mask_public_key.resize(1 << 20); });
  refused("a low-order point", [](KeyAdvert& a) { a.mask_public_key = Bytes(32); });
  refused("another low-order point", [](KeyAdvert& a) {
    a.cipher_public_key = Bytes(32);
    a.cipher_public_key[0] = std::byte{1};
  });
  refused("one key twice", [](KeyAdvert& a) { a.mask_public_key = a.cipher_public_key; });
  if (active()) {
    refused("no identity", [](KeyAdvert& a) { a.identity_key.clear(); });
    refused("another's identity", [&](KeyAdvert& a) { a.identity_key = ToBytes(fleet_.identities[1].key.public_key()); });
    refused("a forged signature", [](KeyAdvert& a) { a.signature[0] ^= std::byte{1}; });
    refused("a long signature", [](KeyAdvert& a) { a.signature.push_back(std::byte{0}); });
    refused("a certificate by somebody else", [&](KeyAdvert& a) {
      a.certificate = ToBytes(EnrolIdentity(fleet_.identities[1].key, fleet_.identities[0].key.public_key()));
    });
  } else {
    refused("an identity that nobody asked for", [](KeyAdvert& a) { a.identity_key = Bytes(32); });
  }
  ASSERT_TRUE(fleet_.server.AddAdvert(honest).has_value());
  EXPECT_EQ(Reason(fleet_.server.AddAdvert(honest)), "DUPLICATE_KEY");
  KeyAdvert half = fleet_.client(2).AdvertiseKeys().value();
  half.mask_public_key = honest.mask_public_key;
  EXPECT_NE(Reason(fleet_.server.AddAdvert(half)), "");
  EXPECT_EQ(fleet_.server.member_count(), 1U);
}

// One identity may not make two members.
TEST(HostileClientsActive, OneDeviceTwice) {
  Fleet fleet(Options(Adversary::kActive));
  ASSERT_TRUE(fleet.server.AddAdvert(fleet.client(1).AdvertiseKeys().value()).has_value());
  MemoryGuard guard;
  Client again(fleet.OptionsOf(1), guard, fleet.random);
  EXPECT_EQ(Reason(fleet.server.AddAdvert(again.AdvertiseKeys().value())), "DUPLICATE_KEY");
}

TEST_P(HostileClients, SharesOfWrongSizesAndStrangers) {
  ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
  const SharedKeys shared = fleet_.client(1).ShareKeys(fleet_.server.Setup(1).value()).value();
  const auto send = [&](std::uint32_t index, const std::function<void(SharedKeys&)>& alter) {
    SharedKeys altered = shared;
    alter(altered);
    return fleet_.server.AddShares(index, altered).reason();
  };
  EXPECT_EQ(send(1, [](SharedKeys& s) { s = {}; }), "BAD_SHARES");
  EXPECT_EQ(send(1, [](SharedKeys& s) { s.sealed.pop_back(); }), "BAD_SHARES");
  EXPECT_EQ(send(1, [](SharedKeys& s) { s.sealed.resize(1 << 20); }), "BAD_SHARES");
  EXPECT_EQ(send(1, [](SharedKeys& s) { s.seed_commitment.clear(); }), "BAD_SHARES");
  EXPECT_EQ(send(0, [](SharedKeys&) {}), "NOT_A_MEMBER");
  EXPECT_EQ(send(10, [](SharedKeys&) {}), "NOT_A_MEMBER");
  EXPECT_EQ(send(~0U, [](SharedKeys&) {}), "NOT_A_MEMBER");
  EXPECT_EQ(fleet_.server.shared_count(), 0U);
  EXPECT_EQ(send(1, [](SharedKeys&) {}), "");
}

// An update that is masked for others than those that the server names could not be unmasked.
TEST_P(HostileClients, UploadsWithAWrongProof) {
  ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
  ASSERT_TRUE(fleet_.ShareAndClose().ok());
  const auto mask = [&](std::uint32_t index, const Inbox& inbox) {
    Words words(fleet_.options.vector_length);
    return fleet_.client(index).Mask(inbox, words).value();
  };
  const UploadProof proof = mask(1, fleet_.server.InboxOf(1).value());
  Inbox altered = fleet_.server.InboxOf(2).value();
  altered.sharers = BitmapOf({1, 2, 3, 4, 5, 6, 7, 8}, 9);
  altered.senders = BitmapOf({1, 2, 3, 4, 5, 6, 7}, 8);
  altered.sealed.resize(7 * kSealedSize);
  const UploadProof others = mask(2, altered);
  const auto add = [&](std::uint32_t index, const UploadProof& given) {
    const Status checked = fleet_.server.CheckUpload(index, given), added = fleet_.server.AddUpload(index, given);
    EXPECT_EQ(checked.reason(), added.reason());
    return added.reason();
  };
  if (active()) {
    EXPECT_EQ(add(1, {}), "BAD_SIGNATURE");
    EXPECT_EQ(add(2, proof), "BAD_SIGNATURE");
    EXPECT_EQ(add(2, others), "BAD_SIGNATURE");
    UploadProof longer = proof;
    longer.signature.push_back(std::byte{0});
    EXPECT_EQ(add(1, longer), "BAD_SIGNATURE");
  } else {
    EXPECT_EQ(proof, UploadProof());
    EXPECT_EQ(add(1, {Bytes(kSignatureSize)}), "BAD_SIGNATURE");
  }
  EXPECT_TRUE(fleet_.server.survivors().empty());
  EXPECT_EQ(add(1, proof), "");
}

TEST_P(HostileClients, LateMessages) {
  ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
  ASSERT_TRUE(fleet_.ShareAndClose({9}).ok());
  EXPECT_EQ(Reason(fleet_.server.InboxOf(9)), "DID_NOT_SHARE");
  EXPECT_EQ(fleet_.server.AddUpload(9, {}).reason(), "DID_NOT_SHARE");
  EXPECT_EQ(fleet_.server.AddUpload(10, {}).reason(), "NOT_A_MEMBER");
  ASSERT_TRUE(fleet_.UploadAndClose({8}).ok());
  EXPECT_EQ(fleet_.server.AddUpload(8, {}).reason(), "WRONG_PHASE");
  EXPECT_EQ(fleet_.server.AddConfirmation(8, {}).reason(), active() ? "NOT_A_SURVIVOR" : "WRONG_PHASE");
  ASSERT_TRUE(fleet_.ConfirmAndClose().ok());
  EXPECT_EQ(Reason(fleet_.server.Request(8)), "NOT_A_SURVIVOR");
  EXPECT_EQ(fleet_.server.AddAnswer(8, {}).reason(), "NOT_A_SURVIVOR");
  ASSERT_TRUE(fleet_.AnswerAndUnmask().ok());
  EXPECT_EQ(fleet_.sum, fleet_.PlainSum({1, 2, 3, 4, 5, 6, 7}));
}

TEST(HostileClientsActive, Confirmations) {
  Fleet fleet(Options(Adversary::kActive));
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  ASSERT_TRUE(fleet.ShareAndClose().ok());
  ASSERT_TRUE(fleet.UploadAndClose().ok());
  const Bytes survivors = fleet.server.SurvivorBitmap().value();
  Confirmation confirmation = fleet.client(1).Confirm(survivors).value();
  EXPECT_EQ(fleet.server.AddConfirmation(2, confirmation).reason(), "BAD_SIGNATURE");
  EXPECT_EQ(fleet.server.AddConfirmation(1, {}).reason(), "BAD_SIGNATURE");
  EXPECT_EQ(fleet.server.AddConfirmation(1, {Bytes(1 << 20)}).reason(), "BAD_SIGNATURE");
  EXPECT_EQ(fleet.server.confirmation_count(), 0U);
  EXPECT_EQ(fleet.server.CloseConfirmations().reason(), "BELOW_THRESHOLD");
  ASSERT_TRUE(fleet.server.AddConfirmation(1, confirmation).ok());
  EXPECT_FALSE(fleet.server.CanCloseConfirmations());
}

TEST_P(HostileClients, AnswersOfWrongSizes) {
  PlayToAnswers(0);
  const auto send = [&](const std::function<void(UnmaskAnswer&)>& alter) {
    UnmaskAnswer altered = answers_[1];
    alter(altered);
    return fleet_.server.AddAnswer(1, altered).reason();
  };
  EXPECT_EQ(send([](UnmaskAnswer& a) { a = {}; }), "BAD_ANSWER");
  EXPECT_EQ(send([](UnmaskAnswer& a) { a.shares.pop_back(); }), "BAD_ANSWER");
  EXPECT_EQ(send([](UnmaskAnswer& a) { a.shares.resize(1 << 20); }), "BAD_ANSWER");
  EXPECT_EQ(send([](UnmaskAnswer& a) { a.held.push_back(std::byte{0}); }), "BAD_ANSWER");
  EXPECT_EQ(send([](UnmaskAnswer& a) { a.held[0] ^= std::byte{1}; }), "BAD_ANSWER");
  EXPECT_EQ(send([](UnmaskAnswer& a) { a.survivors_digest[0] ^= std::byte{1}; }), "BAD_ANSWER");
  EXPECT_EQ(fleet_.server.answer_count(), 0U);
  SendAll();
  ExpectTheExactSum();
}

// Shares that are not what their owners dealt: left out, and their sender named where they are few; the sum is exact.
TEST_P(HostileClients, WrongSharesOfSeedsAndOfKeys) {
  for (const std::uint32_t dropped : {0U, 9U}) {
    SCOPED_TRACE(dropped);
    std::destroy_at(&fleet_);  // members refer to what else is in their fleet, so it cannot be moved
    std::construct_at(&fleet_, Options(GetParam()));
    answers_.clear();
    PlayToAnswers(dropped);
    // Member 2 lies about every share, member 1 about its share of 9: its last one.
    for (std::size_t at = 0; at < answers_[2].shares.size(); at += kShareSize) answers_[2].shares[at] ^= std::byte{0x40};
    if (dropped == 9) answers_[1].shares.back() ^= std::byte{1};
    SendAll();
    if (dropped == 9) {
      // Eight survivors; 7 others hold a share of each, t is 5: one error is within reach. Of 9's secret two of eight are
      // wrong: it is recovered from others, and nobody is named for it.
      const Status status = fleet_.server.Unmask(fleet_.sum, nullptr);
      ASSERT_TRUE(status.ok()) << status.ToString();
      EXPECT_EQ(fleet_.sum, fleet_.PlainSum(fleet_.server.survivors()));
    } else {
      ExpectTheExactSum();
    }
    std::set<std::uint32_t> liars;
    for (const Blame& blame : fleet_.server.blames()) {
      EXPECT_EQ(blame.kind, Blame::Kind::kBadShare);
      liars.insert(blame.responder);
    }
    EXPECT_EQ(liars, std::set<std::uint32_t>{2});
  }
}

TEST_P(HostileClients, SoManyWrongSharesThatTheSecretIsLostFailTheRoundAndNameTheOwner) {
  PlayToAnswers(0);
  for (std::uint32_t liar = 1; liar <= 6; ++liar) {
    fleet_.random.Fill(answers_[liar].shares);
  }
  SendAll();
  const Words masked = fleet_.sum;
  const Status status = fleet_.server.Unmask(fleet_.sum, nullptr);
  EXPECT_EQ(status.reason(), "SHARES_BEYOND_REPAIR");
  EXPECT_EQ(fleet_.sum, masked);
  EXPECT_EQ(fleet_.server.blames().size(), 9U);
  for (const Blame& blame : fleet_.server.blames()) EXPECT_EQ(blame.kind, Blame::Kind::kBadDealer);
}

// A member that sends rubbish instead of sealed shares to some: they complain, the others' shares suffice.
TEST_P(HostileClients, RubbishForSomeNeighboursIsComplainedAbout) {
  ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
  for (std::uint32_t i = 1; i <= 9; ++i) {
    SharedKeys shared = fleet_.client(i).ShareKeys(fleet_.server.Setup(i).value()).value();
    if (i == 4) shared.sealed[0] ^= std::byte{1}, shared.sealed[2 * kSealedSize] ^= std::byte{1};  // for 1 and 3
    ASSERT_TRUE(fleet_.server.AddShares(i, shared).ok());
  }
  ASSERT_TRUE(fleet_.server.CloseSharing().ok());
  ASSERT_TRUE(fleet_.UploadAndClose().ok());
  ASSERT_TRUE(fleet_.ConfirmAndClose().ok());
  ASSERT_TRUE(fleet_.AnswerAndUnmask().ok());
  EXPECT_EQ(fleet_.sum, fleet_.PlainSum(fleet_.server.survivors()));
  const std::vector<Blame> expected{{4, 1, Blame::Kind::kComplaint}, {4, 3, Blame::Kind::kComplaint}};
  EXPECT_EQ(fleet_.server.blames(), expected);
}

// A member that deals shares of another secret than it committed to.
TEST_P(HostileClients, ADealerWhoseCommitmentIsFalseIsNamed) {
  ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
  for (std::uint32_t i = 1; i <= 9; ++i) {
    SharedKeys shared = fleet_.client(i).ShareKeys(fleet_.server.Setup(i).value()).value();
    if (i == 4) shared.seed_commitment[0] ^= std::byte{1};
    ASSERT_TRUE(fleet_.server.AddShares(i, shared).ok());
  }
  ASSERT_TRUE(fleet_.server.CloseSharing().ok());
  ASSERT_TRUE(fleet_.UploadAndClose().ok());
  ASSERT_TRUE(fleet_.ConfirmAndClose().ok());
  EXPECT_EQ(fleet_.AnswerAndUnmask().reason(), "SHARES_BEYOND_REPAIR");
  const std::vector<Blame> expected{{4, 0, Blame::Kind::kBadDealer}};
  EXPECT_EQ(fleet_.server.blames(), expected);
}

// Only those speak for all who were drawn for it, and each for itself.
TEST(HostileClientsActive, ConfirmationsOfOthersThanTheCommittee) {
  Fleet fleet(LeavingOut({.members = 5, .graph = {4, 3}, .survivors_min = 3, .adversary = Adversary::kActive}, 5));
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  ASSERT_TRUE(fleet.ShareAndClose().ok());
  ASSERT_TRUE(fleet.UploadAndClose().ok());
  const Ledger& ledger = fleet.server.ledger();
  EXPECT_FALSE(fleet.server.IsConfirmer(5));
  const auto signature =
      SignSurvivors(fleet.identities[4], ledger.session, SharersDigest(ledger.sharer_bitmap), ledger.survivor_bitmap);
  EXPECT_EQ(fleet.server.AddConfirmation(5, {ToBytes(signature)}).reason(), "NOT_IN_COMMITTEE");
  EXPECT_EQ(fleet.server.confirmation_count(), 0U);
  EXPECT_EQ(Reason(fleet.client(5).Confirm(ledger.survivor_bitmap)), "NOT_IN_COMMITTEE");
  ASSERT_TRUE(fleet.ConfirmAndClose().ok());
  ASSERT_TRUE(fleet.AnswerAndUnmask().ok());
  EXPECT_EQ(fleet.sum, fleet.PlainSum(fleet.server.survivors()));
  EXPECT_TRUE(fleet.server.blames().empty());
}

TEST_P(HostileClients, SumsOfAnotherLength) {
  PlayToAnswers(0);
  SendAll();
  Words longer(fleet_.sum.size() + 1);
  EXPECT_EQ(fleet_.server.Unmask(longer, nullptr).reason(), "BAD_SUM");
  EXPECT_EQ(fleet_.server.Unmask({}, nullptr).reason(), "BAD_SUM");
  ExpectTheExactSum();
}

}  // namespace
}  // namespace edgefleet::secagg
