// The aggregator is killed in every phase: the round it ran ends exactly one way, and the next one succeeds.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/rounds/world.h"

namespace edgefleet::rounds {
namespace {

TaskSpec SpecOf() {
  TaskSpec spec = SampleSpec();
  spec.participants_min = 8;
  spec.failed_rounds_max = 3;
  return spec;
}

// What holds the round where it is to be killed, and how it must end.
struct Kill {
  const char* name;
  Phase phase;
  void (*hold)(FakeRegistry&);
  bool lose_candidate;
  bool commit_intended;
  Phase outcome;
};

class KillTest : public testing::TestWithParam<Kill> {};

TEST_P(KillTest, TheRoundEndsOnceAndTheNextSucceeds) {
  const Kill& kill = GetParam();
  World world;
  const std::string task = world.StartTask(SpecOf());
  const std::string first = MakeRoundId(task, 1);
  {
    Cohort cohort(world, first);
    cohort.PlayTo(std::min(kill.phase, Phase::kUnmasking), {});
    kill.hold(world.registry);
    if (kill.phase > Phase::kUnmasking) {
      cohort.Unmask(20);
      ASSERT_TRUE(world.UntilWithTime([&] { return world.GetRound(first).phase == kill.phase; }));
    }
    if (kill.commit_intended) {
      ASSERT_TRUE(world.Until([&] { return !world.GetRound(first).commit_request_id.empty(); }));
    }
    if (kill.lose_candidate) {
      ASSERT_TRUE(world.Until([&] { return world.registry.versions() == (kill.outcome == Phase::kCommitted ? 2U : 1U); }));
    }
  }
  world.KillProcess();
  if (kill.lose_candidate) std::filesystem::remove(world.CandidateOf(first));
  world.registry.down = world.registry.evaluate_down = world.registry.commit_down = world.registry.lose_answers = false;
  world.selector.Restart();
  world.StartProcess();

  ASSERT_TRUE(world.UntilWithTime([&] { return IsFinal(world.GetRound(first).phase); }));
  const Round round = world.GetRound(first);
  EXPECT_EQ(round.phase, kill.outcome);
  EXPECT_EQ(round.failure_reason, kill.outcome == Phase::kFailed ? failure::kAggregatorRestarted : "");
  EXPECT_EQ(round.new_version, kill.outcome == Phase::kCommitted ? 2U : 0U);
  EXPECT_EQ(world.registry.versions(), kill.outcome == Phase::kCommitted ? 2U : 1U);
  EXPECT_LE(world.store->ListLedger(task)->size(), 1U);
  EXPECT_TRUE(world.UntilWithTime([&] { return world.selector.closed(first); }));
  EXPECT_FALSE(std::filesystem::exists(world.CandidateOf(first)));
  EXPECT_TRUE(world.Until([&] { return world.spool->bytes_reserved() == 0; }));

  if (kill.outcome == Phase::kFailed) {
    const Round second = Cohort(world, MakeRoundId(task, 2)).Play({});
    EXPECT_EQ(second.phase, Phase::kCommitted) << second.failure_reason << ": " << second.failure_detail;
  }
  ASSERT_TRUE(world.UntilWithTime([&] { return world.GetTask(task).state == TaskState::kDone; }));
  EXPECT_EQ(world.GetTask(task).rounds_committed, 1U);
  EXPECT_EQ(world.GetTask(task).current_version, 2U);
}

void HoldNothing(FakeRegistry&) {}
void HoldBase(FakeRegistry& registry) { registry.down = true; }
void HoldEvaluation(FakeRegistry& registry) { registry.evaluate_down = true; }
void HoldCommit(FakeRegistry& registry) { registry.commit_down = true; }
void LoseAnswer(FakeRegistry& registry) { registry.lose_answers = true; }

INSTANTIATE_TEST_SUITE_P(
    Phases, KillTest,
    testing::Values(Kill{"Selecting", Phase::kSelecting, HoldNothing, false, false, Phase::kFailed},
                    Kill{"Training", Phase::kTraining, HoldNothing, false, false, Phase::kFailed},
                    Kill{"Collecting", Phase::kCollecting, HoldNothing, false, false, Phase::kFailed},
                    Kill{"Unmasking", Phase::kUnmasking, HoldNothing, false, false, Phase::kFailed},
                    Kill{"Aggregating", Phase::kAggregating, HoldBase, false, false, Phase::kFailed},
                    Kill{"Validating", Phase::kValidating, HoldEvaluation, false, false, Phase::kFailed},
                    Kill{"CommitAskedNotDone", Phase::kValidating, HoldCommit, false, true, Phase::kCommitted},
                    Kill{"CommitDoneAnswerLost", Phase::kValidating, LoseAnswer, false, true, Phase::kCommitted},
                    Kill{"OtherHostCommitDone", Phase::kValidating, LoseAnswer, true, true, Phase::kCommitted},
                    Kill{"OtherHostCommitNotDone", Phase::kValidating, HoldCommit, true, true, Phase::kFailed}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(Recovery, ARoundThatWaitsForItsCommitNeitherFailsNorEndsTwice) {
  World world;
  const std::string task = world.StartTask(SpecOf());
  Cohort cohort(world, MakeRoundId(task, 1));
  cohort.PlayTo(Phase::kUnmasking, {});
  world.registry.lose_answers = true;
  cohort.Unmask(20);
  ASSERT_TRUE(world.UntilWithTime([&] { return world.registry.versions() == 2; }));
  const WallTime begin = world.clock.Now();
  ASSERT_TRUE(world.UntilWithTime([&] { return world.clock.Now() > begin + std::chrono::hours(1); }, Millis(10'000)));
  EXPECT_EQ(world.GetRound(MakeRoundId(task, 1)).phase, Phase::kValidating);
  ASSERT_TRUE(world.coordinator->CancelTask("cancel", task));
  world.registry.lose_answers = false;
  ASSERT_TRUE(cohort.Enter(Phase::kCommitted));
  EXPECT_EQ(world.registry.versions(), 2U);
  EXPECT_EQ(world.GetTask(task).state, TaskState::kCancelled);
}

TEST(Recovery, AnOrderlyStopLeavesTheTaskToTheNextProcess) {
  World world;
  const std::string task = world.StartTask(SpecOf());
  {
    Cohort cohort(world, MakeRoundId(task, 1));
    cohort.PlayTo(Phase::kCollecting, {});
    auto waiting = std::make_shared<std::promise<std::string>>();
    cohort.round().AwaitPhase(
        cohort.device(1).who(), Phase::kCollecting, Millis(30'000),
        [waiting](Result<PhaseUpdate> update) { waiting->set_value(update ? "update" : update.error().reason()); });
    world.coordinator->Drain();
    EXPECT_EQ(waiting->get_future().get(), "STOPPING");
    EXPECT_EQ(world.coordinator->CreateTask("late", "print", SpecOf()).error().reason(), "STOPPING");
  }
  world.StopProcess();
  world.StartProcess();
  const Round second = Cohort(world, MakeRoundId(task, 2)).Play({});
  EXPECT_EQ(second.phase, Phase::kCommitted);
  EXPECT_EQ(world.GetRound(MakeRoundId(task, 1)).failure_reason, failure::kAggregatorRestarted);
}

TEST(Recovery, ASelectorThatForgotItsSelectionIsAskedAgain) {
  World world;
  world.selector.down = true;
  const std::string task = world.StartTask(SpecOf());
  world.Reach(MakeRoundId(task, 1), Phase::kSelecting);
  world.clock.Advance(Millis(30'000));
  world.selector.down = false;
  world.selector.Restart();
  EXPECT_EQ(Cohort(world, MakeRoundId(task, 1)).Play({}).phase, Phase::kCommitted);
}

}  // namespace
}  // namespace edgefleet::rounds
