#include "device_client/runtime/ops/resize.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime {
namespace {

using namespace testing;

using F = std::vector<float>;
using Mode = Resize::Mode;
using Coordinates = Resize::Coordinates;
using Nearest = Resize::Nearest;

Value Numbers(const F& values) { return Of<float>({static_cast<std::int64_t>(values.size())}, values); }
Value Sizes(const std::vector<std::int64_t>& values) {
  return Of<std::int64_t>({static_cast<std::int64_t>(values.size())}, values);
}

void ExpectNear(const Result<Value>& y, const Shape& shape, const F& expected, const char* what) {
  ASSERT_TRUE(y) << what << ": " << y.error().ToString();
  ASSERT_EQ(y->shape(), shape) << what;
  const F values = y->as<float>();
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], 2e-6) << what << " at " << i;
}

// One dimension of 4 elements, 10 20 30 40; the numbers are computed by hand from ONNX's formulas.
TEST(Resize, CoordinatesAndRounding) {
  const Value x = Of<float>({1, 4}, {10, 20, 30, 40});
  struct Case {
    const char* name;
    Resize op;
    F scales;
    std::vector<std::int64_t> sizes;
    F expected;
  };
  const auto nearest = [](Coordinates coordinates, Nearest rounding) {
    return Resize{.coordinates = coordinates, .nearest = rounding, .axes = {1}};
  };
  const auto linear = [](Coordinates coordinates) {
    return Resize{.mode = Mode::kLinear, .coordinates = coordinates, .axes = {-1}};
  };
  const Case cases[] = {
      // x / 1.5 = 0, 0.67, 1.33, 2, 2.67, 3.33
      {"floor", nearest(Coordinates::kAsymmetric, Nearest::kFloor), {1.5F}, {}, {10, 10, 20, 30, 30, 40}},
      {"ceil", nearest(Coordinates::kAsymmetric, Nearest::kCeil), {1.5F}, {}, {10, 20, 30, 30, 40, 40}},
      {"round", nearest(Coordinates::kAsymmetric, Nearest::kRoundPreferFloor), {1.5F}, {}, {10, 20, 20, 30, 40, 40}},
      // (x + 0.5) * 2 - 0.5 = 0.5, 2.5
      {"halves down", nearest(Coordinates::kHalfPixel, Nearest::kRoundPreferFloor), {0.5F}, {}, {10, 30}},
      {"halves up", nearest(Coordinates::kHalfPixel, Nearest::kRoundPreferCeil), {0.5F}, {}, {20, 40}},
      {"by size", nearest(Coordinates::kAlignCorners, Nearest::kRoundPreferFloor), {}, {2}, {10, 40}},
      {"linear", linear(Coordinates::kHalfPixel), {2}, {}, {10, 12.5F, 17.5F, 22.5F, 27.5F, 32.5F, 37.5F, 40}},
      {"linear, corners", linear(Coordinates::kAlignCorners), {}, {7}, {10, 15, 20, 25, 30, 35, 40}},
      // The result's width is 4 * 0.6 = 2.4: x * 3 / 1.4.
      {"linear, corners by scale", linear(Coordinates::kAlignCorners), {0.6F}, {}, {10, 10 + 300 / 14.0F}},
      {"linear, asymmetric", linear(Coordinates::kAsymmetric), {0.5F}, {}, {10, 30}},
      {"linear, PyTorch", linear(Coordinates::kPytorchHalfPixel), {}, {1}, {10}},
      // Width 3.6 of 3: the region begins 4 / 2 * (1 - 3 / 3.6) = 1 / 3 further right.
      {"linear, symmetric", linear(Coordinates::kHalfPixelSymmetric), {0.9F}, {}, {13.888889F, 25, 36.111111F}},
      {"smaller without antialias", linear(Coordinates::kHalfPixel), {0.5F}, {}, {15, 35}},
  };
  for (const Case& c : cases) {
    const std::vector<Value> inputs{x, Absent(), c.scales.empty() ? Absent() : Numbers(c.scales),
                                    c.sizes.empty() ? Absent() : Sizes(c.sizes)};
    ExpectNear(RunOp(c.op, inputs), {1, static_cast<std::int64_t>(c.expected.size())}, c.expected, c.name);
  }
}

