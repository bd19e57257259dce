// The rewriting of graphs to other precisions, and the search that decides how.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "device_client/runtime/folding_builder.h"
#include "device_client/runtime/session.h"
#include "device_client/runtime/validate.h"
#include "registry/compiler/calibration/collect.h"
#include "registry/compiler/examples.h"
#include "registry/compiler/quantization/prepare.h"
#include "registry/compiler/quantization/search.h"
#include "tests/runtime/graph_builder.h"

namespace edgefleet::compiler {
namespace {

using runtime::DataType;
using runtime::Graph;
using runtime::TensorId;
using runtime::UnaryKind;
using runtime::testing::AddOp;
using runtime::testing::GraphBuilder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using GraphPtr = std::shared_ptr<const Graph>;
using Shape = std::vector<std::int64_t>;

std::vector<float> Random(std::int64_t count, std::uint64_t seed, float low = -1, float high = 1) {
  SeededRandom random(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = low + (high - low) * static_cast<float>(random.Unit());
  return values;
}

// Random weights that keep magnitudes: uniform in +-sqrt(3 / fan_in).
std::vector<float> Weights(const Shape& shape, std::uint64_t seed) {
  const std::int64_t count = runtime::ElementCount(shape);
  const float limit = std::sqrt(3.0F * static_cast<float>(shape[0]) / static_cast<float>(count));
  return Random(count, seed, -limit, limit);
}

arrays::Archive Examples(const std::string& name, Shape shape, const std::vector<float>& values) {
  arrays::Archive archive;
  archive.emplace(name, arrays::MakeArray<float>(std::move(shape), values));
  return archive;
}

// Examples for the graph's only input.
arrays::Archive ExamplesFor(const Graph& graph, std::int64_t count, std::uint64_t seed) {
  const runtime::Tensor& input = graph.tensor(graph.inputs[0]);
  Shape shape = input.shape;
  const std::int64_t size = runtime::ElementCount(shape);
  shape[0] *= count;
  return Examples(input.name, shape, Random(size * count, seed));
}

std::vector<float> RunGraph(const GraphPtr& graph, const std::vector<float>& x, const char* delegate = "onednn") {
  auto session = runtime::Session::Create(graph, {.delegate = delegate});
  EXPECT_TRUE(session) << session.error().ToString();
  if (!session) return {};
  std::vector<float> y(static_cast<std::size_t>((*session)->output_size()));
  const Status ran = (*session)->Run(x, y);
  EXPECT_TRUE(ran.ok()) << ran.ToString();
  return y;
}

std::map<std::string, int> CountOperators(const Graph& graph) {
  std::map<std::string, int> counts;
  for (const runtime::Node& node : graph.nodes) ++counts[std::string(runtime::OperatorName(node.op))];
  return counts;
}

const runtime::Tensor* Find(const Graph& graph, std::string_view name) {
  const auto found = std::ranges::find(graph.tensors, name, &runtime::Tensor::name);
  return found == graph.tensors.end() ? nullptr : &*found;
}

Result<QuantizedGraph> RewriteAll(const Graph& graph, Precision precision, const arrays::Archive& examples) {
  const auto shared = std::make_shared<const Graph>(graph);
  EF_ASSIGN_OR_RETURN(const Calibration calibration, Calibrate(shared, examples));
  EF_ASSIGN_OR_RETURN(const auto ranges, ChooseRanges(graph, calibration, {}));
  const std::vector<Precision> precisions(graph.nodes.size(), precision);
  return Rewrite({.fp32 = graph, .precisions = precisions, .ranges = ranges, .group_size = 32});
}

double OutputSnr(const GraphPtr& exact, const GraphPtr& rough, const arrays::Archive& examples, std::size_t count) {
  const auto values = examples.begin()->second.values<float>();
  const std::size_t size = values.size() / count;
  ErrorMeter meter;
  for (std::size_t i = 0; i < count; ++i) {
    const std::vector<float> x(values.begin() + static_cast<std::ptrdiff_t>(i * size),
                               values.begin() + static_cast<std::ptrdiff_t>((i + 1) * size));
    meter.Add(RunGraph(exact, x), RunGraph(rough, x));
  }
  return meter.Measures().snr_db;
}

// Every kind of weighted operator, sums, products, functions, averages, movement, and a Concat.
GraphPtr WholeNetwork() {
  GraphBuilder b;
  const TensorId x = b.Input({1, 4, 8, 8});
  const auto conv = [&](TensorId in, const Shape& shape, std::uint64_t seed, runtime::Conv2d op) {
    return b.Apply(op, {in, b.Constant<float>(shape, Weights(shape, seed)),
                        b.Constant<float>({shape[0]}, Random(shape[0], seed + 100, -0.2F, 0.2F))});
  };
  const TensorId first = conv(x, {8, 4, 3, 3}, 1, {.pads = {1, 1, 1, 1}, .activation = {UnaryKind::kRelu}});
  const TensorId depth = conv(first, {8, 1, 3, 3}, 2, {.pads = {1, 1, 1, 1}, .groups = 8});
  const TensorId swish = b.Apply(runtime::Unary{{UnaryKind::kHardSwish}}, {depth});
  const TensorId sum = b.Apply(AddOp(), {first, swish});
  const TensorId pooled = b.Apply(runtime::Pool2d{.kernel = {2, 2}, .strides = {2, 2}}, {sum});
  const TensorId up =
      b.Apply(runtime::ConvTranspose2d{.strides = {2, 2}}, {pooled, b.Constant<float>({8, 4, 2, 2}, Weights({8, 4, 2, 2}, 3))});
  const TensorId both = b.Apply(runtime::Concat{1}, {up, sum});
  const TensorId gate = b.Apply(runtime::Unary{{UnaryKind::kSigmoid}},
                                {b.Apply(runtime::Pool2d{.kind = runtime::Pool2d::Kind::kAverage, .kernel = {8, 8}}, {both})});
  const TensorId gated = b.Apply(runtime::Binary{runtime::BinaryKind::kMul}, {both, gate});
  const TensorId flat = b.Apply(runtime::Flatten{}, {gated});
  const TensorId dense =
      b.Apply(runtime::FullyConnected{{UnaryKind::kRelu}},
              {flat, b.Constant<float>({16, 768}, Weights({16, 768}, 4)), b.Constant<float>({16}, Random(16, 5, -0.1F, 0.1F))});
  const TensorId product = b.Apply(runtime::MatMul{}, {dense, b.Constant<float>({16, 6}, Random(96, 6, -0.5F, 0.5F))});
  return b.Finish({b.Apply(runtime::Softmax{}, {product})});
}

struct Expected {
  Precision precision;
  double snr_db;
};

class RewriteTo : public ::testing::TestWithParam<Expected> {};

TEST_P(RewriteTo, AWholeNetworkStaysClose) {
  const GraphPtr fp32 = WholeNetwork();
  const arrays::Archive examples = ExamplesFor(*fp32, 20, 7);
  const auto quantized = RewriteAll(*fp32, GetParam().precision, examples);
  ASSERT_TRUE(quantized) << quantized.error().ToString();
  const Status valid = runtime::ValidateGraph(quantized->graph);
  ASSERT_TRUE(valid.ok()) << valid.ToString();
  EXPECT_TRUE(quantized->graph.parameters.empty());
  ASSERT_EQ(quantized->graph.dynamic.size(), 1U);
  EXPECT_EQ(quantized->graph.tensor(quantized->graph.outputs[0]).name, fp32->tensor(fp32->outputs[0]).name);
  const auto graph = std::make_shared<const Graph>(quantized->graph);
  EXPECT_GT(OutputSnr(fp32, graph, examples, 20), GetParam().snr_db);
  for (std::size_t i = 0; i < fp32->nodes.size(); ++i) {
    if (!WeightedLayerOf(*fp32, fp32->nodes[i])) continue;
    EXPECT_EQ(quantized->nodes[i].precision, GetParam().precision) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, RewriteTo,
                         ::testing::Values(Expected{Precision::kFp32, 200}, Expected{Precision::kFp16, 55},
                                           Expected{Precision::kBf16, 35}, Expected{Precision::kInt8, 28},
                                           Expected{Precision::kInt8Weights, 35}, Expected{Precision::kInt4, 15}),
                         [](const auto& each) {
                           std::string name(PrecisionName(each.param.precision));
                           std::erase(name, '-');
                           return name;
                         });

TEST(Rewrite, Int8StaysInInt8BetweenItsBorders) {
  const GraphPtr fp32 = WholeNetwork();
  const auto quantized = RewriteAll(*fp32, Precision::kInt8, ExamplesFor(*fp32, 4, 7));
  ASSERT_TRUE(quantized);
  auto counts = CountOperators(quantized->graph);
  EXPECT_EQ(counts["Quantize"], 1);
  EXPECT_EQ(counts["Dequantize"], 1);
  EXPECT_EQ(quantized->nodes.back().precision, Precision::kFp32) << "Softmax";
  for (const runtime::Node& node : quantized->graph.nodes) {
    if (!std::holds_alternative<runtime::Concat>(node.op)) continue;
    const auto& out = quantized->graph.tensor(node.outputs[0]).quantization;
    for (const TensorId id : node.inputs) EXPECT_EQ(quantized->graph.tensor(id).quantization, out);
  }
}

// A part that is far smaller than the whole keeps its own scale for its other readers.
TEST(Rewrite, SmallPartsOfAConcatAreRequantized) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 8});
  const TensorId small = b.Apply(runtime::FullyConnected{}, {x, b.Constant<float>({8, 8}, Random(64, 1, -0.01F, 0.01F))});
  const TensorId large = b.Apply(runtime::FullyConnected{}, {x, b.Constant<float>({8, 8}, Random(64, 2, -10, 10))});
  const TensorId both = b.Apply(runtime::Concat{1}, {small, large});
  const GraphPtr fp32 = b.Finish({small, both});
  const auto quantized = RewriteAll(*fp32, Precision::kInt8, ExamplesFor(*fp32, 16, 3));
  ASSERT_TRUE(quantized) << quantized.error().ToString();
  ASSERT_TRUE(runtime::ValidateGraph(quantized->graph).ok());
  EXPECT_EQ(CountOperators(quantized->graph)["Quantize"], 2);
  EXPECT_LT(quantized->nodes[0].output->scale, quantized->nodes[1].output->scale / 100);
}

TEST(Rewrite, Bf16CastsAtItsBordersOnly) {
  const GraphPtr fp32 = WholeNetwork();
  const auto quantized = RewriteAll(*fp32, Precision::kBf16, ExamplesFor(*fp32, 4, 7));
  ASSERT_TRUE(quantized);
  EXPECT_EQ(CountOperators(quantized->graph)["Cast"], 2);
}

// One layer: the error of each output is bounded by the rounding of input, weights, bias and output.
TEST(Rewrite, FullyConnectedErrorIsBounded) {
  constexpr std::int64_t kIn = 32, kOut = 8, kExamples = 64;
  GraphBuilder b;
  const TensorId x = b.Input({1, kIn});
  const GraphPtr fp32 = b.Finish({b.Apply(runtime::FullyConnected{}, {x, b.Constant<float>({kOut, kIn}, Random(kIn * kOut, 1)),
                                                                      b.Constant<float>({kOut}, Random(kOut, 2))})});
  const auto inputs = Random(kIn * kExamples, 3, -1, 2);
  const auto quantized = RewriteAll(*fp32, Precision::kInt8, Examples("a0", {kExamples, kIn}, inputs));
  ASSERT_TRUE(quantized) << quantized.error().ToString();
  EXPECT_GT(quantized->nodes[0].weight_error->snr_db, 40);
  const auto graph = std::make_shared<const Graph>(quantized->graph);
  const double input_step = 3.0 / 255, weight_step = 1.0 / 127;
  const double bound = kIn * (input_step / 2 * 1 + weight_step / 2 * 2) + 0.51 * quantized->nodes[0].output->scale;
  for (std::int64_t e = 0; e < kExamples; ++e) {
    const std::vector<float> one(inputs.begin() + e * kIn, inputs.begin() + (e + 1) * kIn);
    const auto exact = RunGraph(fp32, one);
    const auto rough = RunGraph(graph, one);
    double mean = 0;
    for (std::size_t o = 0; o < exact.size(); ++o) {
      EXPECT_NEAR(exact[o], rough[o], bound);
      mean += std::abs(exact[o] - rough[o]) / kOut;
    }
    EXPECT_LT(mean, bound / 5);
  }
}

TEST(Rewrite, ChannelsOfZerosAndBiasesFarAboveTheirWeights) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 2});
  const GraphPtr fp32 = b.Finish({b.Apply(runtime::FullyConnected{}, {x, b.Constant<float>({3, 2}, {0, 0, 1e-12F, 0, 1, 1}),
                                                                      b.Constant<float>({3}, {5, 100, -1})})});
  for (const bool per_tensor : {false, true}) {
    const auto calibration = Calibrate(fp32, Examples("a0", {2, 2}, {1, 2, -1, 0.5F}));
    ASSERT_TRUE(calibration);
    const auto ranges = ChooseRanges(*fp32, *calibration, {});
    const std::vector<Precision> int8{Precision::kInt8};
    const auto quantized = Rewrite({.fp32 = *fp32, .precisions = int8, .ranges = *ranges, .per_tensor_weights = per_tensor});
    ASSERT_TRUE(quantized) << quantized.error().ToString();
    const Status valid = runtime::ValidateGraph(quantized->graph);
    ASSERT_TRUE(valid.ok()) << valid.ToString();
    const auto y = RunGraph(std::make_shared<const Graph>(quantized->graph), {1, 2});
    EXPECT_NEAR(y[0], 5, 0.3);
    EXPECT_NEAR(y[1], 100, 0.3);
    EXPECT_NEAR(y[2], 2, 0.3);
  }
}

