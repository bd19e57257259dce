#include "device_client/runtime/ops/elementwise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

constexpr float kInf = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr auto kInt32Min = std::numeric_limits<std::int32_t>::min();
constexpr auto kInt32Max = std::numeric_limits<std::int32_t>::max();
constexpr auto kInt64Min = std::numeric_limits<std::int64_t>::min();
constexpr auto kInt64Max = std::numeric_limits<std::int64_t>::max();

Operator Function(UnaryKind kind, float alpha = 0, float beta = 0) { return Unary{{kind, alpha, beta}}; }
Operator Pair(BinaryKind kind, Activation activation = {}) { return Binary{kind, activation}; }
Quantization Scaled(float scale, std::int32_t zero_point) { return {{scale}, {zero_point}, -1}; }

TEST(Unary, Floats) {
  const Value y = Evaluate(Function(UnaryKind::kHardSigmoid, 0.5F, 0.6F), {Floats({3}, {-1, 0, 1})});
  EXPECT_EQ(y.shape(), Shape({3}));
  EXPECT_THAT(y.as<float>(), ElementsAre(static_cast<float>(-0.5 + double{0.6F}), 0.6F, 1));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kSqrt), {Floats({}, {9})}).as<float>(), ElementsAre(3));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kExp), {Floats({0, 2}, {})}).as<float>(), IsEmpty());
}

TEST(Unary, LongerThanABlock) {
  std::vector<float> x(1000);
  std::vector<float> expected(1000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 500, expected[i] = std::max(x[i], 0.0F);
  EXPECT_THAT(Evaluate(Function(UnaryKind::kRelu), {Floats({10, 100}, x)}).as<float>(), ElementsAreArray(expected));
}

TEST(Unary, Integers) {
  const auto longs = [](UnaryKind kind, std::vector<std::int64_t> x) {
    return Evaluate(Function(kind, -2.5F, 1e30F), {Longs(x)}).as<std::int64_t>();
  };
  EXPECT_THAT(longs(UnaryKind::kAbs, {-3, kInt64Min, kInt64Max}), ElementsAre(3, kInt64Min, kInt64Max));
  EXPECT_THAT(longs(UnaryKind::kNeg, {-3, kInt64Min, 5}), ElementsAre(3, kInt64Min, -5));
  EXPECT_THAT(longs(UnaryKind::kSign, {-3, 0, kInt64Max}), ElementsAre(-1, 0, 1));
  EXPECT_THAT(longs(UnaryKind::kRelu, {-3, 0, 7}), ElementsAre(0, 0, 7));
  EXPECT_THAT(longs(UnaryKind::kClip, {-3, -2, kInt64Max}), ElementsAre(-2, -2, kInt64Max));
  EXPECT_THAT(longs(UnaryKind::kBitwiseNot, {0, 5}), ElementsAre(-1, -6));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kClip, 300, 400), {Of<std::uint8_t>({2}, {1, 255})}).as<std::uint8_t>(),
              ElementsAre(255, 255));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kAbs), {Of<std::int8_t>({2}, {-128, -1})}).as<std::int8_t>(), ElementsAre(-128, 1));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kNeg), {Of<std::int32_t>({2}, {kInt32Min, 1})}).as<std::int32_t>(),
              ElementsAre(kInt32Min, -1));
}

TEST(Unary, ToBool) {
  const Value x = Floats({4}, {1, kNan, kInf, -kInf});
  EXPECT_THAT(Evaluate(Function(UnaryKind::kIsNan), {x}).as<bool>(), ElementsAre(false, true, false, false));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kIsInf, 1, 1), {x}).as<bool>(), ElementsAre(false, false, true, true));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kIsInf, 1, 0), {x}).as<bool>(), ElementsAre(false, false, false, true));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kIsInf, 0, 1), {x}).as<bool>(), ElementsAre(false, false, true, false));
  Value y = Of<std::uint8_t>({3}, {0, 1, 7});  // whatever a byte holds
  y.tensor.type = DataType::kBool;
  EXPECT_THAT(Evaluate(Function(UnaryKind::kNot), {y}).as<bool>(), ElementsAre(true, false, false));
}