TEST(Resize, Cubic) {
  const Value x = Of<float>({4}, {1, 2, 3, 4});
  // At 1.5 with a = -0.75 the weights are -0.09375, 0.59375, 0.59375, -0.09375; at -0.25 and beyond the border repeats.
  const auto y = RunOp(Resize{.mode = Mode::kCubic}, {x, Absent(), Numbers({2})});
  const auto at = [](double point) {
    double sum = 0;
    for (int i = -3; i < 8; ++i) {
      const double d = std::abs(point - i), a = -0.75;
      const double w = d <= 1  ? (a + 2) * d * d * d - (a + 3) * d * d + 1
                       : d < 2 ? a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a
                               : 0;
      sum += w * (std::clamp(i, 0, 3) + 1);
    }
    return static_cast<float>(sum);
  };
  ExpectNear(y, {8}, {at(-0.25), at(0.25), at(0.75), at(1.25), at(1.75), at(2.25), at(2.75), at(3.25)}, "cubic");
  // Excluding what lies outside scales the other weights to 1: at 0.25 + border.
  const auto z = RunOp(Resize{.mode = Mode::kCubic, .coordinates = Coordinates::kAsymmetric, .exclude_outside = true},
                       {x, Absent(), Absent(), Sizes({8})});
  ASSERT_TRUE(z) << z.error().ToString();
  const double w0 = 0.59375, w1 = 0.59375, w2 = -0.09375;
  EXPECT_NEAR(z->as<float>()[1], (w0 * 1 + w1 * 2 + w2 * 3) / (w0 + w1 + w2), 1e-6);
}

TEST(Resize, Antialias) {
  // Scale 1/2: a triangle of half-width 2 around 0.5 and 2.5, of weights 1, 3, 3, 1 by 8; beyond the border it repeats.
  const auto y =
      RunOp(Resize{.mode = Mode::kLinear, .antialias = true}, {Of<float>({4}, {8, 16, 24, 64}), Absent(), Numbers({0.5F})});
  ExpectNear(y, {2}, {(8 + 24 + 48 + 24) / 8.0F, (16 + 72 + 192 + 64) / 8.0F}, "antialias");
  const auto z = RunOp(Resize{.mode = Mode::kLinear, .exclude_outside = true, .antialias = true},
                       {Of<float>({4}, {8, 16, 24, 64}), Absent(), Numbers({0.5F})});
  ExpectNear(z, {2}, {(24 + 48 + 24) / 7.0F, (16 + 72 + 192) / 7.0F}, "antialias, inside");
  const auto up = RunOp(Resize{.mode = Mode::kLinear, .antialias = true}, {Of<float>({2}, {0, 4}), Absent(), Numbers({2})});
  ExpectNear(up, {4}, {0, 1, 3, 4}, "larger");
}

TEST(Resize, CropsAndExtrapolates) {
  Resize op{.mode = Mode::kLinear, .coordinates = Coordinates::kCropAndResize, .axes = {1}, .extrapolation = -7};
  const Value x = Of<float>({2, 3}, {0, 10, 20, 30, 40, 50});
  // Of 0.25 to 1.25 of the width of 2: 0.5, 1.5, 2.5.
  ExpectNear(RunOp(op, {x, Numbers({0.25F, 1.25F}), Absent(), Sizes({3})}), {2, 3}, {5, 15, -7, 35, 45, -7}, "crop");
  op.mode = Mode::kNearest;
  ExpectNear(RunOp(op, {x, Numbers({0.25F, 1.25F}), Absent(), Sizes({3})}), {2, 3}, {0, 10, -7, 30, 40, -7}, "crop to nearest");
}

TEST(Resize, AspectRatio) {
  Resize op{.aspect_ratio = Resize::AspectRatio::kNotLarger};
  op.axes = {2, 1};
  const Value x = Of<float>({1, 2, 4}, F(8));
  // Sizes 7 of width 4, 8 of height 2: factors 1.75 and 4.
  EXPECT_EQ(Inferred(op, {x, Absent(), Absent(), Sizes({7, 8})})->at(0).shape, (Shape{1, 4, 7}));
  op.aspect_ratio = Resize::AspectRatio::kNotSmaller;
  EXPECT_EQ(Inferred(op, {x, Absent(), Absent(), Sizes({7, 8})})->at(0).shape, (Shape{1, 8, 16}));
}