TEST(Rewrite, InputsThatAreAlwaysZero) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 2});
  const GraphPtr fp32 = b.Finish({b.Apply(runtime::FullyConnected{}, {x, b.Constant<float>({2, 2}, {1, 2, 3, 4})})});
  const auto quantized = RewriteAll(*fp32, Precision::kInt8, Examples("a0", {1, 2}, {0, 0}));
  ASSERT_TRUE(quantized) << quantized.error().ToString();
  EXPECT_THAT(RunGraph(std::make_shared<const Graph>(quantized->graph), {0, 0}), ElementsAre(0, 0));
}

TEST(Rewrite, SumsTooLongForInt32KeepFp32Arithmetic) {
  const std::int64_t k = runtime::kInt8ReductionMax + 1;
  GraphBuilder b;
  const TensorId x = b.Input({1, k});
  const GraphPtr fp32 = b.Finish({b.Apply(runtime::FullyConnected{}, {x, b.Constant<float>({1, k}, Random(k, 1))})});
  const auto quantized = RewriteAll(*fp32, Precision::kInt8, ExamplesFor(*fp32, 1, 2));
  ASSERT_TRUE(quantized) << quantized.error().ToString();
  EXPECT_EQ(quantized->nodes[0].precision, Precision::kInt8Weights);
  EXPECT_EQ(quantized->graph.nodes.size(), 1U);
}

