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
using testing::FleetOptions;
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
  EXPECT_TRUE(fleet.server.blames().empty());
}

// Both variants, a complete and a sparse graph.
struct Kind {
  const char* name;
  FleetOptions options;
};
void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

FleetOptions Options(std::uint32_t members, GraphParameters graph, std::uint32_t survivors_min, Adversary adversary) {
  return {.members = members, .graph = graph, .survivors_min = survivors_min, .vector_length = 67, .adversary = adversary};
}

// In the sparse ones any 7 members may drop at a time: fewer than the neighbours that a member can spare.
const Kind kKinds[] = {
    {"semi-honest, complete", Options(9, {8, 4}, 5, Adversary::kSemiHonest)},
    {"active, complete", Options(9, {8, 5}, 5, Adversary::kActive)},
    {"semi-honest, sparse", Options(40, {16, 9}, 33, Adversary::kSemiHonest)},
    {"active, sparse", Options(40, {16, 9}, 33, Adversary::kActive)},
};

std::uint32_t DropoutsMax(const FleetOptions& options) {
  return std::min(options.members - options.survivors_min, options.graph.degree - options.graph.threshold);
}

class EveryKind : public ::testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Sum, EveryKind, ::testing::ValuesIn(kKinds));

TEST_P(EveryKind, WithoutDropouts) {
  Fleet fleet(GetParam().options);
  const Status status = fleet.Play();
  ASSERT_TRUE(status.ok()) << status.ToString();
  ExpectSurvivorsSum(fleet, fleet.options.members);
}

std::set<std::uint32_t>& At(Dropouts& dropouts, int step) {
  return step == 0   ? dropouts.before_sharing
         : step == 1 ? dropouts.before_upload
         : step == 2 ? dropouts.before_confirming
                     : dropouts.before_unmasking;
}

// One step at a time, every number of dropouts that the threshold allows; the sparse graphs, which take longer, none, one and
// most.
TEST_P(EveryKind, EveryCountOfDropoutsAtEveryStep) {
  const FleetOptions& options = GetParam().options;
  for (int step = 0; step < 4; ++step) {
    const std::uint32_t step_between = options.members > 10 ? DropoutsMax(options) - 1 : 1;
    for (std::uint32_t count = 0; count <= DropoutsMax(options); count += count == 0 ? 1 : step_between) {
      for (const std::uint32_t first : {1U, options.members - count + 1}) {  // the lowest and the highest indices
        SCOPED_TRACE(std::to_string(count) + " dropouts at step " + std::to_string(step));
        Dropouts dropouts;
        At(dropouts, step) = Range(first, count);
        Fleet fleet(options);
        const Status status = fleet.Play(dropouts);
        ASSERT_TRUE(status.ok()) << status.ToString();
        ExpectSurvivorsSum(fleet, step >= 2 ? options.members : options.members - count);
        EXPECT_EQ(fleet.server.dropped().size(), step == 1 ? count : 0);
      }
    }
  }
}

TEST_P(EveryKind, TooManyDropoutsAtAnyStepAreRefusedAndNothingIsRevealed) {
  const FleetOptions& options = GetParam().options;
  for (int step = 0; step < 4; ++step) {
    SCOPED_TRACE(step);
    Dropouts dropouts;
    At(dropouts, step) = Range(3, options.members - options.graph.threshold + 1);
    Fleet fleet(options);
    const Status status = fleet.Play(dropouts);
    // In the semi-honest variant nobody is asked to confirm; those that drop there drop before unmasking.
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition) << status.ToString();
    EXPECT_EQ(status.reason(), "BELOW_THRESHOLD");
    Words uploaded(options.vector_length);
    for (const Words& words : fleet.masked) {
      for (std::size_t i = 0; i < words.size(); ++i) uploaded[i] += words[i];
    }
    EXPECT_EQ(fleet.sum, uploaded);  // still masked
  }
}

