// The sum that comes out is the plain sum of the survivors' updates, word by word, whoever drops whenever; below the threshold
// nothing comes out.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/executor.h"
#include "secagg/encoding.h"
#include "tests/secagg/fleet.h"

namespace edgefleet::secagg {
namespace {

using testing::Dropouts;
using testing::Fleet;
using testing::Words;

std::set<std::uint32_t> Range(std::uint32_t first, std::uint32_t count) {
  std::set<std::uint32_t> members;
  for (std::uint32_t i = 0; i < count; ++i) members.insert(first + i);
  return members;
}

void ExpectSurvivorsSum(Fleet& fleet, std::size_t survivors) {
  EXPECT_EQ(fleet.server.survivors().size(), survivors);
  EXPECT_EQ(fleet.sum, fleet.PlainSum(fleet.server.survivors()));
  EXPECT_EQ(fleet.server.state(), "done");
}

TEST(Sum, WithoutDropouts) {
  Fleet fleet(5, 3, 33, 1);
  ASSERT_TRUE(fleet.Play().ok());
  ExpectSurvivorsSum(fleet, 5);
}

TEST(Sum, OfTwo) {
  Fleet fleet(2, 2, 2, 2);
  ASSERT_TRUE(fleet.Play().ok());
  ExpectSurvivorsSum(fleet, 2);
}

// One step at a time, every number of dropouts that the threshold allows.
class DropoutsAtStep : public ::testing::TestWithParam<int> {};

TEST_P(DropoutsAtStep, EveryCountDownToTheThreshold) {
  constexpr std::uint32_t kMembers = 9, kThreshold = 5;
  for (std::uint32_t count = 0; count <= kMembers - kThreshold; ++count) {
    SCOPED_TRACE(count);
    for (const std::uint32_t first : {1U, kMembers - count + 1}) {  // the lowest and the highest indices
      Dropouts dropouts;
      (GetParam() == 0   ? dropouts.before_sharing
       : GetParam() == 1 ? dropouts.before_upload
                         : dropouts.before_unmasking) = Range(first, count);
      Fleet fleet(kMembers, kThreshold, 67, 100 + count);
      const Status status = fleet.Play(dropouts);
      ASSERT_TRUE(status.ok()) << status.ToString();
      ExpectSurvivorsSum(fleet, GetParam() == 2 ? kMembers : kMembers - count);
      EXPECT_EQ(fleet.server.dropped().size(), GetParam() == 1 ? count : 0);
    }
  }
}

TEST_P(DropoutsAtStep, OneBelowTheThresholdIsRefusedAndNothingIsRevealed) {
  constexpr std::uint32_t kMembers = 9, kThreshold = 5;
  Dropouts dropouts;
  (GetParam() == 0   ? dropouts.before_sharing
   : GetParam() == 1 ? dropouts.before_upload
                     : dropouts.before_unmasking) = Range(3, kMembers - kThreshold + 1);
  Fleet fleet(kMembers, kThreshold, 67, 5);
  const Status status = fleet.Play(dropouts);
  EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.reason(), "BELOW_THRESHOLD");
  Words uploaded(67);
  for (const Words& words : fleet.masked) {
    for (std::size_t i = 0; i < words.size(); ++i) uploaded[i] += words[i];
  }
  EXPECT_EQ(fleet.sum, uploaded);  // still masked
}

INSTANTIATE_TEST_SUITE_P(Steps, DropoutsAtStep, ::testing::Values(0, 1, 2));

TEST(Sum, DropoutsAtAllStepsAtOnce) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    constexpr std::uint32_t kMembers = 13, kThreshold = 7;
    std::vector<std::uint32_t> order(kMembers);
    std::iota(order.begin(), order.end(), 1);
    SeededRandom random(seed);
    std::shuffle(order.begin(), order.end(), random);
    Dropouts dropouts;  // leaves exactly the threshold to answer
    dropouts.before_sharing = {order[0], order[1]};
    dropouts.before_upload = {order[2], order[3]};
    dropouts.before_unmasking = {order[4], order[5]};
    Fleet fleet(kMembers, kThreshold, 41, seed);
    const Status status = fleet.Play(dropouts);
    ASSERT_TRUE(status.ok()) << status.ToString();
    ExpectSurvivorsSum(fleet, 9);
  }
}

TEST(Sum, LongVectorsOnAPoolAndOnABusyOrStoppedOne) {
  constexpr std::uint64_t kLength = 3 * 65536 + 5;
  ThreadPool pool("unmask", 2, 4);
  Fleet fleet(4, 3, kLength, 9);
  ASSERT_TRUE(fleet.Play({{}, {2}, {}}, &pool).ok());
  ExpectSurvivorsSum(fleet, 3);

  pool.Stop();
  Fleet alone(4, 3, kLength, 10);
  ASSERT_TRUE(alone.Play({{}, {4}, {}}, &pool).ok());
  ExpectSurvivorsSum(alone, 3);
}

TEST(Sum, UnmaskedFromWithinThePoolItUses) {
  ThreadPool pool("unmask", 1, 4);
  Fleet fleet(4, 3, 2 * 65536 + 1, 11);
  std::mutex mutex;
  std::condition_variable done;
  std::optional<Status> status;
  ASSERT_TRUE(pool.Submit([&] {
                    Status played = fleet.Play({}, &pool);
                    std::lock_guard lock(mutex);
                    status = std::move(played);
                    done.notify_all();
                  })
                  .ok());
  std::unique_lock lock(mutex);
  done.wait(lock, [&] { return status.has_value(); });
  EXPECT_TRUE(status->ok());
  ExpectSurvivorsSum(fleet, 4);
}

TEST(Sum, OfEncodedUpdatesIsTheWeightedAverage) {
  constexpr std::uint32_t kMembers = 6;
  constexpr std::size_t kParameters = 50;
  const Encoding encoding = MakeEncoding(1.0, 100, kMembers).value();
  Fleet fleet(kMembers, 4, kParameters + 1, 12);
  SeededRandom random(13);
  std::vector<double> expected(kParameters);
  double weights = 0;
  for (std::uint32_t k = 0; k < kMembers; ++k) {
    std::vector<float> update(kParameters);
    for (float& value : update) value = static_cast<float>(0.02 * (random.Unit() - 0.5));  // well inside the clip norm
    const std::uint64_t examples = 10 * (k + 1);
    fleet.updates[k] = EncodeUpdate(update, examples, encoding, random).value();
    if (k == 2) continue;  // drops after sharing
    weights += examples / 100.0;
    for (std::size_t i = 0; i < kParameters; ++i) expected[i] += examples / 100.0 * update[i];
  }
  ASSERT_TRUE(fleet.Play({{}, {3}, {}}).ok());
  WeightedSum sum = DecodeSum(fleet.sum, 5, kParameters, encoding).value();
  EXPECT_EQ(sum.examples, 10U + 20 + 40 + 50 + 60);
  EXPECT_NEAR(sum.weight, weights, 1e-12);
  const std::vector<float> average = Average(std::move(sum));
  for (std::size_t i = 0; i < kParameters; ++i) EXPECT_NEAR(average[i], expected[i] / weights, 1e-5);
}

}  // namespace
}  // namespace edgefleet::secagg
