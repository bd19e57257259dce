#include "registry/compiler/passes.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/random.h"
#include "device_client/runtime/parameters.h"
#include "tests/compiler/onnx_model.h"

namespace edgefleet::compiler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<float> Random(std::size_t count, std::uint64_t seed, float low = -1, float high = 1) {
  SeededRandom random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = low + (high - low) * static_cast<float>(random.Unit());
  return values;
}

void ExpectClose(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4F * (1 + std::abs(a[i]))) << "at " << i;
}

void AddBatchNormalization(OnnxModel& model, const std::string& input, const std::string& output, std::int64_t channels) {
  const auto n = static_cast<std::size_t>(channels);
  const std::string prefix = output + "_bn_";
  model.Floats(prefix + "scale", {channels}, Random(n, 11)).Floats(prefix + "bias", {channels}, Random(n, 12));
  model.Floats(prefix + "mean", {channels}, Random(n, 13)).Floats(prefix + "var", {channels}, Random(n, 14, 0.1F, 2));
  model.Node("BatchNormalization", {input, prefix + "scale", prefix + "bias", prefix + "mean", prefix + "var"}, output);
}

OnnxModel ConvBatchNormRelu(bool with_bias) {
  OnnxModel model;
  model.Input("x", {3, 6, 6}).Output("y").Floats("w", {4, 3, 3, 3}, Random(108, 1)).Floats("b", {4}, Random(4, 2));
  std::vector<std::string> inputs{"x", "w"};
  if (with_bias) inputs.push_back("b");
  SetInts(model.Node("Conv", inputs, "c"), "pads", {1, 1, 1, 1});
  AddBatchNormalization(model, "c", "n", 4);
  model.Node("Relu", {"n"}, "y");
  return model;
}

// What the network computes with every normalization left where it is.
Result<runtime::Graph> Unfolded(const OnnxModel& model) {
  EF_ASSIGN_OR_RETURN(IrGraph graph, ImportOnnx(model.bytes()));
  RemoveIdentities(graph);
  EF_RETURN_IF_ERROR(ExpandAffine(graph));
  return Lower(graph);
}

TEST(Passes, FoldedBatchNormalizationComputesTheSame) {
  for (const bool with_bias : {true, false}) {
    const OnnxModel model = ConvBatchNormRelu(with_bias);
    const auto folded = Import(model);
    const auto unfolded = Unfolded(model);
    ASSERT_TRUE(folded && unfolded);
    EXPECT_EQ(folded->nodes.size(), 1U);
    EXPECT_EQ(unfolded->nodes.size(), 3U);
    const auto input = Random(108, 3, -2, 2);
    ExpectClose(RunGraph(*folded, input), RunGraph(*unfolded, input));
  }
}

TEST(Passes, BatchNormalizationAfterGemmFolds) {
  OnnxModel model;
  model.Input("x", {5}).Output("y").Floats("w", {3, 5}, Random(15, 1));
  SetInt(model.Node("Gemm", {"x", "w"}, "g"), "transB", 1);
  AddBatchNormalization(model, "g", "y", 3);
  const auto folded = Import(model);
  ASSERT_TRUE(folded) << folded.error().ToString();
  ASSERT_EQ(folded->nodes.size(), 1U);
  const auto input = Random(5, 4);
  const auto scale = Random(3, 11), bias = Random(3, 12), mean = Random(3, 13), var = Random(3, 14, 0.1F, 2), w = Random(15, 1);
  std::vector<float> expected;
  for (std::size_t o = 0; o < 3; ++o) {
    double g = 0;
    for (std::size_t i = 0; i < 5; ++i) g += double{w[o * 5 + i]} * input[i];
    expected.push_back(static_cast<float>(scale[o] * (g - mean[o]) / std::sqrt(var[o] + 1e-5) + bias[o]));
  }
  ExpectClose(RunGraph(*folded, input), expected);
}

