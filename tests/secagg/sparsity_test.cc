#include "secagg/sparsity.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/random.h"

namespace edgefleet::secagg {
namespace {

TEST(Sparsity, RoundsTheCountUp) {
  EXPECT_EQ(KeptCount(1, 7), 7U);
  EXPECT_EQ(KeptCount(0.5, 7), 4U);
  EXPECT_EQ(KeptCount(0.25, 100'000), 25'000U);
  EXPECT_EQ(KeptCount(1e-300, 7), 1U);
  EXPECT_EQ(KeptCount(0.5, 1), 1U);
}

// The positions are part of the protocol: devices and servers of all builds must agree on them.
TEST(Sparsity, ASeedGivesTheSamePositionsEverywhere) {
  Seed seed{};
  for (std::size_t i = 0; i < seed.size(); ++i) seed[i] = static_cast<std::byte>(i);
  EXPECT_EQ(KeptPositions(seed, 1000, 10), (std::vector<std::uint32_t>{116, 177, 232, 280, 407, 459, 470, 727, 732, 896}));
}

TEST(Sparsity, PositionsAreDistinctAndInOrder) {
  Seed seed{};
  for (const std::uint64_t parameters : {1ULL, 2ULL, 100ULL, 4097ULL, 100'000ULL}) {
    for (const std::uint64_t count : std::vector<std::uint64_t>{1, 2, 50, parameters / 2, parameters - 1, parameters}) {
      if (count < 1 || count > parameters) continue;
      const auto positions = KeptPositions(seed, parameters, count);
      ASSERT_EQ(positions.size(), count);
      EXPECT_TRUE(std::ranges::is_sorted(positions));
      EXPECT_EQ(std::ranges::adjacent_find(positions), positions.end());
      EXPECT_LT(positions.back(), parameters);
    }
  }
}

// All 20 subsets of 3 of 6 appear equally often: chi-square with 19 degrees of freedom, 99.99 % quantile 50.8.
TEST(Sparsity, EverySubsetIsEquallyLikely) {
  constexpr int kTrials = 40'000;
  SeededRandom random(1);
  std::map<std::vector<std::uint32_t>, int> seen;
  for (int i = 0; i < kTrials; ++i) {
    Seed seed;
    random.Fill(seed);
    ++seen[KeptPositions(seed, 6, 3)];
  }
  ASSERT_EQ(seen.size(), 20U);
  double chi_square = 0;
  for (const auto& [subset, count] : seen) chi_square += (count - kTrials / 20.0) * (count - kTrials / 20.0) / (kTrials / 20.0);
  EXPECT_LT(chi_square, 50.8);
}

}  // namespace
}  // namespace edgefleet::secagg
