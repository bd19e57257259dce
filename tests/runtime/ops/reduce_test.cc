#include "device_client/runtime/ops/reduce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr auto kInt64Min = std::numeric_limits<std::int64_t>::min();
constexpr auto kInt64Max = std::numeric_limits<std::int64_t>::max();

Operator Reducing(ReduceKind kind, std::vector<std::int64_t> axes, bool keep_dims = false) {
  return Reduce{kind, std::move(axes), keep_dims};
}
Quantization Scaled(float scale, std::int32_t zero_point) { return {{scale}, {zero_point}, -1}; }

TEST(Reduce, Kinds) {
  const Value x = Floats({2, 2}, {1, -2, 3, 4});
  struct Case {
    ReduceKind kind;
    std::vector<float> y;
  };
  for (const Case& c : {Case{ReduceKind::kSum, {-1, 7}},
                        {ReduceKind::kMean, {-0.5F, 3.5F}},
                        {ReduceKind::kMax, {1, 4}},
                        {ReduceKind::kMin, {-2, 3}},
                        {ReduceKind::kProd, {-2, 12}},
                        {ReduceKind::kL1, {3, 7}},
                        {ReduceKind::kL2, {std::sqrt(5.0F), 5}},
                        {ReduceKind::kSumSquare, {5, 25}},
                        {ReduceKind::kLogSumExp,
                         {static_cast<float>(std::log(std::exp(1.0) + std::exp(-2.0))),
                          static_cast<float>(std::log(std::exp(3.0) + std::exp(4.0)))}}}) {
    EXPECT_THAT(Evaluate(Reducing(c.kind, {1}), {x}).as<float>(), ElementsAreArray(c.y)) << OperatorName(Reducing(c.kind, {}));
  }
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kLogSum, {-1}), {Floats({1, 2}, {1, 1})}).as<float>(), ElementsAre(std::log(2.0F)));
}

TEST(Reduce, Axes) {
  std::vector<float> values(24);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const Value x = Floats({2, 3, 4}, values);
  const auto shape = [&](std::vector<std::int64_t> axes, bool keep) {
    return Evaluate(Reducing(ReduceKind::kSum, axes, keep), {x}).shape();
  };
  EXPECT_EQ(shape({}, true), Shape({1, 1, 1}));
  EXPECT_EQ(shape({}, false), Shape{});
  EXPECT_EQ(shape({1}, true), Shape({2, 1, 4}));
  EXPECT_EQ(shape({-3, 2}, false), Shape({3}));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kSum, {}), {x}).as<float>(), ElementsAre(276));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kSum, {0, 2}), {x}).as<float>(), ElementsAre(60, 92, 124));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kMax, {1}), {x}).as<float>(), ElementsAre(8, 9, 10, 11, 20, 21, 22, 23));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kSum, {}), {Floats({}, {3})}).as<float>(), ElementsAre(3));
  EXPECT_EQ(Failure(Reducing(ReduceKind::kSum, {0, -3}), {x}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Reducing(ReduceKind::kSum, {3}), {x}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Reducing(static_cast<ReduceKind>(77), {}), {x}), "GRAPH_NODE");
}

TEST(Reduce, LongerThanABlock) {
  std::vector<float> values(2000, 0.5F);
  values[1999] = -3;
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kSum, {1}), {Floats({2, 1000}, values)}).as<float>(), ElementsAre(500, 496.5F));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kMin, {0}), {Floats({1000, 2}, values)}).as<float>(), ElementsAre(0.5F, -3));
}

TEST(Reduce, OfNothing) {
  const Value x = Floats({2, 0}, {});
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kSum, {1}), {x}).as<float>(), ElementsAre(0, 0));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kProd, {1}), {x}).as<float>(), ElementsAre(1, 1));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kMax, {1}), {x}).as<float>(), ElementsAre(-kInf, -kInf));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kLogSumExp, {1}), {x}).as<float>(), ElementsAre(-kInf, -kInf));
  EXPECT_TRUE(std::isnan(Evaluate(Reducing(ReduceKind::kMean, {1}), {x}).as<float>()[0]));
  EXPECT_EQ(Evaluate(Reducing(ReduceKind::kSum, {0}), {x}).shape(), Shape({0}));
  const Value longs = Longs(std::vector<std::int64_t>{});
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kMean, {}), {longs}).as<std::int64_t>(), ElementsAre(0));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kMin, {}), {longs}).as<std::int64_t>(), ElementsAre(kInt64Max));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kLogSum, {}), {longs}).as<std::int64_t>(), ElementsAre(kInt64Min));
}

