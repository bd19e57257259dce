#include "device_client/training/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "device_client/runtime/evaluate.h"
#include "device_client/runtime/parameters.h"
#include "device_client/training/loss.h"
#include "tests/runtime/graph_builder.h"

namespace edgefleet::training {
namespace {

using namespace runtime;  // NOLINT(google-build-using-namespace): the operators under test
using runtime::testing::AddOp;
using runtime::testing::GlobalAverageOp;
using runtime::testing::GraphBuilder;
using runtime::testing::RandomFloats;
using runtime::testing::ReluOp;

// Builds classifiers of one operator under test with weights around it.
class Net {
 public:
  explicit Net(std::uint64_t seed, std::vector<std::int64_t> input) : random_(seed), x_(builder_.Input(std::move(input))) {}

  TensorId Parameter(const std::vector<std::int64_t>& shape) {
    std::int64_t fan = ElementCount(shape) / shape[0];
    return builder_.Parameter(shape, RandomFloats(random_, ElementCount(shape), 1.5F / std::sqrt(static_cast<float>(fan))));
  }
  Net& Conv(std::int64_t outputs, std::int64_t kernel, Conv2d op, bool bias = true) {
    std::vector<TensorId> inputs{x_, Parameter({outputs, builder_.Shape(x_)[1] / op.groups, kernel, kernel})};
    if (bias) inputs.push_back(Parameter({outputs}));
    x_ = builder_.Apply(op, inputs);
    return *this;
  }
  Net& Apply(Operator op) {
    x_ = builder_.Apply(std::move(op), {x_});
    return *this;
  }
  Net& Dense(std::int64_t outputs, Activation activation = runtime::Activation{}, bool bias = true) {
    if (builder_.Shape(x_).size() != 2) Apply(Flatten{});
    std::vector<TensorId> inputs{x_, Parameter({outputs, builder_.Shape(x_)[1]})};
    if (bias) inputs.push_back(Parameter({outputs}));
    x_ = builder_.Apply(FullyConnected{activation}, inputs);
    return *this;
  }
  // x + conv(x): the gradient flows on two ways.
  Net& Residual(Activation activation) {
    const TensorId before = x_;
    Conv(builder_.Shape(x_)[1], 3, {{1, 1}, {1, 1, 1, 1}, {1, 1}, 1, runtime::Activation{runtime::UnaryKind::kRelu}});
    x_ = builder_.Apply(AddOp(activation), {before, x_});
    return *this;
  }
  std::shared_ptr<const Graph> Finish() { return builder_.Finish({x_}); }