// Recurrent layers and embeddings: weights alone.
TEST(Rewrite, RecurrentLayersKeepFp32Arithmetic) {
  runtime::FoldingBuilder b("lstm");
  const TensorId x = b.AddInput("x", DataType::kFloat32, {5, 1, 8});
  const auto constant = [&](const char* name, Shape shape, std::uint64_t seed) {
    const auto values = Random(runtime::ElementCount(shape), seed, -0.5F, 0.5F);
    return *b.AddConstant(name, DataType::kFloat32, shape, std::as_bytes(std::span(values)));
  };
  const TensorId w = constant("w", {1, 24, 8}, 1);
  const TensorId r = constant("r", {1, 24, 6}, 2);
  const auto y = b.AddNode("lstm", runtime::Lstm{.hidden = 6}, {x, w, r}, {"y"});
  ASSERT_TRUE(y) << y.error().ToString();
  const auto fp32 = std::make_shared<const Graph>(std::move(b).Finish({{(*y)[0], "y"}}));
  for (const auto& [precision, type, snr] : {std::tuple{Precision::kInt8, DataType::kInt8, 35.0},
                                             {Precision::kInt4, DataType::kInt4, 12.0},
                                             {Precision::kFp16, DataType::kFloat16, 60.0},
                                             {Precision::kBf16, DataType::kBFloat16, 35.0}}) {
    const arrays::Archive examples = Examples("x", {10, 1, 8}, Random(80, 3));
    const auto quantized = RewriteAll(*fp32, precision, examples);
    ASSERT_TRUE(quantized) << quantized.error().ToString();
    EXPECT_EQ(Find(quantized->graph, "w")->type, type);
    EXPECT_EQ(Find(quantized->graph, "r")->type, type);
    EXPECT_EQ(quantized->graph.nodes.size(), 1U);
    EXPECT_GT(OutputSnr(fp32, std::make_shared<const Graph>(quantized->graph), examples, 2), snr);
  }
}

