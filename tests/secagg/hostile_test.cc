// Messages that no honest peer sends: each is refused with its reason, nothing changes, and the honest message still works
// after.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "secagg/keys.h"
#include "tests/secagg/fleet.h"

namespace edgefleet::secagg {
namespace {

using testing::Fleet;
using testing::Words;

constexpr std::uint32_t kMembers = 5, kThreshold = 3;
constexpr std::uint64_t kLength = 9;
constexpr std::uint32_t kHuge = 0xFFFFFFFF;

class HostileTest : public ::testing::Test {
 protected:
  HostileTest() : fleet_(kMembers, kThreshold, kLength, 5) { EXPECT_TRUE(fleet_.AdvertiseAndClose().ok()); }
  Fleet fleet_;
};

TEST_F(HostileTest, Adverts) {
  Server server = Server::Create({"r", 4, 2}).value();
  SeededRandom random(1);
  const KeyAdvert good = Client("r", random).AdvertiseKeys().value();
  const auto reason = [&](const KeyAdvert& advert) {
    const auto added = server.AddAdvert(advert);
    return added ? std::string() : added.error().reason();
  };
  for (const Bytes& bad : {Bytes(), Bytes(31), Bytes(33, std::byte{9}), Bytes(32), Bytes(1 << 20)}) {
    EXPECT_EQ(reason({bad, good.mask_public_key}), "BAD_KEY");
    EXPECT_EQ(reason({good.cipher_public_key, bad}), "BAD_KEY");
  }
  EXPECT_EQ(reason({good.mask_public_key, good.mask_public_key}), "DUPLICATE_KEY");
  EXPECT_EQ(reason(good), "");
  EXPECT_EQ(reason({good.mask_public_key, good.cipher_public_key}), "DUPLICATE_KEY");
  EXPECT_EQ(reason(Client("r", random).AdvertiseKeys().value()), "");
  EXPECT_EQ(reason(Client("r", random).AdvertiseKeys().value()), "ROSTER_FULL");
}

TEST_F(HostileTest, Setups) {
  for (const ServerOptions& bad : {ServerOptions{"", 4, 4},
                                   {std::string(257, 'x'), 4, 4},
                                   {"r", 1, 4},
                                   {"r", 0, 4},
                                   {"r", kVectorLengthMax + 1, 4},
                                   {"r", 4, 1},
                                   {"r", 4, kMembersMax + 1}}) {
    EXPECT_EQ(Server::Create(bad).error().reason(), "BAD_SETUP");
  }
  SeededRandom random(1);
  EXPECT_EQ(Client("", random).AdvertiseKeys().error().reason(), "BAD_ROUND_ID");
  EXPECT_EQ(Client(std::string(257, 'x'), random).AdvertiseKeys().error().reason(), "BAD_ROUND_ID");
}

TEST_F(HostileTest, ThresholdsThatDoNotProtect) {
  for (const std::uint32_t threshold : {0U, 1U, 2U}) {
    Fleet fleet(kMembers, threshold, kLength, 6);
    EXPECT_EQ(fleet.AdvertiseAndClose().reason(), "UNSAFE_THRESHOLD") << threshold;
    RoundSetup setup = fleet_.server.Setup(1).value();
    setup.threshold = threshold;
    EXPECT_EQ(fleet_.client(1).ShareKeys(setup).error().reason(), "UNSAFE_THRESHOLD") << threshold;
  }
  Fleet fleet(kMembers, kMembers + 1, kLength, 6);
  EXPECT_EQ(fleet.AdvertiseAndClose().reason(), "BELOW_THRESHOLD");
  RoundSetup setup = fleet_.server.Setup(1).value();
  setup.threshold = kMembers + 1;
  EXPECT_EQ(fleet_.client(1).ShareKeys(setup).error().reason(), "UNSAFE_THRESHOLD");
  EXPECT_EQ(SafeThreshold(20, 12), 12U);
  EXPECT_EQ(SafeThreshold(20, 5), 11U);
  EXPECT_EQ(SafeThreshold(20, 90), 20U);
  EXPECT_EQ(SafeThreshold(2, 0), 2U);
}

TEST_F(HostileTest, Rosters) {
  const RoundSetup good = fleet_.server.Setup(2).value();
  const std::vector<std::pair<const char*, std::function<void(RoundSetup&)>>> cases{
      {"empty", [](RoundSetup& s) { s.roster.clear(); }},
      {"alone",
       [](RoundSetup& s) {
         s.roster.resize(1);
         s.index = 1;
       }},
      {"too many", [](RoundSetup& s) { s.roster.resize(kMembersMax + 1, s.roster[0]); }},
      {"index 0", [](RoundSetup& s) { s.index = 0; }},
      {"index out of range", [](RoundSetup& s) { s.index = kMembers + 1; }},
      {"huge index", [](RoundSetup& s) { s.index = kHuge; }},
      {"somebody else's index", [](RoundSetup& s) { s.index = 3; }},
      {"gap", [](RoundSetup& s) { s.roster[4].index = 6; }},
      {"repeated index", [](RoundSetup& s) { s.roster[4].index = 4; }},
      {"out of order", [](RoundSetup& s) { std::swap(s.roster[3], s.roster[4]); }},
      {"low-order cipher key", [](RoundSetup& s) { s.roster[0].cipher_public_key = Bytes(32); }},
      {"low-order mask key", [](RoundSetup& s) { s.roster[0].mask_public_key = Bytes(32); }},
      {"short key", [](RoundSetup& s) { s.roster[0].mask_public_key.pop_back(); }},
      {"long key", [](RoundSetup& s) { s.roster[0].cipher_public_key.resize(1 << 16); }},
      {"one member twice", [](RoundSetup& s) { s.roster[0].mask_public_key = s.roster[3].mask_public_key; }},
      {"own key altered", [](RoundSetup& s) { s.roster[1].mask_public_key[0] ^= std::byte{1}; }},
      {"own keys swapped", [](RoundSetup& s) { std::swap(s.roster[1].mask_public_key, s.roster[1].cipher_public_key); }},
      {"no vector", [](RoundSetup& s) { s.vector_length = 0; }},
      {"endless vector", [](RoundSetup& s) { s.vector_length = ~0ULL; }},
  };
  for (const auto& [name, spoil] : cases) {
    RoundSetup setup = good;
    spoil(setup);
    const auto shares = fleet_.client(2).ShareKeys(setup);
    ASSERT_FALSE(shares.has_value()) << name;
    EXPECT_EQ(shares.error().reason(), "BAD_ROSTER") << name;
    EXPECT_EQ(fleet_.client(2).state(), "advertised") << name;
  }
  EXPECT_TRUE(fleet_.client(2).ShareKeys(good).has_value());
}

TEST_F(HostileTest, SharesForTheServer) {
  const auto good = fleet_.client(1).ShareKeys(fleet_.server.Setup(1).value()).value();
  const std::vector<std::pair<const char*, std::function<void(std::vector<SealedShares>&)>>> cases{
      {"none", [](auto& s) { s.clear(); }},
      {"one missing", [](auto& s) { s.pop_back(); }},
      {"one more", [](auto& s) { s.push_back(s[0]); }},
      {"receiver twice", [](auto& s) { s[0].receiver = s[1].receiver; }},
      {"to oneself", [](auto& s) { s[0].receiver = 1; }},
      {"to nobody", [](auto& s) { s[0].receiver = 0; }},
      {"to a stranger", [](auto& s) { s[0].receiver = kMembers + 1; }},
      {"to a huge index", [](auto& s) { s[0].receiver = kHuge; }},
      {"from another", [](auto& s) { s[2].sender = 2; }},
      {"short", [](auto& s) { s[3].ciphertext.pop_back(); }},
      {"long", [](auto& s) { s[3].ciphertext.resize(1 << 20); }},
      {"empty", [](auto& s) { s[3].ciphertext.clear(); }},
  };
  for (const auto& [name, spoil] : cases) {
    auto shares = good;
    spoil(shares);
    EXPECT_EQ(fleet_.server.AddShares(1, shares).reason(), "BAD_SHARES") << name;
  }
  for (const std::uint32_t stranger : {0U, kMembers + 1, kHuge})
    EXPECT_EQ(fleet_.server.AddShares(stranger, good).reason(), "NOT_A_MEMBER");
  EXPECT_EQ(fleet_.server.shared_count(), 0U);
  EXPECT_TRUE(fleet_.server.AddShares(1, good).ok());
}

TEST_F(HostileTest, Inboxes) {
  ASSERT_TRUE(fleet_.ShareAndClose().ok());
  const auto good = fleet_.server.Inbox(2).value();
  const std::vector<std::tuple<const char*, const char*, std::function<void(std::vector<SealedShares>&)>>> cases{
      {"below threshold", "BELOW_THRESHOLD", [](auto& s) { s.resize(kThreshold - 2); }},
      {"empty", "BELOW_THRESHOLD", [](auto& s) { s.clear(); }},
      {"sender twice", "BAD_INBOX", [](auto& s) { s[0] = s[1]; }},
      {"from oneself", "BAD_INBOX", [](auto& s) { s[0].sender = 2; }},
      {"from nobody", "BAD_INBOX", [](auto& s) { s[0].sender = 0; }},
      {"from a stranger", "BAD_INBOX", [](auto& s) { s[0].sender = kMembers + 1; }},
      {"from a huge index", "BAD_INBOX", [](auto& s) { s[0].sender = kHuge; }},
      {"for another", "BAD_INBOX", [](auto& s) { s[0].receiver = 3; }},
      {"absurdly many", "BAD_INBOX", [](auto& s) { s.resize(100'000, s[0]); }},
      {"swapped", "BAD_SEALED_SHARES", [](auto& s) { std::swap(s[0].ciphertext, s[1].ciphertext); }},
      {"senders swapped", "BAD_SEALED_SHARES", [](auto& s) { std::swap(s[0].sender, s[1].sender); }},
      {"altered", "BAD_SEALED_SHARES", [](auto& s) { s[3].ciphertext[40] ^= std::byte{1}; }},
      {"truncated", "BAD_SEALED_SHARES", [](auto& s) { s[3].ciphertext.resize(40); }},
      {"no bytes", "BAD_SEALED_SHARES", [](auto& s) { s[3].ciphertext.clear(); }},
      {"endless", "BAD_SEALED_SHARES", [](auto& s) { s[3].ciphertext.resize(1 << 20); }},
      {"meant for another", "BAD_SEALED_SHARES",
       [&](auto& s) { s[0].ciphertext = fleet_.server.Inbox(3).value()[0].ciphertext; }},
      {"one's own, sent back", "BAD_SEALED_SHARES", [&](auto& s) { s[0].ciphertext = fleet_.sent[1][0].ciphertext; }},
  };
  for (const auto& [name, reason, spoil] : cases) {
    auto inbox = good;
    spoil(inbox);
    Words words = fleet_.updates[1];
    EXPECT_EQ(fleet_.client(2).Mask(inbox, words).reason(), reason) << name;
    EXPECT_EQ(words, fleet_.updates[1]) << name;
    EXPECT_EQ(fleet_.client(2).state(), "shared") << name;
  }
  for (const std::size_t length : {0UL, 1UL, kLength - 1, kLength + 1}) {
    Words words(length);
    EXPECT_EQ(fleet_.client(2).Mask(good, words).reason(), "BAD_UPDATE");
  }
  Words words = fleet_.updates[1];
  EXPECT_TRUE(fleet_.client(2).Mask(good, words).ok());
  EXPECT_NE(words, fleet_.updates[1]);
}

TEST_F(HostileTest, SharesOfAnotherRound) {
  // The same keys and roster, but the sender took part in round-8.
  Server server = Server::Create({"round-7", kLength, kMembersMax}).value();
  SeededRandom one(1), two(1);
  Client here("round-7", one), there("round-8", two);
  const KeyAdvert advert = here.AdvertiseKeys().value();
  ASSERT_EQ(there.AdvertiseKeys().value(), advert);
  SeededRandom third(3);
  Client receiver("round-7", third);
  ASSERT_TRUE(server.AddAdvert(advert).has_value());
  ASSERT_TRUE(server.AddAdvert(receiver.AdvertiseKeys().value()).has_value());
  ASSERT_TRUE(server.CloseRoster(2).ok());
  ASSERT_TRUE(receiver.ShareKeys(server.Setup(2).value()).has_value());
  Words words(kLength);
  EXPECT_EQ(receiver.Mask(there.ShareKeys(server.Setup(1).value()).value(), words).reason(), "BAD_SEALED_SHARES");
  EXPECT_TRUE(receiver.Mask(here.ShareKeys(server.Setup(1).value()).value(), words).ok());
}

TEST_F(HostileTest, MembersThatWereToldDifferentRosters) {
  SeededRandom random(9);
  RoundSetup first = fleet_.server.Setup(1).value();
  const KeyAdvert stranger = Client("round-7", random).AdvertiseKeys().value();
  first.roster[4] = {5, stranger.cipher_public_key, stranger.mask_public_key};
  const auto sealed = fleet_.client(1).ShareKeys(first).value();
  std::vector<SealedShares> inbox{sealed[0]};  // to member 2, whose roster is the real one
  for (const std::uint32_t sender : {3U, 4U}) {
    inbox.push_back(fleet_.client(sender).ShareKeys(fleet_.server.Setup(sender).value()).value()[1]);
  }
  ASSERT_TRUE(fleet_.client(2).ShareKeys(fleet_.server.Setup(2).value()).has_value());
  Words words(kLength);
  EXPECT_EQ(fleet_.client(2).Mask(inbox, words).reason(), "BAD_SEALED_SHARES");
}

TEST_F(HostileTest, Survivors) {
  ASSERT_TRUE(fleet_.ShareAndClose({5}).ok());
  ASSERT_TRUE(fleet_.UploadAndClose().ok());
  const std::vector<std::pair<std::vector<std::uint32_t>, const char*>> cases{
      {{}, "NOT_A_SURVIVOR"},
      {{2, 3, 4}, "NOT_A_SURVIVOR"},
      {{1}, "BELOW_THRESHOLD"},
      {{1, 2}, "BELOW_THRESHOLD"},
      {{1, 2, 5}, "BAD_SURVIVORS"},
      {{0, 1, 2, 3}, "BAD_SURVIVORS"},
      {{1, 2, 3, 3}, "BAD_SURVIVORS"},
      {{1, 1, 1, 1, 1}, "BAD_SURVIVORS"},
      {{1, 2, 3, kHuge}, "BAD_SURVIVORS"},
      {std::vector<std::uint32_t>(100'000, 1), "BAD_SURVIVORS"},
  };
  for (const auto& [survivors, reason] : cases) {
    const auto answer = fleet_.client(1).Unmask(survivors);
    ASSERT_FALSE(answer.has_value());
    EXPECT_EQ(answer.error().reason(), reason);
    EXPECT_EQ(fleet_.client(1).state(), "masked");
  }
  EXPECT_TRUE(fleet_.client(1).Unmask(fleet_.server.survivors()).has_value());
}

TEST_F(HostileTest, AskingForBothKindsOfShare) {
  ASSERT_TRUE(fleet_.ShareAndClose().ok());
  ASSERT_TRUE(fleet_.UploadAndClose().ok());
  const UnmaskAnswer first = fleet_.client(1).Unmask(std::vector<std::uint32_t>{1, 2, 3, 4}).value();
  EXPECT_EQ(first.self_mask_shares.size(), 4U);
  EXPECT_EQ(first.mask_key_shares.size(), 1U);
  for (const std::vector<std::uint32_t>& other : {std::vector<std::uint32_t>{1, 2, 3, 4, 5}, {1, 2, 3}, {1, 3, 4, 5}}) {
    EXPECT_EQ(fleet_.client(1).Unmask(other).error().reason(), "CONTRADICTING_UNMASK");
  }
  EXPECT_EQ(fleet_.client(1).Unmask(std::vector<std::uint32_t>{4, 3, 2, 1}).value(), first);
}

TEST_F(HostileTest, Answers) {
  ASSERT_TRUE(fleet_.ShareAndClose().ok());
  ASSERT_TRUE(fleet_.UploadAndClose({5}).ok());
  const UnmaskAnswer good = fleet_.client(1).Unmask(fleet_.server.survivors()).value();
  const std::vector<std::pair<const char*, std::function<void(UnmaskAnswer&)>>> cases{
      {"nothing", [](UnmaskAnswer& a) { a = {}; }},
      {"one missing", [](UnmaskAnswer& a) { a.self_mask_shares.pop_back(); }},
      {"no key share", [](UnmaskAnswer& a) { a.mask_key_shares.clear(); }},
      {"twice", [](UnmaskAnswer& a) { a.self_mask_shares[0] = a.self_mask_shares[1]; }},
      {"one more", [](UnmaskAnswer& a) { a.self_mask_shares.push_back(a.self_mask_shares[0]); }},
      {"kinds exchanged", [](UnmaskAnswer& a) { std::swap(a.self_mask_shares[0], a.mask_key_shares[0]); }},
      {"both kinds", [](UnmaskAnswer& a) { a.mask_key_shares.push_back(a.self_mask_shares[0]); }},
      {"of a stranger", [](UnmaskAnswer& a) { a.mask_key_shares[0].owner = kHuge; }},
      {"of nobody", [](UnmaskAnswer& a) { a.self_mask_shares[0].owner = 0; }},
      {"short", [](UnmaskAnswer& a) { a.self_mask_shares[0].share.pop_back(); }},
      {"long", [](UnmaskAnswer& a) { a.mask_key_shares[0].share.resize(1 << 20); }},
      {"absurdly many", [](UnmaskAnswer& a) { a.self_mask_shares.resize(100'000, a.self_mask_shares[0]); }},
  };
  for (const auto& [name, spoil] : cases) {
    UnmaskAnswer answer = good;
    spoil(answer);
    EXPECT_EQ(fleet_.server.AddAnswer(1, answer).reason(), "BAD_ANSWER") << name;
  }
  EXPECT_EQ(fleet_.server.AddAnswer(5, good).reason(), "NOT_A_SURVIVOR");
  EXPECT_EQ(fleet_.server.AddAnswer(kHuge, good).reason(), "NOT_A_MEMBER");
  EXPECT_EQ(fleet_.server.answer_count(), 0U);
  EXPECT_TRUE(fleet_.AnswerAndUnmask().ok());
  EXPECT_EQ(fleet_.sum, fleet_.PlainSum({1, 2, 3, 4}));
}

TEST_F(HostileTest, AFalseShareOfADroppedKeyIsFoundOut) {
  ASSERT_TRUE(fleet_.ShareAndClose().ok());
  ASSERT_TRUE(fleet_.UploadAndClose({5}).ok());
  const Words before = fleet_.sum;
  for (const std::uint32_t index : {1U, 2U, 3U}) {
    UnmaskAnswer answer = fleet_.client(index).Unmask(fleet_.server.survivors()).value();
    if (index == 2) answer.mask_key_shares[0].share[7] ^= std::byte{1};
    ASSERT_TRUE(fleet_.server.AddAnswer(index, answer).ok());
  }
  const Status status = fleet_.server.Unmask(fleet_.sum, nullptr);
  EXPECT_EQ(status.reason(), "BAD_MASK_KEY");
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_EQ(fleet_.sum, before);
}

TEST_F(HostileTest, SumsOfAnotherLength) {
  ASSERT_TRUE(fleet_.ShareAndClose().ok());
  ASSERT_TRUE(fleet_.UploadAndClose().ok());
  for (const std::uint32_t index : {1U, 2U, 3U}) {
    ASSERT_TRUE(fleet_.server.AddAnswer(index, fleet_.client(index).Unmask(fleet_.server.survivors()).value()).ok());
  }
  Words wrong(kLength + 1);
  EXPECT_EQ(fleet_.server.Unmask(wrong, nullptr).reason(), "BAD_SUM");
  EXPECT_TRUE(fleet_.server.Unmask(fleet_.sum, nullptr).ok());
}

TEST_F(HostileTest, UploadsOfMembersThatDidNotShare) {
  ASSERT_TRUE(fleet_.ShareAndClose({4}).ok());
  EXPECT_EQ(fleet_.server.AddUpload(4).reason(), "DID_NOT_SHARE");
  EXPECT_EQ(fleet_.server.Inbox(4).error().reason(), "DID_NOT_SHARE");
  EXPECT_EQ(fleet_.server.AddUpload(0).reason(), "NOT_A_MEMBER");
  EXPECT_EQ(fleet_.server.Inbox(kHuge).error().reason(), "NOT_A_MEMBER");
}

}  // namespace
}  // namespace edgefleet::secagg