TEST(Reduce, ExtremeReals) {
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kLogSumExp, {}), {Floats({2}, {1000, 1000})}).as<float>(),
              ElementsAre(static_cast<float>(1000 + std::log(2.0))));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kLogSumExp, {}), {Floats({2}, {kInf, 1})}).as<float>(), ElementsAre(kInf));
  EXPECT_TRUE(std::isnan(Evaluate(Reducing(ReduceKind::kMax, {}), {Floats({3}, {1, kNan, 2})}).as<float>()[0]));
  EXPECT_TRUE(std::isnan(Evaluate(Reducing(ReduceKind::kLogSumExp, {}), {Floats({3}, {1, kNan, 2})}).as<float>()[0]));
}

TEST(Reduce, Integers) {
  const Value x = Longs({kInt64Max, 1, -3});
  const auto of = [&](ReduceKind kind) { return Evaluate(Reducing(kind, {}), {x}).as<std::int64_t>()[0]; };
  EXPECT_EQ(of(ReduceKind::kSum), kInt64Max - 2);
  EXPECT_EQ(of(ReduceKind::kMax), kInt64Max);
  EXPECT_EQ(of(ReduceKind::kMin), -3);
  EXPECT_EQ(of(ReduceKind::kProd), kInt64Min + 3);
  EXPECT_EQ(of(ReduceKind::kL2), kInt64Max);
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kMean, {}), {Longs({-3, -4})}).as<std::int64_t>(), ElementsAre(-3));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kL1, {}), {Of<std::int32_t>({2}, {-3, 4})}).as<std::int32_t>(), ElementsAre(7));
  EXPECT_THAT(Evaluate(Reducing(ReduceKind::kMax, {}), {Of<std::uint8_t>({2}, {200, 4})}).as<std::uint8_t>(), ElementsAre(200));
  EXPECT_EQ(Failure(Reducing(ReduceKind::kSum, {}), {Of<bool>({1}, {true})}), "GRAPH_TYPE");
}

TEST(Reduce, QuantizedIsOfRealValues) {
  const Value x = Of<std::int8_t>({1, 4}, {-10, 0, 3, 5}, Scaled(0.5F, -2));  // -4, 1, 2.5, 3.5
  const auto of = [&](ReduceKind kind) { return Evaluate(Reducing(kind, {1}), {x}, Scaled(0.25F, 1)).as<std::int8_t>()[0]; };
  EXPECT_EQ(of(ReduceKind::kMean), 4);  // 0.75
  EXPECT_EQ(of(ReduceKind::kSum), 13);
  EXPECT_EQ(of(ReduceKind::kMax), 15);
  EXPECT_EQ(of(ReduceKind::kMin), -15);
  EXPECT_EQ(Failure(Reducing(ReduceKind::kProd, {1}), {x}), "GRAPH_TYPE");
}