TEST(Resize, TwoDimensionsOneLargerOneSmaller) {
  const Value x = Of<float>({1, 1, 2, 4}, {0, 1, 2, 3, 10, 11, 12, 13});
  const auto y = RunOp(Resize{.mode = Mode::kLinear}, {x, Absent(), Numbers({1, 1, 2, 0.5F})});
  ExpectNear(y, {1, 1, 4, 2}, {0.5F, 2.5F, 3, 5, 8, 10, 10.5F, 12.5F}, "both");
}

TEST(Resize, NearestMovesAnyElements) {
  const Resize op{.coordinates = Coordinates::kAsymmetric, .nearest = Nearest::kFloor};
  const auto y = RunOp(op, {Of<std::int64_t>({2, 2}, {1, 2, 3, 4}), Absent(), Numbers({2, 2})});
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->as<std::int64_t>(), (std::vector<std::int64_t>{1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4}));
  const auto z = RunOp(op, {Of<std::int8_t>({2}, {1, -128}, Whole(0.5F, 3)), Absent(), Numbers({2})}, Whole(0.5F, 3));
  ASSERT_TRUE(z) << z.error().ToString();
  EXPECT_EQ(z->as<std::int8_t>(), (std::vector<std::int8_t>{1, 1, -128, -128}));
}

TEST(Resize, NarrowTypes) {
  const Resize op{.mode = Mode::kLinear, .coordinates = Coordinates::kAlignCorners};
  const auto y = RunOp(op, {Of<std::int8_t>({2}, {0, 10}, Whole(1)), Absent(), Absent(), Sizes({3})}, Whole(2, 1));
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->as<std::int8_t>(), (std::vector<std::int8_t>{1, 3, 6}));  // 2.5 rounds to 2
}

TEST(Resize, RefusesWhatDoesNotFit) {
  const Value x = Of<float>({1, 4}, {1, 2, 3, 4});
  struct Case {
    const char* name;
    Resize op;
    std::vector<Value> inputs;
    const char* reason;
  };
  const Case cases[] = {
      {"nothing", {}, {x}, "GRAPH_NODE"},
      {"both", {}, {x, Absent(), Numbers({1, 1}), Sizes({1, 4})}, "GRAPH_NODE"},
      {"count", {}, {x, Absent(), Numbers({1})}, "GRAPH_SHAPE"},
      {"sizes' count", {}, {x, Absent(), Absent(), Sizes({1})}, "GRAPH_SHAPE"},
      {"unknown scales", {}, {x, Absent(), Unknown(Numbers({1, 1}))}, "SHAPE_DEPENDS_ON_DATA"},
      {"unknown sizes", {}, {x, Absent(), Absent(), Unknown(Sizes({1, 1}))}, "SHAPE_DEPENDS_ON_DATA"},
      {"negative", {}, {x, Absent(), Numbers({1, -1})}, "GRAPH_NODE"},
      {"NaN", {}, {x, Absent(), Numbers({1, NAN})}, "GRAPH_NODE"},
      {"to nothing", {}, {x, Absent(), Numbers({1, 0.2F})}, "GRAPH_SHAPE"},
      {"size 0", {}, {x, Absent(), Absent(), Sizes({1, 0})}, "GRAPH_SHAPE"},
      {"too large", {}, {x, Absent(), Numbers({3e38F, 1})}, "GRAPH_SHAPE"},
      {"axis", {.axes = {2}}, {x, Absent(), Numbers({1})}, "GRAPH_NODE"},
      {"axis twice", {.axes = {1, -1}}, {x, Absent(), Numbers({1, 1})}, "GRAPH_NODE"},
      {"no region", {.coordinates = Coordinates::kCropAndResize}, {x, Absent(), Numbers({1, 1})}, "GRAPH_NODE"},
      {"mode", {.mode = static_cast<Mode>(9)}, {x, Absent(), Numbers({1, 1})}, "GRAPH_NODE"},
      {"linear integers", {.mode = Mode::kLinear}, {Sizes({1, 2}), Absent(), Numbers({2})}, "GRAPH_TYPE"},
  };
  for (const Case& c : cases) EXPECT_EQ(Failure(c.op, c.inputs), c.reason) << c.name;
}

}  // namespace
}  // namespace edgefleet::runtime
