#include "device_client/runtime/ops/shape_values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr auto kInt64Min = std::numeric_limits<std::int64_t>::min();
constexpr auto kInt64Max = std::numeric_limits<std::int64_t>::max();

std::string InferFailure(const Operator& op, const std::vector<Value>& inputs) { return Inferred(op, inputs).error().reason(); }

TEST(ShapeOf, Bounds) {
  const Value x = Unknown(Floats({2, 3, 4}, std::vector<float>(24)));
  const auto of = [&](std::int32_t start, std::int32_t end) { return Evaluate(ShapeOf{start, end}, {x}).as<std::int64_t>(); };
  EXPECT_THAT(of(0, 64), ElementsAre(2, 3, 4));
  EXPECT_THAT(of(-1, 64), ElementsAre(4));
  EXPECT_THAT(of(0, -1), ElementsAre(2, 3));
  EXPECT_THAT(of(-100, 2), ElementsAre(2, 3));
  EXPECT_THAT(of(2, 1), IsEmpty());
  EXPECT_THAT(of(5, std::numeric_limits<std::int32_t>::min()), IsEmpty());
  EXPECT_THAT(Evaluate(ShapeOf{}, {Floats({}, {1})}).as<std::int64_t>(), IsEmpty());
}

TEST(SizeOfTensor, Counts) {
  EXPECT_THAT(Evaluate(SizeOfTensor{}, {Floats({2, 3}, std::vector<float>(6))}).as<std::int64_t>(), ElementsAre(6));
  EXPECT_THAT(Evaluate(SizeOfTensor{}, {Floats({2, 0}, {})}).as<std::int64_t>(), ElementsAre(0));
  EXPECT_EQ(Evaluate(SizeOfTensor{}, {Floats({}, {1})}).shape(), Shape{});
}

TEST(Range, Floats) {
  const auto range = [](float start, float limit, float delta) {
    return Evaluate(Range{}, {Floats({}, {start}), Floats({}, {limit}), Floats({1}, {delta})}).as<float>();
  };
  EXPECT_THAT(range(1, 5, 2), ElementsAre(1, 3));
  EXPECT_THAT(range(0, 1, 0.25F), ElementsAre(0, 0.25F, 0.5F, 0.75F));
  EXPECT_THAT(range(1, -1, -0.75F), ElementsAre(1, 0.25F, -0.5F));
  EXPECT_THAT(range(1, 0, 1), IsEmpty());
}

TEST(Range, Integers) {
  const auto range = [](std::int64_t start, std::int64_t limit, std::int64_t delta) {
    return Evaluate(Range{}, {Longs({}, {start}), Longs({}, {limit}), Longs({}, {delta})}).as<std::int64_t>();
  };
  EXPECT_THAT(range(10, 6, -3), ElementsAre(10, 7));
  EXPECT_THAT(range(kInt64Min, kInt64Max, kInt64Max), ElementsAre(kInt64Min, -1, kInt64Max - 1));
  EXPECT_THAT(range(kInt64Max, kInt64Min, kInt64Min), ElementsAre(kInt64Max, -1));
  EXPECT_THAT(range(3, 3, 1), IsEmpty());
  const auto scalar = [](std::int32_t value) { return Of<std::int32_t>({}, {value}); };
  EXPECT_THAT(Evaluate(Range{}, {scalar(0), scalar(3), scalar(1)}).as<std::int32_t>(), ElementsAre(0, 1, 2));
}

