// The onednn delegate against the reference, over random graphs.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <thread>

#include "device_client/runtime/session.h"
#include "tests/runtime/graph_builder.h"

namespace edgefleet::runtime {
namespace {

using testing::AddOp;
using testing::GlobalAverageOp;
using testing::GraphBuilder;
using testing::MakeBatchDynamic;
using testing::PerTensor;
using testing::RandomFloats;
using testing::RandomInt8;
using testing::ReluOp;

class RandomGraph {
 public:
  RandomGraph(std::uint64_t seed, bool int8) : random_(seed), int8_(int8) {}

  std::int64_t Between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_.Below(static_cast<std::uint64_t>(high - low + 1)));
  }
  bool Chance() { return random_.Below(2) == 0; }
  Activation RandomActivation() {
    if (Chance()) return {};
    if (Chance()) return {UnaryKind::kRelu};
    if (int8_ || Chance()) return {UnaryKind::kClip, -0.25F, 0.5F};
    return std::array{Activation{UnaryKind::kLeakyRelu, 0.1F}, Activation{UnaryKind::kSigmoid},    Activation{UnaryKind::kTanh},
                      Activation{UnaryKind::kElu, 1.0F},       Activation{UnaryKind::kHardSwish},  Activation{UnaryKind::kGelu},
                      Activation{UnaryKind::kGeluTanh},        Activation{UnaryKind::kSwish, 1.0F}}[random_.Below(8)];
  }

  std::optional<Quantization> NewQuantization() {
    if (!int8_) return std::nullopt;
    return PerTensor(0.01F + static_cast<float>(random_.Unit()) * 0.1F, static_cast<std::int32_t>(Between(-30, 30)));
  }
  std::optional<Quantization> SameQuantization(TensorId id) { return builder_.At(id).quantization; }

  TensorId Weights(const std::vector<std::int64_t>& shape) {
    if (!int8_) return builder_.Constant<float>(shape, RandomFloats(random_, ElementCount(shape)));
    const bool per_channel = Chance();
    Quantization quantization;
    quantization.axis = per_channel ? 0 : -1;
    for (std::int64_t i = 0; i < (per_channel ? shape[0] : 1); ++i) {
      quantization.scales.push_back(0.001F + 0.01F * static_cast<float>(random_.Unit()));
    }
    quantization.zero_points.assign(quantization.scales.size(), 0);
    return builder_.Constant<std::int8_t>(shape, RandomInt8(random_, ElementCount(shape)), quantization);
  }
  TensorId Bias(std::int64_t size) {
    if (!int8_) return builder_.Constant<float>({size}, RandomFloats(random_, size));
    std::vector<std::int32_t> values;
    for (std::int64_t i = 0; i < size; ++i) values.push_back(static_cast<std::int32_t>(Between(-3000, 3000)));
    return builder_.Constant<std::int32_t>({size}, values);
  }

  TensorId AddConv(TensorId x) {
    const auto& shape = builder_.Shape(x);
    Conv2d op;
    const std::int64_t channels = shape[1];
    const std::int64_t choice = Between(0, 3);
    op.groups = choice == 0 ? static_cast<std::int32_t>(channels) : choice == 1 && channels % 2 == 0 ? 2 : 1;
    const std::int64_t outputs = op.groups * Between(1, op.groups > 2 ? 2 : 19);
    std::vector<std::int64_t> kernel(2);
    for (std::size_t i = 0; i < 2; ++i) {
      kernel[i] = Between(1, std::min<std::int64_t>(4, shape[i + 2]));
      op.strides[i] = static_cast<std::int32_t>(Between(1, 3));
      op.dilations[i] = static_cast<std::int32_t>(2 * (kernel[i] - 1) + 1 <= shape[i + 2] ? Between(1, 2) : 1);
      const std::int64_t reach = (kernel[i] - 1) * op.dilations[i];
      op.pads[i] = static_cast<std::int32_t>(Between(0, reach));
      op.pads[i + 2] = static_cast<std::int32_t>(Between(0, reach));
    }
    op.activation = RandomActivation();
    std::vector<TensorId> inputs{x, Weights({outputs, channels / op.groups, kernel[0], kernel[1]})};
    if (Chance()) inputs.push_back(Bias(outputs));
    return builder_.Apply(op, inputs, NewQuantization());
  }

