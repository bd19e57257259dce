// The machine is lost and what comes back of its disk is cut off, old or gone: a round goes on exactly, or fails and the task
// goes on with its next one.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "tests/rounds/cohort.h"

namespace edgefleet::rounds {
namespace {

namespace fs = std::filesystem;
using secagg::Adversary;

constexpr std::size_t kDevices = 20;
constexpr std::size_t kHeard = 9;  // devices whose message of the present phase was acknowledged

// The data folder as it was once.
class Snapshot {
 public:
  explicit Snapshot(fs::path folder) : folder_(std::move(folder)), copy_(folder_.string() + "-copy") {
    fs::copy(folder_, copy_, fs::copy_options::recursive);
  }
  ~Snapshot() { fs::remove_all(copy_); }
  void Restore() const {
    fs::remove_all(folder_);
    fs::copy(copy_, folder_, fs::copy_options::recursive);
  }

 private:
  const fs::path folder_, copy_;
};

// Where records end, by their sizes (journal.h).
std::vector<std::uint64_t> RecordEnds(ByteView journal) {
  constexpr std::size_t kHeadBytes = 32;
  std::vector<std::uint64_t> ends = {kHeadBytes};
  while (ends.back() + kHeadBytes <= journal.size()) {
    std::uint32_t size = 0;
    std::memcpy(&size, journal.data() + ends.back(), sizeof size);
    ends.push_back(ends.back() + kHeadBytes + size);
  }
  EXPECT_EQ(ends.back(), journal.size());
  return ends;
}

std::uint64_t SyncedLength(ByteView journal) {
  std::uint64_t synced = 0;
  std::memcpy(&synced, journal.data() + 16, sizeof synced);
  return synced;
}

struct Cut {
  Phase phase;
  Adversary adversary;
};

class CutTest : public ::testing::TestWithParam<Cut> {};

// At a record's end, a byte before and behind it, and in the middle of it: of each record that was not synced, and of some that
// were.
TEST_P(CutTest, AJournalCutOffAnywhereGoesOnOrEndsTheRound) {
  World world;
  const std::string task = world.StartTask(SturdySpec(GetParam().adversary));
  const std::string first = MakeRoundId(task, 1);
  Cohort cohort(world, first);
  cohort.PlayTo(GetParam().phase, {});
  cohort.Step(GetParam().phase, kHeard);
  world.KillProcess();
  cohort.Forget();
  const Snapshot snapshot(world.spool_folder().parent_path());
  const Bytes journal = ReadFile(world.JournalOf(first), 1 << 24).value();
  const std::uint64_t synced = SyncedLength(journal);
  std::set<std::uint64_t> cuts = {0, 1, 31};
  const auto ends = RecordEnds(journal);
  for (std::size_t i = 0; i < ends.size(); ++i) {
    if (ends[i] < synced && i % 8 != 0) continue;
    cuts.insert({ends[i] - 1, ends[i]});
    if (ends[i] < journal.size()) cuts.insert({ends[i] + 1, (ends[i] + ends[i + 1]) / 2});
  }
  std::size_t resumed = 0;
  for (const std::uint64_t cut : cuts) {
    snapshot.Restore();
    fs::resize_file(world.JournalOf(first), cut);
    world.StartProcess();
    ASSERT_TRUE(world.Until([&] { return IsFinal(world.GetRound(first).phase) || world.coordinator->FindRound(first); }))
        << cut;
    const Round round = world.GetRound(first);
    if (round.phase == Phase::kFailed) {
      EXPECT_EQ(round.failure_reason, failure::kAggregatorRestarted);
    } else {
      EXPECT_EQ(round.phase, GetParam().phase) << cut;
      EXPECT_GE(cut, synced) << "what was synced is missing";
      ++resumed;
    }
    EXPECT_EQ(round.phase == Phase::kFailed, cut < synced) << cut << " of " << journal.size() << ", synced " << synced;
    world.KillProcess();
  }
  EXPECT_GT(resumed, kHeard);
  EXPECT_GT(cuts.size(), resumed);
  // What went on goes on to the end, though it has forgotten whom it acknowledged.
  snapshot.Restore();
  fs::resize_file(world.JournalOf(first), synced + (journal.size() - synced) / 2);
  world.StartProcess();
  EXPECT_EQ(cohort.Play({}).phase, Phase::kCommitted);
  EXPECT_EQ(world.registry.Parameters(2), cohort.Exact(kDevices));
}

INSTANTIATE_TEST_SUITE_P(Phases, CutTest,
                         ::testing::Values(Cut{Phase::kTraining, Adversary::kSemiHonest},
                                           Cut{Phase::kConfirming, Adversary::kActive},
                                           Cut{Phase::kUnmasking, Adversary::kSemiHonest}),
                         [](const auto& param_info) { return std::string(PhaseName(param_info.param.phase)); });

// --- what is old, cut off or gone besides ---

struct Loss {
  const char* name;
  void (*lose)(World& world, const std::string& round_id, const Bytes& old_sum);
};

class SumLossTest : public ::testing::TestWithParam<Loss> {};

fs::path SumOf(World& world, const std::string& round_id) {
  return world.spool_folder() / crypto::Sha256Hex(AsBytes(round_id)).substr(0, 32) / "sum";
}

TEST_P(SumLossTest, ASumThatDoesNotHoldTheSurvivorsEndsTheRound) {
  World world;
  const std::string task = world.StartTask(SturdySpec(Adversary::kSemiHonest));
  const std::string first = MakeRoundId(task, 1);
  Cohort cohort(world, first);
  cohort.PlayTo(Phase::kCollecting, {});
  cohort.Step(Phase::kCollecting, 16);  // as many as a checkpoint comes after
  const Bytes old_sum = ReadFile(SumOf(world, first), 1 << 20).value();
  cohort.Step(Phase::kCollecting, kDevices);
  ASSERT_TRUE(cohort.Enter(Phase::kUnmasking));
  world.KillProcess();
  cohort.Forget();
  GetParam().lose(world, first, old_sum);
  world.StartProcess();
  ASSERT_TRUE(world.UntilWithTime([&] { return IsFinal(world.GetRound(first).phase); }));
  EXPECT_EQ(world.GetRound(first).failure_reason, failure::kAggregatorRestarted);
  EXPECT_EQ(world.registry.versions(), 1U);
  EXPECT_FALSE(fs::exists(SumOf(world, first).parent_path()));
  EXPECT_EQ(Cohort(world, MakeRoundId(task, 2)).Play({}).phase, Phase::kCommitted);
}

INSTANTIATE_TEST_SUITE_P(Losses, SumLossTest,
                         ::testing::Values(Loss{"Old",
                                                [](World& world, const std::string& round_id, const Bytes& old_sum) {
                                                  ASSERT_TRUE(WriteFileAtomic(SumOf(world, round_id), old_sum).ok());
                                                }},
                                           Loss{"Gone", [](World& world, const std::string& round_id,
                                                           const Bytes&) { ASSERT_TRUE(fs::remove(SumOf(world, round_id))); }},
                                           Loss{"CutOff",
                                                [](World& world, const std::string& round_id, const Bytes&) {
                                                  fs::resize_file(SumOf(world, round_id),
                                                                  fs::file_size(SumOf(world, round_id)) - 1);
                                                }},
                                           Loss{"Everything",
                                                [](World& world, const std::string& round_id, const Bytes&) {
                                                  fs::remove_all(world.JournalOf(round_id).parent_path());
                                                  fs::remove_all(SumOf(world, round_id).parent_path());
                                                }}),
                         [](const auto& param_info) { return std::string(param_info.param.name); });

}  // namespace
}  // namespace edgefleet::rounds
