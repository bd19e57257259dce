#include "device_client/runtime/ops/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime {
namespace {

using namespace testing;

TEST(FullyConnected, RowsOfAnyRank) {
  const Value w = Of<float>({2, 3}, {1, 2, 3, -1, 0, 1});
  const Value bias = Of<float>({2}, {0.5F, -10});
  const auto y = RunOp(FullyConnected{{UnaryKind::kRelu}}, {Of<float>({1, 2, 3}, {1, 1, 1, 0, 1, 20}), w, bias});
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->shape(), (Shape{1, 2, 2}));
  EXPECT_EQ(y->as<float>(), (std::vector<float>{6.5F, 0, 62.5F, 10}));
}

TEST(FullyConnected, Int8IsExact) {
  SeededRandom random(1);
  const std::int64_t rows = 3, inputs = 37, outputs = 5;
  const Value x = RandomValue<std::int8_t>(random, {rows, inputs}, Whole(0.5F, -7));
  const Value w = RandomValue<std::int8_t>(random, {outputs, inputs}, Quantization{{1, 2, 3, 4, 5}, {}, 0});
  const Value bias = Of<std::int32_t>({outputs}, {1, -20, 300, -4000, 2'147'483'647});
  const auto y = RunOp(FullyConnected{}, {x, w, bias}, Whole(128, 9));
  ASSERT_TRUE(y) << y.error().ToString();
  for (std::int64_t n = 0; n < rows; ++n) {
    for (std::int64_t o = 0; o < outputs; ++o) {
      std::int64_t sum = bias.as<std::int32_t>()[o];
      for (std::int64_t i = 0; i < inputs; ++i) {
        sum += (x.as<std::int8_t>()[n * inputs + i] + 7) * w.as<std::int8_t>()[o * inputs + i];
      }
      const double q = std::nearbyint(static_cast<double>(sum) * static_cast<double>(o + 1) / 256) + 9;
      EXPECT_EQ(y->as<std::int8_t>()[n * outputs + o], std::clamp(q, -128.0, 127.0)) << n << ", " << o;
    }
  }
}

TEST(FullyConnected, Int4Groups) {
  // Two rows of 33: groups of 32 and 1. Row 0 has q = 1 everywhere, row 1 -8 and, at the end, 7.
  std::vector<std::byte> bytes;
  for (int i = 0; i < 16; ++i) bytes.push_back(std::byte{0x11});
  bytes.push_back(std::byte{0x01});
  for (int i = 0; i < 16; ++i) bytes.push_back(std::byte{0x88});
  bytes.push_back(std::byte{0x07});
  for (const float scale : {1.0F, 2.0F, 0.5F, 4.0F}) {
    const std::uint16_t bits = ToFloat16(scale).bits;
    bytes.push_back(static_cast<std::byte>(bits & 0xFF));
    bytes.push_back(static_cast<std::byte>(bits >> 8));
  }
  const Value w{{"w", DataType::kInt4, {2, 33}, Quantization{{}, {}, -1, 32}, {}}, bytes};
  ASSERT_EQ(bytes.size(), ConstantBytes(DataType::kInt4, {2, 33}, 32));
  const auto y = RunOp(FullyConnected{}, {Of<float>({1, 33}, std::vector<float>(33, 1)), w});
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->as<float>(), (std::vector<float>{32 + 2, -4 * 32 + 28}));
}

TEST(FullyConnected, RefusesWhatDoesNotFit) {
  const Value x = Of<float>({1, 2}, {1, 2});
  EXPECT_EQ(Failure(FullyConnected{}, {x, Of<float>({1, 3}, {1, 2, 3})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(FullyConnected{}, {x, Unknown(Of<std::int32_t>({1, 2}, {1, 2}))}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(FullyConnected{}, {Of<float>({2}, {1, 2}), Of<float>({1, 2}, {1, 2})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(FullyConnected{}, {x, Of<std::int32_t>({1, 2}, {1, 2})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(FullyConnected{}, {Of<std::int32_t>({1, 2}, {1, 2}), Of<std::int32_t>({1, 2}, {1, 2})}), "GRAPH_TYPE");
  const Value xq = Of<std::int8_t>({1, 32'769}, std::vector<std::int8_t>(32'769), Whole(1));
  EXPECT_EQ(Failure(FullyConnected{}, {xq, xq}), "GRAPH_SHAPE");
}

TEST(MatMul, BroadcastsAsNumpy) {
  struct Case {
    Shape a;
    Shape b;
    Shape y;
    std::vector<float> values;  // a and b count from 0
  };
  const Case cases[] = {
      {{2, 2}, {2, 2}, {2, 2}, {2, 3, 6, 11}},
      {{3}, {3}, {}, {5}},
      {{3}, {3, 2}, {2}, {10, 13}},
      {{2, 3}, {3}, {2}, {5, 14}},
      {{2, 1, 2}, {2, 1}, {2, 1, 1}, {1, 3}},
      {{1, 2}, {2, 2, 1}, {2, 1, 1}, {1, 3}},
      {{2, 1, 1, 2}, {3, 2, 1}, {2, 3, 1, 1}, {1, 3, 5, 3, 13, 23}},
      {{2, 2, 3}, {3}, {2, 2}, {5, 14, 23, 32}},
      {{3}, {2, 3, 1}, {2, 1}, {5, 14}},
  };
  for (const Case& c : cases) {
    const auto count = [](const Shape& shape, auto one) {
      std::vector<decltype(one)> values(static_cast<std::size_t>(ElementCount(shape)));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<decltype(one)>(i);
      return Of(shape, values);
    };
    const auto y = RunOp(MatMul{}, {count(c.a, 1.0F), count(c.b, 1.0F)});
    ASSERT_TRUE(y) << y.error().ToString();
    EXPECT_EQ(y->shape(), c.y) << ToText(c.a) << " by " << ToText(c.b);
    EXPECT_EQ(y->as<float>(), c.values) << ToText(c.a) << " by " << ToText(c.b);
    const auto z = RunOp(MatMul{}, {count(c.a, std::int64_t{1}), count(c.b, std::int64_t{1})});
    ASSERT_TRUE(z) << z.error().ToString();
    EXPECT_EQ(z->as<std::int64_t>(), std::vector<std::int64_t>(c.values.begin(), c.values.end()));
  }
}

TEST(MatMul, IntegersWrapAround) {
  constexpr std::int32_t kMax = std::numeric_limits<std::int32_t>::max();
  const auto y = RunOp(MatMul{}, {Of<std::int32_t>({1, 2}, {kMax, -3}), Of<std::int32_t>({2, 1}, {2, 5})});
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->as<std::int32_t>(), (std::vector<std::int32_t>{-2 - 15}));
}

TEST(MatMul, Int8OfTwoActivations) {
  SeededRandom random(5);
  const Value a = RandomValue<std::int8_t>(random, {2, 3, 7}, Whole(0.5F, 11));
  const Value b = RandomValue<std::int8_t>(random, {7, 4}, Quantization{{1, 2, 4, 8}, {1, -2, 3, 0}, 1});
  const auto y = RunOp(MatMul{}, {Unknown(a), b}, Whole(64, -1));
  ASSERT_TRUE(y) << y.error().ToString();
  const std::int32_t zero_points[] = {1, -2, 3, 0};
  for (std::int64_t row = 0; row < 6; ++row) {
    for (std::int64_t column = 0; column < 4; ++column) {
      std::int64_t sum = 0;
      for (std::int64_t k = 0; k < 7; ++k) {
        sum += (a.as<std::int8_t>()[row * 7 + k] - 11) * (b.as<std::int8_t>()[k * 4 + column] - zero_points[column]);
      }
      const double q = std::nearbyint(std::ldexp(static_cast<double>(sum), static_cast<int>(column) - 7)) - 1;
      EXPECT_EQ(y->as<std::int8_t>()[row * 4 + column], std::clamp(q, -128.0, 127.0));
    }
  }
}

TEST(MatMul, BFloat16IsRoundedOnce) {
  SeededRandom random(6);
  const Value a = RandomValue<BFloat16>(random, {1, 50});
  const Value b = RandomValue<float>(random, {50, 1});
  const auto y = RunOp(MatMul{}, {Unknown(a), b});
  ASSERT_TRUE(y) << y.error().ToString();
  double sum = 0;
  for (std::size_t i = 0; i < 50; ++i) sum += static_cast<double>(ToFloat(a.as<BFloat16>()[i])) * b.as<float>()[i];
  EXPECT_EQ(y->as<BFloat16>()[0].bits, ToBFloat16(static_cast<float>(sum)).bits);
}

TEST(MatMul, RefusesWhatDoesNotFit) {
  const auto f = [](Shape shape) {
    return Of<float>(shape, std::vector<float>(static_cast<std::size_t>(ElementCount(shape))));
  };
  EXPECT_EQ(Failure(MatMul{}, {f({2, 3}), f({2, 3})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(MatMul{}, {f({}), f({2, 3})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(MatMul{}, {f({2, 2, 3}), f({3, 3, 2})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(MatMul{}, {f({1, 1}), Unknown(Of<std::int32_t>({1, 1}, {1}))}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(MatMul{}, {Of<std::uint8_t>({1, 1}, {1}), Of<std::uint8_t>({1, 1}, {1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(MatMul{}, {Of<std::int8_t>({1, 1}, {1}), Of<std::int8_t>({1, 1}, {1})}), "GRAPH_TYPE");
}

}  // namespace
}  // namespace edgefleet::runtime