  TensorId AddPool(TensorId x) {
    const auto& shape = builder_.Shape(x);
    Pool2d op;
    op.kind = Chance() ? Pool2d::Kind::kMax : Pool2d::Kind::kAverage;
    op.count_include_pad = Chance();
    for (std::size_t i = 0; i < 2; ++i) {
      op.kernel[i] = static_cast<std::int32_t>(Between(1, std::min<std::int64_t>(3, shape[i + 2])));
      op.strides[i] = static_cast<std::int32_t>(Between(1, 2));
      op.pads[i] = static_cast<std::int32_t>(Between(0, op.kernel[i] - 1));
      op.pads[i + 2] = static_cast<std::int32_t>(Between(0, op.kernel[i] - 1));
    }
    const bool same = op.kind == Pool2d::Kind::kMax || Chance();
    return builder_.Apply(op, {x}, same ? SameQuantization(x) : NewQuantization());
  }

  TensorId AddSpatial(TensorId x) {
    switch (Between(0, 4)) {
      case 0:
        return AddPool(x);
      case 1: {
        const Activation function = RandomActivation();
        const bool moves = function.kind == UnaryKind::kIdentity;
        return builder_.Apply(Unary{function}, {x}, moves ? SameQuantization(x) : NewQuantization());
      }
      case 2:
        return builder_.Apply(AddOp(RandomActivation()), {x, builder_.Apply(ReluOp(), {x}, NewQuantization())},
                              NewQuantization());
      default:
        return AddConv(x);
    }
  }

  std::shared_ptr<const Graph> Build() {
    TensorId x = builder_.Input({1, Between(1, 20), Between(3, 13), Between(3, 13)});
    if (int8_) x = builder_.Apply(Quantize{}, {x}, PerTensor(0.008F, static_cast<std::int32_t>(Between(-20, 20))));
    for (std::int64_t i = Between(1, 5); i > 0; --i) x = AddSpatial(x);
    if (Chance()) x = builder_.Apply(GlobalAverageOp(), {x}, Chance() ? SameQuantization(x) : NewQuantization());
    x = builder_.Apply(Flatten{}, {x}, SameQuantization(x));
    const std::int64_t outputs = Between(2, 20);
    std::vector<TensorId> inputs{x, Weights({outputs, builder_.Shape(x)[1]})};
    if (Chance()) inputs.push_back(Bias(outputs));
    x = builder_.Apply(FullyConnected{RandomActivation()}, inputs, NewQuantization());
    if (int8_) x = builder_.Apply(Dequantize{}, {x});
    if (Chance()) x = builder_.Apply(Softmax{}, {x});
    return builder_.Finish({x});
  }

  SeededRandom& random() { return random_; }

 private:
  SeededRandom random_;
  bool int8_;
  GraphBuilder builder_;
};

using Activations = std::vector<std::vector<float>>;

Activations RunObserved(const std::shared_ptr<const Graph>& graph, const std::string& delegate, std::int64_t batch,
                        const std::vector<float>& input) {
  Activations seen(graph->tensors.size());
  SessionOptions options;
  options.delegate = delegate;
  options.batch = batch;
  options.observer = [&](TensorId id, std::span<const float> values) {
    seen[static_cast<std::size_t>(id)].assign(values.begin(), values.end());
  };
  auto session = Session::Create(graph, options);
  EXPECT_TRUE(session.has_value()) << session.error().ToString();
  if (!session) return {};
  std::vector<float> output(static_cast<std::size_t>(batch * (*session)->output_size()));
  const Status status = (*session)->Run(input, output);
  EXPECT_TRUE(status.ok()) << status.ToString();
  for (const NodePlacement& node : (*session)->info().nodes) {
    EXPECT_EQ(node.fallback_reason.find("oneDNN"), std::string::npos) << node.op << ": " << node.fallback_reason;
  }
  return seen;
}

std::vector<float> RunPlain(const std::shared_ptr<const Graph>& graph, const std::string& delegate, std::int64_t batch,
                            const std::vector<float>& input) {
  auto session = Session::Create(graph, {.delegate = delegate, .batch = batch});
  EXPECT_TRUE(session.has_value()) << session.error().ToString();
  if (!session) return {};
  std::vector<float> output(static_cast<std::size_t>(batch * (*session)->output_size()));
  for (int i = 0; i < 2; ++i) {
    const Status status = (*session)->Run(input, output);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  return output;
}

void ExpectNear(const std::vector<float>& actual, const std::vector<float>& expected, float tolerance,
                const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  float worst = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    worst = std::max(worst, std::abs(actual[i] - expected[i]) / std::max(1.0F, std::abs(expected[i])));
  }
  EXPECT_LE(worst, tolerance) << what;
}