TEST(Unary, QuantizedIsOfRealValues) {
  // Reals -1, 0, 0.5, 63.5 -> squares of them do not exist; their absolute values in units of 0.25, shifted by -128.
  const Value x = Of<std::int8_t>({4}, {-2, 0, 1, 127}, Scaled(0.5F, 0));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kAbs), {x}, Scaled(0.25F, -128)).as<std::int8_t>(),
              ElementsAre(-124, -128, -126, 126));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kIdentity), {x}, Scaled(1, 3)).as<std::int8_t>(), ElementsAre(2, 3, 3, 67));
  const Value u = Of<std::uint8_t>({3}, {0, 128, 255}, Scaled(1, 128));
  EXPECT_THAT(Evaluate(Function(UnaryKind::kRelu), {u}, Scaled(1, 128)).as<std::uint8_t>(), ElementsAre(128, 128, 255));
}

TEST(Unary, BFloat16RoundsOnce) {
  const Value y = Evaluate(Function(UnaryKind::kReciprocal), {Of<BFloat16>({2}, {ToBFloat16(3), ToBFloat16(-2)})});
  EXPECT_EQ(ToFloat(y.as<BFloat16>()[0]), 0.333984375F);
  EXPECT_EQ(ToFloat(y.as<BFloat16>()[1]), -0.5F);
}

