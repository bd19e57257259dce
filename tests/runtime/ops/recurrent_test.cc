#include "device_client/runtime/ops/recurrent.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/runtime/ops/evaluate.h"

namespace edgefleet::runtime {
namespace {

using namespace testing;

using F = std::vector<float>;

double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

void ExpectNear(const Value& y, const std::vector<double>& expected, const char* what = "") {
  const F values = y.as<float>();
  ASSERT_EQ(values.size(), expected.size()) << what;
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], 1e-6) << what << " " << i;
}

// Hidden size 1, input size 1: the equations by hand.
TEST(Lstm, EveryGate) {
  const Value x = Of<float>({2, 1, 1}, {0.5F, -1});
  const Value w = Of<float>({1, 4, 1}, {0.1F, 0.2F, 0.3F, 0.4F});  // i, o, f, c
  const Value r = Of<float>({1, 4, 1}, {0.5F, 0.6F, 0.7F, 0.8F});
  const Value b = Of<float>({1, 8}, {0.01F, 0.02F, 0.03F, 0.04F, 0.05F, 0.06F, 0.07F, 0.08F});
  const Value h0 = Of<float>({1, 1, 1}, {0.3F});
  const Value c0 = Of<float>({1, 1, 1}, {-0.4F});
  const Value p = Of<float>({1, 3}, {0.9F, 1.1F, 1.3F});  // i, o, f
  for (const bool input_forget : {false, true}) {
    double h = 0.3, c = -0.4;
    std::vector<double> ys;
    for (const double at : {0.5, -1.0}) {
      const double i = Sigmoid(0.1 * at + 0.5 * h + 0.06 + 0.9 * c);
      const double f = input_forget ? 1 - i : Sigmoid(0.3 * at + 0.7 * h + 0.1 + 1.3 * c);
      c = f * c + i * std::tanh(0.4 * at + 0.8 * h + 0.12);
      h = Sigmoid(0.2 * at + 0.6 * h + 0.08 + 1.1 * c) * std::tanh(c);
      ys.push_back(h);
    }
    const auto y = EvaluateAll(Lstm{.input_forget = input_forget}, {x, w, r, b, Absent(), h0, c0, p}, 3);
    ASSERT_TRUE(y) << y.error().ToString();
    EXPECT_EQ((*y)[0].shape(), (Shape{2, 1, 1, 1}));
    ExpectNear((*y)[0], ys);
    ExpectNear((*y)[1], {h});
    ExpectNear((*y)[2], {c});
  }
}

TEST(Gru, BothWaysToReset) {
  const Value x = Of<float>({2, 1, 1}, {0.5F, -1});
  const Value w = Of<float>({1, 3, 1}, {0.1F, 0.2F, 0.3F});  // z, r, h
  const Value r = Of<float>({1, 3, 1}, {0.5F, 0.6F, 0.7F});
  const Value b = Of<float>({1, 6}, {0.01F, 0.02F, 0.03F, 0.04F, 0.05F, 0.06F});
  const Value h0 = Of<float>({1, 1, 1}, {0.3F});
  for (const bool linear : {false, true}) {
    double h = 0.3;
    std::vector<double> ys;
    for (const double at : {0.5, -1.0}) {
      const double z = Sigmoid(0.1 * at + 0.5 * h + 0.05);
      const double reset = Sigmoid(0.2 * at + 0.6 * h + 0.07);
      const double candidate =
          linear ? std::tanh(0.3 * at + 0.03 + reset * (0.7 * h + 0.06)) : std::tanh(0.3 * at + 0.03 + 0.7 * reset * h + 0.06);
      h = (1 - z) * candidate + z * h;
      ys.push_back(h);
    }
    const auto y = EvaluateAll(Gru{.linear_before_reset = linear}, {x, w, r, b, Absent(), h0}, 2);
    ASSERT_TRUE(y) << y.error().ToString();
    ExpectNear((*y)[0], ys);
    ExpectNear((*y)[1], {h});
  }
}

// y_t = x_t + y_(t-1) / 2 in directions forward and backward, of sequences of 3 and 2.
TEST(Rnn, DirectionsAndLengths) {
  const Value x = Of<float>({3, 2, 1}, {1, 10, 2, 20, 4, 40});
  const Value w = Of<float>({2, 1, 1}, {1, 1});
  const Value r = Of<float>({2, 1, 1}, {0.5F, 0.5F});
  const Value lengths = Of<std::int32_t>({2}, {3, 2});
  const Rnn both{.direction = Direction::kBidirectional, .activations = {{UnaryKind::kIdentity}}};
  const auto y = EvaluateAll(both, {x, w, r, Absent(), lengths}, 2);
  ASSERT_TRUE(y) << y.error().ToString();
  // [t][direction][example]
  ExpectNear((*y)[0], {1, 10, 3, 20, 2.5, 25, 4, 20, 5.25, 0, 4, 0});
  ExpectNear((*y)[1], {5.25, 25, 3, 20});
  const Rnn reverse{.direction = Direction::kReverse, .activations = {{UnaryKind::kIdentity}}};
  const auto z = RunOp(reverse, {x, Of<float>({1, 1, 1}, {1}), Of<float>({1, 1, 1}, {0.5F})});
  ASSERT_TRUE(z) << z.error().ToString();
  ExpectNear(*z, {3, 30, 4, 40, 4, 40});
}