class Fp32 : public ::testing::TestWithParam<int> {};

TEST_P(Fp32, AgreesWithReference) {
  RandomGraph random(1000 + static_cast<std::uint64_t>(GetParam()), false);
  const auto graph = random.Build();
  const std::int64_t batch = 1 + GetParam() % 3;
  const auto input = RandomFloats(random.random(), batch * ElementCount(graph->tensors[0].shape));
  const Activations expected = RunObserved(graph, "reference", batch, input);
  const Activations actual = RunObserved(graph, "onednn", batch, input);
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) ExpectNear(actual[i], expected[i], 2e-4F, graph->tensors[i].name);
  // The whole graph as one program, in oneDNN's own layouts.
  const auto& last = expected[static_cast<std::size_t>(graph->outputs[0])];
  ExpectNear(RunPlain(graph, "onednn", batch, input), last, 2e-4F, "output");
  ExpectNear(RunPlain(graph, "reference", batch, input), last, 0, "reference output");
}

INSTANTIATE_TEST_SUITE_P(RandomGraphs, Fp32, ::testing::Range(0, 150));

// Runs one node on both delegates from the same inputs, so that differences cannot build up.
std::vector<float> RunNode(const Graph& graph, const Node& node, const std::string& delegate, std::int64_t batch,
                           const Activations& values) {
  Graph single = graph;
  single.nodes = {node};
  single.inputs.clear();
  for (const TensorId id : node.inputs) {
    const bool listed = std::ranges::find(single.inputs, id) != single.inputs.end();
    if (!graph.tensors[static_cast<std::size_t>(id)].is_constant() && !listed) single.inputs.push_back(id);
  }
  single.outputs = node.outputs;
  const auto bytes_of = [&](TensorId id) {
    const Tensor& tensor = graph.tensors[static_cast<std::size_t>(id)];
    const auto& reals = values[static_cast<std::size_t>(id)];
    if (tensor.type == DataType::kFloat32) return ToBytes(std::as_bytes(std::span(reals)));
    Bytes bytes;
    for (const float real : reals) {
      bytes.push_back(static_cast<std::byte>(std::lround(real / tensor.quantization->scales[0]) + ZeroPoint(tensor)));
    }
    return bytes;
  };
  MakeBatchDynamic(single);
  std::vector<Bytes> inputs;
  for (const TensorId id : single.inputs) inputs.push_back(bytes_of(id));
  const std::vector<ByteView> views(inputs.begin(), inputs.end());
  Bytes out = bytes_of(node.outputs[0]);
  const std::span<std::byte> out_view(out);
  auto session = Session::Create(std::make_shared<Graph>(single), {.delegate = delegate, .batch = batch});
  EXPECT_TRUE(session.has_value()) << session.error().ToString();
  const Status status = (*session)->Run(views, std::span(&out_view, 1));
  EXPECT_TRUE(status.ok()) << status.ToString();
  std::vector<float> steps;
  if (graph.tensors[static_cast<std::size_t>(node.outputs[0])].type == DataType::kInt8) {
    for (const std::byte byte : out) steps.push_back(static_cast<float>(static_cast<std::int8_t>(byte)));
  } else {
    steps.resize(out.size() / sizeof(float));
    std::memcpy(steps.data(), out.data(), out.size());
  }
  return steps;
}

class Int8 : public ::testing::TestWithParam<int> {};

TEST_P(Int8, EachNodeIsWithinOneStepOfReference) {
  RandomGraph random(5000 + static_cast<std::uint64_t>(GetParam()), true);
  const auto graph = random.Build();
  const std::int64_t batch = 1 + GetParam() % 3;
  const auto input = RandomFloats(random.random(), batch * ElementCount(graph->tensors[0].shape));
  const Activations values = RunObserved(graph, "reference", batch, input);
  ASSERT_FALSE(values.empty());
  for (const Node& node : graph->nodes) {
    const auto expected = RunNode(*graph, node, "reference", batch, values);
    const auto actual = RunNode(*graph, node, "onednn", batch, values);
    ASSERT_EQ(actual.size(), expected.size());
    const bool int8 = graph->tensors[static_cast<std::size_t>(node.outputs[0])].type == DataType::kInt8;
    const float tolerance = int8 ? 1.0F : 1e-5F;
    std::size_t different = 0;
    for (std::size_t i = 0; i < actual.size(); ++i) {
      ASSERT_LE(std::abs(actual[i] - expected[i]), tolerance) << OperatorName(node.op) << " at " << i;
      different += actual[i] != expected[i] ? 1 : 0;
    }
    // One step is for ties of rounding, which are rare in weighted sums; averages of few values meet them often.
    if (std::holds_alternative<Conv2d>(node.op) || std::holds_alternative<FullyConnected>(node.op)) {
      EXPECT_LE(different, 1 + actual.size() / 500) << OperatorName(node.op);
    }
  }
  const auto whole = RunPlain(graph, "onednn", batch, input);
  EXPECT_EQ(whole.size(), values[static_cast<std::size_t>(graph->outputs[0])].size());
}