TEST(Passes, AValueThatOthersReadIsNotFolded) {
  OnnxModel model;
  model.Input("x", {3, 4, 4}).Output("y").Floats("w", {3, 3, 1, 1}, Random(9, 1));
  model.Node("Conv", {"x", "w"}, "c");
  AddBatchNormalization(model, "c", "n", 3);
  model.Node("Relu", {"c"}, "r");
  model.Node("Add", {"n", "r"}, "y");
  const auto folded = Import(model);
  const auto unfolded = Unfolded(model);
  ASSERT_TRUE(folded && unfolded);
  EXPECT_EQ(folded->nodes.size(), 4U);
  const auto input = Random(48, 5);
  ExpectClose(RunGraph(*folded, input), RunGraph(*unfolded, input));
}

TEST(Passes, SharedWeightsAreCopiedBeforeTheyAreScaled) {
  OnnxModel model;
  model.Input("x", {2, 3, 3}).Output("y").Floats("w", {2, 2, 1, 1}, Random(4, 1));
  model.Node("Conv", {"x", "w"}, "c");
  AddBatchNormalization(model, "c", "n", 2);
  model.Node("Conv", {"n", "w"}, "y");
  const auto folded = Import(model);
  const auto unfolded = Unfolded(model);
  ASSERT_TRUE(folded && unfolded);
  EXPECT_EQ(folded->nodes.size(), 2U);
  EXPECT_EQ(folded->parameters.size(), 3U);
  const auto input = Random(18, 6);
  ExpectClose(RunGraph(*folded, input), RunGraph(*unfolded, input));
}

TEST(Passes, ReluFusesOnlyIntoItsSoleFeeder) {
  OnnxModel model;
  model.Input("x", {2}).Output("y").Floats("w", {2, 2}, {1, -1, 1, 1});
  model.Node("MatMul", {"x", "w"}, "m");
  model.Node("Relu", {"m"}, "r");
  model.Node("Add", {"m", "r"}, "s");
  model.Node("Relu", {"s"}, "y");
  const auto graph = Import(model);
  ASSERT_TRUE(graph);
  EXPECT_EQ(graph->nodes.size(), 3U);
  EXPECT_THAT(RunGraph(*graph, {1, 2}), ElementsAre(6, 2));
  EXPECT_THAT(RunGraph(*graph, {-1, -2}), ElementsAre(0, 0));
}

TEST(Passes, DeadNodesGo) {
  OnnxModel model;
  model.Input("x", {2}).Output("y").Floats("w", {2, 2}, {1, 2, 3, 4});
  model.Node("MatMul", {"x", "w"}, "unused");
  model.Node("Relu", {"unused"}, "unused_too");
  model.Node("Relu", {"x"}, "y");
  const auto graph = Import(model);
  ASSERT_TRUE(graph);
  EXPECT_EQ(graph->nodes.size(), 1U);
  EXPECT_TRUE(graph->parameters.empty());
}

TEST(Passes, ANormalizationOfFeaturesWithoutALayerIsRefused) {
  OnnxModel model;
  model.Input("x", {3}).Output("y");
  AddBatchNormalization(model, "x", "n", 3);
  model.Node("Relu", {"n"}, "y");
  const auto graph = Import(model);
  ASSERT_FALSE(graph);
  EXPECT_EQ(graph.error().reason(), "UNSUPPORTED_OPERATOR");
  EXPECT_THAT(graph.error().message(), HasSubstr("'n_n'"));
}

TEST(Passes, ParametersAreTheWeightsAndBiasesInOrder) {
  const auto graph = Import(ConvBatchNormRelu(false));
  ASSERT_TRUE(graph);
  std::vector<std::string> names;
  for (const auto id : graph->parameters) names.push_back(graph->tensors[static_cast<std::size_t>(id)].name);
  EXPECT_THAT(names, ElementsAre("w", "w_bias"));
  EXPECT_EQ(runtime::ParameterCount(*graph), 112);
}

}  // namespace
}  // namespace edgefleet::compiler