TEST(Rewrite, EmbeddingsAreInt8) {
  runtime::FoldingBuilder b("embedding");
  const TensorId ids = b.AddInput("ids", DataType::kInt64, {1, 3});
  const auto entries = Random(80, 1);
  const TensorId table = *b.AddConstant("table", DataType::kFloat32, {20, 4}, std::as_bytes(std::span(entries)));
  const auto rows = b.AddNode("gather", runtime::Gather{0}, {table, ids}, {"rows"});
  ASSERT_TRUE(rows) << rows.error().ToString();
  const auto fp32 = std::make_shared<const Graph>(std::move(b).Finish({{(*rows)[0], "rows"}}));
  arrays::Archive examples;
  const std::vector<std::int64_t> indices{0, 7, 19};
  examples.emplace("ids", arrays::MakeArray<std::int64_t>({1, 3}, indices));
  const auto quantized = RewriteAll(*fp32, Precision::kInt8, examples);
  ASSERT_TRUE(quantized) << quantized.error().ToString();
  EXPECT_EQ(Find(quantized->graph, "table")->type, DataType::kInt8);
  const auto runner = ExampleRunner::Create(std::make_shared<const Graph>(quantized->graph), examples);
  ASSERT_TRUE(runner) << runner.error().ToString();
  ASSERT_TRUE((*runner)->Run(0).ok());
  const auto values = Floats(*Find(*fp32, "table"));
  const auto outputs = (*runner)->Outputs();
  for (std::size_t i = 0; i < 12; ++i) {
    EXPECT_NEAR(outputs[i], values[static_cast<std::size_t>(indices[i / 4]) * 4 + i % 4], 0.51 * 2 / 255);
  }
}

