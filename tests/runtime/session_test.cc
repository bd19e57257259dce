#include "device_client/runtime/session.h"

#include <gtest/gtest.h>

#include <cmath>

#include "device_client/runtime/arena.h"
#include "device_client/runtime/evaluate.h"
#include "tests/runtime/graph_builder.h"

namespace edgefleet::runtime {
namespace {

using testing::GraphBuilder;
using testing::PerTensor;
using testing::ReluOp;

std::vector<float> Infer(const std::shared_ptr<const Graph>& graph, const std::vector<float>& input,
                         const std::string& delegate = "reference") {
  auto session = Session::Create(graph, {.delegate = delegate});
  EXPECT_TRUE(session.has_value()) << session.error().ToString();
  std::vector<float> output(static_cast<std::size_t>((*session)->output_size()));
  const Status status = (*session)->Run(input, output);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return output;
}

TEST(Reference, ConvolutionByHand) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 1, 3, 3});
  const TensorId w = b.Constant<float>({1, 1, 2, 2}, {1, 2, 3, 4});
  const TensorId bias = b.Constant<float>({1}, {-30});
  const Conv2d op{{1, 1}, {1, 0, 0, 0}, {1, 1}, 1, Activation{UnaryKind::kRelu}};
  const auto graph = b.Finish({b.Apply(op, {x, w, bias})});
  // First row under padding: 3*1+4*2, 3*2+4*3; then 1*1+2*2+3*4+4*5 = 37, ...
  EXPECT_EQ(Infer(graph, {1, 2, 3, 4, 5, 6, 7, 8, 9}), (std::vector<float>{0, 0, 7, 17, 37, 47}));
}

TEST(Reference, GroupsAndDilation) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 2, 3, 1});
  const TensorId w = b.Constant<float>({2, 1, 2, 1}, {1, 10, 100, 1000});
  const Conv2d op{{1, 1}, {0, 0, 0, 0}, {2, 1}, 2, Activation{}};
  EXPECT_EQ(Infer(b.Finish({b.Apply(op, {x, w})}), {1, 2, 3, 4, 5, 6}), (std::vector<float>{31, 6400}));
}

TEST(Reference, PoolsByHand) {
  for (const bool include : {false, true}) {
    GraphBuilder b;
    const TensorId x = b.Input({1, 1, 2, 2});
    const Pool2d op{Pool2d::Kind::kAverage, {2, 2}, {2, 2}, {1, 1, 1, 1}, include};
    const std::vector<float> corners = include ? std::vector<float>{-1, -2, -3, -4} : std::vector<float>{-4, -8, -12, -16};
    EXPECT_EQ(Infer(b.Finish({b.Apply(op, {x})}), {-4, -8, -12, -16}), corners);
  }
  GraphBuilder b;
  const TensorId x = b.Input({1, 1, 2, 2});
  const Pool2d op{Pool2d::Kind::kMax, {2, 2}, {1, 1}, {1, 1, 0, 0}, false};
  EXPECT_EQ(Infer(b.Finish({b.Apply(op, {x})}), {-4, -3, -2, -1}), (std::vector<float>{-4, -3, -2, -1}))
      << "padding never wins";
}

TEST(Reference, SoftmaxSurvivesLargeLogits) {
  GraphBuilder b;
  const auto graph = b.Finish({b.Apply(Softmax{}, {b.Input({1, 3})})});
  const auto y = Infer(graph, {1000, 1000, -1000});
  EXPECT_FLOAT_EQ(y[0], 0.5F);
  EXPECT_FLOAT_EQ(y[1], 0.5F);
  EXPECT_FLOAT_EQ(y[2], 0.0F);
}

class Rounding : public ::testing::TestWithParam<const char*> {};

TEST_P(Rounding, QuantizeRoundsHalfToEvenAndSaturates) {
  GraphBuilder b;
  const TensorId q = b.Apply(Quantize{}, {b.Input({1, 10})}, PerTensor(0.5F, 10));
  const auto graph = b.Finish({b.Apply(Dequantize{}, {q})});
  // x / 0.5: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, -0.5 -> 0, -1.5 -> -2; the type's range ends at 117 and -138 steps.
  EXPECT_EQ(Infer(graph, {0.25F, 0.75F, 1.25F, -0.25F, -0.75F, 58.4F, 59, 1e30F, -69, -1e30F}, GetParam()),
            (std::vector<float>{0, 1, 1, 0, -1, 58.5F, 58.5F, 58.5F, -69, -69}));
}

