#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "aggregator/selection/stratified_sampler.h"
#include "base/random.h"

namespace edgefleet::selection {
namespace {

// Owns the names that its candidates point at.
struct Pool {
  std::vector<std::pair<std::string, std::string>> devices;  // id, stratum
  void Add(std::size_t count, const std::string& stratum) {
    for (std::size_t i = 0; i < count; ++i) devices.emplace_back("device-" + std::to_string(devices.size()), stratum);
  }
  std::vector<Candidate> Candidates() const {
    std::vector<Candidate> candidates;
    for (const auto& [id, stratum] : devices) candidates.push_back({id, stratum});
    return candidates;
  }
};

std::set<std::string> Ids(const std::vector<Candidate>& candidates, const Sample& sample) {
  std::set<std::string> ids;
  for (const auto& pick : sample.picks) ids.emplace(candidates[pick.candidate].id);
  return ids;
}

std::vector<std::uint64_t> QuotasOf(const Sample& sample) {
  std::vector<std::uint64_t> quotas;
  for (const auto& stratum : sample.strata) quotas.push_back(stratum.quota);
  return quotas;
}

TEST(Quotas, FollowLargestRemainders) {
  // Exact shares of 10: 4.4, 3.3, 2.3; the one left over goes to the largest fraction.
  EXPECT_EQ(ProportionalQuotas(std::vector<std::uint64_t>{44, 33, 23}, 10), (std::vector<std::uint64_t>{5, 3, 2}));
  // 2.5 each of three: the two left over go to the lower indices.
  EXPECT_EQ(ProportionalQuotas(std::vector<std::uint64_t>{10, 10, 10}, 8), (std::vector<std::uint64_t>{3, 3, 2}));
  EXPECT_EQ(ProportionalQuotas(std::vector<std::uint64_t>{3, 2}, 100), (std::vector<std::uint64_t>{3, 2})) << "all there are";
  EXPECT_EQ(ProportionalQuotas(std::vector<std::uint64_t>{3, 2}, 0), (std::vector<std::uint64_t>{0, 0}));
  EXPECT_TRUE(ProportionalQuotas({}, 5).empty());
}

TEST(Quotas, AreExactForManyRandomPools) {
  SeededRandom random(1);
  for (int run = 0; run < 20'000; ++run) {
    std::vector<std::uint64_t> populations(1 + random.Below(40));
    for (auto& population : populations) population = random.Below(run % 3 == 0 ? 300'000 : 20);
    const std::uint64_t total = std::accumulate(populations.begin(), populations.end(), std::uint64_t{0});
    const std::uint64_t size = random.Below(total + 10);
    const auto quotas = ProportionalQuotas(populations, size);
    ASSERT_EQ(std::accumulate(quotas.begin(), quotas.end(), std::uint64_t{0}), std::min(size, total)) << run;
    for (std::size_t i = 0; i < quotas.size(); ++i) {
      ASSERT_LE(quotas[i], populations[i]);
      if (size > total) continue;
      const double share =
          total == 0 ? 0 : static_cast<double>(size) * static_cast<double>(populations[i]) / static_cast<double>(total);
      ASSERT_LT(std::abs(static_cast<double>(quotas[i]) - share), 1.0) << run;
    }
  }
}

TEST(Quotas, TheLeastQuotaHoldsForManyRandomPools) {
  SeededRandom random(2);
  for (int run = 0; run < 20'000; ++run) {
    std::vector<std::uint64_t> populations(1 + random.Below(20));
    for (auto& population : populations) population = 1 + random.Below(run % 2 == 0 ? 1'000 : 8);
    const std::uint64_t total = std::accumulate(populations.begin(), populations.end(), std::uint64_t{0});
    const std::uint64_t size = 1 + random.Below(total);
    const auto least = static_cast<std::uint32_t>(random.Below(6));
    const auto quotas = ProportionalQuotas(populations, size, least);
    ASSERT_EQ(std::accumulate(quotas.begin(), quotas.end(), std::uint64_t{0}), size) << run;
    const std::uint64_t possible = std::min<std::uint64_t>(least, size / populations.size());
    for (std::size_t i = 0; i < quotas.size(); ++i) {
      ASSERT_GE(quotas[i], std::min(possible, populations[i])) << run;
      ASSERT_LE(quotas[i], populations[i]) << run;
    }
  }
}

TEST(Quotas, TheLeastQuotaComesFromTheLargeStrata) {
  EXPECT_EQ(ProportionalQuotas(std::vector<std::uint64_t>{960, 30, 10}, 20, 0), (std::vector<std::uint64_t>{19, 1, 0}));
  EXPECT_EQ(ProportionalQuotas(std::vector<std::uint64_t>{960, 30, 10}, 20, 2), (std::vector<std::uint64_t>{16, 2, 2}));
  EXPECT_EQ(ProportionalQuotas(std::vector<std::uint64_t>{960, 30, 1}, 20, 2), (std::vector<std::uint64_t>{17, 2, 1}));
}

TEST(OverProvisioning, RoundsUpWithoutBinaryNoise) {
  EXPECT_EQ(OverProvisioned(20, 1.3), 26U);
  EXPECT_EQ(OverProvisioned(100, 1.1), 110U);
  EXPECT_EQ(OverProvisioned(7, 1.3), 10U);
  EXPECT_EQ(OverProvisioned(1, 1), 1U);
  EXPECT_EQ(OverProvisioned(100'000, 3), 300'000U);
}

TEST(Sampler, DependsOnCandidatesAndSeedAlone) {
  Pool pool;
  for (const char* stratum : {"class=a", "class=b", "class=c"}) pool.Add(200, stratum);
  auto candidates = pool.Candidates();
  const SampleSpec spec{.size = 90, .seed = 7};
  const auto first = DrawSample(candidates, spec);
  ASSERT_TRUE(first);
  const auto chosen = Ids(candidates, *first);
  std::mt19937 shuffle(3);
  for (int i = 0; i < 5; ++i) {
    std::shuffle(candidates.begin(), candidates.end(), shuffle);
    const auto again = DrawSample(candidates, spec);
    ASSERT_TRUE(again);
    EXPECT_EQ(Ids(candidates, *again), chosen);
    EXPECT_EQ(again->strata, first->strata);
  }
  const auto other = DrawSample(candidates, {.size = 90, .seed = 8});
  ASSERT_TRUE(other);
  EXPECT_NE(Ids(candidates, *other), chosen);
}

TEST(Sampler, GivesEveryStratumItsQuotaOfDistinctDevices) {
  SeededRandom random(3);
  for (int run = 0; run < 300; ++run) {
    Pool pool;
    const std::size_t strata = 1 + random.Below(12);
    for (std::size_t s = 0; s < strata; ++s) pool.Add(1 + random.Below(50), "region=r" + std::to_string(s));
    const auto candidates = pool.Candidates();
    const SampleSpec spec{.size = 1 + random.Below(candidates.size() + 20),
                          .stratum_min = static_cast<std::uint32_t>(random.Below(20)),
                          .quota_min = static_cast<std::uint32_t>(random.Below(3)),
                          .seed = random()};
    const auto sample = DrawSample(candidates, spec);
    ASSERT_TRUE(sample);
    ASSERT_EQ(sample->picks.size(), std::min<std::size_t>(spec.size, candidates.size()));
    ASSERT_EQ(Ids(candidates, *sample).size(), sample->picks.size());
    std::vector<std::uint64_t> drawn(sample->strata.size());
    for (const auto& pick : sample->picks) {
      ++drawn[pick.stratum];
      const std::string& name = sample->strata[pick.stratum].stratum;
      ASSERT_TRUE(name == kRestStratum || candidates[pick.candidate].stratum == name);
    }
    ASSERT_EQ(drawn, QuotasOf(*sample));
    for (const auto& stratum : sample->strata) {
      ASSERT_GE(stratum.population, std::min<std::uint64_t>(spec.stratum_min, candidates.size())) << run;
    }
  }
}

TEST(Sampler, MergesSmallStrataIntoTheRest) {
  Pool pool;
  pool.Add(50, "class=a");
  pool.Add(4, "class=b");
  pool.Add(3, "class=c");
  pool.Add(43, "class=d");
  const auto sample = DrawSample(pool.Candidates(), {.size = 20, .stratum_min = 5});
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->strata, (std::vector<StratumQuota>{{"class=a", 50, 10}, {"class=d", 43, 9}, {"rest", 7, 1}}));
}

TEST(Sampler, ARestThatIsTooSmallTakesInTheNextSmallest) {
  Pool pool;
  pool.Add(50, "class=a");
  pool.Add(2, "class=b");
  pool.Add(10, "class=c");
  const auto sample = DrawSample(pool.Candidates(), {.size = 31, .stratum_min = 5});
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->strata, (std::vector<StratumQuota>{{"class=a", 50, 25}, {"rest", 12, 6}}));
}

TEST(Sampler, BoundsTheNumberOfStrata) {
  Pool pool;
  for (int s = 0; s < 1500; ++s) pool.Add(1 + s % 3, "region=" + std::to_string(s));
  const auto candidates = pool.Candidates();
  const auto sample = DrawSample(candidates, {.size = 100});
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->strata.size(), kStrataMax);
  EXPECT_EQ(sample->picks.size(), 100U);
  const auto quotas = QuotasOf(*sample);
  EXPECT_EQ(std::accumulate(quotas.begin(), quotas.end(), std::uint64_t{0}), 100U);
}

TEST(Sampler, TakesEverybodyFromASmallPool) {
  Pool pool;
  pool.Add(3, "all");
  const auto sample = DrawSample(pool.Candidates(), {.size = 26});
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->picks.size(), 3U);
  const auto none = DrawSample({}, {.size = 26});
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->picks.empty());
  EXPECT_TRUE(none->strata.empty());
}

