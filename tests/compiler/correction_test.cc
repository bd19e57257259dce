// Bias correction, equalization, pruning and bit allocation, each against its definition or brute force.
#include "registry/compiler/quantization/correction.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "base/random.h"
#include "registry/compiler/quantization/bit_allocation.h"
#include "registry/compiler/quantization/prune.h"
#include "registry/compiler/quantization/weights.h"

namespace edgefleet::compiler {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Pointwise;

std::vector<float> Random(std::size_t count, std::uint64_t seed, float low = -1, float high = 1) {
  SeededRandom random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = low + (high - low) * static_cast<float>(random.Unit());
  return values;
}

std::vector<float> Rounded(std::span<const float> weights, double step) {
  std::vector<float> out;
  for (const float w : weights) out.push_back(static_cast<float>(std::nearbyint(w / step) * step));
  return out;
}

// Two groups, each of three channels with two taps and two rows: subtracting the shift makes the mean output exact.
TEST(MeanShift, RestoresTheMeanOutput) {
  constexpr std::size_t kRows = 4, kChannels = 3, kTaps = 2, kGroups = 2, kExamples = 50;
  const auto weights = Random(kRows * kChannels * kTaps, 1);
  const auto quantized = Rounded(weights, 0.25);
  const auto inputs = Random(kExamples * kGroups * kChannels * kTaps, 2, -1, 3);
  // Both taps of a channel see values of the same mean, as neighbouring pixels do.
  std::vector<float> means(kGroups * kChannels, 0);
  std::vector<float> exact(kRows, 0), rough(kRows, 0);
  for (std::size_t e = 0; e < kExamples; ++e) {
    for (std::size_t c = 0; c < kGroups * kChannels; ++c) means[c] += inputs[e * kGroups * kChannels + c] / kExamples;
  }
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t column = 0; column < kChannels * kTaps; ++column) {
      const float mean = means[row / 2 * kChannels + column / kTaps];
      exact[row] += weights[row * kChannels * kTaps + column] * mean;
      rough[row] += quantized[row * kChannels * kTaps + column] * mean;
    }
  }
  const auto shift = MeanShift(weights, quantized, kRows, means, kGroups);
  for (std::size_t row = 0; row < kRows; ++row) {
    EXPECT_GT(std::abs(rough[row] - exact[row]), 1e-3);
    EXPECT_NEAR(rough[row] - shift[row], exact[row], 1e-5);
  }
}

struct TwoLayers {
  std::vector<float> first, bias, second;  // [4, 3], [4], [2, 4]
  std::vector<float> operator()(std::span<const float> x) const {
    std::vector<float> y(2, 0);
    for (std::size_t h = 0; h < 4; ++h) {
      float sum = bias[h];
      for (std::size_t i = 0; i < 3; ++i) sum += first[h * 3 + i] * x[i];
      for (std::size_t o = 0; o < 2; ++o) y[o] += second[o * 4 + h] * std::max(sum, 0.0F);
    }
    return y;
  }
};

TEST(Equalization, KeepsTheFunctionAndEvensTheRanges) {
  TwoLayers net{Random(12, 3), Random(4, 4), Random(8, 5)};
  for (std::size_t i = 0; i < 3; ++i) net.first[3 + i] *= 1'000;  // channel 1 dwarfs the others
  TwoLayers equal = net;
  const auto scales = EqualizationScales(RowRanges(net.first, 4), ColumnRanges(net.second, 2, 4));
  for (std::size_t h = 0; h < 4; ++h) {
    for (std::size_t i = 0; i < 3; ++i) equal.first[h * 3 + i] /= scales[h];
    equal.bias[h] /= scales[h];
    for (std::size_t o = 0; o < 2; ++o) equal.second[o * 4 + h] *= scales[h];
  }
  EXPECT_THAT(RowRanges(equal.first, 4), Pointwise(FloatNear(1e-4F), ColumnRanges(equal.second, 2, 4)));
  for (std::uint64_t seed = 6; seed < 12; ++seed) {
    const auto x = Random(3, seed);
    EXPECT_THAT(equal(x), Pointwise(FloatNear(0.01F), net(x)));
  }
  // One scale for the whole first layer now keeps its small channels.
  const auto snr_of_channel_0 = [](const std::vector<float>& weights) {
    const float scale = Int8Scale(weights);
    const auto q = QuantizeInt8(weights, std::vector{scale}, 1);
    std::vector<float> real;
    for (const std::int8_t value : q) real.push_back(scale * value);
    return MeasureError(std::span(weights).first(3), std::span(real).first(3)).snr_db;
  };
  EXPECT_GT(snr_of_channel_0(equal.first), snr_of_channel_0(net.first) + 10);
}

TEST(Equalization, LeavesChannelsWithoutWeightsAlone) {
  EXPECT_THAT(EqualizationScales(std::vector<float>{0, 1, 4, 1e30F, 1e-30F}, std::vector<float>{1, 0, 1, 1e-30F, 1e30F}),
              ElementsAre(1, 1, 2, 0x1p10F, 0x1p-10F));
}

TEST(Equalization, RangesOfAConvolution) {
  // Two rows of two channels with two taps.
  const std::vector<float> weights = {1, -2, 3, 0, -5, 4, 0, 1};
  EXPECT_THAT(RowRanges(weights, 2), ElementsAre(3, 5));
  EXPECT_THAT(ColumnRanges(weights, 2, 2), ElementsAre(5, 3));
}