TEST_P(Rounding, FullyConnectedRequantizesByHand) {
  GraphBuilder b;
  const TensorId x = b.Apply(Quantize{}, {b.Input({1, 2})}, PerTensor(1.0F, -3));
  const Quantization per_channel{{0.5F, 0.25F, 1.0F}, {0, 0, 0}, 0};
  const TensorId w = b.Constant<std::int8_t>({3, 2}, {1, 2, 3, -1, -127, -127}, per_channel);
  const TensorId bias = b.Constant<std::int32_t>({3}, {1, 0, 0});
  const TensorId y = b.Apply(FullyConnected{{UnaryKind::kRelu}}, {x, w, bias}, PerTensor(1.0F, -100));
  const auto graph = b.Finish({b.Apply(Dequantize{}, {y})});
  // Accumulators 2*1+4*2+1 = 11, 2*3-4 = 2, below zero: times 0.5 = 5.5 -> 6, times 0.25 = 0.5 -> 0, ReLU -> 0.
  EXPECT_EQ(Infer(graph, {2, 4}, GetParam()), (std::vector<float>{6, 0, 0}));
  // 110 * 3 + 1 = 331 -> 165.5 -> 166; 110 * 2 * 0.25 = 55; the top of the range is 227.
  EXPECT_EQ(Infer(graph, {110, 110}, GetParam()), (std::vector<float>{166, 55, 0}));
  EXPECT_EQ(Infer(graph, {-125, -125}, GetParam()), (std::vector<float>{0, 0, 227}));
}

INSTANTIATE_TEST_SUITE_P(Delegates, Rounding, ::testing::Values("reference", "onednn"));

std::shared_ptr<const Graph> Mixed() {
  GraphBuilder b;
  TensorId x = b.Apply(ReluOp(), {b.Input({1, 4, 1, 1})});
  x = b.Apply(Lrn{.size = 2}, {x});  // oneDNN declines
  return b.Finish({b.Apply(ReluOp(), {x})});
}

TEST(Session, FallsBackToTheReferenceAndSaysSo) {
  auto session = Session::Create(Mixed(), {.delegate = "onednn"});
  ASSERT_TRUE(session.has_value());
  const SessionInfo& info = (*session)->info();
  EXPECT_EQ(info.delegate, "onednn");
  EXPECT_EQ(info.partitions, 3U);
  EXPECT_NEAR(info.coverage, 2.0 / 3, 1e-9);
  ASSERT_EQ(info.nodes.size(), 3U);
  EXPECT_EQ(info.nodes[0].delegate, "onednn");
  EXPECT_EQ(info.nodes[1].delegate, "reference");
  EXPECT_FALSE(info.nodes[1].fallback_reason.empty());
  EXPECT_NEAR(Coverage(OneDnnDelegate(), *Mixed()), 2.0 / 3, 1e-9);
  EXPECT_EQ(Coverage(ReferenceDelegate(), *Mixed()), 1.0);
  EXPECT_EQ(Infer(Mixed(), {1, -1, 0.5F, 100}, "onednn"), Infer(Mixed(), {1, -1, 0.5F, 100}, "reference"));
}