 private:
  SeededRandom random_;
  GraphBuilder builder_;
  TensorId x_;
};

const Conv2d kSame3{{1, 1}, {1, 1, 1, 1}, {1, 1}, 1, runtime::Activation{}};
const Conv2d kSame3Relu{{1, 1}, {1, 1, 1, 1}, {1, 1}, 1, runtime::Activation{runtime::UnaryKind::kRelu}};

// The loss by the reference delegate's double sums: independent of the code under test.
double ReferenceLoss(const Graph& graph, const std::vector<float>& parameters, const std::vector<float>& inputs,
                     const std::vector<std::int32_t>& labels) {
  auto changed = std::make_shared<const Graph>(*WithParameters(graph, parameters));
  auto session = Session::Create(changed, {.delegate = "reference", .batch = static_cast<std::int64_t>(labels.size())});
  EXPECT_TRUE(session.has_value()) << session.error().ToString();
  std::vector<float> outputs(labels.size() * static_cast<std::size_t>((*session)->output_size()));
  EXPECT_TRUE((*session)->Run(inputs, outputs).ok());
  return EvaluateOutputs(outputs, labels, EndsInSoftmax(*changed))->cross_entropy;
}

struct Case {
  const char* name;
  std::shared_ptr<const Graph> (*build)();
};

class GradientCheck : public ::testing::TestWithParam<Case> {};

// Central differences along random directions and along single parameters.
TEST_P(GradientCheck, MatchesFiniteDifferences) {
  const auto graph = GetParam().build();
  auto trainer = Trainer::Create(graph, {.batch_size = 4});
  ASSERT_TRUE(trainer.has_value()) << trainer.error().ToString();
  SeededRandom random(77);
  for (const std::size_t batch : {std::size_t{4}, std::size_t{3}, std::size_t{1}}) {
    const auto inputs = RandomFloats(random, static_cast<std::int64_t>(batch) * ElementCount(graph->tensors[0].shape));
    std::vector<std::int32_t> labels(batch);
    const auto classes = static_cast<std::uint64_t>(graph->tensors[static_cast<std::size_t>(graph->outputs[0])].shape[1]);
    for (std::int32_t& label : labels) label = static_cast<std::int32_t>(random.Below(classes));
    const auto result = (*trainer)->Gradient(inputs, labels);
    ASSERT_TRUE(result.has_value()) << result.error().ToString();
    const auto parameters = ReadParameters(*graph);
    ASSERT_EQ(result->gradient.size(), parameters.size());
    EXPECT_NEAR(result->loss, ReferenceLoss(*graph, parameters, inputs, labels), 1e-5);

    for (int direction = 0; direction < 12; ++direction) {
      std::vector<float> step(parameters.size(), 0.0F);
      if (direction < 4) {
        step = RandomFloats(random, static_cast<std::int64_t>(step.size()));
      } else {
        step[random.Below(step.size())] = 1.0F;
      }
      constexpr double kReach = 1e-3;
      double expected = 0;
      double length = 0;
      auto above = parameters;
      auto below = parameters;
      for (std::size_t i = 0; i < step.size(); ++i) length += static_cast<double>(step[i]) * step[i];
      length = std::sqrt(length);
      for (std::size_t i = 0; i < step.size(); ++i) {
        expected += result->gradient[i] * step[i] / length;
        above[i] += static_cast<float>(kReach * step[i] / length);
        below[i] -= static_cast<float>(kReach * step[i] / length);
      }
      const double actual =
          (ReferenceLoss(*graph, above, inputs, labels) - ReferenceLoss(*graph, below, inputs, labels)) / (2 * kReach);
      EXPECT_NEAR(actual, expected, 2e-3 + 0.02 * std::abs(expected)) << "batch " << batch << " direction " << direction;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Operators, GradientCheck,
    ::testing::Values(Case{"dense",
                           [] {
                             return Net(1, {1, 7}).Dense(3).Finish();
                           }},
                      Case{"dense_relu",
                           [] {
                             return Net(2, {1, 7}).Dense(9, runtime::Activation{runtime::UnaryKind::kRelu}).Dense(3).Finish();
                           }},
                      Case{"dense_without_bias",
                           [] {
                             return Net(3, {1, 7}).Dense(9, runtime::Activation{}, false).Dense(3).Finish();
                           }},
                      Case{"softmax_at_the_end",
                           [] {
                             return Net(4, {1, 7}).Dense(3).Apply(Softmax{}).Finish();
                           }},
                      Case{"conv",
                           [] {
                             return Net(5, {1, 2, 5, 6}).Conv(3, 3, kSame3).Dense(3).Finish();
                           }},
                      Case{"conv_relu_16",
                           [] {
                             return Net(6, {1, 1, 6, 6}).Conv(16, 3, kSame3Relu).Conv(32, 3, kSame3).Dense(4).Finish();
                           }},
                      Case{"conv_stride_pad_dilation",
                           [] {
                             return Net(7, {1, 3, 9, 8})
                                 .Conv(5, 2, {{2, 1}, {1, 0, 0, 1}, {2, 2}, 1, runtime::Activation{runtime::UnaryKind::kRelu}})
                                 .Dense(3)
                                 .Finish();
                           }},
                      Case{"conv_deep",
                           [] {
                             return Net(8, {1, 3, 7, 7}).Conv(5, 3, kSame3Relu).Conv(4, 3, kSame3, false).Dense(3).Finish();
                           }},
                      Case{"conv_groups",
                           [] {
                             return Net(9, {1, 4, 5, 5})
                                 .Conv(6, 3, {{1, 1}, {1, 1, 1, 1}, {1, 1}, 2, runtime::Activation{runtime::UnaryKind::kRelu}})
                                 .Dense(3)
                                 .Finish();
                           }},
                      Case{"conv_depthwise",
                           [] {
                             return Net(10, {1, 2, 5, 5})
                                 .Conv(6, 3, kSame3)
                                 .Conv(6, 3, {{1, 1}, {1, 1, 1, 1}, {1, 1}, 6, runtime::Activation{}})
                                 .Dense(3)
                                 .Finish();
                           }},
                      Case{"max_pool",
                           [] {
                             return Net(11, {1, 1, 7, 7})
                                 .Conv(5, 3, kSame3)
                                 .Apply(Pool2d{Pool2d::Kind::kMax, {3, 2}, {2, 2}, {1, 0, 1, 1}, false})
                                 .Dense(3)
                                 .Finish();
                           }},
                      Case{"average_pool",
                           [] {
                             return Net(12, {1, 1, 6, 6})
                                 .Conv(5, 3, kSame3)
                                 .Apply(Pool2d{Pool2d::Kind::kAverage, {2, 2}, {1, 2}, {1, 0, 0, 1}, false})
                                 .Dense(3)
                                 .Finish();
                           }},
                      Case{"average_pool_counting_padding",
                           [] {
                             return Net(13, {1, 1, 6, 6})
                                 .Conv(5, 3, kSame3)
                                 .Apply(Pool2d{Pool2d::Kind::kAverage, {3, 3}, {2, 2}, {1, 1, 1, 1}, true})
                                 .Dense(3)
                                 .Finish();
                           }},
                      Case{"global_average",
                           [] {
                             return Net(14, {1, 2, 5, 5}).Conv(7, 3, kSame3).Apply(GlobalAverageOp()).Dense(3).Finish();
                           }},
                      Case{"relu",
                           [] {
                             return Net(15, {1, 2, 5, 5}).Conv(4, 3, kSame3).Apply(ReluOp()).Dense(3).Finish();
                           }},
                      Case{"add",
                           [] {
                             return Net(16, {1, 2, 5, 5}).Conv(4, 3, kSame3).Residual(runtime::Activation{}).Dense(3).Finish();
                           }},
                      Case{"add_relu",
                           [] {
                             return Net(17, {1, 2, 5, 5})
                                 .Conv(4, 3, kSame3)
                                 .Residual(runtime::Activation{runtime::UnaryKind::kRelu})
                                 .Dense(3)
                                 .Finish();
                           }}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Gradient, OfAWeightUsedTwiceIsTheSum) {
  GraphBuilder b;
  SeededRandom random(21);
  TensorId x = b.Input({1, 4});
  const TensorId shared = b.Parameter({4, 4}, RandomFloats(random, 16));
  x = b.Apply(FullyConnected{runtime::Activation{runtime::UnaryKind::kRelu}}, {x, shared});
  x = b.Apply(FullyConnected{}, {x, shared});
  const auto graph = b.Finish({x});
  auto trainer = Trainer::Create(graph, {.batch_size = 2});
  ASSERT_TRUE(trainer.has_value());
  const auto inputs = RandomFloats(random, 8);
  const std::vector<std::int32_t> labels{1, 3};
  const auto result = (*trainer)->Gradient(inputs, labels);
  ASSERT_TRUE(result.has_value()) << result.error().ToString();
  for (std::size_t i = 0; i < 16; ++i) {
    auto above = ReadParameters(*graph);
    auto below = above;
    above[i] += 1e-3F;
    below[i] -= 1e-3F;
    const double actual = (ReferenceLoss(*graph, above, inputs, labels) - ReferenceLoss(*graph, below, inputs, labels)) / 2e-3;
    EXPECT_NEAR(result->gradient[i], actual, 5e-3) << i;
  }
}

TEST(Gradient, LeavesWhatIsNoParameter) {
  GraphBuilder b;
  SeededRandom random(22);
  TensorId x = b.Input({1, 4});
  x = b.Apply(FullyConnected{runtime::Activation{runtime::UnaryKind::kRelu}},
              {x, b.Constant<float>({5, 4}, RandomFloats(random, 20))});
  x = b.Apply(FullyConnected{}, {x, b.Parameter({2, 5}, RandomFloats(random, 10)), b.Constant<float>({2}, {1, 2})});
  auto trainer = Trainer::Create(b.Finish({x}), {.batch_size = 1});
  ASSERT_TRUE(trainer.has_value()) << trainer.error().ToString();
  const auto result = (*trainer)->Gradient(RandomFloats(random, 4), std::vector<std::int32_t>{1});
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->gradient.size(), 10U);
}

// Two classes of images: a bright upper or a bright lower half, in noise.
class Halves final : public Dataset {
 public:
  explicit Halves(std::size_t size) : size_(size) {}
  std::size_t size() const override { return size_; }
  std::size_t example_size() const override { return 64; }
  void CopyExample(std::size_t index, std::span<float> out) const override {
    SeededRandom random(index + 1);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const bool bright = (i < 32) == (Label(index) == 0);
      out[i] = static_cast<float>(random.Unit()) + (bright ? 0.5F : 0.0F);
    }
  }
  std::int32_t Label(std::size_t index) const override { return static_cast<std::int32_t>(index % 2); }

 private:
  std::size_t size_;
};

std::shared_ptr<const Graph> SmallCnn() {
  return Net(31, {1, 1, 8, 8})
      .Conv(8, 3, kSame3Relu)
      .Apply(Pool2d{Pool2d::Kind::kMax, {2, 2}, {2, 2}, {0, 0, 0, 0}, false})
      .Dense(16, runtime::Activation{runtime::UnaryKind::kRelu})
      .Dense(2)
      .Finish();
}

std::unique_ptr<Trainer> NewTrainer(std::int32_t batch_size = 10) {
  auto trainer = Trainer::Create(SmallCnn(), {.batch_size = batch_size});
  EXPECT_TRUE(trainer.has_value()) << trainer.error().ToString();
  return *std::move(trainer);
}

TEST(Training, LossFallsAndAccuracyRises) {
  const Halves data(87);  // the last batch holds 7
  auto trainer = NewTrainer();
  std::vector<TrainProgress> seen;
  TrainOptions options{.epochs = 8, .learning_rate = 0.1F, .seed = 1};
  options.progress = [&](const TrainProgress& progress) { seen.push_back(progress); };
  const auto result = trainer->Train(data, options);
  ASSERT_TRUE(result.has_value()) << result.error().ToString();
  EXPECT_EQ(result->examples, 87);
  EXPECT_EQ(result->steps, 72);
  ASSERT_EQ(seen.size(), 72U);
  EXPECT_EQ(seen.back().step, 72);
  EXPECT_EQ(seen.back().steps_total, 72);
  EXPECT_EQ(seen.back().epoch, 7);
  EXPECT_LT(result->last_epoch_loss, 0.5 * result->mean_loss);
  EXPECT_LT(result->last_epoch_loss, 0.1);

  auto trained = std::make_shared<const Graph>(*WithParameters(*SmallCnn(), result->parameters));
  auto session = Session::Create(trained, {.batch = 16});
  ASSERT_TRUE(session.has_value());
  EXPECT_GT(Evaluate(**session, data)->accuracy, 0.97);
}

TEST(Training, IsSgdByHand) {
  // One epoch in one batch is one step along the gradient.
  const Halves data(6);
  auto trainer = NewTrainer(6);
  const auto before = trainer->parameters();
  EXPECT_EQ(before, ReadParameters(*SmallCnn()));
  std::vector<float> inputs(6 * 64);
  std::vector<std::int32_t> labels;
  for (std::size_t i = 0; i < 6; ++i) {
    data.CopyExample(i, std::span(inputs).subspan(i * 64, 64));
    labels.push_back(data.Label(i));
  }
  const auto gradient = trainer->Gradient(inputs, labels);
  ASSERT_TRUE(gradient.has_value());
  EXPECT_EQ(trainer->parameters(), before) << "Gradient() changes nothing";
  const auto result = trainer->Train(data, {.learning_rate = 0.5F});
  ASSERT_TRUE(result.has_value());
  EXPECT_NEAR(result->mean_loss, gradient->loss, 1e-5);
  for (std::size_t i = 0; i < before.size(); ++i) {
    ASSERT_NEAR(result->parameters[i], before[i] - 0.5F * gradient->gradient[i], 1e-5) << i;
  }
}

TEST(Training, SameSeedSameResultAndReusable) {
  const Halves data(35);
  const TrainOptions options{.epochs = 2, .seed = 5};
  auto trainer = NewTrainer();
  const auto start = trainer->parameters();
  const auto first = trainer->Train(data, options);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(trainer->parameters(), first->parameters) << "the next Train() goes on from here";
  ASSERT_TRUE(trainer->SetParameters(start).ok());
  const auto again = trainer->Train(data, options);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->parameters, first->parameters);
  EXPECT_EQ(NewTrainer()->Train(data, options)->parameters, first->parameters);
  EXPECT_NE(NewTrainer()->Train(data, {.epochs = 2, .seed = 6})->parameters, first->parameters);
}

TEST(Training, GoingOnEqualsStartingAfresh) {
  // Nothing but the parameters lives on between runs; padding inside oneDNN's layouts stays zero.
  const Halves data(35);
  auto trainer = NewTrainer();
  auto parameters = trainer->parameters();
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    auto fresh = NewTrainer();
    ASSERT_TRUE(fresh->SetParameters(parameters).ok());
    parameters = trainer->Train(data, {.epochs = 2, .seed = seed})->parameters;
    ASSERT_EQ(fresh->Train(data, {.epochs = 2, .seed = seed})->parameters, parameters);
  }
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

TEST(Training, FedProxPullsTowardsTheStart) {
  const Halves data(40);
  const auto start = ReadParameters(*SmallCnn());
  double former = 1e9;
  for (const float mu : {0.0F, 0.1F, 1.0F, 5.0F}) {
    const auto result = NewTrainer()->Train(data, {.epochs = 5, .learning_rate = 0.1F, .proximal_mu = mu, .seed = 3});
    ASSERT_TRUE(result.has_value());
    const double distance = Distance(result->parameters, start);
    EXPECT_LT(distance, former) << mu;
    EXPECT_GT(distance, 0) << mu;
    former = distance;
  }
}

TEST(Training, UpdateIsEquationTwo) {
  std::vector<float> w{1, 2};
  SgdUpdate(w, std::vector<float>{0.5F, -1}, std::vector<float>{0, 4}, 0.1F, 2);
  EXPECT_FLOAT_EQ(w[0], 1 - 0.1F * (0.5F + 2 * 1));
  EXPECT_FLOAT_EQ(w[1], 2 - 0.1F * (-1 + 2 * -2));
}

TEST(Training, CancelAndDivergenceLeaveTheParameters) {
  const Halves data(40);
  auto trainer = NewTrainer();
  const auto start = trainer->parameters();
  std::atomic<bool> cancel = false;
  TrainOptions options{.epochs = 3, .cancel = &cancel};
  options.progress = [&](const TrainProgress& progress) { cancel = progress.step == 5; };
  EXPECT_EQ(trainer->Train(data, options).error().code(), StatusCode::kCancelled);
  EXPECT_EQ(trainer->parameters(), start);
  EXPECT_EQ(trainer->Train(data, {.epochs = 5, .learning_rate = 1e30F}).error().reason(), "DIVERGED");
  EXPECT_EQ(trainer->parameters(), start);
  EXPECT_TRUE(trainer->Train(data, {}).has_value()) << "still usable";
}

TEST(Training, RefusesBadInput) {
  auto trainer = NewTrainer();
  const Halves data(4);
  EXPECT_EQ(trainer->Train(data, {.epochs = 0}).error().reason(), "BAD_TRAIN_OPTIONS");
  EXPECT_EQ(trainer->Train(data, {.learning_rate = 0}).error().reason(), "BAD_TRAIN_OPTIONS");
  EXPECT_EQ(trainer->Train(data, {.learning_rate = NAN}).error().reason(), "BAD_TRAIN_OPTIONS");
  EXPECT_EQ(trainer->Train(data, {.proximal_mu = -1}).error().reason(), "BAD_TRAIN_OPTIONS");
  EXPECT_EQ(trainer->Train(Halves(0), {}).error().reason(), "EMPTY_DATASET");
  EXPECT_EQ(trainer->SetParameters(std::vector<float>(3)).reason(), "PARAMETER_COUNT");
  auto infinite = trainer->parameters();
  infinite[0] = INFINITY;
  EXPECT_EQ(trainer->SetParameters(infinite).reason(), "PARAMETER_NOT_FINITE");
  const std::vector<float> image(64);
  EXPECT_EQ(trainer->Gradient(image, std::vector<std::int32_t>{2}).error().reason(), "BAD_LABEL");
  EXPECT_EQ(trainer->Gradient(image, std::vector<std::int32_t>{-1}).error().reason(), "BAD_LABEL");
  EXPECT_EQ(trainer->Gradient(image, std::vector<std::int32_t>{0, 0}).error().reason(), "EXAMPLE_SIZE");
  EXPECT_EQ(Trainer::Create(SmallCnn(), {.batch_size = 0}).error().reason(), "BAD_BATCH");
  EXPECT_EQ(Trainer::Create(SmallCnn(), {.threads = 0}).error().reason(), "BAD_THREADS");
  Graph frozen = *SmallCnn();
  frozen.parameters.clear();
  EXPECT_EQ(Trainer::Create(std::make_shared<Graph>(frozen)).error().reason(), "NOT_TRAINABLE");
}

TEST(Training, TrainersInSeveralThreadsDoNotMeet) {
  const Halves data(25);
  const TrainOptions options{.epochs = 2, .seed = 9};
  const auto expected = NewTrainer()->Train(data, options)->parameters;
  std::vector<std::vector<float>> results(3);
  std::vector<std::thread> threads;
  for (auto& result : results) {
    // Built on one thread, used on another.
    threads.emplace_back(
        [&, trainer = std::shared_ptr<Trainer>(NewTrainer())] { result = trainer->Train(data, options)->parameters; });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) EXPECT_EQ(result, expected);
}

}  // namespace
}  // namespace edgefleet::training
