// The samplers of integer noise against the distributions they promise. Draws are from fixed seeds, so a failure is a change of
// the code. How strict the limits are: were the seeds drawn anew, a correct sampler would miss a given p-value limit with
// probability at most 1e-6, a moment's with 6e-7; all limits of this file together with less than 1e-3. `./run bench noise`
// draws 10^7 of each from fresh seeds.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <thread>
#include <vector>

#include "base/random.h"
#include "secagg/noise/discrete_gaussian.h"
#include "secagg/noise/skellam.h"
#include "tests/support/distributions.h"

namespace edgefleet::secagg {
namespace {

using testing::Distribution;
using testing::Fit;

constexpr int kDraws = 300'000;
constexpr double kLeastP = 1e-6;
constexpr double kMostZ = 5;

NoiseStream Stream(std::uint64_t seed) {
  SeededRandom random(seed);
  return NoiseStream(random);
}

double ValueOf(Variance variance) {
  return static_cast<double>(variance.numerator) / static_cast<double>(variance.denominator);
}

void ExpectFits(const Fit& fit) {
  EXPECT_GE(fit.ChiSquareP(), kLeastP);
  EXPECT_GE(fit.KolmogorovSmirnovP(), kLeastP);
}

void ExpectMoments(const Fit& fit) {
  for (int r = 1; r <= 4; ++r) EXPECT_LE(std::abs(fit.MomentZ(r)), kMostZ) << "moment " << r;
}

// What is true with probability `p` in fact is: by Bernstein's inequality within 6 standard errors and a few draws.
void ExpectProbability(double p, const std::function<bool()>& coin, const char* what) {
  int count = 0;
  for (int i = 0; i < kDraws; ++i) count += coin() ? 1 : 0;
  EXPECT_NEAR(count, p * kDraws, 6 * std::sqrt(p * (1 - p) * kDraws) + 12) << what << " " << p;
}

TEST(NoiseStream, IsDeterminedByItsKey) {
  NoiseStream one = Stream(1);
  NoiseStream same = Stream(1);
  NoiseStream other = Stream(2);
  int equal = 0;
  for (int i = 0; i < 5000; ++i) {  // over several blocks
    const std::uint32_t word = one.Word();
    ASSERT_EQ(word, same.Word()) << i;
    equal += word == other.Word() ? 1 : 0;
  }
  EXPECT_LE(equal, 1);
}

// The first words, and those around the end of the first block, as `openssl enc -chacha20` has them for SeededRandom(1)'s first
// 32 bytes as key, the nonce "dp noise", and the first 32 bytes of that block as the next key.
TEST(NoiseStream, IsChaCha20WithANewKeyForEachBlock) {
  NoiseStream stream = Stream(1);
  std::vector<std::uint32_t> words(1018);
  for (std::uint32_t& word : words) word = stream.Word();
  EXPECT_EQ(words[0], 0xeb62cd04);
  EXPECT_EQ(words[1], 0x9e6f1729);
  EXPECT_EQ(words[1014], 0x9dd2421b);
  EXPECT_EQ(words[1015], 0x8b32d7f4);
  EXPECT_EQ(words[1016], 0x4ada538b);
  EXPECT_EQ(words[1017], 0xd4c6f5f1);
}

TEST(NoiseStream, BelowIsUniform) {
  NoiseStream stream = Stream(3);
  for (const std::uint32_t bound : {1U, 2U, 3U, 7U, 1000U}) {
    Distribution uniform;
    for (std::uint32_t x = 0; x < bound; ++x) {
      uniform.last.push_back(x);
      uniform.probability.push_back(1.0L / bound);
    }
    Fit fit(uniform);
    for (int i = 0; i < kDraws; ++i) {
      const std::uint32_t x = stream.Below(bound);
      ASSERT_LT(x, bound);
      fit.Add(x);
    }
    ExpectFits(fit);
  }
  // Where most of 2^32 would be biased without rejection: the lower third comes as often as the others.
  constexpr std::uint32_t kBound = 0xC0000000;
  ExpectProbability(
      1.0 / 3, [&] { return stream.Below(kBound) < kBound / 3; }, "third");
}

TEST(Bernoulli, HasTheProbabilityOfTheFraction) {
  NoiseStream stream = Stream(4);
  constexpr Wide kHuge = (Wide{1} << 96) - 1;
  const struct {
    Wide numerator, denominator;
  } cases[] = {
      {0, 1}, {1, 1}, {1, 2}, {1, 3}, {2, 3}, {1, 1000}, {999, 1000}, {kHuge / 3, kHuge}, {kHuge, kHuge}, {kHuge - 1, kHuge}};
  for (const auto& [numerator, denominator] : cases) {
    const double p = static_cast<double>(numerator) / static_cast<double>(denominator);
    ExpectProbability(
        p, [&] { return Bernoulli(numerator, denominator, stream); }, "fraction");
  }
}

// A fraction whose first 32 binary digits are all that a word can decide, so that the digits after them are drawn: the next
// word after one that equals them decides.
TEST(Bernoulli, GoesOnWhereDigitsAreEqual) {
  NoiseStream words = Stream(5);
  NoiseStream stream = Stream(5);
  const Wide first = words.Word();
  const std::uint32_t second = words.Word();
  const Wide digits = first << 32 | second;
  EXPECT_FALSE(Bernoulli(digits, Wide{1} << 64, stream));  // U >= digits 2^-64
  NoiseStream again = Stream(5);
  EXPECT_TRUE(Bernoulli(digits + 1, Wide{1} << 64, again));
  EXPECT_EQ(again.Word(), words.Word()) << "two words were drawn, no more";
}

TEST(BernoulliExpMinus, HasTheProbabilityOfTheExponential) {
  NoiseStream stream = Stream(6);
  const struct {
    Wide numerator, denominator;
  } cases[] = {{0, 5},
               {1, 1'000'000},
               {1, 10},
               {1, 2},
               {2, 3},
               {1, 1},
               {3, 2},
               {2, 1},
               {7, 2},
               {12, 1},
               {Wide{1} << 94, (Wide{1} << 95) + 1}};
  for (const auto& [numerator, denominator] : cases) {
    const double p = std::exp(-static_cast<double>(numerator) / static_cast<double>(denominator));
    ExpectProbability(
        p, [&] { return BernoulliExpMinus(numerator, denominator, stream); }, "exponential");
  }
  ExpectProbability(
      std::exp(-1.0), [&] { return BernoulliExpMinusOne(stream); }, "1/e");
  ExpectProbability(
      std::exp(-0.25), [&] { return BernoulliExpMinusCoin([&] { return stream.Bit() && stream.Bit(); }, stream); }, "coin");
}

TEST(GeometricExp, FallsByTheExponential) {
  NoiseStream stream = Stream(7);
  for (const std::uint32_t scale : {1U, 2U, 5U, 100U}) {
    Distribution geometric;
    for (std::uint32_t x = 0; x < 30 * scale; ++x) {
      geometric.last.push_back(x);
      geometric.probability.push_back(-std::expm1(-1.0L / scale) * std::exp(-static_cast<long double>(x) / scale));
    }
    Fit fit(geometric);
    for (int i = 0; i < kDraws; ++i) fit.Add(static_cast<std::int64_t>(GeometricExp(scale, stream)));
    ExpectFits(fit);
  }
}

TEST(DiscreteGaussian, FitsItsDistribution) {
  const Variance cases[] = {
      {1, 1000}, {1, 10}, {1, 4},     {1, 2},       {22, 31},     {1, 1},          {kVarianceTermMax - 1, kVarianceTermMax},
      {9, 4},    {4, 1},  {1'000, 7}, {10'007, 10}, {1 << 20, 1}, {1ULL << 40, 1}, {(1ULL << 46) - 1, 64}};
  for (const Variance& variance : cases) {
    SCOPED_TRACE(std::to_string(variance.numerator) + "/" + std::to_string(variance.denominator));
    const Distribution distribution = testing::DiscreteGaussianDistribution(ValueOf(variance));
    const auto sampler = DiscreteGaussian::Make(variance);
    ASSERT_TRUE(sampler) << sampler.error().ToString();
    NoiseStream stream = Stream(variance.numerator + 31 * variance.denominator);
    Fit fit(distribution);
    for (int i = 0; i < kDraws; ++i) fit.Add(sampler->Draw(stream));
    ExpectFits(fit);
    if (ValueOf(variance) > 0.01) ExpectMoments(fit);
  }
}

TEST(DiscreteGaussian, OfTinyVarianceIsAlmostAlwaysZero) {
  const auto sampler = DiscreteGaussian::Make({1, kVarianceTermMax});
  ASSERT_TRUE(sampler);
  NoiseStream stream = Stream(8);
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(sampler->Draw(stream), 0);
}

TEST(DiscreteGaussian, DependsOnTheFractionNotOnItsTerms) {
  const auto reduced = DiscreteGaussian::Make({5, 3});
  const auto expanded = DiscreteGaussian::Make({5'000'000, 3'000'000});
  ASSERT_TRUE(reduced && expanded);
  NoiseStream one = Stream(9);
  NoiseStream other = Stream(9);
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(reduced->Draw(one), expanded->Draw(other)) << i;
}

TEST(Poisson, FitsItsDistribution) {
  const Variance cases[] = {{1, 1000}, {1, 3},  {1, 1},   {3, 2},    {2, 1},       {3, 1},         {5, 1},
                            {6, 1},    {25, 2}, {100, 1}, {4099, 4}, {1 << 20, 1}, {1ULL << 29, 1}};
  for (const Variance& mean : cases) {
    SCOPED_TRACE(std::to_string(mean.numerator) + "/" + std::to_string(mean.denominator));
    const Distribution distribution = testing::PoissonDistribution(ValueOf(mean));
    const auto sampler = Poisson::Make(mean);
    ASSERT_TRUE(sampler) << sampler.error().ToString();
    NoiseStream stream = Stream(mean.numerator + 31 * mean.denominator);
    Fit fit(distribution);
    for (int i = 0; i < kDraws; ++i) fit.Add(sampler->Draw(stream));
    ExpectFits(fit);
    if (ValueOf(mean) > 0.1) ExpectMoments(fit);
  }
}

TEST(Skellam, FitsItsDistribution) {
  const Variance cases[] = {{1, 100}, {1, 2},     {1, 1},       {2, 1},       {7, 2},
                            {40, 1},  {3'000, 7}, {1 << 16, 1}, {1 << 21, 1}, {1ULL << 30, 1}};
  for (const Variance& variance : cases) {
    SCOPED_TRACE(std::to_string(variance.numerator) + "/" + std::to_string(variance.denominator));
    const Distribution distribution = testing::SkellamDistribution(ValueOf(variance));
    const auto sampler = Skellam::Make(variance);
    ASSERT_TRUE(sampler) << sampler.error().ToString();
    NoiseStream stream = Stream(variance.numerator + 31 * variance.denominator);
    Fit fit(distribution);
    for (int i = 0; i < kDraws; ++i) fit.Add(sampler->Draw(stream));
    ExpectFits(fit);
    if (ValueOf(variance) > 0.1) ExpectMoments(fit);
  }
}

// n shares of variance v / n are one draw of variance v.
TEST(Skellam, SharesAddUp) {
  constexpr std::uint64_t kShares = 10;
  const Distribution whole = testing::SkellamDistribution(7);
  const auto share = Skellam::Make({7, kShares});
  ASSERT_TRUE(share);
  NoiseStream stream = Stream(10);
  Fit fit(whole);
  for (int i = 0; i < kDraws / 10; ++i) {
    std::int64_t sum = 0;
    for (std::uint64_t k = 0; k < kShares; ++k) sum += share->Draw(stream);
    fit.Add(sum);
  }
  ExpectFits(fit);
  ExpectMoments(fit);
}

// The references are what the literature says of the distributions.
TEST(Distributions, HaveTheMomentsOfTheirClosedForms) {
  for (const double variance : {0.5, 3.0, 100.0, 1e6}) {
    const Distribution skellam = testing::SkellamDistribution(variance);
    EXPECT_NEAR(static_cast<double>(skellam.moments[2]), 1, 1e-12) << variance;
    EXPECT_NEAR(static_cast<double>(skellam.moments[4]), 3 + 1 / variance, 1e-10) << variance;
    const Distribution poisson = testing::PoissonDistribution(variance);
    EXPECT_NEAR(static_cast<double>(poisson.moments[1]), 0, 1e-12) << variance;
    EXPECT_NEAR(static_cast<double>(poisson.moments[2]), 1, 1e-12) << variance;
    EXPECT_NEAR(static_cast<double>(poisson.moments[3]), 1 / std::sqrt(variance), 1e-10) << variance;
  }
  // Below sigma^2 even at small sigma (Canonne, Kamath and Steinke 2020, section 1.1), and equal to it at larger ones.
  EXPECT_LT(static_cast<double>(testing::DiscreteGaussianDistribution(0.25).moments[2]), 0.9);
  EXPECT_NEAR(static_cast<double>(testing::DiscreteGaussianDistribution(4).moments[2]), 1, 1e-12);
}

// The tests above would notice: a variance that is off by 3 %, a center by 1/50 deviation, a rounded normal distribution.
TEST(Fit, NoticesWrongDistributions) {
  const Distribution distribution = testing::DiscreteGaussianDistribution(4);
  Fit wide(distribution), shifted(distribution);
  const auto wider = DiscreteGaussian::Make({412, 100});
  const auto right = DiscreteGaussian::Make({4, 1});
  ASSERT_TRUE(wider && right);
  NoiseStream stream = Stream(11);
  for (int i = 0; i < kDraws; ++i) {
    wide.Add(wider->Draw(stream));
    shifted.Add(right->Draw(stream) + (i % 25 == 0 ? 1 : 0));
  }
  EXPECT_LT(wide.ChiSquareP(), kLeastP);
  EXPECT_GT(wide.MomentZ(2), kMostZ);
  EXPECT_LT(shifted.ChiSquareP(), kLeastP);
  EXPECT_LT(shifted.KolmogorovSmirnovP(), kLeastP);
  EXPECT_GT(shifted.MomentZ(1), kMostZ);

  const Distribution narrow = testing::DiscreteGaussianDistribution(0.25);
  Fit rounded(narrow);
  for (int i = 0; i < kDraws; ++i) {
    const double u = 1 - static_cast<double>(stream.Word()) * 0x1p-32;
    const double v = static_cast<double>(stream.Word()) * 0x1p-32;
    rounded.Add(std::llround(0.5 * std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v)));
  }
  EXPECT_LT(rounded.ChiSquareP(), kLeastP);
}

TEST(AddNoise, AddsOneDrawToEachWordModuloItsSize) {
  const auto sampler = Skellam::Make({50, 1});
  ASSERT_TRUE(sampler);
  std::vector<std::uint32_t> words(1000, 3);
  std::vector<std::int64_t> values(1000, -7);
  NoiseStream for_words = Stream(12);
  NoiseStream for_values = Stream(12);
  NoiseStream alone = Stream(12);
  AddNoise(*sampler, std::span(words), for_words);
  AddNoise(*sampler, std::span(values), for_values);
  bool negative = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::int32_t draw = sampler->Draw(alone);
    ASSERT_EQ(words[i], 3 + static_cast<std::uint32_t>(draw)) << i;
    ASSERT_EQ(values[i], draw - 7) << i;
    negative = negative || draw < -3;
  }
  EXPECT_TRUE(negative) << "some word went below 0";
}

TEST(AddNoise, ThreadsShareASampler) {
  const auto sampler = DiscreteGaussian::Make({1000, 3});
  ASSERT_TRUE(sampler);
  std::vector<std::uint32_t> words(20'000);
  std::vector<std::uint32_t> expected(words.size());
  const std::size_t half = words.size() / 2;
  const auto fill = [&](std::span<std::uint32_t> part, std::uint64_t seed) {
    NoiseStream stream = Stream(seed);
    AddNoise(*sampler, part, stream);
  };
  std::thread other([&] { fill(std::span(words).first(half), 13); });
  fill(std::span(words).subspan(half), 14);
  other.join();
  fill(std::span(expected).first(half), 13);
  fill(std::span(expected).subspan(half), 14);
  EXPECT_EQ(words, expected);
}

TEST(Noise, RefusesVariancesOutOfRange) {
  const struct {
    Variance variance;
    bool gaussian, skellam;
  } cases[] = {
      {{0, 1}, false, false},
      {{1, 0}, false, false},
      {{0, 0}, false, false},
      {{1, 1}, true, true},
      {{1, kVarianceTermMax}, true, true},
      {{1, kVarianceTermMax + 1}, false, false},
      {{kVarianceTermMax + 1, kVarianceTermMax}, false, false},
      {{kVarianceTermMax, kVarianceTermMax}, true, true},
      {{1ULL << 30, 1}, true, true},
      {{(1ULL << 31) + 1, 2}, true, false},
      {{1ULL << 40, 1}, true, false},
      {{(1ULL << 40) + 1, 1}, false, false},
      {{(1ULL << 43) + 1, 8}, false, false},
      {{~0ULL, ~0ULL}, false, false},
  };
  for (const auto& [variance, gaussian, skellam] : cases) {
    SCOPED_TRACE(std::to_string(variance.numerator) + "/" + std::to_string(variance.denominator));
    const auto one = DiscreteGaussian::Make(variance);
    const auto other = Skellam::Make(variance);
    EXPECT_EQ(one.has_value(), gaussian);
    EXPECT_EQ(other.has_value(), skellam);
    EXPECT_EQ(one ? "" : one.error().reason(), gaussian ? "" : "BAD_NOISE");
    EXPECT_EQ(other ? "" : other.error().reason(), skellam ? "" : "BAD_NOISE");
  }
  EXPECT_FALSE(Poisson::Make({(1ULL << 30) + 1, 2}));
  EXPECT_FALSE(Poisson::Make({1, 2 * kVarianceTermMax + 1}));
}

TEST(VarianceAtLeast, IsTheNextFractionAbove) {
  for (const double variance : {1e-300, 1e-20, 0.1, 0.5, 1.0, 2.0 / 3, 1e3 / 7, 123'456.789, 0x1p40 - 1e-3, 0x1p40}) {
    const auto fraction = VarianceAtLeast(variance);
    ASSERT_TRUE(fraction) << variance;
    EXPECT_TRUE(DiscreteGaussian::Make(*fraction)) << variance;
    EXPECT_GE(ValueOf(*fraction), variance);
    EXPECT_LE(ValueOf(*fraction) - variance, std::max(0x1p-45 * variance, 0x1p-46)) << variance;
  }
  for (const double variance :
       {0.0, -1.0, 0x1p40 * (1 + 0x1p-52), std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    const auto fraction = VarianceAtLeast(variance);
    ASSERT_FALSE(fraction) << variance;
    EXPECT_EQ(fraction.error().reason(), "BAD_NOISE");
  }
}

}  // namespace
}  // namespace edgefleet::secagg