TEST(Calibrate, FindsRangesAndChannelMeans) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 2});
  const TensorId m = b.Apply(runtime::FullyConnected{}, {x, b.Constant<float>({1, 2}, {1, -2})});
  const TensorId r = b.Apply(runtime::testing::ReluOp(), {m});
  const GraphPtr graph = b.Finish({b.Apply(AddOp(), {m, r})});
  const auto calibration = Calibrate(graph, Examples("a0", {3, 2}, {1, 0, 5, 1, 0, 2}));
  ASSERT_TRUE(calibration) << calibration.error().ToString();
  EXPECT_EQ(calibration->examples, 3U);
  const auto& seen = [&](TensorId id) -> const TensorStatistics& { return calibration->tensors[static_cast<std::size_t>(id)]; };
  EXPECT_EQ(seen(x).max(), 5);
  EXPECT_EQ(seen(m).min(), -4);
  EXPECT_EQ(seen(m).max(), 3);
  EXPECT_EQ(seen(r).min(), 0);
  EXPECT_THAT(calibration->channel_means[static_cast<std::size_t>(x)], ElementsAre(2, 1));
}

TEST(Calibrate, RefusesDataThatDoesNotFit) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 2});
  const GraphPtr graph = b.Finish({b.Apply(runtime::FullyConnected{}, {x, b.Constant<float>({1, 2}, {3e38F, 3e38F})})});
  const auto refusal = [&](const arrays::Archive& examples) {
    const auto calibration = Calibrate(graph, examples);
    if (calibration) return std::string("accepted");
    EXPECT_EQ(calibration.error().reason(), "BAD_CALIBRATION");
    return calibration.error().message();
  };
  arrays::Archive integers;
  integers.emplace("a0", arrays::MakeArray<std::int64_t>({1, 2}, std::vector<std::int64_t>{1, 2}));
  EXPECT_THAT(refusal({}), HasSubstr("no array 'a0'"));
  EXPECT_THAT(refusal(Examples("a0", {2, 3}, Random(6, 1))), HasSubstr("must be float32 [examples, 2]"));
  EXPECT_THAT(refusal(integers), HasSubstr("must be float32 [examples, 2]"));
  EXPECT_THAT(refusal(Examples("a0", {0, 2}, {})), HasSubstr("an example or more"));
  EXPECT_THAT(refusal(Examples("a0", {1, 2}, {1, NAN})), HasSubstr("NaN or infinity"));
  EXPECT_THAT(refusal(Examples("a0", {1, 2}, {1, 1})), HasSubstr("'a2' becomes NaN or infinite"));
}

// Two layers; `skew` makes the first's channels differ in size, and the second undoes it.
GraphPtr TwoLayers(float skew, std::uint64_t seed = 1, float change = 0) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 16});
  std::vector<float> w1 = Weights({32, 16}, seed);
  std::vector<float> b1 = Random(32, seed + 1, -0.3F, 0.3F);
  std::vector<float> w2 = Weights({8, 32}, seed + 2);
  for (std::size_t h = 0; h < 32; ++h) {
    const float scale = std::pow(skew, static_cast<float>(h % 4));
    for (std::size_t i = 0; i < 16; ++i) w1[h * 16 + i] *= scale;
    b1[h] *= scale;
    for (std::size_t o = 0; o < 8; ++o) w2[o * 32 + h] /= scale;
  }
  const std::vector<float> noise = Random(512, 99, -change, change);
  for (std::size_t i = 0; i < w1.size(); ++i) w1[i] += noise[i];
  const TensorId hidden =
      b.Apply(runtime::FullyConnected{{UnaryKind::kRelu}}, {x, b.Constant<float>({32, 16}, w1), b.Constant<float>({32}, b1)});
  return b.Finish({b.Apply(runtime::FullyConnected{}, {hidden, b.Constant<float>({8, 32}, w2)})});
}

