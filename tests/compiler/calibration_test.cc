// Statistics of activations and the ranges chosen from them.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "base/random.h"
#include "registry/compiler/calibration/divergence.h"
#include "registry/compiler/calibration/range.h"
#include "registry/compiler/calibration/statistics.h"

namespace edgefleet::compiler {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

std::vector<float> Normal(std::size_t count, std::uint64_t seed, float mean = 0, float deviation = 1) {
  SeededRandom random(seed);
  std::vector<float> values(count);
  for (float& value : values) {
    const double radius = std::sqrt(-2 * std::log(1 - random.Unit()));
    value = mean + deviation * static_cast<float>(radius * std::cos(6.283185307179586 * random.Unit()));
  }
  return values;
}

TensorStatistics StatisticsOf(std::span<const float> values) {
  TensorStatistics statistics;
  statistics.Add(values);
  return statistics;
}

TEST(Statistics, OfAFewValues) {
  TensorStatistics statistics;
  statistics.Add(std::vector<float>{1, 0, -3});
  statistics.Add(std::vector<float>{});
  statistics.Add(std::vector<float>{NAN, 2, INFINITY, -0.0F, -INFINITY});
  EXPECT_EQ(statistics.count(), 8U);
  EXPECT_EQ(statistics.nan_count(), 1U);
  EXPECT_EQ(statistics.infinity_count(), 2U);
  EXPECT_EQ(statistics.zero_count(), 2U);
  EXPECT_EQ(statistics.min(), -3);
  EXPECT_EQ(statistics.max(), 2);
  EXPECT_DOUBLE_EQ(statistics.mean(), 0);
  EXPECT_DOUBLE_EQ(statistics.variance(), 14.0 / 5);
  const auto counts = statistics.histogram().counts();
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}), 3U);
}

TEST(Statistics, OfNothing) {
  for (const std::vector<float>& values : {std::vector<float>{}, {NAN}, {0, 0}}) {
    const TensorStatistics statistics = StatisticsOf(values);
    EXPECT_EQ(statistics.min(), 0);
    EXPECT_EQ(statistics.max(), 0);
    EXPECT_EQ(statistics.mean(), 0);
    EXPECT_EQ(statistics.variance(), 0);
    EXPECT_TRUE(statistics.histogram().counts().empty());
  }
}

// A large mean does not cost the variance its digits.
TEST(Statistics, VarianceFarFromZero) {
  TensorStatistics statistics;
  for (int i = 0; i < 100; ++i) statistics.Add(std::vector<float>{16'777'000, 16'777'002});
  EXPECT_NEAR(statistics.mean(), 16'777'001, 1e-6);
  EXPECT_NEAR(statistics.variance(), 1, 1e-9);
}