TEST(ArgReduce, FirstAndLast) {
  const Value x = Floats({2, 3}, {2, 5, 5, 3, 1, 1});
  const auto of = [&](ArgReduce op) { return Evaluate(op, {x}); };
  EXPECT_THAT(of({true, 1, true, false}).as<std::int64_t>(), ElementsAre(1, 0));
  EXPECT_EQ(of({true, 1, true, false}).shape(), Shape({2, 1}));
  EXPECT_THAT(of({true, -1, false, true}).as<std::int64_t>(), ElementsAre(2, 0));
  EXPECT_EQ(of({true, 1, false, false}).shape(), Shape({2}));
  EXPECT_THAT(of({false, 1, false, false}).as<std::int64_t>(), ElementsAre(0, 1));
  EXPECT_THAT(of({false, 1, false, true}).as<std::int64_t>(), ElementsAre(0, 2));
  EXPECT_THAT(of({true, 0, false, false}).as<std::int64_t>(), ElementsAre(1, 0, 0));
  EXPECT_THAT(
      Evaluate(ArgReduce{true, 0, false, false}, {Of<std::int8_t>({3}, {-5, 7, -128}, Scaled(1, 0))}).as<std::int64_t>(),
      ElementsAre(1));
  EXPECT_EQ(Failure(ArgReduce{}, {Floats({0, 2}, {})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(ArgReduce{}, {Floats({}, {1})}), "GRAPH_NODE");
  EXPECT_EQ(Evaluate(ArgReduce{true, 1, true, false}, {Floats({0, 2}, {})}).shape(), Shape({0, 1}));
}

TEST(TopK, OrderAndTies) {
  const Value x = Floats({2, 4}, {1, 3, 3, 2, 8, 7, 6, 8});
  const auto two = EvaluateAll(TopK{}, {x, Longs({3})}, 2).value();
  EXPECT_THAT(two[0].as<float>(), ElementsAre(3, 3, 2, 8, 8, 7));
  EXPECT_THAT(two[1].as<std::int64_t>(), ElementsAre(1, 2, 3, 0, 3, 1));
  const auto columns = EvaluateAll(TopK{0, false}, {x, Longs({1})}, 2).value();
  EXPECT_EQ(columns[0].shape(), Shape({1, 4}));
  EXPECT_THAT(columns[0].as<float>(), ElementsAre(1, 3, 3, 2));
  EXPECT_THAT(columns[1].as<std::int64_t>(), ElementsAre(0, 0, 0, 0));
  const auto nan = EvaluateAll(TopK{}, {Floats({4}, {kNan, 1, kNan, 2}), Longs({4})}, 2).value();
  EXPECT_THAT(nan[1].as<std::int64_t>(), ElementsAre(0, 2, 3, 1));
  EXPECT_THAT(EvaluateAll(TopK{-1, false}, {Floats({4}, {kNan, 1, kNan, 2}), Longs({4})}, 2).value()[1].as<std::int64_t>(),
              ElementsAre(1, 3, 0, 2));
  EXPECT_EQ(Evaluate(TopK{}, {x, Longs({0})}).shape(), Shape({2, 0}));
  EXPECT_EQ(Failure(TopK{}, {x, Longs({5})}, 2), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(TopK{}, {x, Longs({-1})}, 2), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(TopK{}, {x, Longs({1, 1})}, 2), "GRAPH_SHAPE");
  EXPECT_EQ(Inferred(TopK{}, {x, Unknown(Longs({1}))}, 2).error().reason(), "SHAPE_DEPENDS_ON_DATA");
}

TEST(CumSum, Directions) {
  const Value x = Floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const Value axis = Of<std::int32_t>({}, {1});
  EXPECT_THAT(Evaluate(CumSum{}, {x, axis}).as<float>(), ElementsAre(1, 3, 6, 4, 9, 15));
  EXPECT_THAT(Evaluate(CumSum{true, false}, {x, axis}).as<float>(), ElementsAre(0, 1, 3, 0, 4, 9));
  EXPECT_THAT(Evaluate(CumSum{false, true}, {x, axis}).as<float>(), ElementsAre(6, 5, 3, 15, 11, 6));
  EXPECT_THAT(Evaluate(CumSum{true, true}, {x, axis}).as<float>(), ElementsAre(5, 3, 0, 11, 6, 0));
  EXPECT_THAT(Evaluate(CumSum{}, {x, Longs({-2})}).as<float>(), ElementsAre(1, 2, 3, 5, 7, 9));
  EXPECT_THAT(Evaluate(CumSum{}, {Longs({kInt64Max, 1}), Longs({0})}).as<std::int64_t>(), ElementsAre(kInt64Max, kInt64Min));
  EXPECT_EQ(Failure(CumSum{}, {x, Longs({2})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(CumSum{}, {x, Longs({0, 1})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(CumSum{}, {x, Floats({}, {0})}), "GRAPH_TYPE");
}

}  // namespace
}  // namespace edgefleet::runtime::testing