TEST(Unary, WrongTypes) {
  const Value floats = Floats({1}, {1});
  EXPECT_EQ(Failure(Function(UnaryKind::kNot), {floats}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Function(UnaryKind::kBitwiseNot), {floats}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Function(UnaryKind::kExp), {Longs({1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Function(UnaryKind::kNeg), {Of<std::uint8_t>({1}, {1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Function(UnaryKind::kRelu), {Of<bool>({1}, {true})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Function(UnaryKind::kRelu), {Of<std::int8_t>({2}, {1, 2}, Quantization{{1, 2}, {}, 0})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Function(static_cast<UnaryKind>(250)), {floats}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Function(UnaryKind::kExp), {}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Function(UnaryKind::kExp), {Absent()}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Function(UnaryKind::kExp), {floats}, 2), "GRAPH_NODE");
}

TEST(Binary, Broadcasts) {
  const Value column = Floats({2, 1}, {10, 20});
  const Value row = Floats({3}, {1, 2, 3});
  const Value sum = Evaluate(Pair(BinaryKind::kAdd), {column, row});
  EXPECT_EQ(sum.shape(), Shape({2, 3}));
  EXPECT_THAT(sum.as<float>(), ElementsAre(11, 12, 13, 21, 22, 23));
  EXPECT_THAT(Evaluate(Pair(BinaryKind::kSub), {row, Floats({}, {1})}).as<float>(), ElementsAre(0, 1, 2));
  EXPECT_EQ(Evaluate(Pair(BinaryKind::kMul), {Floats({2, 1, 0}, {}), Floats({1, 3, 1}, {1, 2, 3})}).shape(), Shape({2, 3, 0}));
  EXPECT_EQ(Failure(Pair(BinaryKind::kMul), {Floats({2}, {1, 2}), row}), "GRAPH_SHAPE");
  // Beyond 2^31 - 1 elements.
  EXPECT_EQ(Inferred(Pair(BinaryKind::kMul), {Unknown(Longs({1})), Unknown(Longs({1}))}).value()[0].shape, Shape({1}));
  Value tall = Unknown(Floats({}, {1}));
  Value wide = tall;
  tall.tensor.shape = {100'000, 1};
  wide.tensor.shape = {1, 100'000};
  EXPECT_EQ(Inferred(Pair(BinaryKind::kMul), {tall, wide}).error().reason(), "GRAPH_SHAPE");
}

TEST(Binary, LongRowsBroadcast) {
  std::vector<float> x(3 * 700);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  const auto y = Evaluate(Pair(BinaryKind::kAdd), {Floats({3, 700}, x), Floats({3, 1}, {1, 2, 3})}).as<float>();
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], x[i] + static_cast<float>(i / 700 + 1)) << i;
}

TEST(Binary, Reals) {
  const Value a = Floats({4}, {7, -7, 7, -7});
  const Value b = Floats({4}, {3, 3, -3, -3});
  EXPECT_THAT(Evaluate(Pair(BinaryKind::kMod), {a, b}).as<float>(), ElementsAre(1, 2, -2, -1));
  EXPECT_THAT(Evaluate(Pair(BinaryKind::kFmod), {a, b}).as<float>(), ElementsAre(1, -1, 1, -1));
  EXPECT_THAT(Evaluate(Pair(BinaryKind::kPow), {Floats({2}, {2, 9}), Floats({2}, {3, 0.5F})}).as<float>(), ElementsAre(8, 3));
  EXPECT_THAT(Evaluate(Pair(BinaryKind::kPRelu), {a, Floats({}, {0.5F})}).as<float>(), ElementsAre(7, -3.5F, 7, -3.5F));
  EXPECT_THAT(Evaluate(Pair(BinaryKind::kDiv), {Floats({2}, {1, 1}), Floats({2}, {0, -4})}).as<float>(),
              ElementsAre(kInf, -0.25F));
  const auto low = Evaluate(Pair(BinaryKind::kMin), {Floats({3}, {kNan, 1, 2}), Floats({3}, {1, kNan, 1})}).as<float>();
  EXPECT_TRUE(std::isnan(low[0]) && std::isnan(low[1]));
  EXPECT_EQ(low[2], 1);
  const auto high = Evaluate(Pair(BinaryKind::kMax), {Floats({3}, {kNan, 1, 2}), Floats({3}, {1, kNan, 1})}).as<float>();
  EXPECT_TRUE(std::isnan(high[0]) && std::isnan(high[1]));
  EXPECT_EQ(high[2], 2);
  EXPECT_THAT(
      Evaluate(Pair(BinaryKind::kAdd, {UnaryKind::kClip, -1, 6}), {Floats({3}, {-5, 0, 9}), Floats({}, {1})}).as<float>(),
      ElementsAre(-1, 1, 6));
}

TEST(Binary, IntegersWrapAndNeverTrap) {
  struct Case {
    BinaryKind kind;
    std::int32_t a;
    std::int32_t b;
    std::int32_t y;
  };
  using enum BinaryKind;
  for (const Case& c : {Case{kAdd, kInt32Max, 1, kInt32Min},
                        {kSub, kInt32Min, 1, kInt32Max},
                        {kMul, 1 << 20, 1 << 20, 0},
                        {kDiv, -7, 2, -3},
                        {kDiv, 7, 0, 0},
                        {kDiv, kInt32Min, -1, kInt32Min},
                        {kMod, -7, 3, 2},
                        {kMod, 7, -3, -2},
                        {kMod, 7, 0, 0},
                        {kMod, kInt32Min, -1, 0},
                        {kFmod, -7, 3, -1},
                        {kFmod, 7, 0, 0},
                        {kPow, 3, 4, 81},
                        {kPow, 2, -1, 0},
                        {kPow, -1, -3, -1},
                        {kPow, 0, 0, 1},
                        {kPow, 2, 31, kInt32Min},
                        {kPow, 0, -1, 0},
                        {kMin, -1, 1, -1},
                        {kMax, -1, 1, 1},
                        {kPRelu, -3, 4, -12},
                        {kBitwiseAnd, 12, 10, 8},
                        {kBitwiseOr, 12, 10, 14},
                        {kBitwiseXor, 12, 10, 6}}) {
    const Value y = Evaluate(Pair(c.kind), {Of<std::int32_t>({}, {c.a}), Of<std::int32_t>({}, {c.b})});
    EXPECT_THAT(y.as<std::int32_t>(), ElementsAre(c.y)) << OperatorName(Pair(c.kind)) << " of " << c.a << ", " << c.b;
  }
  EXPECT_THAT(Evaluate(Pair(kDiv), {Longs({kInt64Min, kInt64Min, 5}), Longs({-1, 0, -1})}).as<std::int64_t>(),
              ElementsAre(kInt64Min, 0, -5));
  EXPECT_THAT(Evaluate(Pair(kMod), {Longs({kInt64Min}), Longs({-1})}).as<std::int64_t>(), ElementsAre(0));
  EXPECT_THAT(Evaluate(Pair(kPow), {Longs({3, kInt64Min}), Longs({kInt64Max, kInt64Min})}).as<std::int64_t>()[1], 0);
  EXPECT_THAT(Evaluate(Pair(kAdd), {Of<std::uint8_t>({1}, {250}), Of<std::uint8_t>({1}, {10})}).as<std::uint8_t>(),
              ElementsAre(4));
  EXPECT_THAT(Evaluate(Pair(kMul), {Of<std::int8_t>({1}, {100}), Of<std::int8_t>({1}, {2})}).as<std::int8_t>(),
              ElementsAre(-56));
}

TEST(Binary, OrderAndLogic) {
  const Value a = Longs({kInt64Max, 2, 3});
  const Value b = Longs({kInt64Max - 1, 2, 4});
  const auto bools = [](BinaryKind kind, const Value& x, const Value& y) { return Evaluate(Pair(kind), {x, y}).as<bool>(); };
  EXPECT_THAT(bools(BinaryKind::kEqual, a, b), ElementsAre(false, true, false));
  EXPECT_THAT(bools(BinaryKind::kLess, a, b), ElementsAre(false, false, true));
  EXPECT_THAT(bools(BinaryKind::kLessOrEqual, a, b), ElementsAre(false, true, true));
  EXPECT_THAT(bools(BinaryKind::kGreater, a, b), ElementsAre(true, false, false));
  EXPECT_THAT(bools(BinaryKind::kGreaterOrEqual, a, b), ElementsAre(true, true, false));
  EXPECT_THAT(bools(BinaryKind::kEqual, Floats({1}, {kNan}), Floats({1}, {kNan})), ElementsAre(false));
  const Value p = Of<bool>({4}, {false, false, true, true});
  const Value q = Of<bool>({4}, {false, true, false, true});
  EXPECT_THAT(bools(BinaryKind::kAnd, p, q), ElementsAre(false, false, false, true));
  EXPECT_THAT(bools(BinaryKind::kOr, p, q), ElementsAre(false, true, true, true));
  EXPECT_THAT(bools(BinaryKind::kXor, p, q), ElementsAre(false, true, true, false));
  EXPECT_THAT(bools(BinaryKind::kEqual, p, q), ElementsAre(true, false, false, true));
}

TEST(Binary, QuantizedIsOfRealValues) {
  const Value a = Of<std::int8_t>({3}, {10, -10, 127}, Scaled(0.5F, 0));
  const Value b = Of<std::int8_t>({3}, {0, 0, 127}, Scaled(0.25F, -4));
  // 5 + 1, -5 + 1, 63.5 + 32.75 in units of 0.5 from 1 on.
  EXPECT_THAT(Evaluate(Pair(BinaryKind::kAdd), {a, b}, Scaled(0.5F, 1)).as<std::int8_t>(), ElementsAre(13, -7, 127));
  EXPECT_THAT(Evaluate(Pair(BinaryKind::kAdd, {UnaryKind::kRelu}), {a, b}, Scaled(0.5F, 1)).as<std::int8_t>(),
              ElementsAre(13, 1, 127));
  EXPECT_THAT(Evaluate(Pair(BinaryKind::kLess), {a, b}).as<bool>(), ElementsAre(false, true, false));
  EXPECT_EQ(Failure(Pair(BinaryKind::kAdd, {UnaryKind::kGelu}), {a, b}), "GRAPH_NODE");
}

TEST(Binary, WrongTypes) {
  const Value floats = Floats({1}, {1});
  const Value longs = Longs({1});
  EXPECT_EQ(Failure(Pair(BinaryKind::kAdd), {floats, longs}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Pair(BinaryKind::kAnd), {longs, longs}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Pair(BinaryKind::kBitwiseAnd), {floats, floats}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Pair(BinaryKind::kAdd), {Of<bool>({1}, {true}), Of<bool>({1}, {true})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Pair(BinaryKind::kAdd), {Of<std::int8_t>({1}, {1}), Of<std::int8_t>({1}, {1}, Scaled(1, 0))}),
            "GRAPH_TYPE");
  EXPECT_EQ(Failure(Pair(BinaryKind::kEqual, {UnaryKind::kRelu}), {floats, floats}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Pair(BinaryKind::kAdd, {UnaryKind::kNot}), {floats, floats}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Pair(BinaryKind::kPRelu), {floats, Floats({2}, {1, 2})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pair(static_cast<BinaryKind>(99)), {floats, floats}), "GRAPH_NODE");
}

TEST(Where, ChoosesAndBroadcasts) {
  const Value y = Evaluate(Where{}, {Of<bool>({2, 1}, {true, false}), Floats({1, 2}, {1, 2}), Floats({}, {9})});
  EXPECT_EQ(y.shape(), Shape({2, 2}));
  EXPECT_THAT(y.as<float>(), ElementsAre(1, 2, 9, 9));
  EXPECT_THAT(Evaluate(Where{}, {Of<bool>({}, {false}), Longs({1, 2}), Longs({3, 4})}).as<std::int64_t>(), ElementsAre(3, 4));
  EXPECT_THAT(
      Evaluate(Where{}, {Of<bool>({2}, {false, true}), Of<std::int8_t>({}, {1}), Of<std::int8_t>({}, {2})}).as<std::int8_t>(),
      ElementsAre(2, 1));
  EXPECT_EQ(Failure(Where{}, {Floats({}, {1}), Floats({}, {1}), Floats({}, {1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Where{}, {Of<bool>({}, {true}), Floats({}, {1}), Longs({1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Where{}, {Of<bool>({3}, {true, true, true}), Floats({2}, {1, 2}), Floats({}, {1})}), "GRAPH_SHAPE");
}

TEST(Cast, FloatsToIntegersSaturate) {
  const Value x = Floats({7}, {-1.9F, 2.9F, 300, -300, kNan, kInf, -1e30F});
  const auto to = [&](DataType type) { return Evaluate(Cast{type}, {x}); };
  EXPECT_THAT(to(DataType::kInt8).as<std::int8_t>(), ElementsAre(-1, 2, 127, -128, 0, 127, -128));
  EXPECT_THAT(to(DataType::kUint8).as<std::uint8_t>(), ElementsAre(0, 2, 255, 0, 0, 255, 0));
  EXPECT_THAT(to(DataType::kInt32).as<std::int32_t>(), ElementsAre(-1, 2, 300, -300, 0, kInt32Max, kInt32Min));
  EXPECT_THAT(to(DataType::kInt64).as<std::int64_t>(), ElementsAre(-1, 2, 300, -300, 0, kInt64Max, kInt64Min));
  EXPECT_THAT(to(DataType::kBool).as<bool>(), ElementsAre(true, true, true, true, true, true, true));
  EXPECT_THAT(Evaluate(Cast{DataType::kBool}, {Floats({3}, {0, -0.0F, 0.1F})}).as<bool>(), ElementsAre(false, false, true));
  EXPECT_THAT(Evaluate(Cast{DataType::kInt64}, {Floats({2}, {9.223372e18F, -9.223372e18F})}).as<std::int64_t>(),
              ElementsAre(kInt64Max, kInt64Min));
}

TEST(Cast, IntegersKeepTheLowBits) {
  const Value x = Longs({kInt64Max, kInt64Min, 256, -1});
  EXPECT_THAT(Evaluate(Cast{DataType::kInt32}, {x}).as<std::int32_t>(), ElementsAre(-1, 0, 256, -1));
  EXPECT_THAT(Evaluate(Cast{DataType::kUint8}, {x}).as<std::uint8_t>(), ElementsAre(255, 0, 0, 255));
  EXPECT_THAT(Evaluate(Cast{DataType::kBool}, {x}).as<bool>(), ElementsAre(true, true, true, true));
  // Half way between two floats but for the last bit, which a detour by double would lose.
  EXPECT_THAT(Evaluate(Cast{DataType::kFloat32}, {Longs({(std::int64_t{1} << 60) + (std::int64_t{1} << 36) + 1})}).as<float>(),
              ElementsAre(0x1.000002p60F));
}

TEST(Cast, SixteenBits) {
  const Value x = Floats({4}, {1.5F, 70000, -1e-8F, 1 + 0x1p-9F});
  const auto halves = Evaluate(Cast{DataType::kFloat16}, {x});
  EXPECT_THAT(Evaluate(Cast{DataType::kFloat32}, {halves}).as<float>(), ElementsAre(1.5F, kInf, -0.0F, 1 + 0x1p-9F));
  const auto brains = Evaluate(Cast{DataType::kBFloat16}, {x});
  EXPECT_THAT(Evaluate(Cast{DataType::kFloat32}, {brains}).as<float>(), ElementsAre(1.5F, 70144, -0x1.58p-27F, 1));
  EXPECT_THAT(Evaluate(Cast{DataType::kInt32}, {halves}).as<std::int32_t>(), ElementsAre(1, kInt32Max, 0, 1));
  EXPECT_THAT(Evaluate(Cast{DataType::kFloat32}, {Of<bool>({2}, {true, false})}).as<float>(), ElementsAre(1, 0));
}

TEST(Cast, Refuses) {
  EXPECT_EQ(Failure(Cast{DataType::kInt4}, {Floats({}, {1})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Cast{static_cast<DataType>(77)}, {Floats({}, {1})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Cast{DataType::kFloat32}, {Of<std::int8_t>({1}, {1}, Scaled(1, 0))}), "GRAPH_TYPE");
}

}  // namespace
}  // namespace edgefleet::runtime::testing
