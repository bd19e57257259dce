// Every message in every state, on both sides and in both variants: what a state does not expect is refused and changes
// nothing.
#include <gtest/gtest.h>

#include <functional>

#include "tests/secagg/fleet.h"

namespace edgefleet::secagg {
namespace {

using testing::BitmapOf;
using testing::Fleet;
using testing::FleetOptions;
using testing::LeavingOut;
using testing::Words;

constexpr std::uint32_t kMembers = 5, kThreshold = 3;
constexpr std::uint64_t kLength = 6;
const std::vector<std::uint32_t> kSurvivors{1, 2, 3, 4};  // member 5 drops before its upload

FleetOptions Options(Adversary adversary) {
  // All survivors are in the committee: member 5 drops out before its upload.
  return LeavingOut(
      {.members = kMembers, .graph = {4, kThreshold}, .vector_length = kLength, .adversary = adversary, .seed = 77}, 5);
}

// A fleet after so many steps: advertised, shared, uploaded, confirmed (active), unmasked.
std::unique_ptr<Fleet> FleetAfter(Adversary adversary, int steps) {
  auto fleet = std::make_unique<Fleet>(Options(adversary));
  EXPECT_TRUE(steps < 1 || fleet->AdvertiseAndClose().ok());
  EXPECT_TRUE(steps < 2 || fleet->ShareAndClose().ok());
  EXPECT_TRUE(steps < 3 || fleet->UploadAndClose({5}).ok());
  if (fleet->active()) {
    EXPECT_TRUE(steps < 4 || fleet->ConfirmAndClose().ok());
    EXPECT_TRUE(steps < 5 || fleet->AnswerAndUnmask().ok());
  } else {
    EXPECT_TRUE(steps < 4 || fleet->AnswerAndUnmask().ok());
  }
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

// `state` tells a fleet's state, `states` are those after 0, 1, 2 ... steps.
void CheckMatrix(Adversary adversary, const std::vector<Case>& cases, const std::vector<std::string_view>& states,
                 const std::function<std::string_view(Fleet&)>& state) {
  for (std::size_t steps = 0; steps < states.size(); ++steps) {
    for (const Case& c : cases) {
      SCOPED_TRACE(std::string(c.message) + " in " + std::string(states[steps]));
      const auto fleet = FleetAfter(adversary, static_cast<int>(steps));
      ASSERT_EQ(state(*fleet), states[steps]);
      const Words before = fleet->sum;
      const Status status = c.send(*fleet);
      EXPECT_EQ(status.ok(), c.expected_in.contains(states[steps])) << status.ToString();
      if (status.ok()) continue;
      EXPECT_EQ(status.reason(), "WRONG_PHASE") << status.ToString();
      EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
      EXPECT_EQ(state(*fleet), states[steps]);
      EXPECT_EQ(fleet->sum, before);
    }
  }
}

class EachVariant : public ::testing::TestWithParam<Adversary> {
 protected:
  bool active() const { return GetParam() == Adversary::kActive; }
  // The number of steps before unmasking.
  int confirmed() const { return active() ? 4 : 3; }
};
INSTANTIATE_TEST_SUITE_P(States, EachVariant, ::testing::Values(Adversary::kSemiHonest, Adversary::kActive));

TEST_P(EachVariant, EachMessageInEachStateOfTheClient) {
  const RoundSetup setup = FleetAfter(GetParam(), 1)->server.Setup(1).value();
  const Inbox inbox = FleetAfter(GetParam(), 2)->server.InboxOf(1).value();
  const UnmaskRequest request = FleetAfter(GetParam(), confirmed())->server.Request(1).value();
  const Bytes survivors = BitmapOf(kSurvivors, kMembers);
  const std::vector<Case> cases{
      {"AdvertiseKeys", [](Fleet& f) { return StatusOf(f.client(1).AdvertiseKeys()); }, {"start", "advertised"}},
      {"ShareKeys", [&](Fleet& f) { return StatusOf(f.client(1).ShareKeys(setup)); }, {"advertised"}},
      {"Mask",
       [&](Fleet& f) {
         Words words(kLength);
         const Status status = StatusOf(f.client(1).Mask(inbox, words));
         EXPECT_EQ(words == Words(kLength), !status.ok()) << "changed in spite of the refusal, or not masked";
         return status;
       },
       {"shared"}},
      {"Confirm", [&](Fleet& f) { return StatusOf(f.client(1).Confirm(survivors)); },
       active() ? std::set<std::string_view>{"masked", "confirmed"} : std::set<std::string_view>{}},
      {"Unmask", [&](Fleet& f) { return StatusOf(f.client(1).Unmask(request)); },
       active() ? std::set<std::string_view>{"masked", "confirmed", "answered"}
                : std::set<std::string_view>{"masked", "answered"}},
  };
  std::vector<std::string_view> states{"start", "advertised", "shared", "masked", "answered"};
  if (active()) states.insert(states.end() - 1, "confirmed");
  CheckMatrix(GetParam(), cases, states, [](Fleet& f) { return f.client(1).state(); });
}

TEST_P(EachVariant, EachMessageInEachStateOfTheServer) {
  const auto sent = FleetAfter(GetParam(), 2)->sent;
  const auto proofs = FleetAfter(GetParam(), 3)->proofs;
  std::vector<UnmaskAnswer> answers;
  std::vector<Confirmation> confirmations;
  const auto done = FleetAfter(GetParam(), confirmed());
  for (const std::uint32_t i : kSurvivors) {
    if (active()) confirmations.push_back(done->client(i).Confirm(BitmapOf(kSurvivors, kMembers)).value());
    answers.push_back(done->client(i).Unmask(done->server.Request(i).value()).value());
  }
  const auto advertise = [](Fleet& f) {
    Status last = OkStatus();
    for (std::uint32_t i = 1; i <= kMembers; ++i) {
      MemoryGuard guard;
      last = StatusOf(f.server.AddAdvert(Client(f.OptionsOf(i), guard, f.random).AdvertiseKeys().value()));
    }
    return last;
  };
  const auto in_active = [this](std::set<std::string_view> states) { return active() ? states : std::set<std::string_view>{}; };
  const std::vector<Case> cases{
      {"AddAdvert", advertise, {"advertising"}},
      {"CloseRoster",
       [&](Fleet& f) {
         static_cast<void>(advertise(f));
         return f.server.CloseRoster(f.options.graph, f.options.survivors_min);
       },
       {"advertising"}},
      {"Setup",
       [](Fleet& f) { return StatusOf(f.server.Setup(1)); },
       {"sharing", "collecting", "confirming", "unmasking", "done"}},
      {"AddShares", [&](Fleet& f) { return f.server.AddShares(1, *sent[0]); }, {"sharing"}},
      {"CloseSharing",
       [&](Fleet& f) {
         for (std::uint32_t i = 1; i <= kMembers; ++i) static_cast<void>(f.server.AddShares(i, *sent[i - 1]));
         return f.server.CloseSharing();
       },
       {"sharing"}},
      {"InboxOf", [](Fleet& f) { return StatusOf(f.server.InboxOf(1)); }, {"collecting"}},
      {"CheckUpload", [&](Fleet& f) { return f.server.CheckUpload(1, proofs[0]); }, {"collecting"}},
      {"AddUpload", [&](Fleet& f) { return f.server.AddUpload(1, proofs[0]); }, {"collecting"}},
      {"CloseUploads",
       [&](Fleet& f) {
         for (const std::uint32_t i : kSurvivors) static_cast<void>(f.server.AddUpload(i, proofs[i - 1]));
         return f.server.CloseUploads();
       },
       {"collecting"}},
      {"AddConfirmation", [&](Fleet& f) { return f.server.AddConfirmation(1, active() ? confirmations[0] : Confirmation{}); },
       in_active({"confirming"})},
      {"CloseConfirmations",
       [&](Fleet& f) {
         for (std::size_t i = 0; i < confirmations.size(); ++i) {
           static_cast<void>(f.server.AddConfirmation(kSurvivors[i], confirmations[i]));
         }
         return f.server.CloseConfirmations();
       },
       in_active({"confirming"})},
      {"Request", [](Fleet& f) { return StatusOf(f.server.Request(1)); }, {"unmasking"}},
      {"AddAnswer", [&](Fleet& f) { return f.server.AddAnswer(1, answers[0]); }, {"unmasking"}},
      {"Unmask",
       [&](Fleet& f) {
         for (std::size_t i = 0; i < answers.size(); ++i) static_cast<void>(f.server.AddAnswer(kSurvivors[i], answers[i]));
         return f.server.Unmask(f.sum, nullptr);
       },
       {"unmasking"}},
  };
  std::vector<std::string_view> states{"advertising", "sharing", "collecting", "unmasking", "done"};
  if (active()) states.insert(states.begin() + 3, "confirming");
  CheckMatrix(GetParam(), cases, states, [](Fleet& f) { return f.server.state(); });
}

TEST_P(EachVariant, RepetitionsSucceedAndContradictionsDoNot) {
  auto fleet = FleetAfter(GetParam(), 1);
  const SharedKeys shared = fleet->client(1).ShareKeys(fleet->server.Setup(1).value()).value();
  ASSERT_TRUE(fleet->server.AddShares(1, shared).ok());
  EXPECT_TRUE(fleet->server.AddShares(1, shared).ok());
  SharedKeys others = shared;
  others.sealed[0] ^= std::byte{1};
  EXPECT_EQ(fleet->server.AddShares(1, others).reason(), "ALREADY_SUBMITTED");
  EXPECT_EQ(fleet->server.shared_count(), 1U);

  fleet = FleetAfter(GetParam(), 2);
  Words words(kLength);
  const UploadProof proof = fleet->client(2).Mask(fleet->server.InboxOf(2).value(), words).value();
  EXPECT_TRUE(fleet->server.CheckUpload(2, proof).ok());
  EXPECT_TRUE(fleet->server.survivors().empty());
  ASSERT_TRUE(fleet->server.AddUpload(2, proof).ok());
  EXPECT_TRUE(fleet->server.AddUpload(2, proof).ok());
  EXPECT_EQ(fleet->server.survivors(), std::vector<std::uint32_t>{2});

  fleet = FleetAfter(GetParam(), confirmed());
  const UnmaskRequest request = fleet->server.Request(1).value();
  UnmaskAnswer answer = fleet->client(1).Unmask(request).value();
  EXPECT_EQ(fleet->client(1).Unmask(request).value().shares, answer.shares);
  ASSERT_TRUE(fleet->server.AddAnswer(1, answer).ok());
  EXPECT_TRUE(fleet->server.AddAnswer(1, answer).ok());
  answer.shares[0] ^= std::byte{1};
  EXPECT_EQ(fleet->server.AddAnswer(1, answer).reason(), "ALREADY_SUBMITTED");
  EXPECT_EQ(fleet->server.answer_count(), 1U);
  EXPECT_FALSE(fleet->server.CanUnmask());
}

// A server that is told the same things again, as after a restart, takes the round to the same end.
TEST_P(EachVariant, ReplayGivesTheSameSum) {
  const auto expected = FleetAfter(GetParam(), confirmed() + 1);
  const auto played = FleetAfter(GetParam(), confirmed());
  Fleet again(Options(GetParam()));  // the same seed: the same messages
  ASSERT_TRUE(again.AdvertiseAndClose().ok());
  Server& replayed = again.server;
  for (const std::uint32_t i : {5U, 3U, 1U, 2U, 4U}) ASSERT_TRUE(replayed.AddShares(i, *played->sent[i - 1]).ok());
  ASSERT_TRUE(replayed.CloseSharing().ok());
  for (const std::uint32_t i : {3U, 1U, 4U, 2U}) ASSERT_TRUE(replayed.AddUpload(i, played->proofs[i - 1]).ok());
  ASSERT_TRUE(replayed.CloseUploads().ok());
  if (active()) {
    const Bytes survivors = replayed.SurvivorBitmap().value();
    for (const std::uint32_t i : {4U, 2U, 1U, 3U}) {
      ASSERT_TRUE(replayed.AddConfirmation(i, played->client(i).Confirm(survivors).value()).ok());
    }
    ASSERT_TRUE(replayed.CloseConfirmations().ok());
  }
  for (const std::uint32_t i : {2U, 1U, 3U, 4U}) {
    ASSERT_TRUE(replayed.AddAnswer(i, played->client(i).Unmask(replayed.Request(i).value()).value()).ok());
  }
  Words sum = played->sum;
  ASSERT_TRUE(replayed.Unmask(sum, nullptr).ok());
  EXPECT_EQ(sum, expected->sum);
}

}  // namespace
}  // namespace edgefleet::secagg
