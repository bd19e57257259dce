#include "device_client/runtime/ops/quantize.h"

#include <gtest/gtest.h>

#include "tests/runtime/ops/op_runner.h"

namespace edgefleet::runtime {
namespace {

using namespace testing;

using I8 = std::vector<std::int8_t>;
using U8 = std::vector<std::uint8_t>;
using F = std::vector<float>;

TEST(Quantize, RoundsHalfToEvenAndSaturates) {
  const Value x = Make<float>({7}, {0, 0.25F, 0.75F, -0.25F, 1e9F, -1e9F, 2});
  const auto y = RunOp(Quantize{}, {x}, Whole(0.5F, 1));
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->As<std::int8_t>(), (I8{1, 1, 3, 1, 127, -128, 5}));
  const auto u = RunOp(Quantize{DataType::kUint8}, {x}, Whole(0.5F, 200));
  ASSERT_TRUE(u) << u.error().ToString();
  EXPECT_EQ(u->As<std::uint8_t>(), (U8{200, 200, 202, 200, 255, 0, 204}));
}

TEST(Quantize, PerSlice) {
  const auto y = RunOp(Quantize{}, {Make<float>({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8})}, Quantization{{1, 0.5F}, {0, -1}, 1});
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->As<std::int8_t>(), (I8{1, 2, 5, 7, 5, 6, 13, 15}));
}

TEST(Quantize, FromIntegersAndBFloat16) {
  const auto again = RunOp(Quantize{}, {Make<std::int8_t>({3}, {-128, 3, 127}, Whole(0.5F, 3))}, Whole(1, 10));
  ASSERT_TRUE(again) << again.error().ToString();
  EXPECT_EQ(again->As<std::int8_t>(), (I8{-56, 10, 72}));  // -65.5 is -66, halves go to even
  const auto sums = RunOp(Quantize{}, {Make<std::int32_t>({2}, {1'000, -2'147'483'647}, Whole(0.125F))}, Whole(4));
  ASSERT_TRUE(sums) << sums.error().ToString();
  EXPECT_EQ(sums->As<std::int8_t>(), (I8{31, -128}));
  const auto plain = RunOp(Quantize{}, {Make<std::int32_t>({2}, {10, 12})}, Whole(4));
  ASSERT_TRUE(plain) << plain.error().ToString();
  EXPECT_EQ(plain->As<std::int8_t>(), (I8{2, 3}));
  const auto bf16 = RunOp(Quantize{}, {Make<BFloat16>({1}, {ToBFloat16(3)})}, Whole(2));
  ASSERT_TRUE(bf16) << bf16.error().ToString();
  EXPECT_EQ(bf16->As<std::int8_t>(), (I8{2}));
}

TEST(Dequantize, AnyIntegers) {
  const auto a = RunOp(Dequantize{}, {Make<std::int8_t>({2}, {-128, 4}, Whole(0.5F, 3))});
  const auto b = RunOp(Dequantize{}, {Make<std::uint8_t>({2}, {0, 255}, Whole(0.5F, 255))});
  const auto c = RunOp(Dequantize{}, {Make<std::int32_t>({2, 1}, {-2'147'483'647 - 1, 4}, Quantization{{1, 0.5F}, {1, 2}, 0})});
  ASSERT_TRUE(a && b && c);
  EXPECT_EQ(a->As<float>(), (F{-65.5F, 0.5F}));
  EXPECT_EQ(b->As<float>(), (F{-127.5F, 0}));
  EXPECT_EQ(c->As<float>(), (F{-2'147'483'649.0F, 1}));
}

TEST(Quantize, RefusesWhatHasNoQuantization) {
  const Value plain = Make<std::int8_t>({1}, {1});
  EXPECT_EQ(InferReason(Quantize{}, {plain}), "GRAPH_TYPE");
  EXPECT_EQ(InferReason(Dequantize{}, {plain}), "GRAPH_TYPE");
  EXPECT_EQ(InferReason(Dequantize{}, {Make<float>({1}, {1})}), "GRAPH_TYPE");
  EXPECT_EQ(InferReason(Quantize{DataType::kInt32}, {Make<float>({1}, {1})}), "GRAPH_NODE");
  EXPECT_EQ(InferReason(Quantize{}, {Make<std::int64_t>({1}, {1})}), "GRAPH_TYPE");
  EXPECT_EQ(RunOp(Quantize{}, {Make<float>({1}, {1})}).error().reason(), "GRAPH_TYPE");
}

}  // namespace
}  // namespace edgefleet::runtime
