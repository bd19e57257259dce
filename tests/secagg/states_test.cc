// Every message in every state, on both sides: what a state does not expect is refused and changes nothing.
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "tests/secagg/fleet.h"

namespace edgefleet::secagg {
namespace {

using testing::Fleet;
using testing::Words;

constexpr std::uint32_t kMembers = 4, kThreshold = 3;
constexpr std::uint64_t kLength = 6;

// A fleet at the beginning of each state; the state after `steps` steps.
std::unique_ptr<Fleet> FleetAfter(int steps) {
  auto fleet = std::make_unique<Fleet>(kMembers, kThreshold, kLength, 77);
  EXPECT_TRUE(steps < 1 || fleet->AdvertiseAndClose().ok());
  EXPECT_TRUE(steps < 2 || fleet->ShareAndClose().ok());
  EXPECT_TRUE(steps < 3 || fleet->UploadAndClose({4}).ok());
  EXPECT_TRUE(steps < 4 || fleet->AnswerAndUnmask().ok());
  return fleet;
}

template <typename T>
Status StatusOf(const Result<T>& result) {
  return result ? OkStatus() : result.error();
}

struct Case {
  const char* message;
  std::function<Status(Fleet&)> send;
  std::set<std::string_view> expected_in;
};

TEST(ClientStates, EachMessageInEachState) {
  const std::vector<SealedShares> inbox = FleetAfter(2)->server.Inbox(1).value();
  const RoundSetup setup = FleetAfter(1)->server.Setup(1).value();
  const std::vector<Case> cases{
      {"AdvertiseKeys", [](Fleet& f) { return StatusOf(f.client(1).AdvertiseKeys()); }, {"start", "advertised"}},
      {"ShareKeys", [&](Fleet& f) { return StatusOf(f.client(1).ShareKeys(setup)); }, {"advertised"}},
      {"Mask",
       [&](Fleet& f) {
         Words words(kLength);
         const Status status = f.client(1).Mask(inbox, words);
         if (!status.ok()) {
           EXPECT_EQ(words, Words(kLength)) << "changed in spite of the refusal";
         }
         return status;
       },
       {"shared"}},
      {"Unmask",
       [](Fleet& f) {
         return StatusOf(f.client(1).Unmask(std::vector<std::uint32_t>{1, 2, 3}));
       },
       {"masked", "answered"}},
  };
  const std::vector<std::string_view> states{"start", "advertised", "shared", "masked", "answered"};
  for (std::size_t steps = 0; steps < states.size(); ++steps) {
    for (const Case& c : cases) {
      SCOPED_TRACE(std::string(c.message) + " in " + std::string(states[steps]));
      const auto fleet = FleetAfter(static_cast<int>(steps));
      ASSERT_EQ(fleet->client(1).state(), states[steps]);
      const Status status = c.send(*fleet);
      EXPECT_EQ(status.ok(), c.expected_in.contains(states[steps])) << status.ToString();
      if (status.ok()) continue;
      EXPECT_EQ(status.reason(), "WRONG_PHASE");
      EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
      EXPECT_EQ(fleet->client(1).state(), states[steps]);
    }
  }
}

TEST(ServerStates, EachMessageInEachState) {
  const auto sent = FleetAfter(2)->sent;
  const UnmaskAnswer answer = FleetAfter(3)->client(1).Unmask(std::vector<std::uint32_t>{1, 2, 3}).value();
  SeededRandom random(1);
  const std::vector<Case> cases{
      {"AddAdvert",
       [&](Fleet& f) { return StatusOf(f.server.AddAdvert(Client("r", random).AdvertiseKeys().value())); },
       {"advertising"}},
      {"CloseRoster",
       [](Fleet& f) {
         for (Client& client : f.clients) (void)f.server.AddAdvert(client.AdvertiseKeys().value_or(KeyAdvert{}));
         return f.server.CloseRoster(kThreshold);
       },
       {"advertising"}},
      {"Setup", [](Fleet& f) { return StatusOf(f.server.Setup(1)); }, {"sharing", "collecting", "unmasking", "done"}},
      {"AddShares", [&](Fleet& f) { return f.server.AddShares(1, sent[0]); }, {"sharing"}},
      {"CloseSharing",
       [&](Fleet& f) {
         for (std::uint32_t i = 1; i <= kMembers; ++i) (void)f.server.AddShares(i, sent[i - 1]);
         return f.server.CloseSharing();
       },
       {"sharing"}},
      {"Inbox", [](Fleet& f) { return StatusOf(f.server.Inbox(1)); }, {"collecting"}},
      {"AddUpload", [](Fleet& f) { return f.server.AddUpload(1); }, {"collecting"}},
      {"CloseUploads",
       [](Fleet& f) {
         for (std::uint32_t i = 1; i <= kThreshold; ++i) (void)f.server.AddUpload(i);
         return f.server.CloseUploads();
       },
       {"collecting"}},
      {"AddAnswer", [&](Fleet& f) { return f.server.AddAnswer(1, answer); }, {"unmasking"}},
      {"Unmask",
       [](Fleet& f) {
         const bool unmasking = f.server.state() == "unmasking";
         for (const std::uint32_t i : {1U, 2U, 3U}) {
           if (unmasking) (void)f.server.AddAnswer(i, f.client(i).Unmask(std::vector<std::uint32_t>{1, 2, 3}).value());
         }
         return f.server.Unmask(f.sum, nullptr);
       },
       {"unmasking"}},
  };
  const std::vector<std::string_view> states{"advertising", "sharing", "collecting", "unmasking", "done"};
  for (std::size_t steps = 0; steps < states.size(); ++steps) {
    for (const Case& c : cases) {
      SCOPED_TRACE(std::string(c.message) + " in " + std::string(states[steps]));
      const auto fleet = FleetAfter(static_cast<int>(steps));
      ASSERT_EQ(fleet->server.state(), states[steps]);
      const Words before = fleet->sum;
      const Status status = c.send(*fleet);
      EXPECT_EQ(status.ok(), c.expected_in.contains(states[steps])) << status.ToString();
      if (status.ok()) continue;
      EXPECT_EQ(status.reason(), "WRONG_PHASE");
      EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
      EXPECT_EQ(fleet->server.state(), states[steps]);
      EXPECT_EQ(fleet->sum, before);
    }
  }
}

TEST(ServerStates, RepetitionsSucceedAndContradictionsDoNot) {
  auto fleet = FleetAfter(1);
  const auto shares = fleet->client(1).ShareKeys(fleet->server.Setup(1).value()).value();
  ASSERT_TRUE(fleet->server.AddShares(1, shares).ok());
  EXPECT_TRUE(fleet->server.AddShares(1, shares).ok());
  auto others = shares;
  others[0].ciphertext[0] ^= std::byte{1};
  EXPECT_EQ(fleet->server.AddShares(1, others).reason(), "ALREADY_SUBMITTED");
  EXPECT_EQ(fleet->server.shared_count(), 1U);

  fleet = FleetAfter(2);
  ASSERT_TRUE(fleet->server.AddUpload(2).ok());
  EXPECT_TRUE(fleet->server.AddUpload(2).ok());
  EXPECT_EQ(fleet->server.survivors(), std::vector<std::uint32_t>{2});

  fleet = FleetAfter(3);
  UnmaskAnswer answer = fleet->client(1).Unmask(fleet->server.survivors()).value();
  ASSERT_TRUE(fleet->server.AddAnswer(1, answer).ok());
  std::swap(answer.self_mask_shares[0], answer.self_mask_shares[1]);
  EXPECT_TRUE(fleet->server.AddAnswer(1, answer).ok()) << "the order does not matter";
  answer.mask_key_shares[0].share[0] ^= std::byte{1};
  EXPECT_EQ(fleet->server.AddAnswer(1, answer).reason(), "ALREADY_SUBMITTED");
  EXPECT_EQ(fleet->server.answer_count(), 1U);
  EXPECT_FALSE(fleet->server.CanUnmask());
}

// A server that is told the same things again, as after a restart, takes the round to the same end.
TEST(ServerStates, ReplayGivesTheSameSum) {
  auto fleet = FleetAfter(4);
  Server replayed = Server::Create({"round-7", kLength, kMembersMax}).value();
  Fleet twin(kMembers, kThreshold, kLength, 77);  // the same seed: the same messages
  ASSERT_TRUE(twin.AdvertiseAndClose().ok());
  ASSERT_TRUE(twin.ShareAndClose().ok());
  ASSERT_TRUE(twin.UploadAndClose({4}).ok());
  Fleet again(kMembers, kThreshold, kLength, 77);
  for (Client& client : again.clients) ASSERT_TRUE(replayed.AddAdvert(client.AdvertiseKeys().value()).has_value());
  ASSERT_TRUE(replayed.CloseRoster(kThreshold).ok());
  for (std::uint32_t i = 1; i <= kMembers; ++i) ASSERT_TRUE(replayed.AddShares(i, twin.sent[i - 1]).ok());
  ASSERT_TRUE(replayed.CloseSharing().ok());
  for (const std::uint32_t i : {3U, 1U, 2U}) ASSERT_TRUE(replayed.AddUpload(i).ok());
  ASSERT_TRUE(replayed.CloseUploads().ok());
  for (const std::uint32_t i : {2U, 1U, 3U}) {
    ASSERT_TRUE(replayed.AddAnswer(i, twin.client(i).Unmask(std::vector<std::uint32_t>{1, 2, 3}).value()).ok());
  }
  ASSERT_TRUE(replayed.Unmask(twin.sum, nullptr).ok());
  EXPECT_EQ(twin.sum, fleet->sum);
}

}  // namespace
}  // namespace edgefleet::secagg
