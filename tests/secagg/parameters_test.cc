#include "secagg/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "secagg/graph.h"

namespace edgefleet::secagg {
namespace {

using testing::HasSubstr;
constexpr auto kSemiHonest = Adversary::kSemiHonest;
constexpr auto kActive = Adversary::kActive;
constexpr double kNever = -std::numeric_limits<double>::infinity();

struct Known {
  Adversary adversary;
  std::uint64_t members;
  double corrupt, dropout;
  GraphParameters expected;
  std::uint32_t security_bits = 40;
};
class KnownPoint : public testing::TestWithParam<Known> {
 protected:
  Assumptions assumptions() const {
    return {GetParam().adversary, GetParam().corrupt, GetParam().dropout, 20, GetParam().security_bits};
  }
};

TEST_P(KnownPoint, IsDerivedAndPrivateWithNothingToSpare) {
  const auto derived = DeriveParameters(GetParam().members, assumptions());
  ASSERT_TRUE(derived) << derived.error().ToString();
  EXPECT_EQ(derived->degree, GetParam().expected.degree);
  EXPECT_EQ(derived->threshold, GetParam().expected.threshold);
  EXPECT_TRUE(CheckPrivacy(GetParam().members, *derived, assumptions()).ok());
  const FailureBounds bounds = BoundFailures(GetParam().members, *derived, assumptions());
  const double half = -1.0 - GetParam().security_bits;
  EXPECT_LE(bounds.disconnected, half);
  EXPECT_LE(bounds.exposed, half);
  EXPECT_LE(bounds.unrecovered, -20);
  EXPECT_LE(bounds.suspected, -35);  // never what decides
  const Status lower = CheckPrivacy(GetParam().members, {derived->degree, derived->threshold - 1}, assumptions());
  EXPECT_EQ(lower.reason(), "UNSAFE_PARAMETERS");
}

INSTANTIATE_TEST_SUITE_P(
    Table, KnownPoint,
    testing::Values(Known{kSemiHonest, 1000, .1, .1, {48, 27}}, Known{kSemiHonest, 10000, .1, .1, {54, 31}},
                    Known{kSemiHonest, 1000, .2, .2, {98, 54}}, Known{kSemiHonest, 1000000, .05, .1, {50, 25}},
                    Known{kActive, 1000, .1, .1, {96, 67}}, Known{kActive, 1000, .1, .3, {414, 247}},
                    Known{kActive, 100000, .05, .1, {106, 70}}, Known{kActive, 1000, .1, .1, {120, 87}, 80},
                    Known{kActive, 10000, .1, .1, {156, 113}, 80}, Known{kActive, 100000, .05, .1, {132, 91}, 80},
                    Known{kActive, 1000, .1, .3, {456, 276}, 80}));

double Choose(std::uint32_t n, std::uint32_t k) {
  double product = 1;  // whole at each step, and exact below 2^53
  for (std::uint32_t i = 0; i < k; ++i) product = product * (n - i) / (i + 1);
  return product;
}

// P[X >= least] by counting.
double ExactTail(std::uint32_t population, std::uint32_t marked, std::uint32_t draws, std::uint32_t least) {
  double ways = 0;
  for (std::uint32_t x = least; x <= std::min(marked, draws); ++x)
    if (draws - x <= population - marked) ways += Choose(marked, x) * Choose(population - marked, draws - x);
  return ways / Choose(population, draws);
}

TEST(Bounds, AgreeWithCounting) {
  constexpr std::uint32_t kMembers = 30;
  for (std::uint32_t marked = 0; marked <= 24; marked += 3) {
    const double fraction = static_cast<double>(marked) / kMembers;
    for (std::uint32_t degree = 2; degree < kMembers; degree += degree == 28 ? 1 : 2) {
      for (std::uint32_t threshold = 2; threshold <= degree; ++threshold) {
        SCOPED_TRACE(std::to_string(marked) + " " + std::to_string(degree) + " " + std::to_string(threshold));
        const auto expect = [&](double bound, std::uint32_t least, double places) {
          if (least * (kMembers - 1) <= marked * degree) {
            EXPECT_EQ(bound, 0);  // up to the mean nothing is claimed
          } else if (const double exact = places * ExactTail(kMembers - 1, marked, degree, least); exact == 0) {
            EXPECT_EQ(bound, kNever);
          } else {
            EXPECT_NEAR(bound, std::min(0.0, std::log2(exact)), 1e-9);
          }
        };
        const GraphParameters parameters{degree, threshold};
        expect(BoundFailures(kMembers, parameters, {kSemiHonest, fraction, 0}).exposed, threshold, kMembers);
        if (2 * threshold > degree)
          expect(BoundFailures(kMembers, parameters, {kActive, fraction, 0}).exposed, 2 * threshold - degree,
                 kMembers + 1);  // and the committee
        expect(BoundFailures(kMembers, parameters, {kSemiHonest, 0, fraction}).unrecovered, degree - threshold + 1, kMembers);
      }
    }
  }
}

// Whether the ring positions in `kept` fall into parts when positions up to `reach` apart are joined.
bool FallsApart(std::uint32_t kept, int members, int reach) {
  std::uint32_t part = kept & -kept;
  for (std::uint32_t before = 0; before != part;) {
    before = part;
    for (int step = 1; step <= reach; ++step)
      part |= kept & ((before << step | before >> (members - step) | before >> step | before << (members - step)) &
                      ((1u << members) - 1));
  }
  return part != kept;
}

TEST(Bounds, CoverEveryWayToFallApart) {
  constexpr int kMembers = 14;
  for (const int reach : {1, 2, 3}) {
    for (int removed = 0; removed <= kMembers - 2; ++removed) {
      int apart = 0, all = 0;
      for (std::uint32_t kept = 1; kept < (1u << kMembers); ++kept) {
        if (std::popcount(kept) != kMembers - removed) continue;
        ++all;
        apart += FallsApart(kept, kMembers, reach);
      }
      const auto degree = static_cast<std::uint32_t>(2 * reach);
      const double bound =
          BoundFailures(kMembers, {degree, 2}, {kSemiHonest, 0, static_cast<double>(removed) / kMembers}).disconnected;
      const double exact = std::log2(static_cast<double>(apart) / all);
      EXPECT_GE(bound, exact - 1e-9) << reach << " " << removed;
      EXPECT_EQ(bound == kNever, removed < 2 * reach);
      if (removed == 2 * reach) {
        EXPECT_NEAR(bound, exact, 1e-9);  // at most one pair of runs: nothing is counted twice
      }
    }
  }
}

// What is derived is the first degree at which any threshold will do, and a refusal means that no degree has one.
TEST(Derive, FindsTheLeastDegreeOrThereIsNone) {
  for (const Adversary adversary : {kSemiHonest, kActive}) {
    for (std::uint32_t members = 3; members <= 40; ++members) {
      for (const double corrupt : {0.0, 0.05, 0.1, 0.2, 0.33, 0.45, 0.6}) {
        for (const double dropout : {0.0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6}) {
          const Assumptions assumptions{adversary, corrupt, dropout};
          GraphParameters first;
          for (std::uint32_t degree = 2; degree < members && first.degree == 0; ++degree) {
            for (std::uint32_t threshold = 2; threshold <= degree && first.degree == 0; ++threshold) {
              const GraphParameters tried{degree, threshold};
              if (!CheckPrivacy(members, tried, assumptions).ok()) continue;
              const FailureBounds bounds = BoundFailures(members, tried, assumptions);
              if (std::max(bounds.unrecovered, bounds.suspected) <= -20) first = tried;
            }
          }
          const auto derived = DeriveParameters(members, assumptions);
          ASSERT_EQ(derived.value_or(GraphParameters{}), first)
              << static_cast<int>(adversary) << " " << members << " " << corrupt << " " << dropout;
        }
      }
    }
  }
}

TEST(Derive, AsksForMoreWhenMoreIsFeared) {
  const auto degree = [](Adversary adversary, double corrupt, double dropout, std::uint32_t bits = 20) {
    return DeriveParameters(5000, {adversary, corrupt, dropout, bits}).value().degree;
  };
  for (const Adversary adversary : {kSemiHonest, kActive}) {
    std::uint32_t last = 0;
    for (const double corrupt : {0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3}) {
      EXPECT_GE(degree(adversary, corrupt, 0.1), last);
      last = degree(adversary, corrupt, 0.1);
    }
    last = 0;
    for (const double dropout : {0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3}) {
      EXPECT_GE(degree(adversary, 0.1, dropout), last);
      last = degree(adversary, 0.1, dropout);
    }
    EXPECT_GT(degree(adversary, 0.1, 0.1, 30), degree(adversary, 0.1, 0.1, 20));
  }
  EXPECT_GT(degree(kActive, 0.1, 0.1), degree(kSemiHonest, 0.1, 0.1));
}

TEST(Derive, GivesThePrivacyAndCorrectnessThatWereAskedFor) {
  for (const std::uint32_t bits : {20u, 30u}) {
    for (const Adversary adversary : {kSemiHonest, kActive}) {
      for (const std::uint64_t members : {50ull, 333ull, 4096ull, 16384ull, 1048576ull}) {
        const Assumptions assumptions{adversary, 0.07, 0.17, bits};
        const auto derived = DeriveParameters(members, assumptions);
        ASSERT_TRUE(derived) << derived.error().ToString();
        EXPECT_TRUE(CheckPrivacy(members, *derived, assumptions).ok());
        EXPECT_LE(BoundFailures(members, *derived, assumptions).unrecovered, -static_cast<double>(bits));
        EXPECT_LE(BoundFailures(members, *derived, assumptions).suspected, -static_cast<double>(bits));
      }
    }
  }
}

// The counts are exact in the complete graph, and the last even degree is not always enough.
TEST(Derive, SmallCohortsGetTheCompleteGraph) {
  EXPECT_EQ(DeriveParameters(3, {kSemiHonest, 0.3, 0}).value(), (GraphParameters{2, 2}));
  EXPECT_EQ(DeriveParameters(20, {kActive, 0.25, 0.3}).value(), (GraphParameters{18, 12}));
  EXPECT_EQ(DeriveParameters(20, {kActive, 0.3, 0.3}).value(), (GraphParameters{19, 13}));
  EXPECT_FALSE(DeriveParameters(20, {kActive, 0.35, 0.3}));
}

struct Refused {
  std::uint64_t members;
  Assumptions assumptions;
  const char* reason;
  const char* message;
};
class Refusal : public testing::TestWithParam<Refused> {};

TEST_P(Refusal, SaysWhy) {
  const auto derived = DeriveParameters(GetParam().members, GetParam().assumptions);
  ASSERT_FALSE(derived);
  EXPECT_EQ(derived.error().reason(), GetParam().reason);
  EXPECT_THAT(derived.error().message(), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Table, Refusal,
    testing::Values(Refused{0, {}, "NO_SAFE_PARAMETERS", "at least 3 members"},
                    Refused{2, {}, "NO_SAFE_PARAMETERS", "at least 3 members"},
                    Refused{1000, {kSemiHonest, .5, .5}, "NO_SAFE_PARAMETERS", "fewer than 2 honest survivors"},
                    Refused{1000, {kSemiHonest, .6, .6}, "NO_SAFE_PARAMETERS", "fewer than 2 honest survivors"},
                    Refused{3, {kSemiHonest, 0, .34}, "NO_SAFE_PARAMETERS", "threshold of 2, but 1 neighbours survive"},
                    Refused{1000, {kActive, .4, .3}, "NO_SAFE_PARAMETERS", "corrupt + 2 * dropout must stay below 1"},
                    Refused{(1 << 20) + 1, {}, "BAD_ASSUMPTIONS", "at most 1048576 members"},
                    Refused{1000, {kSemiHonest, -.1, .1}, "BAD_ASSUMPTIONS", "fraction"},
                    Refused{1000, {kSemiHonest, 1, .1}, "BAD_ASSUMPTIONS", "fraction"},
                    Refused{1000, {kSemiHonest, .1, std::nan("")}, "BAD_ASSUMPTIONS", "fraction"},
                    Refused{1000, {kSemiHonest, .1, .1, 25}, "BAD_ASSUMPTIONS", "20 or 30"},
                    Refused{1000, {kActive, .1, .1, 20, 60}, "BAD_ASSUMPTIONS", "40 or 80"},
                    Refused{1000, {static_cast<Adversary>(0), .1, .1}, "BAD_ASSUMPTIONS", "adversary"}));

struct Offered {
  std::uint64_t members;
  GraphParameters parameters;
  Assumptions assumptions;
  const char* message;  // empty: accepted
};
class Offer : public testing::TestWithParam<Offered> {};

TEST_P(Offer, IsJudgedByTheDevicesOwnAssumptions) {
  const auto& [members, parameters, assumptions, message] = GetParam();
  const Status status = CheckPrivacy(members, parameters, assumptions);
  EXPECT_EQ(status.reason(), *message == '\0' ? "" : "UNSAFE_PARAMETERS");
  EXPECT_THAT(status.message(), HasSubstr(message));
}

INSTANTIATE_TEST_SUITE_P(Table, Offer,
                         testing::Values(Offered{1000, {48, 27}, {kSemiHonest, .1, .1}, ""},
                                         Offered{1000, {48, 48}, {kSemiHonest, .1, .1}, ""},
                                         Offered{1000, {999, 501}, {kSemiHonest, .1, .1}, ""},
                                         Offered{1000, {48, 26}, {kSemiHonest, .1, .1}, "may expose a member (bound 2^-3"},
                                         Offered{1000, {48, 2}, {kSemiHonest, .1, .1}, "may expose"},
                                         Offered{1000, {48, 27}, {kSemiHonest, .2, .1}, "may expose"},
                                         Offered{1000, {48, 27}, {kActive, .1, .1}, "may expose"},
                                         Offered{1000, {999, 549}, {kActive, .1, .1}, "may expose"},
                                         Offered{1000, {999, 550}, {kActive, .1, .1}, ""},
                                         Offered{1000, {12, 12}, {kSemiHonest, .1, .1}, "may fall into parts"},
                                         Offered{1000, {48, 1}, {kSemiHonest, 0, 0}, "threshold 1"},
                                         Offered{1000, {48, 49}, {kSemiHonest, 0, 0}, "threshold 49"},
                                         Offered{1000, {47, 30}, {kSemiHonest, 0, 0}, "no graph of degree 47"},
                                         Offered{1000, {0, 0}, {kSemiHonest, 0, 0}, "no graph of degree 0"},
                                         Offered{1000, {1000, 900}, {kSemiHonest, 0, 0}, "no graph of degree 1000"},
                                         Offered{2, {1, 1}, {kSemiHonest, 0, 0}, "no graph"},
                                         Offered{10, {9, 9}, {kSemiHonest, .5, .4}, "fewer than 2 honest survivors"}));

TEST(TolerableDropouts, IsTheFractionRoundedDown) {
  EXPECT_EQ(TolerableDropouts(100, {kSemiHonest, 0, 0.07}), 7u);  // 7.000000000000001 in binary
  EXPECT_EQ(TolerableDropouts(1000, {kSemiHonest, 0, 0.3}), 300u);
  EXPECT_EQ(TolerableDropouts(100, {kSemiHonest, 0, 0.29}), 29u);  // 28.999999999999996 in binary
  EXPECT_EQ(TolerableDropouts(9, {kSemiHonest, 0, 0.1}), 0u);
}

}  // namespace
}  // namespace edgefleet::secagg