TEST(Range, Refuses) {
  const Value one = Longs({}, {1});
  EXPECT_EQ(Failure(Range{}, {one, one, Longs({}, {0})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Range{}, {Longs({}, {kInt64Min}), Longs({}, {kInt64Max}), one}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Range{}, {one, one, Floats({}, {1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Range{}, {Longs({1, 2}), one, one}), "GRAPH_SHAPE");
  for (const float delta : {0.0F, 1e-30F, std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_EQ(Failure(Range{}, {Floats({}, {0}), Floats({}, {1}), Floats({}, {delta})}), "GRAPH_SHAPE") << delta;
  }
  EXPECT_EQ(InferFailure(Range{}, {one, Unknown(one), one}), "SHAPE_DEPENDS_ON_DATA");
  const Value yes = Of<bool>({}, {true});
  EXPECT_EQ(Failure(Range{}, {yes, yes, yes}), "GRAPH_TYPE");
}

TEST(Fill, WithOneElement) {
  EXPECT_THAT(Evaluate(Fill{}, {Longs({2, 1}), Floats({1}, {3})}).as<float>(), ElementsAre(3, 3));
  EXPECT_THAT(Evaluate(Fill{}, {Longs(std::vector<std::int64_t>{}), Longs({7})}).as<std::int64_t>(), ElementsAre(7));
  EXPECT_THAT(Evaluate(Fill{}, {Longs({0, 3}), Of<bool>({}, {true})}).as<bool>(), IsEmpty());
  EXPECT_EQ(Failure(Fill{}, {Longs({-1}), Longs({7})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Fill{}, {Longs({kInt64Max, 2}), Longs({7})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Fill{}, {Longs({1}), Longs({7, 8})}), "GRAPH_SHAPE");
  EXPECT_EQ(InferFailure(Fill{}, {Unknown(Longs({1})), Longs({7})}), "SHAPE_DEPENDS_ON_DATA");
}

TEST(OneHot, Axes) {
  const Value values = Floats({2}, {0, 1});
  const Value y = Evaluate(OneHot{-1}, {Longs({0, -1, 3, -4}), Longs({}, {3}), values});
  EXPECT_EQ(y.shape(), Shape({4, 3}));
  EXPECT_THAT(y.as<float>(), ElementsAre(1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(Evaluate(OneHot{0}, {Longs({0, 2}), Longs({3}), values}).as<float>(), ElementsAre(1, 0, 0, 0, 0, 1));
  EXPECT_THAT(
      Evaluate(OneHot{1}, {Floats({1, 2}, {1.9F, 0}), Floats({}, {2}), Of<std::int32_t>({2}, {5, 6})}).as<std::int32_t>(),
      ElementsAre(5, 6, 6, 5));
  EXPECT_THAT(Evaluate(OneHot{0}, {Longs({}, {kInt64Min}), Longs({}, {2}), values}).as<float>(), ElementsAre(0, 0));
  EXPECT_EQ(Failure(OneHot{2}, {Longs({0}), Longs({3}), values}), "GRAPH_NODE");
  EXPECT_EQ(Failure(OneHot{}, {Longs({0}), Longs({-3}), values}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(OneHot{}, {Longs({0}), Longs({kInt64Max}), values}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(OneHot{}, {Longs({0}), Longs({3}), Floats({3}, {0, 1, 2})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(OneHot{}, {Of<bool>({1}, {true}), Longs({3}), values}), "GRAPH_TYPE");
  EXPECT_EQ(InferFailure(OneHot{}, {Longs({0}), Unknown(Longs({3})), values}), "SHAPE_DEPENDS_ON_DATA");
}

TEST(NonZero, Coordinates) {
  const Value y = Evaluate(NonZero{}, {Of<bool>({2, 2}, {true, false, true, true})});
  EXPECT_EQ(y.shape(), Shape({2, 3}));
  EXPECT_THAT(y.as<std::int64_t>(), ElementsAre(0, 1, 1, 0, 0, 1));
  EXPECT_EQ(Evaluate(NonZero{}, {Floats({2}, {0, -0.0F})}).shape(), Shape({1, 0}));
  EXPECT_EQ(Evaluate(NonZero{}, {Longs({}, {5})}).shape(), Shape({1, 1}));
  EXPECT_EQ(InferFailure(NonZero{}, {Unknown(Longs({5}))}), "SHAPE_DEPENDS_ON_DATA");
}

}  // namespace
}  // namespace edgefleet::runtime::testing
