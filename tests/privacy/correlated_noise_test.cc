// DP-FTRL's sensitivities against all participation patterns of small trainings; the split of adaptive clipping's noise.
#include "aggregator/privacy/accounting/correlated_noise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "aggregator/privacy/accounting/adaptive_clipping.h"

namespace edgefleet::privacy {
namespace {

// Sum over all complete nodes of the square of the participations below them.
double SquaresOver(std::uint32_t pattern, int steps, int restart) {
  double sum = 0;
  for (int begin = 0; begin < steps; begin += restart) {
    const int end = std::min(begin + restart, steps);
    for (int span = 1; span <= end - begin; span *= 2) {
      for (int node = begin; node + span <= end; node += span) {
        const std::uint32_t leaves = ((std::uint32_t{1} << span) - 1) << node;
        const int inside = std::popcount(pattern & leaves);
        sum += inside * inside;
      }
    }
  }
  return sum;
}

bool Allowed(std::uint32_t pattern, const Participation& participation) {
  if (static_cast<std::uint64_t>(std::popcount(pattern)) > participation.participations) return false;
  for (std::uint64_t apart = 1; apart < participation.min_separation; ++apart) {
    if (pattern & (pattern >> apart)) return false;
  }
  return true;
}

TEST(Tree, CoversEveryPatternOfParticipation) {
  for (const int steps : {1, 2, 3, 7, 8, 12, 16}) {
    for (const std::uint64_t participations : {1, 2, 3, 16}) {
      for (const std::uint64_t separation : {1, 2, 3, 5}) {
        for (const int restart : {2, 5, 16}) {
          const Participation participation{
              .steps = static_cast<std::uint64_t>(steps), .participations = participations, .min_separation = separation};
          double worst = 0;
          for (std::uint32_t pattern = 0; pattern < (std::uint32_t{1} << steps); ++pattern) {
            if (Allowed(pattern, participation)) worst = std::max(worst, SquaresOver(pattern, steps, restart));
          }
          const double bound = TreeSensitivity(participation, restart).value();
          EXPECT_GE(bound * bound, worst) << steps << " " << participations << " " << separation << " " << restart;
          if (participations == 1) {
            EXPECT_NEAR(bound * bound, worst, 1e-9);
          }
          EXPECT_LE(bound * bound, 2.5 * worst) << steps << " " << participations << " " << separation << " " << restart;
        }
      }
    }
  }
}

TEST(Tree, OneParticipationCountsTheLevels) {
  for (const auto& [steps, nodes] :
       std::vector<std::pair<std::uint64_t, double>>{{1, 1}, {2, 2}, {1023, 10}, {1024, 11}, {1600, 11}}) {
    EXPECT_NEAR(std::pow(TreeSensitivity({.steps = steps}, 0).value(), 2), nodes, 1e-9) << steps;
  }
  EXPECT_NEAR(std::pow(TreeSensitivity({.steps = 1600}, 100).value(), 2), 7, 1e-9);
}

TEST(Banded, ParticipationsAddUpInSquares) {
  EXPECT_NEAR(BandedSensitivity({.steps = 1000, .participations = 4, .min_separation = 10}, 10).value(), 2, 1e-12);
  // No more than fit: steps 0, 400 and 800.
  EXPECT_NEAR(BandedSensitivity({.steps = 1000, .participations = 9, .min_separation = 400}, 10).value(), std::sqrt(3.0),
              1e-12);
  EXPECT_EQ(BandedSensitivity({.steps = 1000, .participations = 4, .min_separation = 9}, 10).error().reason(),
            "BAD_PARTICIPATION");
  EXPECT_TRUE(BandedSensitivity({.steps = 1000}, 10).has_value());
}

TEST(Banded, CyclicSamplingIsFewerStepsAtAHigherRate) {
  const auto amplified = BandedAmplification(1001, 4, 0.01).value();
  EXPECT_EQ(amplified.steps, 251);
  EXPECT_EQ(amplified.rate, 0.04);
  EXPECT_EQ(BandedAmplification(1000, 101, 0.01).error().reason(), "BAD_RATE");
  EXPECT_EQ(BandedAmplification(0, 4, 0.01).error().reason(), "BAD_PARTICIPATION");
}

TEST(AdaptiveClipping, TheSplitComposesToTheWhole) {
  const double update = UpdateNoiseMultiplier(1.0, 5.0).value();
  EXPECT_NEAR(update, 1 / std::sqrt(1 - 0.01), 1e-12);
  EXPECT_NEAR(CombinedNoiseMultiplier(update, 5.0), 1.0, 1e-12);
  EXPECT_LE(CombinedNoiseMultiplier(1.0, 5.0), 1.0);
  EXPECT_EQ(UpdateNoiseMultiplier(1.0, 0.5).error().reason(), "COUNT_NOISE_TOO_SMALL");
  EXPECT_EQ(UpdateNoiseMultiplier(0, 1).error().reason(), "BAD_NOISE");
}

}  // namespace
}  // namespace edgefleet::privacy
