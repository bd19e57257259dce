#include "aggregator/rounds/task.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tests/rounds/sample.h"

namespace edgefleet::rounds {
namespace {

struct BadTask {
  const char* field;  // what the message names
  std::function<void(TaskSpec&)> spoil;
};

TEST(CheckTask, AcceptsTheSample) { EXPECT_TRUE(CheckTask(SampleSpec()).ok()); }

TEST(CheckTask, NamesTheFieldThatIsWrong) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const BadTask cases[] = {
      {"model", [](TaskSpec& s) { s.model = "Bad Name"; }},
      {"model", [](TaskSpec& s) { s.model = std::string(64, 'a'); }},
      {"alias", [](TaskSpec& s) { s.alias = ""; }},
      {"rounds", [](TaskSpec& s) { s.rounds = 0; }},
      {"rounds", [](TaskSpec& s) { s.rounds = 100'001; }},
      {"cohort_size", [](TaskSpec& s) { s.cohort.cohort_size = 1; }},
      {"cohort_size", [](TaskSpec& s) { s.cohort.cohort_size = 4000, s.cohort.over_provision = 2; }},
      {"over_provision", [](TaskSpec& s) { s.cohort.over_provision = 0.5; }},
      {"over_provision", [&](TaskSpec& s) { s.cohort.over_provision = nan; }},
      {"stratify_by", [](TaskSpec& s) { s.cohort.stratify_by = {"colour"}; }},
      {"regions", [](TaskSpec& s) { s.cohort.regions.assign(65, "eu"); }},
      {"participants_min", [](TaskSpec& s) { s.participants_min = 1; }},
      {"participants_min", [](TaskSpec& s) { s.participants_min = s.cohort.cohort_size + 1; }},
      {"epochs", [](TaskSpec& s) { s.epochs = 0; }},
      {"batch_size", [](TaskSpec& s) { s.batch_size = 0; }},
      {"learning_rate", [](TaskSpec& s) { s.learning_rate = 0; }},
      {"learning_rate", [&](TaskSpec& s) { s.learning_rate = nan; }},
      {"proximal_mu", [](TaskSpec& s) { s.proximal_mu = -1; }},
      {"example_count_max", [](TaskSpec& s) { s.example_count_max = 0; }},
      {"example_count_max", [](TaskSpec& s) { s.example_count_max = 1'000'000'001; }},
      {"clip_norm", [](TaskSpec& s) { s.privacy.clip_norm = 0; }},
      {"noise_multiplier", [](TaskSpec& s) { s.privacy.noise_multiplier = -1; }},
      {"delta", [](TaskSpec& s) { s.privacy.delta = 0; }},
      {"delta", [](TaskSpec& s) { s.privacy.delta = 1; }},
      {"epsilon_max", [](TaskSpec& s) { s.privacy.epsilon_max = 1, s.privacy.noise_multiplier = 0; }},
      {"epsilon_max", [](TaskSpec& s) { s.privacy.epsilon_max = 1, s.privacy.noise_multiplier = 0.1; }},
      {"server_learning_rate", [](TaskSpec& s) { s.server_learning_rate = -1; }},
      {"accuracy_drop_max", [](TaskSpec& s) { s.accuracy_drop_max = 1.5; }},
      {"selecting_ms_max", [](TaskSpec& s) { s.selecting_ms_max = -5; }},
      {"unmasking_ms_max", [](TaskSpec& s) { s.unmasking_ms_max = 1'000'000'000; }},
      {"failed_rounds_max", [](TaskSpec& s) { s.failed_rounds_max = 0; }},
  };
  for (const auto& bad : cases) {
    TaskSpec spec = SampleSpec();
    bad.spoil(spec);
    const Status status = CheckTask(spec);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << bad.field;
    EXPECT_EQ(status.reason(), "BAD_TASK") << bad.field;
    EXPECT_NE(status.message().find(bad.field), std::string::npos) << bad.field << ": " << status.message();
  }
}

TEST(Task, AssignsNoMoreThanTheRoundedProduct) {
  TaskSpec spec = SampleSpec();
  spec.cohort.cohort_size = 10;
  spec.cohort.over_provision = 1.1;
  EXPECT_EQ(AssignedMax(spec), 11U);
  spec.cohort.over_provision = 1.11;
  EXPECT_EQ(AssignedMax(spec), 12U);
}

TEST(Task, NeedsTheMinimumAndMoreThanHalfOfTheRoster) {
  TaskSpec spec = SampleSpec();
  spec.participants_min = 5;
  EXPECT_EQ(MembersNeeded(spec, 20), 11U);
  EXPECT_EQ(MembersNeeded(spec, 6), 5U);
  EXPECT_EQ(MembersNeeded(spec, 2), 5U);
}

TEST(Task, EpsilonGrowsWithRoundsAndIsInfiniteWithoutNoise) {
  PrivacySpec privacy{.clip_norm = 1, .noise_multiplier = 2, .delta = 1e-5};
  EXPECT_EQ(EpsilonAfter(privacy, 0), 0);
  EXPECT_GT(EpsilonAfter(privacy, 1), 0);
  EXPECT_GT(EpsilonAfter(privacy, 2), EpsilonAfter(privacy, 1));
  privacy.noise_multiplier = 0;
  EXPECT_TRUE(std::isinf(EpsilonAfter(privacy, 1)));
}

TEST(Task, RoundsDrawFromDifferentSeeds) {
  EXPECT_EQ(RoundSeed(7, 3), RoundSeed(7, 3));
  EXPECT_NE(RoundSeed(7, 3), RoundSeed(7, 4));
  EXPECT_NE(RoundSeed(7, 3), RoundSeed(8, 3));
}

}  // namespace
}  // namespace edgefleet::rounds