TEST(Prune, TheSmallestOfAllLayers) {
  std::vector<float> a = {0.5F, -3, 0.1F};
  std::vector<float> b = {-0.2F, 2, 0.2F, 7};
  const std::vector<std::span<float>> both = {a, b};
  PruneSmallest(both, 0.5);
  EXPECT_THAT(a, ElementsAre(0.5F, -3, 0));
  EXPECT_THAT(b, ElementsAre(0, 2, 0, 7));
  PruneSmallest(both, 0);
  EXPECT_THAT(b, ElementsAre(0, 2, 0, 7));
  PruneSmallest(both, 1);
  EXPECT_THAT(b, ElementsAre(0, 0, 0, 0));
  PruneSmallest({}, 0.5);
}

TEST(Prune, FirstAmongEqualsAndTheRightNumber) {
  std::vector<float> equal(10, 1.0F);
  const std::vector<std::span<float>> one = {equal};
  PruneSmallest(one, 0.35);
  EXPECT_THAT(equal, ElementsAre(0, 0, 0, 1, 1, 1, 1, 1, 1, 1));
}

TEST(Prune, RowsOfTheSmallestNorm) {
  // L1 of the rows: 3, 2.5, 4, 0.2; L2: 1.73, 2.5, 2.31, 0.2.
  const std::vector<float> weights = {1, 1, 1, 2.5F, 0, 0, 4.0F / 3, -4.0F / 3, 4.0F / 3, 0, 0.2F, 0};
  EXPECT_THAT(RowsToPrune(weights, 4, 0.5, RowNorm::kL1), ElementsAre(1, 3));
  EXPECT_THAT(RowsToPrune(weights, 4, 0.5, RowNorm::kL2), ElementsAre(0, 3));
  EXPECT_THAT(RowsToPrune(weights, 4, 0.2, RowNorm::kL2), ElementsAre());
  EXPECT_EQ(RowsToPrune(weights, 4, 1, RowNorm::kL2).size(), 3U);
}

using Layers = std::vector<std::vector<PrecisionOption>>;

Layers RandomLayers(std::uint64_t seed) {
  SeededRandom random(seed);
  Layers layers(2 + random.Below(4));
  for (auto& options : layers) {
    options.resize(1 + random.Below(4));
    for (auto& option : options) option = {10 + random.Below(90), random.Unit()};
  }
  return layers;
}

// Visits every allocation.
void Enumerate(const Layers& layers, const std::function<void(std::uint64_t bytes, double noise)>& visit) {
  std::vector<std::size_t> choices(layers.size(), 0);
  for (;;) {
    std::uint64_t bytes = 0;
    double noise = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      bytes += layers[i][choices[i]].bytes;
      noise += layers[i][choices[i]].noise;
    }
    visit(bytes, noise);
    std::size_t i = 0;
    while (i < layers.size() && ++choices[i] == layers[i].size()) choices[i++] = 0;
    if (i == layers.size()) return;
  }
}

TEST(BitAllocation, NoAllocationOfItsSizeOrNoiseIsBetter) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Layers layers = RandomLayers(seed);
    for (const double budget : {0.2, 0.6, 1.2, 2.5}) {
      const Allocation least = AllocateForNoise(layers, budget);
      bool possible = false;
      Enumerate(layers, [&](std::uint64_t bytes, double noise) {
        possible = possible || noise <= budget;
        // On the hull: fewer bytes means more noise.
        if (bytes <= least.bytes) {
          EXPECT_GE(noise, least.noise - 1e-12) << seed;
        }
      });
      EXPECT_EQ(least.within_budget, possible) << seed;
      EXPECT_EQ(least.within_budget, least.noise <= budget);
    }
  }
}

TEST(BitAllocation, SizeBudgetsAreKeptAndWellUsed) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    const Layers layers = RandomLayers(seed);
    for (std::uint64_t budget = 20; budget < 500; budget += 37) {
      const Allocation out = AllocateForSize(layers, budget);
      double best = std::numeric_limits<double>::infinity();
      std::uint64_t smallest = ~std::uint64_t{0};
      Enumerate(layers, [&](std::uint64_t bytes, double noise) {
        smallest = std::min(smallest, bytes);
        if (bytes <= budget) best = std::min(best, noise);
      });
      EXPECT_EQ(out.within_budget, smallest <= budget);
      if (!out.within_budget) {
        EXPECT_EQ(out.bytes, smallest);
        continue;
      }
      EXPECT_LE(out.bytes, budget);
      // No worse than the best by more than the largest step of one layer.
      EXPECT_LE(out.noise, best + 1) << seed;
      EXPECT_LE(AllocateForSize(layers, budget + 1'000).noise, out.noise + 1e-12);
    }
  }
}

TEST(BitAllocation, SensitiveLayersGetTheBits) {
  // int4, int8, fp16 of two equal layers; the second is a hundred times as sensitive.
  const Layers layers = {{{50, 0.1}, {100, 0.001}, {200, 0}}, {{50, 10}, {100, 0.1}, {200, 0}}};
  const Allocation out = AllocateForSize(layers, 150);
  EXPECT_THAT(out.choices, ElementsAre(0, 1));
  EXPECT_THAT(AllocateForSize(layers, 300).choices, ElementsAre(1, 2));
  EXPECT_THAT(AllocateForNoise(layers, 0.11).choices, ElementsAre(1, 1));
}

}  // namespace
}  // namespace edgefleet::compiler
