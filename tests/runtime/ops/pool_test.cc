#include "device_client/runtime/ops/pool.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime {
namespace {

using namespace testing;

// One plane, by the definition: a padded image, each window tap by tap.
template <typename Visit>
void ForTaps(const Pool2d& op, std::int64_t height, std::int64_t width, std::int64_t row, std::int64_t column, Visit visit) {
  for (std::int64_t i = 0; i < op.kernel[0]; ++i) {
    for (std::int64_t j = 0; j < op.kernel[1]; ++j) {
      const std::int64_t r = row * op.strides[0] - op.pads[0] + i * op.dilations[0];
      const std::int64_t c = column * op.strides[1] - op.pads[1] + j * op.dilations[1];
      const bool inside = r >= 0 && r < height && c >= 0 && c < width;
      const bool padded = r < height + op.pads[2] && c < width + op.pads[3];
      visit(r * width + c, inside, padded);
    }
  }
}

struct PoolCase {
  const char* name;
  Pool2d op;
  Shape x;
  std::int64_t rows;
  std::int64_t columns;
};

const PoolCase kCases[] = {
    {"plain", {.kernel = {2, 3}}, {2, 3, 5, 7}, 4, 5},
    {"strides", {.kernel = {3, 2}, .strides = {2, 3}}, {1, 2, 8, 8}, 3, 3},
    {"pads", {.kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 2, 0, 1}}, {1, 2, 6, 5}, 3, 3},
    {"ceil", {.kernel = {3, 3}, .strides = {2, 2}, .pads = {0, 0, 0, 0}, .ceil = true}, {1, 2, 6, 8}, 3, 4},
    {"ceil, last window in padding",
     {.kernel = {2, 2}, .strides = {2, 2}, .pads = {1, 1, 1, 1}, .ceil = true},
     {1, 1, 3, 4},
     2,
     3},
    {"ceil, wide stride", {.kernel = {1, 1}, .strides = {3, 4}, .ceil = true}, {1, 1, 5, 5}, 2, 2},
    {"dilations", {.kernel = {2, 3}, .pads = {1, 2, 1, 2}, .dilations = {3, 2}}, {1, 2, 6, 6}, 5, 6},
    {"taps around the image", {.kernel = {2, 1}, .pads = {2, 0, 4, 0}, .dilations = {5, 1}}, {1, 1, 1, 2}, 2, 2},
    {"whole", {.kernel = {4, 6}}, {2, 2, 4, 6}, 1, 1},
};

TEST(Pool, AgreesWithTheDefinition) {
  SeededRandom random(1);
  for (PoolCase c : kCases) {
    const Value x = RandomValue<float>(random, c.x);
    const Value xq = RandomValue<std::int8_t>(random, c.x, Whole(0.5F, 5));
    const Value xu = RandomValue<std::uint8_t>(random, c.x);
    for (const bool include_pad : {false, true}) {
      c.op.count_include_pad = include_pad;
      c.op.kind = Pool2d::Kind::kMax;
      const auto top = RunOp(c.op, {x});
      const auto top_q = RunOp(c.op, {xq}, Whole(0.5F, 5));
      const auto top_u = RunOp(c.op, {xu});
      c.op.kind = Pool2d::Kind::kAverage;
      const auto mean = RunOp(c.op, {x});
      const auto mean_q = RunOp(c.op, {xq}, Whole(0.25F, -3));
      ASSERT_TRUE(top && top_q && top_u && mean && mean_q) << c.name;
      ASSERT_EQ(top->shape(), (Shape{c.x[0], c.x[1], c.rows, c.columns})) << c.name;
      for (std::int64_t i = 0; i < ElementCount(top->shape()); ++i) {
        const std::int64_t plane = i / (c.rows * c.columns) * c.x[2] * c.x[3];
        float best = std::numeric_limits<float>::lowest();
        int best_q = -128, best_u = 0, counted = 0;
        double sum = 0, sum_q = 0;
        ForTaps(c.op, c.x[2], c.x[3], i / c.columns % c.rows, i % c.columns, [&](std::int64_t at, bool inside, bool padded) {
          if (inside || (include_pad && padded)) ++counted;
          if (!inside) return;
          best = std::max(best, x.as<float>()[plane + at]);
          best_q = std::max<int>(best_q, xq.as<std::int8_t>()[plane + at]);
          best_u = std::max<int>(best_u, xu.as<std::uint8_t>()[plane + at]);
          sum += x.as<float>()[plane + at];
          sum_q += 0.5 * (xq.as<std::int8_t>()[plane + at] - 5);
        });
        const double divisor = std::max(counted, 1);
        EXPECT_EQ(top->as<float>()[i], best) << c.name << " at " << i;
        EXPECT_EQ(top_q->as<std::int8_t>()[i], best_q) << c.name << " at " << i;
        EXPECT_EQ(top_u->as<std::uint8_t>()[i], best_u) << c.name << " at " << i;
        EXPECT_NEAR(mean->as<float>()[i], sum / divisor, 1e-6) << c.name << " at " << i;
        EXPECT_EQ(mean_q->as<std::int8_t>()[i], std::clamp(std::nearbyint(sum_q / divisor / 0.25) - 3, -128.0, 127.0))
            << c.name << " at " << i;
      }
    }
  }
}

TEST(Pool, BFloat16) {
  const auto y = RunOp(Pool2d{.kind = Pool2d::Kind::kAverage, .kernel = {1, 3}},
                       {Of<BFloat16>({1, 1, 1, 3}, {ToBFloat16(1), ToBFloat16(2), ToBFloat16(4)})});
  ASSERT_TRUE(y) << y.error().ToString();
  EXPECT_EQ(y->as<BFloat16>()[0].bits, ToBFloat16(7.0F / 3).bits);
}

TEST(Pool, RefusesWhatDoesNotFit) {
  const Value x = Of<float>({1, 1, 4, 4}, std::vector<float>(16));
  EXPECT_EQ(Failure(Pool2d{}, {Of<float>({4, 4}, std::vector<float>(16))}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pool2d{.kernel = {5, 1}}, {x}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pool2d{.kernel = {0, 1}}, {x}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Pool2d{.kernel = {2, 2}, .pads = {2, 0, 0, 0}}, {x}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Pool2d{.kernel = {2, 2}, .dilations = {2'000'000, 1}}, {x}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Pool2d{.kind = static_cast<Pool2d::Kind>(7)}, {x}), "GRAPH_NODE");
  const Value u = Of<std::uint8_t>({1, 1, 1, 1}, {1});
  EXPECT_EQ(Failure(Pool2d{}, {u}), "");
  EXPECT_EQ(Failure(Pool2d{.kind = Pool2d::Kind::kAverage}, {u}), "GRAPH_TYPE");
}

}  // namespace
}  // namespace edgefleet::runtime