TEST_P(EveryKind, DropoutsAtAllStepsAtOnce) {
  const FleetOptions& options = GetParam().options;
  for (std::uint64_t seed = 0; seed < (options.members > 10 ? 4 : 20); ++seed) {
    SCOPED_TRACE(seed);
    std::vector<std::uint32_t> order(options.members);
    std::iota(order.begin(), order.end(), 1);
    SeededRandom random(seed);
    std::shuffle(order.begin(), order.end(), random);
    Dropouts dropouts;
    dropouts.before_sharing = {order[0]};
    dropouts.before_upload = {order[1]};
    dropouts.before_confirming = {order[2]};
    FleetOptions seeded = options;
    seeded.seed = seed;
    Fleet fleet(seeded);
    const Status status = fleet.Play(dropouts);
    ASSERT_TRUE(status.ok()) << status.ToString();
    ExpectSurvivorsSum(fleet, options.members - 2);
  }
}

TEST(Sum, OfElementsOfEveryWidthWithEitherCipher) {
  for (std::uint32_t bits = 1; bits <= 32; ++bits) {
    for (const MaskCipher cipher : {MaskCipher::kAes128Ctr, MaskCipher::kAes256Ctr}) {
      SCOPED_TRACE(bits);
      Fleet fleet({.members = 5, .vector_length = 131, .element_bits = bits, .cipher = cipher, .seed = bits});
      const Status status = fleet.Play({.before_upload = {2}});
      ASSERT_TRUE(status.ok()) << status.ToString();
      ExpectSurvivorsSum(fleet, 4);
      for (const Words& masked : fleet.masked) {
        for (const std::uint32_t word : masked) EXPECT_EQ(std::uint64_t{word} >> bits, 0U);
      }
    }
  }
}

// A member whose neighbourhood falls apart while keys are shared has dropped out, and so has whoever depended on it.
TEST(Sum, MembersWithTooFewSharingNeighboursAreLeftOut) {
  FleetOptions options{.members = 40, .graph = {4, 4}, .survivors_min = 20, .vector_length = 5};
  Fleet fleet(options);
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  // A chain of losses: with t = k, one that is missing takes its neighbours with it, and they theirs, so nobody is left.
  const Status status = fleet.ShareAndClose({1});
  EXPECT_EQ(status.reason(), "UNSAFE_PARAMETERS") << status.ToString();  // devices refuse it first
}

TEST(Sum, LongVectorsOnAPoolAndOnABusyOrStoppedOne) {
  constexpr std::uint64_t kLength = 3 * 65536 + 5;
  ThreadPool pool("unmask", 2, 4);
  Fleet fleet({.members = 5, .vector_length = kLength, .seed = 9});
  ASSERT_TRUE(fleet.Play({.before_upload = {2}}, &pool).ok());
  ExpectSurvivorsSum(fleet, 4);

  pool.Stop();
  Fleet alone({.members = 5, .vector_length = kLength, .seed = 10});
  ASSERT_TRUE(alone.Play({.before_upload = {4}}, &pool).ok());
  ExpectSurvivorsSum(alone, 4);
}

TEST(Sum, UnmaskedFromWithinThePoolItUses) {
  ThreadPool pool("unmask", 1, 4);
  Fleet fleet({.members = 5, .vector_length = 2 * 65536 + 1, .seed = 11});
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
  ExpectSurvivorsSum(fleet, 5);
}

TEST(Sum, OfEncodedUpdatesIsTheWeightedAverage) {
  constexpr std::uint32_t kMembers = 6;
  constexpr std::size_t kParameters = 50;
  const Encoding encoding = MakeEncoding(1.0, 100, kMembers).value();
  const EncodedShape shape = ShapeOf(encoding, kParameters).value();
  Fleet fleet({.members = kMembers,
               .graph = {5, 4},
               .survivors_min = 4,
               .vector_length = shape.elements,
               .element_bits = shape.element_bits,
               .seed = 12});
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
  ASSERT_TRUE(fleet.Play({.before_upload = {3}}).ok());
  WeightedSum sum = DecodeSum(fleet.sum, 5, kParameters, encoding).value();
  EXPECT_EQ(sum.examples, 10U + 20 + 40 + 50 + 60);
  EXPECT_NEAR(sum.weight, weights, 1e-12);
  const std::vector<float> average = Average(std::move(sum));
  for (std::size_t i = 0; i < kParameters; ++i) EXPECT_NEAR(average[i], expected[i] / weights, 1e-5);
}

}  // namespace
}  // namespace edgefleet::secagg