TEST(Rnn, ClipsWhatEntersTheActivation) {
  const auto y = RunOp(Rnn{.clip = 2, .activations = {{UnaryKind::kIdentity}}},
                       {Of<float>({2, 1, 1}, {5, -9}), Of<float>({1, 1, 1}, {1}), Of<float>({1, 1, 1}, {1})});
  ASSERT_TRUE(y) << y.error().ToString();
  ExpectNear(*y, {2, -2});
}

TEST(Rnn, ActivationsOfEachDirection) {
  const Rnn op{.direction = Direction::kBidirectional, .activations = {{UnaryKind::kRelu}, {UnaryKind::kNeg}}};
  const auto y = RunOp(op, {Of<float>({1, 1, 1}, {3}), Of<float>({2, 1, 1}, {1, 1}), Of<float>({2, 1, 1}, {0, 0})});
  ASSERT_TRUE(y) << y.error().ToString();
  ExpectNear(*y, {3, -3});
}

// Matrices and batches, against the equations written with other loops.
TEST(Lstm, Matrices) {
  SeededRandom random(4);
  const std::int64_t steps = 3, batch = 2, inputs = 4, hidden = 3;
  const Value x = RandomValue<float>(random, {steps, batch, inputs});
  const Value w = RandomValue<float>(random, {2, 4 * hidden, inputs});
  const Value r = RandomValue<float>(random, {2, 4 * hidden, hidden});
  const auto y = EvaluateAll(Lstm{.direction = Direction::kBidirectional, .hidden = hidden}, {x, Unknown(w), r}, 3);
  ASSERT_TRUE(y) << y.error().ToString();
  const F xs = x.as<float>(), ws = w.as<float>(), rs = r.as<float>(), ys = (*y)[0].as<float>();
  for (std::int64_t d = 0; d < 2; ++d) {
    std::vector<double> h(batch * hidden), c(batch * hidden);
    for (std::int64_t step = 0; step < steps; ++step) {
      const std::int64_t t = d == 0 ? step : steps - 1 - step;
      const std::vector<double> before = h;
      for (std::int64_t n = 0; n < batch; ++n) {
        for (std::int64_t j = 0; j < hidden; ++j) {
          double gates[4] = {};
          for (std::int64_t g = 0; g < 4; ++g) {
            const std::int64_t row = (d * 4 + g) * hidden + j;
            for (std::int64_t k = 0; k < inputs; ++k)
              gates[g] += static_cast<double>(ws[row * inputs + k]) * xs[(t * batch + n) * inputs + k];
            for (std::int64_t k = 0; k < hidden; ++k) gates[g] += rs[row * hidden + k] * before[n * hidden + k];
          }
          double& cell = c[n * hidden + j];
          cell = Sigmoid(gates[2]) * cell + Sigmoid(gates[0]) * std::tanh(gates[3]);
          h[n * hidden + j] = Sigmoid(gates[1]) * std::tanh(cell);
          EXPECT_NEAR(ys[((t * 2 + d) * batch + n) * hidden + j], h[n * hidden + j], 1e-6);
        }
      }
    }
    for (std::int64_t i = 0; i < batch * hidden; ++i) {
      EXPECT_NEAR((*y)[1].as<float>()[d * batch * hidden + i], h[i], 1e-6);
      EXPECT_NEAR((*y)[2].as<float>()[d * batch * hidden + i], c[i], 1e-6);
    }
  }
}

TEST(Recurrent, RefusesWhatDoesNotFit) {
  const auto f = [](Shape shape) {
    return Of<float>(shape, std::vector<float>(static_cast<std::size_t>(ElementCount(shape))));
  };
  const Value x = f({2, 1, 3}), w = f({1, 8, 3}), r = f({1, 8, 2});
  const Lstm op{.hidden = 2};
  EXPECT_EQ(Failure(op, {x, w, r}, 3), "");
  EXPECT_EQ(Failure(op, {x, w}), "GRAPH_NODE");
  EXPECT_EQ(Failure(op, {x, r, w}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Lstm{.hidden = 0}, {x, w, r}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Lstm{.hidden = 2'147'483'647}, {x, w, r}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Lstm{.hidden = 2, .clip = NAN}, {x, w, r}), "GRAPH_NODE");
  EXPECT_EQ(Failure(Lstm{.hidden = 2, .activations = {}}, {x, w, r}), "GRAPH_NODE");
  EXPECT_EQ(Failure(op, {x, w, r, f({1, 8})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(op, {x, w, r, Absent(), f({1})}), "GRAPH_TYPE");
  EXPECT_EQ(Failure(op, {x, w, r, Absent(), Absent(), f({1, 2})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(op, {x, w, r, Absent(), Absent(), Absent(), Absent(), f({1, 5})}), "GRAPH_SHAPE");
  EXPECT_EQ(Failure(Gru{.hidden = 2}, {x, f({1, 6, 3}), f({1, 6, 2})}, 3), "GRAPH_NODE");
  EXPECT_EQ(Failure(Rnn{.hidden = 2}, {Of<std::int64_t>({1, 1, 1}, {1}), f({1, 2, 1}), f({1, 2, 2})}), "GRAPH_TYPE");
}

}  // namespace
}  // namespace edgefleet::runtime
