#include "device_client/runtime/kernels/float_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace edgefleet::runtime::kernels {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

const float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> Combined(RowFunction f, std::vector<float> a, std::vector<float> b, std::size_t count) {
  std::vector<float> y(count);
  CombineRow(f, a.data(), a.size() != count, b.data(), b.size() != count, static_cast<std::int64_t>(count), y.data());
  return y;
}

TEST(FloatRows, Functions) {
  struct Case {
    RowFunction f;
    std::vector<float> y;
  };
  for (const Case& c : {Case{RowFunction::kAdd, {5, 2, -1}},
                        {RowFunction::kSub, {3, -6, -3}},
                        {RowFunction::kMul, {4, -8, -2}},
                        {RowFunction::kDiv, {4, -0.5F, -2}},
                        {RowFunction::kMin, {1, -2, -2}},
                        {RowFunction::kMax, {4, 4, 1}}}) {
    EXPECT_THAT(Combined(c.f, {4, -2, -2}, {1, 4, 1}, 3), ElementsAreArray(c.y)) << static_cast<int>(c.f);
  }
}

TEST(FloatRows, EitherRepeats) {
  EXPECT_THAT(Combined(RowFunction::kSub, {10}, {1, 2, 3}, 3), ElementsAre(9, 8, 7));
  EXPECT_THAT(Combined(RowFunction::kSub, {1, 2, 3}, {10}, 3), ElementsAre(-9, -8, -7));
  EXPECT_THAT(Combined(RowFunction::kSub, {1}, {10}, 3), ElementsAre(-9, -9, -9));
}

TEST(FloatRows, NanStays) {
  for (const RowFunction f : {RowFunction::kMin, RowFunction::kMax}) {
    for (const float y : Combined(f, std::vector<float>(9, kNan), std::vector<float>(9, 1), 9)) EXPECT_TRUE(std::isnan(y));
    for (const float y : Combined(f, std::vector<float>(9, 1), std::vector<float>(9, kNan), 9)) EXPECT_TRUE(std::isnan(y));
  }
  std::vector<float> y{kNan, -5, 5, 0};
  ClampRow(-1, 2, 4, y.data());
  EXPECT_TRUE(std::isnan(y[0]));
  EXPECT_EQ(y[1], -1);
  EXPECT_EQ(y[2], 2);
  EXPECT_EQ(y[3], 0);
}

TEST(FloatRows, SumsOfAnyLength) {
  std::vector<float> x;
  for (int count = 0; count < 40; ++count) {
    EXPECT_EQ(SumRow(x.data(), count), count * (count - 1) / 2);
    x.push_back(static_cast<float>(count));
  }
  x.assign(1001, 1e8F);  // beyond what a float counts exactly
  x[1000] = 1;
  EXPECT_EQ(SumRow(x.data(), 1001), 1e11 + 1);
}

}  // namespace
}  // namespace edgefleet::runtime::kernels
