#include "device_client/runtime/ops/normalize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime {
namespace {

using namespace testing;

using F = std::vector<float>;

void ExpectNear(const Result<Value>& y, const F& expected, double tolerance = 1e-6) {
  ASSERT_TRUE(y) << y.error().ToString();
  const F values = y->as<float>();
  ASSERT_EQ(values.size(), expected.size());
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], tolerance) << i;
}

TEST(BatchNorm, EachChannel) {
  const Value x = Of<float>({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  const auto y = RunOp(BatchNorm{.epsilon = 0},
                       {x, Of<float>({2}, {2, 3}), Of<float>({2}, {10, 20}), Of<float>({2}, {1, 2}), Of<float>({2}, {4, 9})});
  ExpectNear(y, {10, 11, 21, 22, 14, 15, 25, 26});
  const auto half = RunOp(BatchNorm{.epsilon = 0.25F}, {Of<float>({1, 1}, {3}), Of<Float16>({1}, {ToFloat16(1)}),
                                                        Of<float>({1}, {0}), Of<float>({1}, {1}), Of<float>({1}, {0})});
  ExpectNear(half, {4});
}

TEST(GroupNorm, GroupsOfChannels) {
  const Value x = Of<float>({1, 4, 1, 2}, {1, 3, 5, 7, 0, 0, 0, 4});
  const Value scale = Of<float>({4}, {1, 2, 1, 1});
  const Value shift = Of<float>({4}, {0, 0, 10, 0});
  // Groups of 2: mean 4, variance 5; mean 1, variance 3.
  const auto r5 = static_cast<float>(1 / std::sqrt(5.0));
  const auto r3 = static_cast<float>(1 / std::sqrt(3.0));
  ExpectNear(RunOp(GroupNorm{2, 0}, {x, scale, shift}), {-3 * r5, -r5, 2 * r5, 6 * r5, 10 - r3, 10 - r3, -r3, 3 * r3});
  // One a channel; the third is constant, and epsilon keeps it finite.
  ExpectNear(RunOp(GroupNorm{0, 1e-12F}, {x, scale, shift}), {-1, 1, -2, 2, 10, 10, -1, 1});
  EXPECT_EQ(Failure(GroupNorm{3}, {x, scale, shift}), "GRAPH_NODE");
}

TEST(LayerNorm, StatisticsAndBroadcastScales) {
  const Value x = Of<float>({2, 2, 2}, {1, 3, 5, 7, 0, 0, 0, 4});
  const auto y = EvaluateAll(LayerNorm{.axis = 1, .epsilon = 0}, {x, Of<float>({2, 1}, {1, 2}), Of<float>({1}, {0.5F})}, 3);
  ASSERT_TRUE(y) << y.error().ToString();
  const auto r5 = static_cast<float>(1 / std::sqrt(5.0));
  const auto r3 = static_cast<float>(1 / std::sqrt(3.0));
  ExpectNear((*y)[0],
             {0.5F - 3 * r5, 0.5F - r5, 0.5F + 2 * r5, 0.5F + 6 * r5, 0.5F - r3, 0.5F - r3, 0.5F - 2 * r3, 0.5F + 6 * r3});
  EXPECT_EQ((*y)[1].shape(), (Shape{2, 1, 1}));
  ExpectNear((*y)[1], {4, 1});
  ExpectNear((*y)[2], {r5, r3});
  EXPECT_EQ(Failure(LayerNorm{}, {x, Of<float>({3}, {1, 1, 1})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(LayerNorm{}, {x, Of<float>({2, 2}, {1, 1, 1, 1})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(LayerNorm{.axis = 3}, {x, Of<float>({2}, {1, 1})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(LayerNorm{.epsilon = NAN}, {x, Of<float>({2}, {1, 1})}), "GRAPH_NODE");
}

TEST(LpNorm, BothNorms) {
  const Value x = Of<float>({2, 2}, {3, 0, -4, 0});
  ExpectNear(RunOp(LpNorm{.axis = 0, .p = 2}, {x}), {0.6F, 0, -0.8F, 0});
  ExpectNear(RunOp(LpNorm{.axis = 0, .p = 1}, {x}), {3.0F / 7, 0, -4.0F / 7, 0});
  EXPECT_EQ(Failure(LpNorm{.p = 3}, {x}), "GRAPH_NODE");
}

TEST(Lrn, WindowOfChannels) {
  const Value x = Of<float>({1, 4, 1}, {1, 2, 3, 4});
  const auto at = [](double value, double squares) {
    return static_cast<float>(value / std::pow(2 + 0.5 / 2 * squares, 0.75));
  };
  // An even window reaches one further ahead.
  ExpectNear(RunOp(Lrn{.size = 2, .alpha = 0.5F, .beta = 0.75F, .bias = 2}, {x}), {at(1, 5), at(2, 13), at(3, 25), at(4, 16)});
  EXPECT_EQ(Failure(Lrn{.size = 0}, {x}), "GRAPH_NODE");
}

TEST(Softmax, AnyAxis) {
  const Value x = Of<float>({2, 2, 2}, {1, 2, 3, 4, 1000, -1000, 1000, 0});
  const double e1 = std::exp(1), e2 = std::exp(2);
  const auto low1 = static_cast<float>(1 / (1 + e1));
  const auto low2 = static_cast<float>(1 / (1 + e2));
  ExpectNear(RunOp(Softmax{-1}, {x}), {low1, 1 - low1, low1, 1 - low1, 1, 0, 1, 0});
  ExpectNear(RunOp(Softmax{1}, {x}), {low2, low2, 1 - low2, 1 - low2, 0.5F, 0, 0.5F, 1});
  const auto log1 = static_cast<float>(-std::log(1 + e1));
  ExpectNear(RunOp(Softmax{2, true}, {x}), {log1, 1 + log1, log1, 1 + log1, 0, -2000, 0, -1000});
  EXPECT_EQ(Failure(Softmax{3}, {x}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Softmax{0}, {Of<float>({}, {1})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Softmax{0}, {Of<std::int64_t>({1}, {1})}), "GRAPH_TYPE");
}

TEST(Softmax, NarrowTypes) {
  const auto y = RunOp(Softmax{}, {Of<std::int8_t>({2}, {3, 5}, Whole(0.5F, 3))}, Whole(1.0F / 256, -128));
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->as<std::int8_t>(), (std::vector<std::int8_t>{-59, 59}));  // 256 * 0.2689 = 68.8 and 187.2
  const auto z = RunOp(Softmax{}, {Of<BFloat16>({2}, {ToBFloat16(1), ToBFloat16(2)})});
  ASSERT_TRUE(z) << z.error().ToString();
  EXPECT_EQ(z->as<BFloat16>()[0].bits, ToBFloat16(0.26894143F).bits);
}

}  // namespace
}  // namespace edgefleet::runtime
