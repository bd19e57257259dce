// Accountants against one another, noise for a target, and what is refused.
#include "aggregator/privacy/accounting/account.h"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>

namespace edgefleet::privacy {
namespace {

using Kind = Mechanism::Kind;

const std::vector<double>& Orders() {
  static const std::vector<double> kOrders = ParseOrders("dpa").value();
  return kOrders;
}

Mechanism Poisson(double sigma, std::uint64_t steps, double rate) {
  return {.noise_multiplier = sigma, .steps = steps, .sampling = Sampling::kPoisson, .rate = rate};
}
Mechanism Subset(double sigma, std::uint64_t steps, double rate) {
  return {.noise_multiplier = sigma,
          .steps = steps,
          .sampling = Sampling::kWithoutReplacement,
          .rate = rate,
          .adjacency = Adjacency::kReplaceOne};
}

Bracket Epsilon(std::span<const Mechanism> mechanisms, Accountant accountant, double delta = 1e-6) {
  return SpentEpsilon(mechanisms, accountant, Orders(), delta).value().value;
}
Bracket Epsilon(const Mechanism& mechanism, Accountant accountant, double delta = 1e-6) {
  return Epsilon({&mechanism, 1}, accountant, delta);
}

TEST(Account, RenyiIsNeverBelowTheLowerEndOfTheDistributions) {
  const Mechanism cases[] = {Poisson(1, 100, 0.01),
                             Poisson(0.6, 1000, 0.001),
                             Subset(1, 100, 0.01),
                             Subset(3, 1000, 0.1),
                             {.noise_multiplier = 2, .steps = 30}};
  for (const Mechanism& mechanism : cases) {
    const Bracket pld = Epsilon(mechanism, Accountant::kPld);
    const Bracket rdp = Epsilon(mechanism, Accountant::kRdp);
    EXPECT_GT(rdp.upper, pld.upper);
    EXPECT_LT(rdp.upper, 3 * pld.upper);
    EXPECT_EQ(rdp.lower, 0);
  }
}

TEST(Account, DifferentMechanismsComposeInEveryAccountant) {
  Mechanism tree{.kind = Kind::kTree, .noise_multiplier = 9, .steps = 100};
  const Mechanism mixed[] = {Poisson(1, 100, 0.01), {.noise_multiplier = 8, .steps = 20}, tree};
  for (const Accountant accountant : {Accountant::kPld, Accountant::kRdp, Accountant::kGdpClt}) {
    double largest = 0;
    double sum = 0;
    for (const Mechanism& mechanism : mixed) {
      largest = std::max(largest, Epsilon(mechanism, accountant).upper);
      sum += Epsilon(mechanism, accountant).upper;
    }
    const double together = Epsilon(mixed, accountant).upper;
    EXPECT_GT(together, largest);
    EXPECT_LT(together, sum);
  }
}

TEST(Account, ASampledBandedFactorizationIsItsReduction) {
  Mechanism banded = Poisson(2, 1000, 0.01);
  banded.kind = Kind::kBanded;
  banded.bands = 4;
  const double reduced = Epsilon(Poisson(2, 250, 0.04), Accountant::kPld).upper;
  EXPECT_EQ(Epsilon(banded, Accountant::kPld).upper, reduced);
  banded.sampling = Sampling::kNone;
  EXPECT_NEAR(Epsilon(banded, Accountant::kExact).upper, Epsilon({.noise_multiplier = 2}, Accountant::kExact).upper, 1e-9);
}

TEST(Account, AFullSampleIsNoSample) {
  EXPECT_NEAR(Epsilon(Poisson(2, 10, 1), Accountant::kExact).upper,
              Epsilon({.noise_multiplier = 2, .steps = 10}, Accountant::kExact).upper, 1e-12);
  EXPECT_NEAR(Epsilon(Subset(2, 10, 1), Accountant::kRdp).upper,
              Epsilon({.noise_multiplier = 2, .steps = 10}, Accountant::kRdp).upper, 1e-12);
  // The same for mechanisms that no sampling amplifies.
  for (const Kind kind : {Kind::kTree, Kind::kBanded, Kind::kDiscreteGaussian, Kind::kSkellam}) {
    Mechanism mechanism{
        .kind = kind, .noise_multiplier = 2, .steps = 10, .vectors = {.scale = 100, .dimension = 4}, .bands = 2};
    const double without = Epsilon(mechanism, Accountant::kRdp).upper;
    for (const Sampling sampling : {Sampling::kPoisson, Sampling::kWithoutReplacement}) {
      mechanism.sampling = sampling;
      EXPECT_EQ(Epsilon(mechanism, Accountant::kRdp).upper, without);
    }
  }
}

TEST(Account, ALowerEndIsClaimedWhereItIsSpent) {
  Mechanism tree{.kind = Kind::kTree, .noise_multiplier = 5, .steps = 64};
  EXPECT_GT(Epsilon(tree, Accountant::kExact).lower, 0);
  tree.participations = 2;
  EXPECT_EQ(Epsilon(tree, Accountant::kExact).lower, 0);
  EXPECT_GT(Epsilon(Poisson(1, 10, 0.1), Accountant::kPld).lower, 0);
  EXPECT_EQ(Epsilon(Subset(1, 10, 0.1), Accountant::kPld).lower, 0);
}

struct CalibrationCase {
  Mechanism mechanism;
  Accountant accountant;
  double epsilon;
};

TEST(Account, NoiseForATargetIsTheInverse) {
  const CalibrationCase cases[] = {
      {{.steps = 100}, Accountant::kExact, 2.0},
      {{.steps = 1}, Accountant::kExact, 0.05},
      {Poisson(0, 1000, 0.01), Accountant::kPld, 1.0},
      {Poisson(0, 100, 0.1), Accountant::kPld, 8.0},
      {Poisson(0, 1000, 0.01), Accountant::kRdp, 3.0},
      {Subset(0, 100, 0.1), Accountant::kRdp, 3.0},
      {{.kind = Kind::kTree, .steps = 1600}, Accountant::kExact, 1.5},
      {{.kind = Kind::kSkellam, .steps = 10, .vectors = {.scale = 1000, .dimension = 4096}}, Accountant::kRdp, 5.0},
      {Poisson(0, 1000, 0.01), Accountant::kGdpClt, 0.5},
  };
  for (const CalibrationCase& c : cases) {
    const auto calibrated = CalibrateNoise(c.mechanism, c.accountant, Orders(), 1e-6, c.epsilon);
    ASSERT_TRUE(calibrated) << calibrated.error().ToString();
    Mechanism mechanism = c.mechanism;
    mechanism.noise_multiplier = calibrated->noise_multiplier;
    const double spent = Epsilon(mechanism, c.accountant).upper;
    EXPECT_EQ(spent, calibrated->spent.value.upper);
    EXPECT_LE(spent, c.epsilon);
    EXPECT_GT(spent, c.epsilon - 1e-4);
    mechanism.noise_multiplier *= 1 - 1e-4;
    EXPECT_GT(Epsilon(mechanism, c.accountant).upper, c.epsilon);
  }
}

TEST(Account, SomeTargetsNeedMoreThanNoise) {
  // tau of the sum of shares depends on the scale: at this one each share is all but deterministic.
  const Mechanism coarse{
      .kind = Kind::kDiscreteGaussian, .steps = 10, .vectors = {.scale = 1e-7, .dimension = 4096}, .clients = 100};
  EXPECT_EQ(CalibrateNoise(coarse, Accountant::kRdp, Orders(), 1e-6, 1.0).error().reason(), "NO_NOISE_SUFFICES");
  EXPECT_EQ(CalibrateNoise(coarse, Accountant::kRdp, Orders(), 1e-6, 0).error().reason(), "BAD_EPSILON");
  EXPECT_EQ(CalibrateNoise(coarse, Accountant::kPld, Orders(), 1e-6, 1).error().reason(), "NO_SUCH_ACCOUNT");
}

struct RefusedCase {
  Mechanism mechanism;
  Accountant accountant;
  const char* reason;
};

TEST(Account, RefusesWhatItHasNoBoundFor) {
  Mechanism subset_of_other_adjacency = Subset(1, 1, 0.1);
  subset_of_other_adjacency.adjacency = Adjacency::kAddRemove;
  Mechanism replaced_poisson = Poisson(1, 1, 0.1);
  replaced_poisson.adjacency = Adjacency::kReplaceOne;
  Mechanism sampled_tree = Poisson(1, 16, 0.1);
  sampled_tree.kind = Kind::kTree;
  Mechanism crowded = Poisson(1, 100, 0.3);
  crowded.kind = Kind::kBanded;
  crowded.bands = 4;
  const RefusedCase cases[] = {
      {{}, Accountant::kExact, "BAD_NOISE"},
      {{.noise_multiplier = -1}, Accountant::kRdp, "BAD_NOISE"},
      {{.noise_multiplier = std::nan("")}, Accountant::kPld, "BAD_NOISE"},
      {{.noise_multiplier = 1, .steps = 0}, Accountant::kPld, "BAD_STEPS"},
      {Poisson(1, 1, 0), Accountant::kPld, "BAD_RATE"},
      {Poisson(1, 1, 1.1), Accountant::kPld, "BAD_RATE"},
      {subset_of_other_adjacency, Accountant::kPld, "NO_SUCH_ACCOUNT"},
      {replaced_poisson, Accountant::kRdp, "NO_SUCH_ACCOUNT"},
      {replaced_poisson, Accountant::kGdpClt, "NO_SUCH_ACCOUNT"},
      {sampled_tree, Accountant::kRdp, "NO_SUCH_ACCOUNT"},
      {crowded, Accountant::kPld, "BAD_RATE"},
      {{.kind = Kind::kSkellam, .noise_multiplier = 1}, Accountant::kPld, "NO_SUCH_ACCOUNT"},
      {{.kind = Kind::kSkellam, .noise_multiplier = 1, .vectors = {.scale = 0}}, Accountant::kRdp, "BAD_VECTORS"},
      {{.kind = Kind::kDiscreteGaussian, .noise_multiplier = 1, .vectors = {.scale = 1, .dimension = 2}},
       Accountant::kExact,
       "NO_SUCH_ACCOUNT"},
      {{.kind = Kind::kDiscreteGaussian, .noise_multiplier = 1, .vectors = {.scale = 1.5}},
       Accountant::kPld,
       "NO_SUCH_ACCOUNT"},
      {{.kind = Kind::kPure}, Accountant::kRdp, "BAD_EPSILON"},
  };
  for (const RefusedCase& c : cases) {
    const auto spent = SpentEpsilon({&c.mechanism, 1}, c.accountant, Orders(), 1e-6);
    ASSERT_FALSE(spent) << c.reason;
    EXPECT_EQ(spent.error().reason(), c.reason) << spent.error().message();
  }
  const Mechanism skellam{.kind = Kind::kSkellam, .noise_multiplier = 1, .vectors = {.scale = 100, .dimension = 10}};
  EXPECT_EQ(SpentEpsilon({&skellam, 1}, Accountant::kRdp, std::vector<double>{2.5}, 1e-6).error().reason(), "BAD_ORDERS");
  EXPECT_EQ(SpentEpsilon({&skellam, 1}, Accountant::kRdp, {}, 1e-6).error().reason(), "BAD_ORDERS");
  EXPECT_EQ(SpentEpsilon({&skellam, 1}, Accountant::kRdp, Orders(), 0).error().reason(), "BAD_DELTA");
  EXPECT_EQ(SpentDelta({&skellam, 1}, Accountant::kRdp, Orders(), -1).error().reason(), "BAD_EPSILON");
}

}  // namespace
}  // namespace edgefleet::privacy