Result<SearchResult> SearchFor(VariantPrecision precision, SearchInput input, const Graph* former = nullptr) {
  EF_ASSIGN_OR_RETURN(const auto quantizer, Quantizer::Create(std::move(input)));
  return quantizer->Quantize(precision, former);
}

bool Chosen(const SearchResult& result, std::string_view what) {
  return std::ranges::any_of(result.decisions,
                             [&](const Decision& each) { return each.what.find(what) != std::string::npos && each.chosen; });
}

TEST(Equalize, KeepsTheFunction) {
  const GraphPtr graph = TwoLayers(8);
  Graph equal = *graph;
  const auto pairs = Equalize(equal);
  ASSERT_TRUE(pairs);
  EXPECT_EQ(*pairs, 1U);
  EXPECT_EQ(Floats(graph->tensor(graph->nodes[0].inputs[1]))[0], Floats(TwoLayers(8)->tensor(1))[0]);
  const auto x = Random(16, 5);
  const auto before = RunGraph(graph, x);
  const auto after = RunGraph(std::make_shared<const Graph>(equal), x);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 1e-5);
}

TEST(Equalize, PairsNeedOneReaderAndAHomogeneousFunction) {
  const auto pairs_of = [](UnaryKind kind, bool second_reader) {
    GraphBuilder b;
    const TensorId x = b.Input({1, 4});
    const TensorId h = b.Apply(runtime::FullyConnected{}, {x, b.Constant<float>({4, 4}, Random(16, 1))});
    const TensorId f = b.Apply(runtime::Unary{{kind, 0.1F, 1}}, {h});
    const TensorId y = b.Apply(runtime::FullyConnected{}, {f, b.Constant<float>({4, 4}, Random(16, 2))});
    return LayerPairs(*b.Finish({second_reader ? b.Apply(AddOp(), {y, f}) : y})).size();
  };
  EXPECT_EQ(pairs_of(UnaryKind::kRelu, false), 1U);
  EXPECT_EQ(pairs_of(UnaryKind::kLeakyRelu, false), 1U);
  EXPECT_EQ(pairs_of(UnaryKind::kClip, false), 0U);
  EXPECT_EQ(pairs_of(UnaryKind::kSigmoid, false), 0U);
  EXPECT_EQ(pairs_of(UnaryKind::kRelu, true), 0U);
}

TEST(Search, EqualizesWhereThatHelps) {
  const GraphPtr graph = TwoLayers(12);
  const arrays::Archive examples = ExamplesFor(*graph, 64, 3);
  SearchInput input{.fp32 = graph, .calibration = &examples};
  input.options.per_tensor_weights = true;
  const auto skewed = SearchFor(VariantPrecision::kInt8, input);
  ASSERT_TRUE(skewed) << skewed.error().ToString();
  EXPECT_TRUE(Chosen(*skewed, "equalization"));
  EXPECT_GT(skewed->output_error->snr_db, 25);
  const auto plain = RewriteAll(*graph, Precision::kInt8, examples);
  EXPECT_EQ(skewed->layer_errors.size(), 2U);
  EXPECT_GT(skewed->layer_errors[1]->snr_db, 25);
}

// Inputs whose mean is far from zero make rounding errors of the weights add up.
TEST(Search, CorrectsBiasesWhereThatHelps) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 64});
  const GraphPtr graph = b.Finish({b.Apply(runtime::FullyConnected{}, {x, b.Constant<float>({16, 64}, Weights({16, 64}, 1))})});
  const arrays::Archive examples = Examples("a0", {64, 64}, Random(64 * 64, 2, 3, 4));
  const auto result = SearchFor(VariantPrecision::kInt4, {.fp32 = graph, .calibration = &examples});
  ASSERT_TRUE(result) << result.error().ToString();
  EXPECT_TRUE(Chosen(*result, "bias correction"));
  const auto without = RewriteAll(*graph, Precision::kInt4, examples);
  EXPECT_GT(result->output_error->snr_db, OutputSnr(graph, std::make_shared<const Graph>(without->graph), examples, 64) + 3);
}