TEST(Sampler, RefusesADeviceThatIsThereTwice) {
  const std::vector<Candidate> candidates{{"a", "all"}, {"b", "all"}, {"a", "all"}};
  const auto sample = DrawSample(candidates, {.size = 1});
  ASSERT_FALSE(sample);
  EXPECT_EQ(sample.error().reason(), "DUPLICATE_DEVICE");
}

// Chi-square of how often each of 40 devices is drawn over 40,000 seeds. Were the draw uniform, a statistic above the limit
// would have probability 1e-9; the seeds are fixed, so the outcome never changes.
TEST(Sampler, IsUniformWithinAStratum) {
  constexpr int kDevices = 40;
  constexpr int kQuota = 10;
  constexpr int kRuns = 40'000;
  Pool pool;
  pool.Add(kDevices, "class=a");
  pool.Add(kDevices, "class=b");
  const auto candidates = pool.Candidates();
  std::vector<double> drawn(candidates.size());
  for (int seed = 0; seed < kRuns; ++seed) {
    const auto sample = DrawSample(candidates, {.size = 2 * kQuota, .seed = static_cast<std::uint64_t>(seed)});
    ASSERT_TRUE(sample);
    for (const auto& pick : sample->picks) ++drawn[pick.candidate];
  }
  for (int stratum = 0; stratum < 2; ++stratum) {
    // A draw without replacement has variance p (1 - p) for each device and negative correlations; scaled by (n - 1) / n / (1 -
    // p) the sum is asymptotically chi-square with n - 1 degrees of freedom.
    constexpr double kShare = static_cast<double>(kQuota) / kDevices;
    constexpr double kExpected = kRuns * kShare;
    double statistic = 0;
    for (int i = 0; i < kDevices; ++i) {
      const double difference = drawn[static_cast<std::size_t>(stratum * kDevices + i)] - kExpected;
      statistic += difference * difference / kExpected;
    }
    statistic *= (kDevices - 1.0) / kDevices / (1 - kShare);
    EXPECT_LT(statistic, 117.1) << "quantile 1 - 1e-9 of chi-square with 39 degrees of freedom is 117.02";
    EXPECT_GT(statistic, 6.5) << "more even than chance: quantile 1e-9 is 6.58";
  }
}

// Pairs, too: a draw that is uniform by device but not by subset would show here.
TEST(Sampler, DrawsEverySubsetEquallyOften) {
  Pool pool;
  pool.Add(6, "all");
  const auto candidates = pool.Candidates();
  std::map<std::set<std::string>, double> subsets;
  constexpr int kRuns = 30'000;
  for (int seed = 0; seed < kRuns; ++seed) {
    const auto sample = DrawSample(candidates, {.size = 3, .seed = static_cast<std::uint64_t>(seed)});
    ASSERT_TRUE(sample);
    ++subsets[Ids(candidates, *sample)];
  }
  ASSERT_EQ(subsets.size(), 20U);
  double statistic = 0;
  for (const auto& [subset, count] : subsets) statistic += (count - kRuns / 20.0) * (count - kRuns / 20.0) / (kRuns / 20.0);
  EXPECT_LT(statistic, 81.6) << "quantile 1 - 1e-9 of chi-square with 19 degrees of freedom is 81.56";
}

}  // namespace
}  // namespace edgefleet::selection