TEST(Session, RefusesBadOptions) {
  const auto reason = [](SessionOptions options) {
    auto session = Session::Create(Mixed(), std::move(options));
    return session ? std::string() : session.error().reason();
  };
  EXPECT_EQ(reason({.delegate = "gpu"}), "DELEGATE_UNKNOWN");
  EXPECT_EQ(reason({.threads = 0}), "BAD_THREADS");
  EXPECT_EQ(reason({.threads = 65}), "BAD_THREADS");
  EXPECT_EQ(reason({.batch = 0}), "BAD_BATCH");
  EXPECT_EQ(reason({.batch = 65'537}), "BAD_BATCH");
  EXPECT_EQ(reason({.batch = 1000, .memory_bytes_max = 1000}), "ARENA_TOO_LARGE");
}

TEST(Session, EstimatesWhatItWillTake) {
  GraphBuilder b;
  SeededRandom random(1);
  const TensorId x = b.Input({1, 64});
  const auto graph = b.Finish({b.Apply(FullyConnected{}, {x, b.Parameter({32, 64}, testing::RandomFloats(random, 2048))})});
  EXPECT_EQ(WorkOf(*graph, graph->nodes[0]).multiply_adds, 64 * 32);
  EXPECT_EQ(WorkOf(*graph, graph->nodes[0]).bytes, 4 * (64 + 2048 + 32));
  const auto estimate = [&](const char* delegate, std::int64_t batch) {
    return (*Session::Create(graph, {.delegate = delegate, .batch = batch}))->info().estimated_latency;
  };
  EXPECT_GT(estimate("reference", 512), estimate("onednn", 512));
  EXPECT_GT(estimate("onednn", 512), estimate("onednn", 1));
}

TEST(Session, ErrorsSayWhoseMatterTheyAre) {
  EXPECT_EQ(Classify(Session::Create(Mixed(), {.batch = 0}).error()), FailureClass::kInput);
  EXPECT_EQ(Classify(Session::Create(Mixed(), {.batch = 1000, .memory_bytes_max = 1000}).error()), FailureClass::kMemory);
  EXPECT_EQ(Classify(Unimplemented("OPERATOR_UNKNOWN", "")), FailureClass::kUnsupported);
  EXPECT_EQ(Classify(Internal("DELEGATE_FAILED", "")), FailureClass::kDelegate);
}

TEST(Session, RefusesAHugeGraphInsteadOfAllocating) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 1, 128, 255});
  const auto graph = b.Finish({b.Apply(ReluOp(), {x})});
  for (const char* delegate : {"reference", "onednn"}) {
    auto session = Session::Create(graph, {.delegate = delegate, .batch = 65'536});
    ASSERT_FALSE(session.has_value());
    EXPECT_EQ(session.error().reason(), "ARENA_TOO_LARGE");
  }
}

TEST(Session, RefusesWrongSizes) {
  auto session = Session::Create(Mixed(), {.batch = 2});
  ASSERT_TRUE(session.has_value());
  EXPECT_EQ((*session)->input_size(), 4);
  std::vector<float> input(8);
  std::vector<float> output(8);
  EXPECT_TRUE((*session)->Run(input, output).ok());
  EXPECT_EQ((*session)->Run(std::span(input).first(7), output).reason(), "INPUT_SIZE");
  EXPECT_EQ((*session)->Run(input, std::span(output).first(4)).reason(), "OUTPUT_SIZE");
  EXPECT_EQ((*session)->Run(std::vector<ByteView>{}, std::vector<std::span<std::byte>>{}).reason(), "INPUT_COUNT");
  const ByteView bytes = std::as_bytes(std::span(input));
  EXPECT_EQ((*session)->Run(std::span(&bytes, 1), std::vector<std::span<std::byte>>{}).reason(), "OUTPUT_COUNT");
}

TEST(Session, ByteInterfaceServesInt8Graphs) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 3}, PerTensor(1.0F));
  const auto graph = b.Finish({b.Apply(ReluOp(), {x}, PerTensor(1.0F))});
  auto session = Session::Create(graph, {});
  ASSERT_TRUE(session.has_value());
  const std::array<std::int8_t, 3> in{-5, 0, 5};
  std::array<std::int8_t, 3> out{};
  const ByteView in_view = std::as_bytes(std::span(in));
  const std::span<std::byte> out_view = std::as_writable_bytes(std::span(out));
  ASSERT_TRUE((*session)->Run(std::span(&in_view, 1), std::span(&out_view, 1)).ok());
  EXPECT_EQ(out, (std::array<std::int8_t, 3>{0, 0, 5}));
  std::vector<float> floats(3);
  EXPECT_EQ((*session)->Run(floats, floats).reason(), "NOT_FLOAT");
}

TEST(Session, ObserverSeesEveryActivationOnce) {
  std::vector<TensorId> seen;
  SessionOptions options;
  options.observer = [&](TensorId id, std::span<const float> values) {
    seen.push_back(id);
    EXPECT_EQ(values.size(), 4U);
    EXPECT_NEAR(values[0], 1.0F, 0.05F);
  };
  auto session = Session::Create(Mixed(), options);
  ASSERT_TRUE(session.has_value());
  std::vector<float> output(4);
  ASSERT_TRUE((*session)->Run(std::vector<float>{1, 0, 0, 0}, output).ok());
  EXPECT_EQ(seen, (std::vector<TensorId>{0, 1, 2, 3}));
}

TEST(Session, AnInputMayBeAnOutput) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 2});
  const TensorId y = b.Apply(ReluOp(), {x});
  const auto graph = b.Finish({x, y, y});
  auto session = Session::Create(graph, {});
  ASSERT_TRUE(session.has_value());
  const std::vector<float> in{-1, 2};
  std::vector<std::vector<float>> out(3, std::vector<float>(2));
  const ByteView in_view = std::as_bytes(std::span(in));
  std::vector<std::span<std::byte>> views;
  for (auto& o : out) views.push_back(std::as_writable_bytes(std::span(o)));
  ASSERT_TRUE((*session)->Run(std::span(&in_view, 1), views).ok());
  EXPECT_EQ(out[0], in);
  EXPECT_EQ(out[1], (std::vector<float>{0, 2}));
  EXPECT_EQ(out[2], out[1]);
}