TEST(Search, Int8NeedsCalibrationDataAndWeightsAloneDoNot) {
  const GraphPtr graph = TwoLayers(1);
  EXPECT_EQ(SearchFor(VariantPrecision::kInt8, {.fp32 = graph}).error().reason(), "BAD_CALIBRATION");
  for (const VariantPrecision precision :
       {VariantPrecision::kFp16, VariantPrecision::kBf16, VariantPrecision::kInt4, VariantPrecision::kMixed}) {
    const auto result = SearchFor(precision, {.fp32 = graph});
    ASSERT_TRUE(result) << result.error().ToString();
    EXPECT_TRUE(runtime::ValidateGraph(result->quantized.graph).ok());
    EXPECT_FALSE(result->output_error);
  }
}

std::size_t SameBytes(const Graph& a, const Graph& b, std::string_view name) {
  const runtime::Tensor* left = Find(a, name);
  const runtime::Tensor* right = Find(b, name);
  std::size_t same = 0;
  for (std::size_t i = 0; i < left->data.size(); ++i) same += left->data[i] == right->data[i] ? 1 : 0;
  return same;
}

TEST(Search, AnUpdateUsesTheFormerScalesWhileTheyAreAsGood) {
  const GraphPtr old_graph = TwoLayers(1);
  const arrays::Archive examples = ExamplesFor(*old_graph, 64, 3);
  for (const VariantPrecision precision : {VariantPrecision::kInt8, VariantPrecision::kInt4}) {
    const auto former = SearchFor(precision, {.fp32 = old_graph, .calibration = &examples});
    ASSERT_TRUE(former);
    // A small change, as after a round of training; its largest weights differ, so that new scales would differ. int4's scales
    // are the best for the weights as they were, so that less of a change makes them worse.
    const GraphPtr near = TwoLayers(1, 1, precision == VariantPrecision::kInt8 ? 0.002F : 0.0005F);
    const auto frozen = SearchFor(precision, {.fp32 = near, .calibration = &examples}, &former->quantized.graph);
    ASSERT_TRUE(frozen) << frozen.error().ToString();
    EXPECT_TRUE(Chosen(*frozen, "scales of the version before")) << frozen->decisions.back().why;
    const std::string weights = near->tensor(near->nodes[0].inputs[1]).name;
    if (precision == VariantPrecision::kInt8) {
      EXPECT_EQ(Find(frozen->quantized.graph, weights)->quantization, Find(former->quantized.graph, weights)->quantization);
    }
    const auto fresh = SearchFor(precision, {.fp32 = near, .calibration = &examples});
    EXPECT_GT(SameBytes(frozen->quantized.graph, former->quantized.graph, weights),
              SameBytes(fresh->quantized.graph, former->quantized.graph, weights));
    // Another network of the same shape.
    const GraphPtr far = TwoLayers(6, 77);
    const auto renewed = SearchFor(precision, {.fp32 = far, .calibration = &examples}, &former->quantized.graph);
    ASSERT_TRUE(renewed) << renewed.error().ToString();
    EXPECT_FALSE(Chosen(*renewed, "scales of the version before"));
  }
}

// The score falls with the output error: the layer that is worst in int4 gets fp16.
TEST(Search, RaisesSensitiveLayersWhenTheLimitIsMissed) {
  const GraphPtr graph = TwoLayers(1);
  const arrays::Archive examples = ExamplesFor(*graph, 16, 3);
  const Score score = [&](GraphPtr measured) -> Result<double> {
    return std::min(1.0, OutputSnr(graph, measured, examples, 16) / 60);
  };
  const auto result =
      SearchFor(VariantPrecision::kInt4, {.fp32 = graph, .calibration = &examples, .score = score, .score_drop_max = 0.05});
  ASSERT_TRUE(result) << result.error().ToString();
  EXPECT_TRUE(Chosen(*result, "most sensitive layers"));
  ASSERT_EQ(result->sensitivity.size(), 2U);
  EXPECT_TRUE(result->sensitivity[0].score_drop);
  const std::size_t worst = result->sensitivity[0].snr_db < result->sensitivity[1].snr_db ? 0 : 1;
  EXPECT_EQ(result->quantized.nodes[worst].precision, Precision::kFp16);
  EXPECT_EQ(result->quantized.nodes[1 - worst].precision, Precision::kInt4);
}

std::uint64_t WeightBytes(const QuantizedGraph& quantized) {
  std::uint64_t bytes = 0;
  for (const NodeQuantization& node : quantized.nodes) bytes += node.weight_bytes;
  return bytes;
}

