#include "device_client/runtime/ops/activation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "device_client/runtime/ops/affine.h"

namespace edgefleet::runtime {
namespace {

TEST(Activation, Values) {
  struct Case {
    Activation function;
    double x;
    double y;
  };
  using enum UnaryKind;
  const Case cases[] = {
      {{kIdentity}, -3, -3},
      {{kRelu}, -3, 0},
      {{kRelu}, 3, 3},
      {{kClip, -1, 2}, 5, 2},
      {{kClip, -1, 2}, -5, -1},
      {{kClip, 2, -1}, 0, -1},  // the maximum wins
      {{kLeakyRelu, 0.25F}, -4, -1},
      {{kLeakyRelu, 0.25F}, 4, 4},
      {{kElu, 2}, -1, 2 * (std::exp(-1) - 1)},
      {{kElu, 2}, 1, 1},
      {{kSelu, 2, 3}, -1, 3 * (2 * std::exp(-1) - 2)},
      {{kSelu, 2, 3}, 2, 6},
      {{kCelu, 2}, -1, 2 * (std::exp(-0.5) - 1)},
      {{kCelu, 2}, 3, 3},
      {{kThresholdedRelu, 2}, 2, 0},
      {{kThresholdedRelu, 2}, 2.5, 2.5},
      {{kSigmoid}, 0, 0.5},
      {{kSigmoid}, -1000, 0},
      {{kSigmoid}, 1000, 1},
      {{kHardSigmoid, 0.5F, 0.5F}, 0.5, 0.75},
      {{kHardSigmoid, 0.5F, 0.5F}, 9, 1},
      {{kHardSwish}, 1.5, 1.5 * 0.75},
      {{kHardSwish}, -4, 0},
      {{kSwish, 2}, 1, 1 / (1 + std::exp(-2))},
      {{kTanh}, 0.5, std::tanh(0.5)},
      {{kGelu}, 1, 0.8413447460685429},
      {{kGeluTanh}, 1, 0.8411919906082768},
      {{kMish}, 1, std::tanh(std::log(1 + std::exp(1)))},
      {{kSoftplus}, 0, std::log(2)},
      {{kSoftplus}, 800, 800},
      {{kSoftsign}, -3, -0.75},
      {{kErf}, 0.5, 0.5204998778130465},
      {{kExp}, 1, std::exp(1)},
      {{kLog}, 2, std::log(2)},
      {{kSqrt}, 9, 3},
      {{kReciprocal}, 4, 0.25},
      {{kAbs}, -4, 4},
      {{kNeg}, -4, 4},
      {{kSign}, -4, -1},
      {{kSign}, 0, 0},
      {{kFloor}, -1.5, -2},
      {{kCeil}, -1.5, -1},
      {{kRound}, 2.5, 2},
      {{kRound}, 3.5, 4},
      {{kRound}, -2.5, -2},
      {{kSin}, 1, std::sin(1)},
      {{kCos}, 1, std::cos(1)},
      {{kTan}, 1, std::tan(1)},
      {{kAsin}, 0.5, std::asin(0.5)},
      {{kAcos}, 0.5, std::acos(0.5)},
      {{kAtan}, 0.5, std::atan(0.5)},
      {{kSinh}, 1, std::sinh(1)},
      {{kCosh}, 1, std::cosh(1)},
      {{kAsinh}, 1, std::asinh(1)},
      {{kAcosh}, 2, std::acosh(2)},
      {{kAtanh}, 0.5, std::atanh(0.5)},
  };
  for (const Case& c : cases) {
    EXPECT_NEAR(Apply(c.function, c.x), c.y, 1e-12) << static_cast<int>(c.function.kind) << " of " << c.x;
  }
}

TEST(Activation, NanStays) {
  for (int kind = 0; kind < kUnaryKinds; ++kind) {
    if (!IsReal(static_cast<UnaryKind>(kind))) continue;
    EXPECT_TRUE(std::isnan(Apply({static_cast<UnaryKind>(kind), 1, 1}, std::numeric_limits<double>::quiet_NaN()))) << kind;
  }
}

TEST(Activation, WhatCanBeFused) {
  EXPECT_TRUE(CheckActivation({UnaryKind::kGelu}, false).ok());
  EXPECT_TRUE(CheckActivation({UnaryKind::kClip, 0, 6}, true).ok());
  EXPECT_EQ(CheckActivation({UnaryKind::kGelu}, true).reason(), "GRAPH_NODE");
  EXPECT_EQ(CheckActivation({UnaryKind::kNot}, false).reason(), "GRAPH_NODE");
  EXPECT_EQ(CheckActivation({static_cast<UnaryKind>(200)}, false).reason(), "GRAPH_NODE");
}

TEST(Affine, RoundsHalfToEvenAndSaturates) {
  EXPECT_EQ(SaturateTo<std::int8_t>(2.5, 1), 3);
  EXPECT_EQ(SaturateTo<std::int8_t>(3.5, 1), 5);
  EXPECT_EQ(SaturateTo<std::int8_t>(-1e300, 1), -128);
  EXPECT_EQ(SaturateTo<std::int8_t>(1e300, 1), 127);
  EXPECT_EQ(SaturateTo<std::uint8_t>(300, 1), 255);
  EXPECT_EQ(SaturateTo<std::uint8_t>(std::numeric_limits<double>::quiet_NaN(), 1), 0);
}

TEST(Affine, FusedActivationsAsRanges) {
  const Tensor tensor{"y", DataType::kInt8, {1}, Quantization{{0.5F}, {-3}, -1}, {}};
  const auto range = [&](Activation activation) {
    const Range8 r = RangeOf(activation, tensor);
    return std::pair(r.low, r.high);
  };
  EXPECT_EQ(range({}), std::pair(-128, 127));
  EXPECT_EQ(range({UnaryKind::kRelu}), std::pair(-3, 127));
  EXPECT_EQ(range({UnaryKind::kClip, 0, 6}), std::pair(-3, 9));
  EXPECT_EQ(range({UnaryKind::kClip, -1, 600}), std::pair(-5, 127));
  EXPECT_EQ(range({UnaryKind::kClip, 6, 0}), std::pair(-3, -3));
}

}  // namespace
}  // namespace edgefleet::runtime
