#include "device_client/runtime/ops/conv.h"

#include <gtest/gtest.h>

#include <cmath>

#include "device_client/runtime/ops/activation.h"
#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime {
namespace {

using namespace testing;

std::int64_t Index(const Shape& shape, std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
  return ((a * shape[1] + b) * shape[2] + c) * shape[3] + d;
}

// Calls product(y index, x index, w index) for each product of the definition, one loop a dimension.
void ForProducts(const Conv2d& op, const Shape& xs, const Shape& ws, const Shape& ys, auto product) {
  for (std::int64_t n = 0; n < ys[0]; ++n)
    for (std::int64_t o = 0; o < ys[1]; ++o)
      for (std::int64_t r = 0; r < ys[2]; ++r)
        for (std::int64_t k = 0; k < ys[3]; ++k)
          for (std::int64_t c = 0; c < ws[1]; ++c)
            for (std::int64_t i = 0; i < ws[2]; ++i)
              for (std::int64_t j = 0; j < ws[3]; ++j) {
                const std::int64_t row = r * op.strides[0] - op.pads[0] + i * op.dilations[0];
                const std::int64_t column = k * op.strides[1] - op.pads[1] + j * op.dilations[1];
                if (row < 0 || row >= xs[2] || column < 0 || column >= xs[3]) continue;
                const std::int64_t channel = o / (ws[0] / op.groups) * ws[1] + c;
                product(Index(ys, n, o, r, k), Index(xs, n, channel, row, column), Index(ws, o, c, i, j));
              }
}

// Scatters instead: each input reaches a window of outputs.
void ForProducts(const ConvTranspose2d& op, const Shape& xs, const Shape& ws, const Shape& ys, auto product) {
  for (std::int64_t n = 0; n < xs[0]; ++n)
    for (std::int64_t c = 0; c < xs[1]; ++c)
      for (std::int64_t r = 0; r < xs[2]; ++r)
        for (std::int64_t k = 0; k < xs[3]; ++k)
          for (std::int64_t o = 0; o < ws[1]; ++o)
            for (std::int64_t i = 0; i < ws[2]; ++i)
              for (std::int64_t j = 0; j < ws[3]; ++j) {
                const std::int64_t row = r * op.strides[0] - op.pads[0] + i * op.dilations[0];
                const std::int64_t column = k * op.strides[1] - op.pads[1] + j * op.dilations[1];
                if (row < 0 || row >= ys[2] || column < 0 || column >= ys[3]) continue;
                const std::int64_t channel = c / (ws[0] / op.groups) * ws[1] + o;
                product(Index(ys, n, channel, row, column), Index(xs, n, c, r, k), Index(ws, c, o, i, j));
              }
}

struct ConvCase {
  const char* name;
  Operator op;
  Shape x;
  Shape w;
  Shape y;
};

std::vector<ConvCase> Cases() {
  using enum UnaryKind;
  return {
      {"plain", Conv2d{}, {2, 3, 5, 6}, {4, 3, 3, 2}, {2, 4, 3, 5}},
      {"pads", Conv2d{.pads = {1, 2, 3, 4}}, {1, 2, 4, 5}, {3, 2, 3, 3}, {1, 3, 6, 9}},
      {"strides", Conv2d{.strides = {2, 3}, .pads = {1, 1, 1, 1}}, {1, 2, 7, 8}, {3, 2, 3, 3}, {1, 3, 4, 3}},
      {"dilations", Conv2d{.pads = {2, 0, 2, 3}, .dilations = {2, 3}}, {1, 2, 6, 8}, {2, 2, 3, 3}, {1, 2, 6, 5}},
      {"groups", Conv2d{.groups = 3}, {1, 6, 4, 4}, {9, 2, 2, 2}, {1, 9, 3, 3}},
      {"depthwise", Conv2d{.pads = {1, 1, 1, 1}, .groups = 5}, {2, 5, 4, 4}, {5, 1, 3, 3}, {2, 5, 4, 4}},
      {"relu", Conv2d{.activation = {kRelu}}, {1, 3, 4, 4}, {2, 3, 1, 1}, {1, 2, 4, 4}},
      {"clip", Conv2d{.activation = {kClip, -0.5F, 1}}, {1, 3, 4, 4}, {2, 3, 1, 1}, {1, 2, 4, 4}},
      {"pads beyond", Conv2d{.pads = {5, 5, 5, 5}}, {1, 1, 2, 2}, {1, 1, 2, 2}, {1, 1, 11, 11}},
      {"1-D", Conv2d{.strides = {1, 2}, .pads = {0, 1, 0, 1}}, {2, 3, 1, 9}, {4, 3, 1, 3}, {2, 4, 1, 5}},
      {"transposed", ConvTranspose2d{}, {2, 3, 3, 4}, {3, 2, 3, 2}, {2, 2, 5, 5}},
      {"transposed, strides",
       ConvTranspose2d{.strides = {2, 3}, .pads = {1, 0, 0, 2}},
       {1, 2, 3, 4},
       {2, 3, 3, 3},
       {1, 3, 6, 10}},
      {"transposed, output pads",
       ConvTranspose2d{.strides = {2, 2}, .pads = {1, 1, 1, 1}, .output_pads = {1, 0}},
       {1, 2, 3, 3},
       {2, 2, 3, 3},
       {1, 2, 6, 5}},
      {"transposed, dilations", ConvTranspose2d{.dilations = {2, 3}}, {1, 2, 3, 3}, {2, 2, 2, 2}, {1, 2, 5, 6}},
      {"transposed, groups", ConvTranspose2d{.strides = {2, 1}, .groups = 2}, {1, 4, 3, 3}, {4, 3, 2, 2}, {1, 6, 6, 4}},
      {"transposed, relu", ConvTranspose2d{.activation = {kRelu}}, {1, 2, 3, 3}, {2, 2, 2, 2}, {1, 2, 4, 4}},
  };
}

Activation ActivationOf(const Operator& op) {
  if (const auto* conv = std::get_if<Conv2d>(&op)) return conv->activation;
  return std::get<ConvTranspose2d>(op).activation;
}

void ForProducts(const ConvCase& c, auto product) {
  if (const auto* conv = std::get_if<Conv2d>(&c.op)) return ForProducts(*conv, c.x, c.w, c.y, product);
  ForProducts(std::get<ConvTranspose2d>(c.op), c.x, c.w, c.y, product);
}

TEST(Conv, RealsAgreeWithTheDefinition) {
  SeededRandom random(1);
  for (const ConvCase& c : Cases()) {
    const Value x = RandomValue<float>(random, c.x);
    const Value w = RandomValue<float>(random, c.w);
    const Value bias = RandomValue<float>(random, {c.y[1]});
    const auto xs = x.as<float>();
    const auto ws = w.as<float>();
    std::vector<double> sums(static_cast<std::size_t>(ElementCount(c.y)));
    ForProducts(c, [&](std::int64_t y, std::int64_t i, std::int64_t j) { sums[y] += static_cast<double>(xs[i]) * ws[j]; });
    for (const bool with_bias : {false, true}) {
      const auto y = RunOp(c.op, with_bias ? std::vector{x, Unknown(w), bias} : std::vector{x, w});
      ASSERT_TRUE(y) << c.name << ": " << y.error().ToString();
      ASSERT_EQ(y->shape(), c.y) << c.name;
      const auto ys = y->as<float>();
      for (std::size_t i = 0; i < ys.size(); ++i) {
        const std::size_t channel = i / static_cast<std::size_t>(c.y[2] * c.y[3]) % static_cast<std::size_t>(c.y[1]);
        const double sum = sums[i] + (with_bias ? bias.as<float>()[channel] : 0);
        ASSERT_NEAR(ys[i], Apply(ActivationOf(c.op), sum), 1e-5) << c.name << " at " << i;
      }
    }
  }
}

// x has the scale 1/8 and the zero point 3; weights of output channel o have the scale (o + 1) / 64; y has 1/4 and -5.
TEST(Conv, Int8IsExact) {
  SeededRandom random(2);
  for (const ConvCase& c : Cases()) {
    const bool transposed = std::holds_alternative<ConvTranspose2d>(c.op);
    Quantization per_channel{{}, {}, transposed ? 1 : 0};
    const std::int64_t slices = transposed ? c.w[1] : c.w[0];
    for (std::int64_t o = 0; o < slices; ++o) per_channel.scales.push_back(static_cast<float>(o + 1) / 64);
    const Value x = RandomValue<std::int8_t>(random, c.x, Whole(0.125F, 3));
    const Value w = RandomValue<std::int8_t>(random, c.w, per_channel);
    std::vector<std::int32_t> biases;
    for (std::int64_t o = 0; o < c.y[1]; ++o) biases.push_back(static_cast<std::int32_t>(random.Below(4096)) - 2048);
    const auto xs = x.as<std::int8_t>();
    const auto ws = w.as<std::int8_t>();
    std::vector<std::int64_t> sums(static_cast<std::size_t>(ElementCount(c.y)));
    ForProducts(c, [&](std::int64_t y, std::int64_t i, std::int64_t j) { sums[y] += (xs[i] - 3) * ws[j]; });
    const auto y = RunOp(c.op, {Unknown(x), w, Of<std::int32_t>({c.y[1]}, biases)}, Whole(0.25F, -5));
    ASSERT_TRUE(y) << c.name << ": " << y.error().ToString();
    ASSERT_EQ(y->tensor.type, DataType::kInt8);
    const auto ys = y->as<std::int8_t>();
    for (std::size_t i = 0; i < ys.size(); ++i) {
      const auto channel = static_cast<std::int64_t>(i) / (c.y[2] * c.y[3]) % c.y[1];
      // All scales are powers of two but for (o + 1): the multiple is exact.
      const double real = static_cast<double>(sums[i] + biases[channel]) * static_cast<double>(channel % slices + 1) / 512;
      double q = std::nearbyint(real / 0.25) - 5;
      const Activation activation = ActivationOf(c.op);
      if (activation.kind == UnaryKind::kRelu) q = std::max(q, -5.0);
      if (activation.kind == UnaryKind::kClip) q = std::clamp(q, -7.0, -1.0);  // -0.5 and 1
      ASSERT_EQ(ys[i], std::clamp(q, -128.0, 127.0)) << c.name << " at " << i;
    }
  }
}

TEST(Conv, BFloat16AndNarrowWeightsAreWidened) {
  SeededRandom random(3);
  const Value x = RandomValue<BFloat16>(random, {1, 2, 3, 3});
  const Value w = Of<Float16>({1, 2, 1, 1}, {ToFloat16(0.5F), ToFloat16(-1.25F)});
  const auto y = RunOp(Conv2d{}, {Unknown(x), w, Of<float>({1}, {0.125F})});
  ASSERT_TRUE(y) << y.error().ToString();
  ASSERT_EQ(y->tensor.type, DataType::kBFloat16);
  for (std::size_t i = 0; i < 9; ++i) {
    const auto xs = x.as<BFloat16>();
    const float sum = ToFloat(xs[i]) * 0.5F - ToFloat(xs[i + 9]) * 1.25F + 0.125F;
    EXPECT_EQ(y->as<BFloat16>()[i].bits, ToBFloat16(sum).bits);
  }
  const Value int8 = Of<std::int8_t>({2, 2, 1, 1}, {1, -2, 3, 4}, Quantization{{0.5F, 0.25F}, {}, 0});
  const auto z = RunOp(Conv2d{}, {Of<float>({1, 2, 1, 1}, {1, 10}), int8});
  ASSERT_TRUE(z) << z.error().ToString();
  EXPECT_EQ(z->as<float>(), (std::vector<float>{-9.5F, 10.75F}));
}

TEST(Conv, RefusesWhatDoesNotFit) {
  const auto f = [](Shape shape) {
    return Of<float>(shape, std::vector<float>(static_cast<std::size_t>(ElementCount(shape))));
  };
  const auto q = [](Shape shape, std::optional<Quantization> quantization) {
    return Of<std::int8_t>(shape, std::vector<std::int8_t>(static_cast<std::size_t>(ElementCount(shape))),
                           std::move(quantization));
  };
  struct Case {
    const char* name;
    Operator op;
    std::vector<Value> inputs;
    const char* reason;
  };
  const Value x = f({1, 4, 5, 5});
  const Value xq = q({1, 4, 5, 5}, Whole(1));
  const Case cases[] = {
      {"no weights", Conv2d{}, {x}, "GRAPH_NODE"},
      {"absent weights", Conv2d{}, {x, Absent()}, "GRAPH_NODE"},
      {"rank", Conv2d{}, {f({1, 4, 5}), f({2, 4, 3, 3})}, "GRAPH_SHAPE"},
      {"channels", Conv2d{}, {x, f({2, 3, 3, 3})}, "GRAPH_SHAPE"},
      {"groups 0", Conv2d{.groups = 0}, {x, f({2, 4, 3, 3})}, "GRAPH_NODE"},
      {"groups", Conv2d{.groups = 3}, {x, f({2, 4, 3, 3})}, "GRAPH_SHAPE"},
      {"stride 0", Conv2d{.strides = {0, 1}}, {x, f({2, 4, 3, 3})}, "GRAPH_NODE"},
      {"stride", Conv2d{.strides = {1, 2'000'000'000}}, {x, f({2, 4, 3, 3})}, "GRAPH_NODE"},
      {"dilation", Conv2d{.dilations = {1, -1}}, {x, f({2, 4, 3, 3})}, "GRAPH_NODE"},
      {"pad", Conv2d{.pads = {0, -1, 0, 0}}, {x, f({2, 4, 3, 3})}, "GRAPH_NODE"},
      {"window", Conv2d{}, {x, f({2, 4, 6, 3})}, "GRAPH_SHAPE"},
      {"empty weights", Conv2d{}, {x, f({0, 4, 3, 3})}, "GRAPH_SHAPE"},
      {"bias", Conv2d{}, {x, f({2, 4, 3, 3}), f({3})}, "GRAPH_SHAPE"},
      {"activation", Conv2d{.activation = {UnaryKind::kIsNan}}, {x, f({2, 4, 3, 3})}, "GRAPH_NODE"},
      {"int8 weights computed", Conv2d{}, {xq, Unknown(q({2, 4, 3, 3}, Whole(1)))}, "GRAPH_TYPE"},
      {"int8 weights asymmetric", Conv2d{}, {xq, q({2, 4, 3, 3}, Whole(1, 2))}, "GRAPH_TYPE"},
      {"int8 weights' axis", Conv2d{}, {xq, q({2, 4, 3, 3}, Quantization{{1, 1, 1, 1}, {}, 1})}, "GRAPH_TYPE"},
      {"int8 without quantization", Conv2d{}, {q({1, 4, 5, 5}, std::nullopt), q({2, 4, 3, 3}, Whole(1))}, "GRAPH_TYPE"},
      {"int8 with fp32 weights", Conv2d{}, {xq, f({2, 4, 3, 3})}, "GRAPH_TYPE"},
      {"int8 with fp32 bias", Conv2d{}, {xq, q({2, 4, 3, 3}, Whole(1)), f({2})}, "GRAPH_TYPE"},
      {"int8 with sigmoid", Conv2d{.activation = {UnaryKind::kSigmoid}}, {xq, q({2, 4, 3, 3}, Whole(1))}, "GRAPH_NODE"},
      {"int8 sum", Conv2d{}, {q({1, 8193, 2, 2}, Whole(1)), q({1, 8193, 2, 2}, Whole(1))}, "GRAPH_SHAPE"},
      {"narrow weights computed", Conv2d{}, {x, Unknown(q({2, 4, 3, 3}, Whole(1)))}, "GRAPH_TYPE"},
      {"transposed channels", ConvTranspose2d{}, {x, f({3, 2, 3, 3})}, "GRAPH_SHAPE"},
      {"transposed away", ConvTranspose2d{.pads = {4, 0, 4, 0}}, {x, f({4, 2, 3, 3})}, "GRAPH_SHAPE"},
      {"transposed output pads", ConvTranspose2d{.output_pads = {-1, 0}}, {x, f({4, 2, 3, 3})}, "GRAPH_NODE"},
      {"too many elements", ConvTranspose2d{.strides = {1024, 1024}}, {f({1, 1, 64, 64}), f({1, 1, 1, 1})}, "GRAPH_SHAPE"},
  };
  for (const Case& c : cases) EXPECT_EQ(Failure(c.op, c.inputs), c.reason) << c.name;
}

}  // namespace
}  // namespace edgefleet::runtime