TEST(Arena, BuffersAliveTogetherNeverOverlap) {
  SeededRandom random(5);
  for (int round = 0; round < 50; ++round) {
    std::vector<Lifetime> lifetimes;
    std::size_t total = 0;
    for (int i = 0; i < 40; ++i) {
      const std::size_t first = random.Below(30);
      lifetimes.push_back({random.Below(5000), first, first + random.Below(6)});
      total += lifetimes.back().bytes + 64;
    }
    const auto plan = PlanArena(lifetimes, 1 << 20);
    ASSERT_TRUE(plan.has_value());
    EXPECT_LT(plan->bytes, total);
    for (std::size_t i = 0; i < lifetimes.size(); ++i) {
      EXPECT_EQ(plan->offsets[i] % 64, 0U);
      for (std::size_t j = 0; j < i; ++j) {
        const Lifetime& a = lifetimes[i];
        const Lifetime& c = lifetimes[j];
        if (a.first > c.last || c.first > a.last || a.bytes == 0 || c.bytes == 0) continue;
        EXPECT_TRUE(plan->offsets[i] + a.bytes <= plan->offsets[j] || plan->offsets[j] + c.bytes <= plan->offsets[i]);
      }
    }
  }
  EXPECT_EQ(PlanArena(std::vector<Lifetime>{{100, 0, 0}}, 99).error().reason(), "ARENA_TOO_LARGE");
}

class Points final : public Dataset {
 public:
  Points(std::vector<std::vector<float>> points, std::vector<std::int32_t> labels)
      : points_(std::move(points)), labels_(std::move(labels)) {}
  std::size_t size() const override { return points_.size(); }
  std::size_t example_size() const override { return points_.empty() ? 0 : points_[0].size(); }
  void CopyExample(std::size_t i, std::span<float> out) const override { std::ranges::copy(points_[i], out.begin()); }
  std::int32_t Label(std::size_t i) const override { return labels_[i]; }

 private:
  std::vector<std::vector<float>> points_;
  std::vector<std::int32_t> labels_;
};

std::shared_ptr<const Graph> Identity(bool softmax) {
  GraphBuilder b;
  TensorId x = b.Apply(ReluOp(), {b.Input({1, 2})});
  if (softmax) x = b.Apply(Softmax{}, {x});
  return b.Finish({x});
}

TEST(Evaluate, AccuracyAndCrossEntropyWithAPartialBatch) {
  const Points data({{3, 1}, {0, 2}, {5, 0}, {1, 0}, {0, 0}}, {0, 1, 1, 0, 0});
  double expected = 0;
  for (std::size_t i = 0; i < 5; ++i) {
    std::vector<float> x(2);
    data.CopyExample(i, x);
    expected += std::log(std::exp(x[0]) + std::exp(x[1])) - x[static_cast<std::size_t>(data.Label(i))];
  }
  for (const bool softmax : {false, true}) {
    auto session = Session::Create(Identity(softmax), {.batch = 3});
    ASSERT_TRUE(session.has_value());
    const auto evaluation = Evaluate(**session, data);
    ASSERT_TRUE(evaluation.has_value()) << evaluation.error().ToString();
    EXPECT_EQ(evaluation->examples, 5);
    EXPECT_DOUBLE_EQ(evaluation->accuracy, 0.8);
    EXPECT_NEAR(evaluation->cross_entropy, expected / 5, 1e-5);
  }
}

TEST(Evaluate, RefusesBadData) {
  auto session = Session::Create(Identity(false), {.batch = 2});
  ASSERT_TRUE(session.has_value());
  EXPECT_EQ(Evaluate(**session, Points({}, {})).error().reason(), "EMPTY_DATASET");
  EXPECT_EQ(Evaluate(**session, Points({{1, 2, 3}}, {0})).error().reason(), "EXAMPLE_SIZE");
  EXPECT_EQ(Evaluate(**session, Points({{1, 2}}, {2})).error().reason(), "BAD_LABEL");
  EXPECT_EQ(Evaluate(**session, Points({{1, 2}}, {-1})).error().reason(), "BAD_LABEL");
  EXPECT_EQ(Evaluate(**session, Points({{INFINITY, 2}}, {0})).error().reason(), "NOT_FINITE");
  EXPECT_EQ(EvaluateOutputs(std::vector<float>(5), std::vector<std::int32_t>{0, 1}, false).error().reason(), "OUTPUT_SIZE");
}

}  // namespace
}  // namespace edgefleet::runtime
