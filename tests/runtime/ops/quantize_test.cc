#include "device_client/runtime/ops/quantize.h"

#include <gtest/gtest.h>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime {
namespace {

using namespace testing;

using I8 = std::vector<std::int8_t>;
using U8 = std::vector<std::uint8_t>;
using F = std::vector<float>;

TEST(Quantize, RoundsHalfToEvenAndSaturates) {
  const Value x = Of<float>({7}, {0, 0.25F, 0.75F, -0.25F, 1e9F, -1e9F, 2});
  const auto y = RunOp(Quantize{}, {x}, Whole(0.5F, 1));
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->as<std::int8_t>(), (I8{1, 1, 3, 1, 127, -128, 5}));
  const auto u = RunOp(Quantize{DataType::kUint8}, {x}, Whole(0.5F, 200));
  ASSERT_TRUE(u) << u.error().ToString();
  EXPECT_EQ(u->as<std::uint8_t>(), (U8{200, 200, 202, 200, 255, 0, 204}));
}

TEST(Quantize, PerSlice) {
  const auto y = RunOp(Quantize{}, {Of<float>({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8})}, Quantization{{1, 0.5F}, {0, -1}, 1});
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->as<std::int8_t>(), (I8{1, 2, 5, 7, 5, 6, 13, 15}));
}

TEST(Quantize, FromIntegersAndBFloat16) {
  const auto again = RunOp(Quantize{}, {Of<std::int8_t>({3}, {-128, 3, 127}, Whole(0.5F, 3))}, Whole(1, 10));
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_EQ(again->as<std::int8_t>(), (I8{-56, 10, 72}));  // -65.5 is -66, halves go to even
  const auto sums = RunOp(Quantize{}, {Of<std::int32_t>({2}, {1'000, -2'147'483'647}, Whole(0.125F))}, Whole(4));
  ASSERT_TRUE(sums) << sums.error().ToString();
  EXPECT_EQ(sums->as<std::int8_t>(), (I8{31, -128}));
  const auto plain = RunOp(Quantize{}, {Of<std::int32_t>({2}, {10, 12})}, Whole(4));
  ASSERT_TRUE(plain) << plain.error().ToString();
  EXPECT_EQ(plain->as<std::int8_t>(), (I8{2, 3}));
  const auto bf16 = RunOp(Quantize{}, {Of<BFloat16>({1}, {ToBFloat16(3)})}, Whole(2));
  ASSERT_TRUE(bf16) << bf16.error().ToString();
  EXPECT_EQ(bf16->as<std::int8_t>(), (I8{2}));
}

TEST(Dequantize, AnyIntegers) {
  const auto a = RunOp(Dequantize{}, {Of<std::int8_t>({2}, {-128, 4}, Whole(0.5F, 3))});
  const auto b = RunOp(Dequantize{}, {Of<std::uint8_t>({2}, {0, 255}, Whole(0.5F, 255))});
  const auto c = RunOp(Dequantize{}, {Of<std::int32_t>({2, 1}, {-2'147'483'647 - 1, 4}, Quantization{{1, 0.5F}, {1, 2}, 0})});
  ASSERT_TRUE(a && b && c);
  EXPECT_EQ(a->as<float>(), (F{-65.5F, 0.5F}));
  EXPECT_EQ(b->as<float>(), (F{-127.5F, 0}));
  EXPECT_EQ(c->as<float>(), (F{-2'147'483'649.0F, 1}));
}

TEST(Quantize, RefusesWhatHasNoQuantization) {
  const Value plain = Of<std::int8_t>({1}, {1});
  EXPECT_EQ(Failure(Quantize{}, {plain}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Dequantize{}, {plain}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Dequantize{}, {Of<float>({1}, {1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(Quantize{DataType::kInt32}, {Of<float>({1}, {1})}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Quantize{}, {Of<std::int64_t>({1}, {1})}), "GRAPH_TYPE");
  EXPECT_EQ(RunOp(Quantize{}, {Of<float>({1}, {1})}).error().reason(), "GRAPH_TYPE");
}

}  // namespace
}  // namespace edgefleet::runtime