TEST(Search, MixedKeepsItsBudget) {
  const GraphPtr graph = WholeNetwork();
  const arrays::Archive examples = ExamplesFor(*graph, 16, 3);
  double last_snr = 0;
  for (const double share : {0.17, 0.26, 0.4}) {
    SearchInput input{.fp32 = graph, .calibration = &examples};
    input.options.size_share_max = share;
    const auto result = SearchFor(VariantPrecision::kMixed, input);
    ASSERT_TRUE(result) << result.error().ToString();
    std::int64_t parameters = 0;
    for (const runtime::Node& node : graph->nodes) {
      if (WeightedLayerOf(*graph, node)) parameters += runtime::ElementCount(graph->tensor(node.inputs[1]).shape);
    }
    EXPECT_LE(static_cast<double>(WeightBytes(result->quantized)), share * 4 * static_cast<double>(parameters));
    EXPECT_GT(result->output_error->snr_db, last_snr - 1);
    last_snr = result->output_error->snr_db;
    EXPECT_TRUE(runtime::ValidateGraph(result->quantized.graph).ok());
  }
  // Without a budget for size: what 20 dB need.
  const auto result = SearchFor(VariantPrecision::kMixed, {.fp32 = graph, .calibration = &examples});
  ASSERT_TRUE(result) << result.error().ToString();
  EXPECT_GT(result->output_error->snr_db, 15);
}

TEST(Prune, WeightsBecomeZeroInACopy) {
  const GraphPtr graph = WholeNetwork();
  Graph pruned = *graph;
  ASSERT_TRUE(PruneWeights(pruned, 0.5).ok());
  std::ptrdiff_t zeros = 0;
  std::size_t all = 0;
  for (std::size_t i = 0; i < graph->nodes.size(); ++i) {
    if (!WeightedLayerOf(*graph, graph->nodes[i])) continue;
    const auto after = Floats(pruned.tensor(pruned.nodes[i].inputs[1]));
    const auto before = Floats(graph->tensor(graph->nodes[i].inputs[1]));
    zeros += std::ranges::count(after, 0.0F);
    all += after.size();
    EXPECT_EQ(std::ranges::count(before, 0.0F), 0);
  }
  EXPECT_EQ(zeros, static_cast<std::ptrdiff_t>(all / 2));
}

// Channels whose weights and biases are zero go without a trace.
TEST(Prune, ChannelsLeaveTheGraph) {
  GraphBuilder b;
  const TensorId x = b.Input({1, 3, 6, 6});
  std::vector<float> w1 = Weights({8, 3, 3, 3}, 1);
  std::vector<float> b1 = Random(8, 2, 0.1F, 0.2F);
  for (const std::size_t dead : {1, 6}) {
    std::fill_n(w1.begin() + static_cast<std::ptrdiff_t>(dead * 27), 27, 0.0F);
    b1[dead] = 0;
  }
  const TensorId c = b.Apply(runtime::Conv2d{.activation = {UnaryKind::kRelu}},
                             {x, b.Constant<float>({8, 3, 3, 3}, w1), b.Constant<float>({8}, b1)});
  const TensorId p = b.Apply(runtime::Pool2d{.kernel = {2, 2}, .strides = {2, 2}}, {c});
  const TensorId f = b.Apply(runtime::Flatten{}, {p});
  const GraphPtr graph = b.Finish({b.Apply(runtime::FullyConnected{}, {f, b.Constant<float>({5, 32}, Weights({5, 32}, 3))})});
  const auto pruned = PruneChannels(*graph, 0.25);
  ASSERT_TRUE(pruned) << pruned.error().ToString();
  EXPECT_EQ(pruned->tensor(pruned->nodes[0].inputs[1]).shape, (Shape{6, 3, 3, 3}));
  EXPECT_EQ(pruned->tensor(pruned->nodes[3].inputs[1]).shape, (Shape{5, 24}));
  EXPECT_EQ(pruned->dynamic.size(), graph->dynamic.size());
  const auto image = Random(108, 4);
  const auto before = RunGraph(graph, image);
  const auto after = RunGraph(std::make_shared<const Graph>(*pruned), image);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 1e-5);
}

TEST(Options, PrecisionsHaveNames) {
  for (const char* name : {"fp32", "fp16", "bf16", "int8", "int4", "mixed"}) {
    ASSERT_TRUE(ParseVariantPrecision(name));
    EXPECT_EQ(VariantPrecisionName(*ParseVariantPrecision(name)), name);
  }
  EXPECT_FALSE(ParseVariantPrecision("int3"));
}

}  // namespace
}  // namespace edgefleet::compiler