INSTANTIATE_TEST_SUITE_P(RandomGraphs, Int8, ::testing::Range(0, 150));

// uint8 stays at the border; inside, its bytes are taken as they are.
TEST(OneDnn, BytesEnterAndLeave) {
  for (const auto& shape : {std::vector<std::int64_t>{2, 3, 4, 5}, {2, 1, 4, 5}, {3, 7}}) {
    Graph graph;
    const auto tensor = [&](const char* name, DataType type, std::int32_t zero_point) {
      graph.tensors.push_back({name, type, shape, PerTensor(0.5F, zero_point), {}});
      return static_cast<TensorId>(graph.tensors.size() - 1);
    };
    const TensorId x = tensor("x", DataType::kUint8, 130);
    const TensorId inside = tensor("inside", DataType::kInt8, 2);
    const TensorId rectified = tensor("rectified", DataType::kInt8, 2);
    const TensorId y = tensor("y", DataType::kUint8, 130);
    graph.nodes = {{"enter", Quantize{DataType::kInt8}, {x}, {inside}},
                   {"relu", ReluOp(), {inside}, {rectified}},
                   {"leave", Quantize{DataType::kUint8}, {rectified}, {y}}};
    graph.inputs = {x};
    graph.outputs = {y};
    const auto shared = std::make_shared<const Graph>(graph);
    Bytes input(static_cast<std::size_t>(ElementCount(shape)));
    for (std::size_t i = 0; i < input.size(); ++i) input[i] = static_cast<std::byte>(i * 37);
    std::vector<Bytes> outputs;
    for (const char* delegate : {"reference", "onednn"}) {
      auto session = Session::Create(shared, {.delegate = delegate});
      ASSERT_TRUE(session.has_value()) << session.error().ToString();
      outputs.emplace_back(input.size());
      const ByteView in(input);
      const std::span<std::byte> out(outputs.back());
      ASSERT_TRUE((*session)->Run(std::span(&in, 1), std::span(&out, 1)).ok());
    }
    EXPECT_EQ(outputs[1], outputs[0]);
    for (std::size_t i = 0; i < input.size(); ++i) {
      EXPECT_EQ(outputs[1][i], std::max(input[i], std::byte{130})) << i;
    }
  }
}

TEST(OneDnn, SessionsInSeveralThreadsShareAGraph) {
  for (const bool int8 : {false, true}) {
    RandomGraph random(99, int8);
    const auto graph = random.Build();
    const auto input = RandomFloats(random.random(), ElementCount(graph->tensors[0].shape));
    const auto expected = RunPlain(graph, "onednn", 1, input);
    std::vector<std::vector<float>> outputs(4);
    std::vector<std::thread> threads;
    for (auto& output : outputs) threads.emplace_back([&] { output = RunPlain(graph, "onednn", 1, input); });
    for (std::thread& thread : threads) thread.join();
    for (const auto& output : outputs) EXPECT_EQ(output, expected);
  }
}

TEST(OneDnn, UsesTheThreadsItIsGiven) {
  RandomGraph random(7, false);
  const auto graph = random.Build();
  const auto input = RandomFloats(random.random(), 8 * ElementCount(graph->tensors[0].shape));
  std::vector<std::vector<float>> outputs;
  for (const int threads : {1, 2}) {
    auto session = Session::Create(graph, {.threads = threads, .batch = 8});
    ASSERT_TRUE(session.has_value());
    outputs.emplace_back(static_cast<std::size_t>(8 * (*session)->output_size()));
    ASSERT_TRUE((*session)->Run(input, outputs.back()).ok());
  }
  ExpectNear(outputs[1], outputs[0], 1e-5F, "two threads");
}

}  // namespace
}  // namespace edgefleet::runtime
