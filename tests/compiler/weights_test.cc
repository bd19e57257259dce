// Weight quantizers against brute force, and the measures of error.
#include "registry/compiler/quantization/weights.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"
#include "device_client/runtime/graph.h"
#include "device_client/runtime/ops/half.h"
#include "device_client/runtime/ops/widen.h"

namespace edgefleet::compiler {
namespace {

using ::testing::ElementsAre;

std::vector<float> Random(std::size_t count, std::uint64_t seed, float scale = 1) {
  SeededRandom random(seed);
  std::vector<float> values(count);
  // A sum of uniforms, bell-shaped.
  for (float& value : values) {
    value = scale * static_cast<float>(random.Unit() + random.Unit() + random.Unit() + random.Unit() - 2);
  }
  return values;
}

std::vector<float> UnpackInt4(ByteView packed, std::size_t rows, std::size_t columns, std::size_t group) {
  const runtime::Tensor tensor{.type = runtime::DataType::kInt4,
                               .shape = {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns)},
                               .quantization = runtime::Quantization{.group_size = static_cast<std::int32_t>(group)}};
  std::vector<float> values(rows * columns);
  runtime::WidenRows(tensor, packed.data(), 0, tensor.shape[0], values.data());
  return values;
}

TEST(Int8, RoundsHalfToEvenAndSaturates) {
  const std::vector<float> values = {0.5F, 1.5F, -2.5F, 300, -300, 0.2F, 2, -0.4F};
  EXPECT_THAT(QuantizeInt8(values, std::vector<float>{1}, 8), ElementsAre(0, 2, -2, 127, -127, 0, 2, 0));
  EXPECT_THAT(QuantizeInt8(values, std::vector<float>{1, 0.1F}, 4), ElementsAre(0, 2, -2, 127, -127, 2, 20, -4));
}

TEST(Int8, TheScaleClipsNothingAndUsesAllLevels) {
  for (const float scale : {1.0F, 1e-30F, 1e37F}) {
    const auto values = Random(100, 1, scale);
    const float chosen = Int8Scale(values);
    const auto q = QuantizeInt8(values, std::vector{chosen}, 1);
    EXPECT_EQ(std::max(*std::ranges::max_element(q), static_cast<std::int8_t>(-*std::ranges::min_element(q))), 127);
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(q[i] * chosen, values[i], 0.501 * chosen);
  }
  EXPECT_EQ(Int8Scale(std::vector<float>{0, 0}), 1);
  EXPECT_GT(Int8Scale(std::vector<float>{1e-44F}), 0);
}

TEST(Int4, PacksAsTheRuntimeSays) {
  // Two rows of five; groups of 32 hold a row each. 7 and -7 leave scale 1 without error.
  const std::vector<float> values = {7, -7, 0, 1, -1, 14, -14, 2, 0, 4};
  const Bytes packed = QuantizeInt4(values, 2, 32);
  std::vector<int> bytes;
  for (const std::byte b : packed) bytes.push_back(std::to_integer<int>(b));
  EXPECT_THAT(bytes, ElementsAre(0x97, 0x10, 0x0F, 0x97, 0x01, 0x02, 0x00, 0x3C, 0x00, 0x40));
  EXPECT_EQ(UnpackInt4(packed, 2, 5, 32), values);
}

TEST(Int4, SizesAreTheRuntimes) {
  for (const std::int64_t rows : {1, 3, 8}) {
    for (const std::int64_t columns : {1, 2, 31, 32, 33, 129, 256}) {
      for (const std::int32_t group : {32, 64, 128}) {
        const auto values = Random(static_cast<std::size_t>(rows * columns), 2);
        EXPECT_EQ(QuantizeInt4(values, static_cast<std::size_t>(rows), static_cast<std::size_t>(group)).size(),
                  runtime::ConstantBytes(runtime::DataType::kInt4, {rows, columns}, group));
      }
    }
  }
}

// The error of the best scale among very many.
double LeastError(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  double least = std::numeric_limits<double>::infinity();
  for (int i = 1; i <= 4'000; ++i) {
    const double scale = largest / 7 * i / 3'000;
    double error = 0;
    for (const float value : values) {
      const double q = std::clamp(std::nearbyint(value / scale), -8.0, 7.0);
      error += (value - q * scale) * (value - q * scale);
    }
    least = std::min(least, error);
  }
  return least;
}

TEST(Int4, EveryGroupIsNearlyAsGoodAsTheBestScaleAllows) {
  auto values = Random(64 * 128, 3, 0.1F);
  for (std::size_t i = 0; i < values.size(); i += 500) values[i] *= 8;  // outliers in some groups
  for (const std::size_t group : {32, 64, 128}) {
    const auto unpacked = UnpackInt4(QuantizeInt4(values, 64, group), 64, 128, group);
    for (std::size_t begin = 0; begin < values.size(); begin += group) {
      const auto exact = std::span(values).subspan(begin, group);
      const double error = MeasureError(exact, std::span(unpacked).subspan(begin, group)).mse * static_cast<double>(group);
      EXPECT_LE(error, 1.03 * LeastError(exact)) << group << " at " << begin;
    }
  }
}

TEST(Int4, SmallerGroupsLoseLess) {
  const auto values = Random(64 * 256, 4);
  double last = std::numeric_limits<double>::infinity();
  for (const std::size_t group : {32, 64, 128}) {
    const double snr = MeasureError(values, UnpackInt4(QuantizeInt4(values, 64, group), 64, 256, group)).snr_db;
    EXPECT_GT(snr, 16) << group;
    EXPECT_LT(snr, last) << group;
    last = snr;
  }
}

// Scales that fp16 can hardly express stay finite and above zero.
TEST(Int4, ExtremeMagnitudes) {
  for (const float magnitude : {0.0F, 1e-44F, 1e-9F, 1e-6F, 4e5F, 1e30F}) {
    const std::vector<float> values = {magnitude, -magnitude / 2, 0};
    const auto unpacked = UnpackInt4(QuantizeInt4(values, 1, 32), 1, 3, 32);
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_TRUE(std::isfinite(unpacked[i]));
      if (magnitude < 4e5F) {
        EXPECT_NEAR(unpacked[i], values[i], std::max(magnitude * 0.15F, 7 * 0x1p-25F)) << magnitude;
      }
    }
    EXPECT_EQ(unpacked[2], 0);
  }
}

