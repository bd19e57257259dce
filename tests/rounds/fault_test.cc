// The disk fails under a round: no device is answered before its message is kept, a round that cannot be kept ends, nothing of
// it stays, and once the disk works the next round, or this one, commits.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <latch>

#include "tests/rounds/cohort.h"
#include "tests/support/faulty_disk.h"

namespace edgefleet::rounds {
namespace {

using secagg::Adversary;
using testing::FaultyDisk;
using Call = FaultyDisk::Call;

constexpr std::size_t kDevices = 20;

Status Say(Cohort& cohort, std::size_t number, Phase phase) {
  SimDevice& device = cohort.device(number);
  if (phase == Phase::kSelecting) return device.Advertise(cohort.round());
  if (phase == Phase::kTraining) return device.Share(cohort.round());
  if (phase == Phase::kCollecting) return device.Upload(cohort.round());
  if (phase == Phase::kConfirming) return device.Confirm(cohort.round());
  return device.Unmask(cohort.round());
}

void Pass(World& world, Millis time) {
  const WallTime end = world.clock.Now() + time;
  ASSERT_TRUE(world.UntilWithTime([&] { return world.clock.Now() >= end; }));
}

void ExpectNothingLeft(World& world, const std::string& round_id) {
  EXPECT_TRUE(world.UntilWithTime([&] { return !std::filesystem::exists(world.JournalOf(round_id).parent_path()); }));
  EXPECT_FALSE(std::filesystem::exists(world.CandidateOf(round_id)));
  EXPECT_TRUE(world.UntilWithTime([&] { return world.selector.closed(round_id); }));
  EXPECT_FALSE(std::filesystem::exists(world.spool->RoundFolder(round_id)));
}

void ExpectCommitted(World& world, Cohort& cohort, const std::string& round_id) {
  const Round round = world.GetRound(round_id);
  ASSERT_EQ(round.phase, Phase::kCommitted) << round.failure_reason << ": " << round.failure_detail;
  EXPECT_EQ(world.registry.Parameters(2), cohort.Exact(kDevices));
  EXPECT_EQ(world.registry.versions(), 2U);
  ExpectNothingLeft(world, round_id);
}

// --- a full disk is waited for ---

struct Full {
  Phase phase;
  Adversary adversary;
  bool restart;
};

class FullDiskTest : public ::testing::TestWithParam<Full> {};

TEST_P(FullDiskTest, NobodyIsAcknowledgedAndNoPhaseEndsUntilThereIsSpace) {
  const Full& full = GetParam();
  World world;
  const std::string first = MakeRoundId(world.StartTask(SturdySpec(full.adversary)), 1);
  Cohort cohort(world, first);
  cohort.PlayTo(full.phase, {});
  if (full.phase == Phase::kCollecting) cohort.Mask(kDevices);
  FaultyDisk disk;
  disk.Break(Call::kWrite, "/journal", ENOSPC);
  for (int repetition = 0; repetition < 2; ++repetition) {
    for (std::size_t i = 1; i <= kDevices; ++i) {
      const Status said = Say(cohort, i, full.phase);
      if (said.reason() == "NOT_ASKED") continue;
      // The threshold ends CONFIRMING: the closing waits for space as well, and whoever comes meanwhile is told to come again.
      if (full.phase == Phase::kConfirming && said.reason() == "ROUND_BUSY") continue;
      EXPECT_EQ(said.reason(), "DISK_FULL") << i;
      EXPECT_EQ(said.code(), StatusCode::kResourceExhausted);
      EXPECT_TRUE(said.retry_after().has_value());
    }
  }
  ASSERT_NO_FATAL_FAILURE(Pass(world, Millis(3'000)));
  EXPECT_EQ(world.GetRound(first).phase, full.phase);
  if (full.restart) {
    world.KillProcess();
    cohort.Forget();
    world.StartProcess();
    ASSERT_NO_FATAL_FAILURE(Pass(world, Millis(3'000)));
    EXPECT_EQ(world.GetRound(first).phase, full.phase);
  }
  EXPECT_GT(disk.faults(), 0U);
  disk.Mend();
  cohort.Play({});
  ExpectCommitted(world, cohort, first);
}

std::vector<Full> Fulls() {
  std::vector<Full> fulls;
  for (const bool restart : {false, true}) {
    for (const Phase phase : {Phase::kSelecting, Phase::kTraining, Phase::kUnmasking}) {
      fulls.push_back({phase, Adversary::kSemiHonest, restart});
    }
    for (const Phase phase : {Phase::kCollecting, Phase::kConfirming}) fulls.push_back({phase, Adversary::kActive, restart});
  }
  return fulls;
}

INSTANTIATE_TEST_SUITE_P(Phases, FullDiskTest, ::testing::ValuesIn(Fulls()), [](const auto& param_info) {
  return std::string(PhaseName(param_info.param.phase)) + (param_info.param.restart ? "Restarted" : "");
});

TEST(Fault, ASumThatDoesNotFitOnTheDiskIsWrittenLater) {
  World world;
  const std::string first = MakeRoundId(world.StartTask(SturdySpec(Adversary::kSemiHonest)), 1);
  Cohort cohort(world, first);
  cohort.PlayTo(Phase::kCollecting, {});
  FaultyDisk disk;
  disk.Break(Call::kWrite, "/sum.tmp", ENOSPC);
  cohort.Step(Phase::kCollecting, kDevices);
  ASSERT_NO_FATAL_FAILURE(Pass(world, Millis(3'000)));
  EXPECT_GT(disk.faults(), 1U);
  EXPECT_EQ(world.GetRound(first).phase, Phase::kCollecting);
  disk.Mend();
  cohort.Play({});
  ExpectCommitted(world, cohort, first);
}

// --- any other failure ends the round ---

struct Lost {
  const char* name;
  Phase phase;
  Adversary adversary;
  Call call;
  const char* path_end;
  const char* reason;
};

class LostDiskTest : public ::testing::TestWithParam<Lost> {};

TEST_P(LostDiskTest, TheRoundFailsAndTheNextOneCommits) {
  const Lost& lost = GetParam();
  World world;
  const std::string task = world.StartTask(SturdySpec(lost.adversary));
  const std::string first = MakeRoundId(task, 1);
  Cohort cohort(world, first);
  cohort.PlayTo(lost.phase, {});
  if (lost.phase == Phase::kCollecting) cohort.Mask(kDevices);
  FaultyDisk disk;
  disk.Break(lost.call, lost.path_end, EIO);
  for (std::size_t i = 1; i <= kDevices; ++i) {
    const Status said = Say(cohort, i, lost.phase);
    EXPECT_FALSE(said.ok() && lost.call == Call::kWrite) << i;
  }
  ASSERT_TRUE(world.UntilWithTime([&] { return IsFinal(world.GetRound(first).phase); }));
  EXPECT_GT(disk.faults(), 0U);
  disk.Mend();
  EXPECT_EQ(world.GetRound(first).phase, Phase::kFailed);
  EXPECT_EQ(world.GetRound(first).failure_reason, lost.reason) << world.GetRound(first).failure_detail;
  EXPECT_EQ(world.registry.versions(), 1U);
  ExpectNothingLeft(world, first);
  const auto told = cohort.device(1).Poll(cohort.round(), Phase::kSelecting);
  ASSERT_TRUE(told) << told.error().ToString();
  EXPECT_EQ(told->failure_reason, lost.reason);
  cohort.Forget();
  Cohort next(world, MakeRoundId(task, 2));
  next.Play({});
  ExpectCommitted(world, next, MakeRoundId(task, 2));
}

INSTANTIATE_TEST_SUITE_P(
    Places, LostDiskTest,
    ::testing::Values(
        Lost{"AppendSelecting", Phase::kSelecting, Adversary::kSemiHonest, Call::kWrite, "/journal", failure::kJournalLost},
        Lost{"AppendTraining", Phase::kTraining, Adversary::kSemiHonest, Call::kWrite, "/journal", failure::kJournalLost},
        Lost{"AppendCollecting", Phase::kCollecting, Adversary::kActive, Call::kWrite, "/journal", failure::kJournalLost},
        Lost{"AppendConfirming", Phase::kConfirming, Adversary::kActive, Call::kWrite, "/journal", failure::kJournalLost},
        Lost{"AppendUnmasking", Phase::kUnmasking, Adversary::kSemiHonest, Call::kWrite, "/journal", failure::kJournalLost},
        Lost{"SyncSelecting", Phase::kSelecting, Adversary::kSemiHonest, Call::kSync, "/journal", failure::kJournalLost},
        Lost{"SyncTraining", Phase::kTraining, Adversary::kSemiHonest, Call::kSync, "/journal", failure::kJournalLost},
        Lost{"SyncCollecting", Phase::kCollecting, Adversary::kSemiHonest, Call::kSync, "/journal", failure::kJournalLost},
        Lost{"SyncOfAnUpload", Phase::kCollecting, Adversary::kActive, Call::kSync, "/journal", failure::kJournalLost},
        Lost{"SyncConfirming", Phase::kConfirming, Adversary::kActive, Call::kSync, "/journal", failure::kJournalLost},
        Lost{"SyncUnmasking", Phase::kUnmasking, Adversary::kSemiHonest, Call::kSync, "/journal", failure::kJournalLost},
        Lost{"WriteOfTheSum", Phase::kCollecting, Adversary::kSemiHonest, Call::kSync, "/sum.tmp", failure::kAggregationFailed},
        Lost{"WriteOfAnUpload", Phase::kCollecting, Adversary::kSemiHonest, Call::kWrite, ".part", failure::kTooFewUpdates}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

// --- uploads share syncs ---

// All but the first upload come while the first one's sync runs: one more sync is enough for them, and none counts before.
TEST(Fault, UploadsThatComeDuringASyncShareTheNext) {
  World world;
  const std::string first = MakeRoundId(world.StartTask(SturdySpec(Adversary::kActive)), 1);
  Cohort cohort(world, first);
  cohort.PlayTo(Phase::kCollecting, {});
  cohort.Mask(kDevices);
  std::latch began(1), allowed(1);
  std::atomic<std::size_t> syncs = 0, counted = 0;
  FaultyDisk disk;
  disk.WatchSyncs("/journal", [&] {
    if (++syncs == 1) began.count_down();
    allowed.wait();
  });
  const std::size_t uploads = kDevices - 1;  // the phase stays open
  for (std::size_t i = 1; i <= uploads; ++i) {
    SimDevice& device = cohort.device(i);
    auto upload = Await<std::shared_ptr<Upload>>([&](auto answer) {
      cohort.round().BeginUpload(device.who(), device.HeaderOf(crypto::Sha256(device.masked()), 0), answer);
    });
    ASSERT_TRUE(upload) << upload.error().ToString();
    ASSERT_TRUE((*upload)->Append(device.masked()).ok());
    (*upload)->Finish([&](const Result<aggregation::UploadProgress>& progress) {
      EXPECT_TRUE(progress && progress->complete);
      ++counted;
    });
    if (i == 1) began.wait();
  }
  ASSERT_TRUE(cohort.device(1).Poll(cohort.round(), Phase::kTraining));  // behind all that the strand had to do
  EXPECT_EQ(counted, 0U);
  EXPECT_EQ(syncs, 1U);
  allowed.count_down();
  EXPECT_TRUE(world.Until([&] { return counted == uploads; }));
  EXPECT_EQ(syncs, 2U);
  disk.Mend();
  cohort.Play({});
  ExpectCommitted(world, cohort, first);
}

}  // namespace
}  // namespace edgefleet::rounds
