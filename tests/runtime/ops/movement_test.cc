#include "device_client/runtime/ops/movement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

constexpr auto kInt64Min = std::numeric_limits<std::int64_t>::min();
constexpr auto kInt64Max = std::numeric_limits<std::int64_t>::max();

// 0, 1, 2 ... in this shape.
template <typename T = float>
Value Counting(Shape shape) {
  std::vector<T> values(static_cast<std::size_t>(ElementCount(shape)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<T>(i);
  return Of<T>(std::move(shape), values);
}

Operator SplitTo(std::int32_t axis, std::vector<std::int64_t> sizes = {}) { return Split{axis, std::move(sizes)}; }

TEST(Reshape, Shapes) {
  struct Case {
    Shape from;
    std::vector<std::int64_t> target;
    Shape shape;
    bool allow_zero = false;
  };
  for (const Case& c : {Case{{2, 3, 4}, {4, 2, 3}, {4, 2, 3}},
                        {{2, 3, 4}, {2, 12}, {2, 12}},
                        {{2, 3, 4}, {2, -1, 2}, {2, 6, 2}},
                        {{2, 3, 4}, {-1}, {24}},
                        {{2, 3, 4}, {2, 0, 4, 1}, {2, 3, 4, 1}},
                        {{2, 3, 4}, {0, -1, 1}, {2, 12, 1}},
                        {{0, 3}, {3, 0}, {3, 0}, true},
                        {{0, 3}, {0, 5}, {0, 5}},
                        {{1}, {}, {}},
                        {{}, {1, 1}, {1, 1}}}) {
    const Value x = Counting(c.from);
    const Value y = Evaluate(Reshape{c.allow_zero}, {x, Longs(c.target)});
    EXPECT_EQ(y.shape(), c.shape) << ToText(c.target);
    EXPECT_EQ(y.as<float>(), x.as<float>());
  }
}

TEST(Reshape, Refuses) {
  const Value x = Counting({2, 3});
  for (const std::vector<std::int64_t>& target :
       std::vector<std::vector<std::int64_t>>{{5}, {-1, -1}, {4, -1}, {2, 3, 0}, {-2, -3}, {kInt64Max, 2}, {kInt64Min}, {}}) {
    EXPECT_EQ(Failure(Reshape{}, {x, Longs(target)}), "GRAPH_SHAPE") << ToText(target);
  }
  EXPECT_EQ(Failure(Reshape{true}, {Counting({0}), Longs({0, -1})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Reshape{}, {x, Floats({1}, {6})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Reshape{}, {x, Longs({1, 1, 1, 1, 1, 1, 1, 2, 3})}), "GRAPH_SHAPE");  // too many dimensions
  EXPECT_EQ(Inferred(Reshape{}, {x, Unknown(Longs({6}))}).error().reason(), "SHAPE_DEPENDS_ON_DATA");
  EXPECT_EQ(Failure(Reshape{}, {x}), "GRAPH_NODE");
}

TEST(Flatten, SplitsBeforeTheAxis) {
  const Value x = Counting({2, 3, 4});
  for (const auto& [axis, shape] : std::vector<std::pair<std::int32_t, Shape>>{
           {0, {1, 24}}, {1, {2, 12}}, {2, {6, 4}}, {3, {24, 1}}, {-1, {6, 4}}, {-3, {1, 24}}}) {
    EXPECT_EQ(Evaluate(Flatten{axis}, {x}).shape(), shape) << axis;
  }
  EXPECT_EQ(Evaluate(Flatten{0}, {Counting({})}).shape(), Shape({1, 1}));
  EXPECT_EQ(Failure(Flatten{4}, {x}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Flatten{-4}, {x}), "GRAPH_NODE");
}

TEST(Squeeze, TakesOnesAway) {
  const Value x = Counting({1, 3, 1, 5});
  EXPECT_EQ(Evaluate(Squeeze{}, {x}).shape(), Shape({3, 5}));
  EXPECT_EQ(Evaluate(Squeeze{{-2}}, {x}).shape(), Shape({1, 3, 5}));
  EXPECT_EQ(Evaluate(Squeeze{{0, 2}}, {x}).shape(), Shape({3, 5}));
  EXPECT_EQ(Failure(Squeeze{{1}}, {x}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Squeeze{{0, -4}}, {x}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Squeeze{{kInt64Min}}, {x}), "GRAPH_NODE");
}

TEST(Unsqueeze, AddsOnes) {
  const Value x = Counting({3, 4});
  EXPECT_EQ(Evaluate(Unsqueeze{{0}}, {x}).shape(), Shape({1, 3, 4}));
  EXPECT_EQ(Evaluate(Unsqueeze{{3, 0}}, {x}).shape(), Shape({1, 3, 4, 1}));
  EXPECT_EQ(Evaluate(Unsqueeze{{-1}}, {x}).shape(), Shape({3, 4, 1}));
  EXPECT_EQ(Evaluate(Unsqueeze{{0}}, {Counting({})}).shape(), Shape({1}));
  EXPECT_EQ(Failure(Unsqueeze{{0, 0}}, {x}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Unsqueeze{{3}}, {x}), "GRAPH_NODE");
}

// By the definition, for every element.
template <typename T>
void ExpectTransposed(const Shape& from, const std::vector<std::int64_t>& permutation) {
  const Value x = Counting<T>(from);
  const Value y = Evaluate(Transpose{permutation}, {x});
  const auto in = x.as<T>();
  const auto out = y.as<T>();
  ASSERT_EQ(in.size(), out.size());
  Shape index(from.size(), 0);
  for (std::size_t i = 0; i < in.size(); ++i) {
    std::size_t at = 0;
    for (std::size_t d = 0; d < from.size(); ++d) {
      const auto s = static_cast<std::size_t>(permutation[d]);
      ASSERT_EQ(y.shape()[d], from[s]);
      at = at * static_cast<std::size_t>(from[s]) + static_cast<std::size_t>(index[s]);
    }
    ASSERT_EQ(out[at], in[i]) << ToText(from) << " by " << ToText(permutation) << " at " << i;
    for (std::size_t d = from.size(); d-- > 0 && ++index[d] == from[d];) index[d] = 0;
  }
}

TEST(Transpose, EveryPermutation) {
  std::vector<std::int64_t> permutation{0, 1, 2, 3};
  do {
    ExpectTransposed<float>({2, 3, 4, 5}, permutation);
    ExpectTransposed<std::int64_t>({3, 1, 2, 7}, permutation);
  } while (std::next_permutation(permutation.begin(), permutation.end()));
  ExpectTransposed<float>({2, 35, 67}, {0, 2, 1});  // more than a tile
  ExpectTransposed<std::int8_t>({35, 3}, {1, 0});
  ExpectTransposed<float>({1, 20, 40, 30}, {0, 2, 3, 1});
  ExpectTransposed<float>({17, 3, 18, 2}, {3, 1, 0, 2});
}

TEST(Transpose, DefaultsAndRefusals) {
  EXPECT_EQ(Evaluate(Transpose{}, {Counting({2, 3})}).as<float>(), (std::vector<float>{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(Evaluate(Transpose{}, {Counting({})}).shape(), Shape{});
  EXPECT_EQ(Evaluate(Transpose{{1, 0}}, {Counting({0, 3})}).shape(), Shape({3, 0}));
  for (const auto& bad : std::vector<std::vector<std::int64_t>>{{0}, {0, 0}, {0, 2}, {-1, 0}, {0, 1, 2}, {kInt64Min, 0}}) {
    EXPECT_EQ(Failure(Transpose{bad}, {Counting({2, 3})}), "GRAPH_NODE") << ToText(bad);
  }
}

TEST(Concat, AlongAnyAxis) {
  const Value a = Counting({2, 2});
  const Value b = Floats({2, 1}, {8, 9});
  EXPECT_THAT(Evaluate(Concat{1}, {a, b}).as<float>(), ElementsAre(0, 1, 8, 2, 3, 9));
  EXPECT_THAT(Evaluate(Concat{-2}, {a, a}).as<float>(), ElementsAre(0, 1, 2, 3, 0, 1, 2, 3));
  EXPECT_THAT(Evaluate(Concat{0}, {Longs({1}), Longs(std::vector<std::int64_t>{}), Longs({2, 3})}).as<std::int64_t>(),
              ElementsAre(1, 2, 3));
  EXPECT_EQ(Failure(Concat{0}, {a, b}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Concat{0}, {a, Floats({2}, {1, 2})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Concat{0}, {a, Longs({1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Concat{0}, {a, Absent()}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Concat{2}, {a, a}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Concat{0}, {}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Concat{0}, {Counting({}), Counting({})}), "GRAPH_NODE");
}

TEST(Split, PartsAndRest) {
  const auto parts = [](const Operator& op, const Value& x, std::size_t outputs) {
    std::vector<std::vector<float>> values;
    const auto all = EvaluateAll(op, {x}, outputs);
    for (const Value& value : all.value()) values.push_back(value.as<float>());
    return values;
  };
  const Value x = Counting({2, 3});
  EXPECT_THAT(parts(SplitTo(1, {1, 2}), x, 2), ElementsAre(ElementsAre(0, 3), ElementsAre(1, 2, 4, 5)));
  EXPECT_THAT(parts(SplitTo(-1), x, 2), ElementsAre(ElementsAre(0, 1, 3, 4), ElementsAre(2, 5)));
  EXPECT_THAT(parts(SplitTo(0), x, 2), ElementsAre(ElementsAre(0, 1, 2), ElementsAre(3, 4, 5)));
  EXPECT_THAT(parts(SplitTo(1, {0, 3}), x, 2), ElementsAre(IsEmpty(), ElementsAre(0, 1, 2, 3, 4, 5)));
  EXPECT_EQ(Failure(SplitTo(1, {1, 1}), {x}, 2), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(SplitTo(1, {4, -1}), {x}, 2), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(SplitTo(1, {kInt64Max, kInt64Max}), {x}, 2), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(SplitTo(1, {3}), {x}, 2), "GRAPH_NODE");
  EXPECT_EQ(Failure(SplitTo(0), {x}, 4), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(SplitTo(2), {x}, 1), "GRAPH_NODE");
}

TEST(Slice, StartsEndsSteps) {
  const Value x = Counting({10});
  struct Case {
    std::int64_t start, end, step;
    std::vector<float> y;
  };
  for (const Case& c : {Case{2, 5, 1, {2, 3, 4}},
                        {0, kInt64Max, 3, {0, 3, 6, 9}},
                        {-3, kInt64Max, 1, {7, 8, 9}},
                        {kInt64Min, 2, 1, {0, 1}},
                        {-1, kInt64Min, -4, {9, 5, 1}},
                        {20, -8, -2, {9, 7, 5, 3}},
                        {3, -11, -1, {3, 2, 1, 0}},
                        {5, 2, 1, {}},
                        {2, 5, -1, {}},
                        {9, 0, kInt64Min, {9}},
                        {4, 10, kInt64Max, {4}},
                        {kInt64Max, kInt64Min, -9, {9, 0}}}) {
    EXPECT_THAT(Evaluate(Slice{}, {x, Longs({c.start}), Longs({c.end}), Longs({0}), Longs({c.step})}).as<float>(),
                ElementsAreArray(c.y))
        << c.start << ":" << c.end << ":" << c.step;
  }
}

TEST(Slice, Axes) {
  const Value x = Counting({2, 3, 4});
  const auto int32s = [](std::vector<std::int32_t> v) { return Of<std::int32_t>({static_cast<std::int64_t>(v.size())}, v); };
  const Value y = Evaluate(Slice{}, {x, int32s({1, 3}), int32s({2, -5}), int32s({-2, 2}), int32s({1, -2})});
  EXPECT_EQ(y.shape(), Shape({2, 1, 2}));
  EXPECT_THAT(y.as<float>(), ElementsAre(7, 5, 19, 17));
  EXPECT_THAT(Evaluate(Slice{}, {x, Longs({1, 2}), Longs({2, 3})}).as<float>(), ElementsAre(20, 21, 22, 23));
  EXPECT_THAT(Evaluate(Slice{}, {x, Longs({1}), Longs({2}), Absent(), Longs({1})}).shape(), Shape({1, 3, 4}));
  EXPECT_EQ(Failure(Slice{}, {x, Longs({1}), Longs({2}), Longs({3})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Slice{}, {x, Longs({1, 1}), Longs({2, 2}), Longs({0, -3})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Slice{}, {x, Longs({1}), Longs({2}), Longs({0}), Longs({0})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Slice{}, {x, Longs({1}), Longs({2, 3})}), "GRAPH_SHAPE");
  EXPECT_EQ(Inferred(Slice{}, {x, Unknown(Longs({1})), Longs({2})}).error().reason(), "SHAPE_DEPENDS_ON_DATA");
}

TEST(Expand, BroadcastsBothWays) {
  EXPECT_THAT(Evaluate(Expand{}, {Floats({2, 1}, {1, 2}), Longs({3, 1, 2})}).as<float>(),
              ElementsAre(1, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2, 2));
  EXPECT_EQ(Evaluate(Expand{}, {Counting({2, 3}), Longs({1})}).shape(), Shape({2, 3}));
  EXPECT_THAT(Evaluate(Expand{}, {Of<std::int8_t>({}, {7}), Longs({2})}).as<std::int8_t>(), ElementsAre(7, 7));
  EXPECT_EQ(Evaluate(Expand{}, {Counting({1}), Longs({0})}).shape(), Shape({0}));
  EXPECT_EQ(Failure(Expand{}, {Counting({2}), Longs({3})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Expand{}, {Counting({1}), Longs({-1})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Expand{}, {Counting({1}), Longs({kInt64Max})}), "GRAPH_SHAPE");
}

TEST(Tile, Repeats) {
  const Value y = Evaluate(Tile{}, {Counting({2, 2}), Longs({2, 3})});
  EXPECT_EQ(y.shape(), Shape({4, 6}));
  EXPECT_THAT(y.as<float>(), ElementsAre(0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3));
  EXPECT_EQ(Evaluate(Tile{}, {Counting({2}), Longs({0})}).shape(), Shape({0}));
  EXPECT_EQ(Evaluate(Tile{}, {Counting({}), Longs(std::vector<std::int64_t>{})}).shape(), Shape{});
  EXPECT_EQ(Failure(Tile{}, {Counting({2}), Longs({kInt64Max})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Tile{}, {Counting({2}), Longs({-1})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Tile{}, {Counting({2}), Longs({1, 1})}), "GRAPH_SHAPE");
}

TEST(Pad, Modes) {
  const Value x = Floats({3}, {1, 2, 3});
  const auto padded = [&](Pad::Mode mode, std::int64_t before, std::int64_t after) {
    return Evaluate(Pad{mode}, {x, Longs({before, after}), Floats({}, {9})}).as<float>();
  };
  EXPECT_THAT(padded(Pad::Mode::kConstant, 2, 1), ElementsAre(9, 9, 1, 2, 3, 9));
  EXPECT_THAT(padded(Pad::Mode::kReflect, 2, 2), ElementsAre(3, 2, 1, 2, 3, 2, 1));
  EXPECT_THAT(padded(Pad::Mode::kReflect, 5, 0), ElementsAre(2, 1, 2, 3, 2, 1, 2, 3));
  EXPECT_THAT(padded(Pad::Mode::kEdge, 2, 2), ElementsAre(1, 1, 1, 2, 3, 3, 3));
  EXPECT_THAT(padded(Pad::Mode::kWrap, 2, 4), ElementsAre(2, 3, 1, 2, 3, 1, 2, 3, 1));
  EXPECT_THAT(padded(Pad::Mode::kConstant, -1, -1), ElementsAre(2));
  EXPECT_THAT(padded(Pad::Mode::kConstant, -1, 2), ElementsAre(2, 3, 9, 9));
  EXPECT_THAT(padded(Pad::Mode::kReflect, 1, -1), ElementsAre(2, 1, 2));
  EXPECT_THAT(padded(Pad::Mode::kWrap, -1, 1), ElementsAre(2, 3, 2));
  EXPECT_THAT(padded(Pad::Mode::kConstant, -2, -1), IsEmpty());
}

TEST(Pad, Dimensions) {
  const Value x = Counting({2, 1, 2});
  const Value y = Evaluate(Pad{}, {x, Longs({0, 1, 0, 0, 0, 1}), Floats({1}, {7})});
  EXPECT_EQ(y.shape(), Shape({2, 2, 3}));
  EXPECT_THAT(y.as<float>(), ElementsAre(7, 7, 7, 0, 1, 7, 7, 7, 7, 2, 3, 7));
  // Trailing dimensions stay together.
  EXPECT_THAT(Evaluate(Pad{}, {x, Longs({1, 0, 0, 0, 0, 0})}).as<float>(), ElementsAre(0, 0, 0, 1, 2, 3));
  EXPECT_THAT(Evaluate(Pad{}, {x, Longs({0, 0, 0, 0, 0, -1})}).as<float>(), ElementsAre(0, 2));
  EXPECT_THAT(Evaluate(Pad{}, {x, Longs({0, 0, 0, -1, 0, 0})}).as<float>(), ElementsAre(0, 1));
  EXPECT_THAT(Evaluate(Pad{Pad::Mode::kEdge}, {Counting({2, 2}), Longs({1, 1, 1, 0})}).as<float>(),
              ElementsAre(0, 0, 1, 0, 0, 1, 2, 2, 3, 2, 2, 3));
  EXPECT_THAT(Evaluate(Pad{}, {Counting({2, 2}), Longs({1, 0}), Absent(), Longs({-1})}).as<float>(),
              ElementsAre(0, 0, 1, 0, 2, 3));
  EXPECT_EQ(Evaluate(Pad{}, {Counting({}), Longs(std::vector<std::int64_t>{})}).shape(), Shape{});
}

TEST(Pad, QuantizedZeroIsTheZeroPoint) {
  const Value x = Of<std::int8_t>({1}, {5}, Quantization{{0.5F}, {3}, -1});
  EXPECT_THAT(Evaluate(Pad{}, {x, Longs({1, 1})}).as<std::int8_t>(), ElementsAre(3, 5, 3));
  EXPECT_THAT(Evaluate(Pad{}, {x, Longs({1, 0}), Floats({}, {2})}).as<std::int8_t>(), ElementsAre(7, 5));
  EXPECT_THAT(Evaluate(Pad{}, {Of<std::int8_t>({1}, {5}), Longs({1, 0})}).as<std::int8_t>(), ElementsAre(0, 5));
}

TEST(Pad, Refuses) {
  const Value x = Counting({3});
  EXPECT_EQ(Failure(Pad{}, {x, Longs({-2, -2})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pad{}, {x, Longs({kInt64Max, kInt64Max})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pad{}, {x, Longs({kInt64Min, 0})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pad{}, {x, Longs({1 << 30, 1 << 30})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pad{Pad::Mode::kEdge}, {Counting({0}), Longs({1, 0})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pad{}, {x, Longs({1, 1, 1})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pad{}, {x, Longs({1, 1}), Longs({1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Pad{}, {x, Longs({1, 1}), Floats({2}, {1, 2})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pad{}, {x, Longs({1, 1, 1, 1}), Absent(), Longs({0, -1})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Pad{static_cast<Pad::Mode>(9)}, {x, Longs({1, 1})}), "GRAPH_NODE");
}

TEST(DepthToSpace, BothOrders) {
  const Value x = Counting({1, 8, 1, 2});
  const Value dcr = Evaluate(DepthToSpace{2, false}, {x});
  EXPECT_EQ(dcr.shape(), Shape({1, 2, 2, 4}));
  EXPECT_THAT(dcr.as<float>(), ElementsAre(0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15));
  EXPECT_THAT(Evaluate(DepthToSpace{2, true}, {x}).as<float>(),
              ElementsAre(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
  EXPECT_EQ(Evaluate(SpaceToDepth{2}, {dcr}).as<float>(), x.as<float>());
  EXPECT_EQ(Failure(DepthToSpace{3}, {x}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(DepthToSpace{0}, {x}), "GRAPH_NODE");
  EXPECT_EQ(Failure(DepthToSpace{std::numeric_limits<std::int32_t>::max()}, {x}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(SpaceToDepth{2}, {x}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(SpaceToDepth{std::numeric_limits<std::int32_t>::max()}, {Counting({1, 8, 0, 0})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(SpaceToDepth{1}, {Counting({2})}), "GRAPH_SHAPE");
}

TEST(Trilu, UpperAndLower) {
  const Value x = Floats({3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  EXPECT_THAT(Evaluate(Trilu{true}, {x}).as<float>(), ElementsAre(1, 2, 3, 0, 5, 6, 0, 0, 9));
  EXPECT_THAT(Evaluate(Trilu{false}, {x}).as<float>(), ElementsAre(1, 0, 0, 4, 5, 0, 7, 8, 9));
  EXPECT_THAT(Evaluate(Trilu{true}, {x, Longs({}, {1})}).as<float>(), ElementsAre(0, 2, 3, 0, 0, 6, 0, 0, 0));
  EXPECT_THAT(Evaluate(Trilu{false}, {x, Longs({-1})}).as<float>(), ElementsAre(0, 0, 0, 4, 0, 0, 7, 8, 0));
  EXPECT_THAT(Evaluate(Trilu{true}, {x, Longs({kInt64Max})}).as<float>(), ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_EQ(Evaluate(Trilu{true}, {x, Longs({kInt64Min})}).as<float>(), x.as<float>());
  EXPECT_EQ(Evaluate(Trilu{false}, {x, Longs({kInt64Max})}).as<float>(), x.as<float>());
  EXPECT_THAT(Evaluate(Trilu{false}, {Counting<std::int64_t>({2, 1, 2})}).as<std::int64_t>(), ElementsAre(0, 0, 2, 0));
  EXPECT_EQ(Evaluate(Trilu{true}, {Counting({2, 0, 3})}).shape(), Shape({2, 0, 3}));
  EXPECT_EQ(Failure(Trilu{true}, {Counting({3})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Trilu{true}, {x, Longs({1, 2})}), "GRAPH_TYPE");
}

TEST(ReverseSequence, OfEachLength) {
  const Value x = Counting({4, 4});
  EXPECT_THAT(Evaluate(ReverseSequence{1, 0}, {x, Longs({4, 3, 2, 1})}).as<float>(),
              ElementsAre(12, 9, 6, 3, 8, 5, 2, 7, 4, 1, 10, 11, 0, 13, 14, 15));
  EXPECT_THAT(Evaluate(ReverseSequence{0, 1}, {x, Longs({1, 2, 3, 4})}).as<float>(),
              ElementsAre(0, 1, 2, 3, 5, 4, 6, 7, 10, 9, 8, 11, 15, 14, 13, 12));
  EXPECT_THAT(Evaluate(ReverseSequence{0, 1}, {Counting({1, 2, 2}), Longs({2})}).as<float>(), ElementsAre(2, 3, 0, 1));
  EXPECT_EQ(Failure(ReverseSequence{1, 0}, {x, Longs({5, 1, 1, 1})}), "BAD_INDEX");
  EXPECT_EQ(Failure(ReverseSequence{1, 0}, {x, Longs({kInt64Min, 1, 1, 1})}), "BAD_INDEX");
  EXPECT_EQ(Failure(ReverseSequence{1, 0}, {x, Longs({1})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(ReverseSequence{1, -1}, {x, Longs({1, 1, 1, 1})}), "GRAPH_NODE");
}

TEST(Movement, OfNothingThatIsPackedOrSliced) {
  Value packed = Of<std::int8_t>({4}, {1, 2, 3, 4});
  packed.tensor.type = DataType::kInt4;
  EXPECT_EQ(Inferred(Flatten{}, {packed}).error().reason(), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Transpose{{1, 0}}, {Of<std::int8_t>({2, 1}, {1, 2}, Quantization{{1, 2}, {}, 0})}), "GRAPH_TYPE");
}

}  // namespace
}  // namespace edgefleet::runtime::testing