TEST(HalfFormats, ClipInsteadOfOverflowing) {
  const std::vector<float> values = {1, -65'520, 1e10F, 0x1p-24F, std::numeric_limits<float>::lowest()};
  std::vector<float> half;
  for (const std::uint16_t bits : QuantizeFloat16(values)) half.push_back(runtime::ToFloat(runtime::Float16{bits}));
  EXPECT_THAT(half, ElementsAre(1, -65'504, 65'504, 0x1p-24F, -65'504));
  std::vector<float> brain;
  for (const std::uint16_t bits : QuantizeBFloat16(values)) brain.push_back(runtime::ToFloat(runtime::BFloat16{bits}));
  EXPECT_THAT(brain, ElementsAre(1, -65'536, 9999220736.0F, 0x1p-24F, -0x1.FEp127F));
}

TEST(MeasureError, OfKnownVectors) {
  const std::vector<float> exact = {3, 4};
  const ErrorMeasures same = MeasureError(exact, exact);
  EXPECT_EQ(same.snr_db, std::numeric_limits<double>::infinity());
  EXPECT_EQ(same.mse, 0);
  EXPECT_DOUBLE_EQ(same.cosine, 1);
  const ErrorMeasures near = MeasureError(exact, std::vector<float>{3, 4.5F});
  EXPECT_DOUBLE_EQ(near.snr_db, 20);
  EXPECT_DOUBLE_EQ(near.mse, 0.125);
  EXPECT_DOUBLE_EQ(near.largest, 0.5);
  EXPECT_DOUBLE_EQ(MeasureError(exact, std::vector<float>{4, -3}).cosine, 0);
  EXPECT_DOUBLE_EQ(MeasureError(exact, std::vector<float>{0, 0}).cosine, 0);
  const std::vector<float> zero = {0, 0};
  EXPECT_EQ(MeasureError(zero, zero).cosine, 1);
  EXPECT_EQ(MeasureError(zero, exact).snr_db, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(MeasureError({}, {}).mse, 0);
}

}  // namespace
}  // namespace edgefleet::compiler