TEST(Statistics, BatchesAndTheirOrderMakeNoDifference) {
  std::vector<float> values = Normal(5'000, 1, 0.3F);
  values[17] = 900;
  values[2'500] = -3e-7F;
  values[4'000] = -40;
  const TensorStatistics whole = StatisticsOf(values);
  SeededRandom random(2);
  for (int trial = 0; trial < 20; ++trial) {
    std::shuffle(values.begin(), values.end(), random);
    TensorStatistics pieces;
    for (std::size_t begin = 0; begin < values.size();) {
      const std::size_t size = std::min<std::size_t>(1 + random.Below(trial < 10 ? 3 : 900), values.size() - begin);
      pieces.Add(std::span(values).subspan(begin, size));
      begin += size;
    }
    ASSERT_EQ(pieces.histogram().width(), whole.histogram().width());
    ASSERT_EQ(pieces.histogram().Edge(0), whole.histogram().Edge(0));
    ASSERT_THAT(pieces.histogram().counts(), ElementsAreArray(whole.histogram().counts()));
    EXPECT_NEAR(pieces.mean(), whole.mean(), 1e-9);
    EXPECT_NEAR(pieces.variance(), whole.variance(), 1e-6);
  }
}

TEST(Statistics, BinsHoldWhatLiesBetweenTheirEdges) {
  for (const float factor : {1.0F, -1.0F, 1e-38F, 1e37F, 3e-45F}) {
    std::vector<float> values = Normal(3'000, 3, 1.0F);
    for (float& value : values) value *= factor;
    const TensorStatistics statistics = StatisticsOf(values);
    const Histogram& histogram = statistics.histogram();
    for (std::size_t i = 0; i < Histogram::kBins; ++i) {
      const auto expected = std::ranges::count_if(
          values, [&](double v) { return v != 0 && v >= histogram.Edge(i) && v < histogram.Edge(i + 1); });
      ASSERT_EQ(histogram.counts()[i], static_cast<std::uint64_t>(expected)) << factor << " bin " << i;
    }
    const double used = (double{statistics.max()} - statistics.min()) / histogram.width();
    EXPECT_GT(used, Histogram::kBins / 2 - 2) << factor;
  }
}

TEST(ScaleOf, RepresentsZeroExactlyAndTheBoundsClosely) {
  for (const ActivationRange range : {ActivationRange{-1, 3}, {0, 6}, {2, 5}, {-4, -1}, {-1e-3F, 1e4F}}) {
    const AffineScale scale = ScaleOf(range);
    EXPECT_GE(scale.zero_point, -128);
    EXPECT_LE(scale.zero_point, 127);
    for (const float bound : {std::min(range.min, 0.0F), std::max(range.max, 0.0F)}) {
      const double q = std::clamp(std::nearbyint(double{bound} / scale.scale) + scale.zero_point, -128.0, 127.0);
      EXPECT_NEAR((q - scale.zero_point) * scale.scale, bound, 0.51 * scale.scale);
    }
  }
  EXPECT_EQ(ScaleOf({0, 6}).zero_point, -128);
  EXPECT_EQ(ScaleOf({0, 0}).scale, 1);
  EXPECT_GT(ScaleOf({0, 1e-40F}).scale, 0);
}

constexpr CalibrationMethod kAll[] = {CalibrationMethod::kMinMax, CalibrationMethod::kEntropy, CalibrationMethod::kPercentile};

TEST(ChooseRange, MethodsHaveNames) {
  for (const CalibrationMethod method : kAll) EXPECT_EQ(ParseCalibrationMethod(CalibrationMethodName(method)), method);
  EXPECT_EQ(CalibrationMethodName(CalibrationMethod::kMinMax), "min-max");
  EXPECT_FALSE(ParseCalibrationMethod("kl"));
}

TEST(ChooseRange, IsWithinWhatWasSeenAndHoldsZero) {
  const std::vector<std::vector<float>> tensors = {
      Normal(10'000, 1),
      Normal(10'000, 2, 5),
      Normal(10'000, 3, -9),
      Normal(2, 4),
      {7},
      {-7, -7, -7},
      {1e-44F, 0, 3e-44F},
      {3e38F, -3e38F},
      {0, 0, 0, 0.5F},
      Normal(100, 5, 1e6F, 1),
      Normal(50'000, 6, 0, 3),
  };
  for (const auto& values : tensors) {
    const TensorStatistics statistics = StatisticsOf(values);
    for (const CalibrationMethod method : kAll) {
      const auto range = ChooseRange("x", statistics, {.method = method});
      ASSERT_TRUE(range);
      EXPECT_LE(range->min, 0);
      EXPECT_GE(range->max, 0);
      EXPECT_GE(range->min, std::min(statistics.min(), 0.0F));
      EXPECT_LE(range->max, std::max(statistics.max(), 0.0F));
      EXPECT_LT(range->min, range->max);
    }
    const auto all = ChooseRange("x", statistics, {});
    EXPECT_EQ(all->min, std::min(statistics.min(), 0.0F));
    EXPECT_EQ(all->max, std::max(statistics.max(), 0.0F));
  }
}

TEST(ChooseRange, OfZerosIsZero) {
  for (const CalibrationMethod method : kAll) {
    const auto range = ChooseRange("x", StatisticsOf(std::vector<float>{0, 0}), {.method = method});
    ASSERT_TRUE(range);
    EXPECT_EQ(range->min, 0);
    EXPECT_EQ(range->max, 0);
  }
}

TEST(ChooseRange, NamesTheTensorThatIsNotFinite) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (const CalibrationMethod method : kAll) {
      const auto range = ChooseRange("conv_3", StatisticsOf(std::vector<float>{1, bad}), {.method = method});
      ASSERT_FALSE(range);
      EXPECT_EQ(range.error().reason(), "BAD_CALIBRATION");
      EXPECT_THAT(range.error().message(), HasSubstr("'conv_3' becomes NaN or infinite"));
    }
  }
}

// Against sorting: at most the allowed share lies outside on each side, and a bin less would cut off more.
TEST(ChooseRange, PercentileCutsTheTails) {
  for (const double percentile : {100.0, 99.99, 99.0, 80.0}) {
    for (const float mean : {0.0F, 2.0F, -2.0F}) {
      std::vector<float> values = Normal(20'000, 7, mean);
      const TensorStatistics statistics = StatisticsOf(values);
      const auto range = ChooseRange("x", statistics, {CalibrationMethod::kPercentile, percentile});
      ASSERT_TRUE(range);
      const double cut = (1 - percentile / 100) / 2 * 20'000;
      const double width = statistics.histogram().width();
      const auto below = [&](double bound) { return std::ranges::count_if(values, [&](float v) { return v < bound; }); };
      const auto above = [&](double bound) { return std::ranges::count_if(values, [&](float v) { return v > bound; }); };
      EXPECT_LE(static_cast<double>(below(range->min)), cut);
      EXPECT_LE(static_cast<double>(above(range->max)), cut);
      if (range->min < 0) {
        EXPECT_GT(static_cast<double>(below(range->min + 1.01 * width)), cut);
      }
      if (range->max > 0) {
        EXPECT_GT(static_cast<double>(above(range->max - 1.01 * width)) + 1, cut);
      }
    }
  }
}

TEST(ChooseRange, ZerosDoNotCountAsValues) {
  std::vector<float> values = Normal(1'000, 8);
  const auto dense = StatisticsOf(values);
  values.resize(1'000'000);  // zeros
  const auto sparse = StatisticsOf(values);
  for (const CalibrationMethod method : kAll) {
    const auto a = ChooseRange("x", dense, {.method = method});
    const auto b = ChooseRange("x", sparse, {.method = method});
    EXPECT_EQ(a->min, b->min);
    EXPECT_EQ(a->max, b->max);
  }
}

// One value a hundred times as large as the rest: min-max gives it nearly all levels, the others clip it.
TEST(ChooseRange, OutliersAreClipped) {
  std::vector<float> values = Normal(50'000, 9);
  const float ordinary = *std::ranges::max_element(values);
  values[5] = 100;
  const TensorStatistics statistics = StatisticsOf(values);
  EXPECT_EQ(ChooseRange("x", statistics, {})->max, 100);
  for (const CalibrationMethod method : {CalibrationMethod::kEntropy, CalibrationMethod::kPercentile}) {
    const auto range = ChooseRange("x", statistics, {.method = method});
    EXPECT_LT(range->max, 2.5F * ordinary) << CalibrationMethodName(method);
    EXPECT_GT(range->max, 2) << CalibrationMethodName(method);
    EXPECT_LT(range->min, -2) << CalibrationMethodName(method);
  }
}

// KL(P || Q) by its definition, bin by bin.
double DivergenceByDefinition(const Histogram& histogram, std::size_t below, std::size_t above) {
  std::size_t zero = 0;
  while (histogram.Edge(zero) < 0) ++zero;
  const std::size_t begin = zero - below;
  const std::size_t bins = below + above;
  const auto counts = histogram.counts();
  std::vector<double> p(bins, 0);
  std::map<long, std::vector<std::size_t>> filled;  // bins by level
  double inside = 0;
  double total = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const auto c = static_cast<double>(counts[i]);
    total += c;
    p[i < begin ? 0 : std::min(i - begin, bins - 1)] += c;
    if (i < begin || i >= begin + bins || c == 0) continue;
    inside += c;
    const double step = static_cast<double>(bins) / 255;
    filled[std::lround((static_cast<double>(i - begin) + 0.5) / step)].push_back(i - begin);
  }
  std::vector<double> q(bins, 0);
  for (const auto& [level, members] : filled) {
    double mass = 0;
    for (const std::size_t i : members) mass += static_cast<double>(counts[begin + i]);
    for (const std::size_t i : members) q[i] = mass / static_cast<double>(members.size());
  }
  double sum = 0;
  for (std::size_t i = 0; i < bins; ++i) {
    const double uniform = 1.0 / static_cast<double>(bins);
    const double mixed = inside > 0 ? (1 - 1e-4) * q[i] / inside + 1e-4 * uniform : uniform;
    if (p[i] > 0) sum += p[i] / total * std::log(p[i] / total / mixed);
  }
  return sum;
}

TEST(Divergence, AgreesWithItsDefinition) {
  std::vector<std::vector<float>> tensors = {Normal(20'000, 10), Normal(300, 11, 1), Normal(20'000, 12, 10)};
  for (float& value : tensors[2]) value = std::max(value, 0.0F);
  tensors[0][3] = 20;
  for (const auto& values : tensors) {
    const TensorStatistics statistics = StatisticsOf(values);
    const Histogram& histogram = statistics.histogram();
    std::size_t zero = 0;
    while (histogram.Edge(zero) < 0) ++zero;
    const std::size_t rest = Histogram::kBins - zero;
    for (const auto& [below, above] : std::vector<std::pair<std::size_t, std::size_t>>{
             {zero, rest}, {zero / 2, rest / 3}, {0, rest}, {0, 300}, {zero, 1}, {0, 1}, {zero / 5, 257}}) {
      if (below + above == 0) continue;
      EXPECT_NEAR(Divergence(histogram, below, above), DivergenceByDefinition(histogram, below, above), 1e-9)
          << below << " below, " << above << " above";
    }
  }
}

TEST(Divergence, TheChosenRangeIsNoWorseThanItsNeighboursAndAll) {
  for (const std::uint64_t seed : {20, 21, 22}) {
    std::vector<float> values = Normal(40'000, seed, 0.5F);
    for (std::size_t i = 0; i < 30; ++i) values[i] *= 6;
    const TensorStatistics statistics = StatisticsOf(values);
    const Histogram& histogram = statistics.histogram();
    const auto range = ChooseRange("x", statistics, {.method = CalibrationMethod::kEntropy});
    ASSERT_TRUE(range);
    const auto bins = [&](double bound) { return static_cast<std::size_t>(std::ceil(std::abs(bound) / histogram.width())); };
    const std::size_t below = bins(range->min);
    const std::size_t above = bins(range->max);
    const double chosen = Divergence(histogram, below, above);
    EXPECT_GE(chosen, 0);
    EXPECT_LE(chosen, Divergence(histogram, bins(statistics.min()), bins(statistics.max())));
    const std::size_t all_above = bins(statistics.max());
    for (std::size_t k = 1; k <= 128; ++k) {
      const std::size_t candidate = all_above * k / 128;
      if (below + candidate >= 256) {
        EXPECT_LE(chosen, Divergence(histogram, below, candidate)) << k;
      }
    }
  }
}

}  // namespace
}  // namespace edgefleet::compiler
