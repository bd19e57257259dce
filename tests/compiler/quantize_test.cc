#include "registry/compiler/quantize.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "base/random.h"
#include "device_client/runtime/validate.h"
#include "tests/compiler/onnx_model.h"

namespace edgefleet::compiler {
namespace {

using ::testing::HasSubstr;

std::vector<float> Random(std::size_t count, std::uint64_t seed, float low = -1, float high = 1) {
  SeededRandom random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = low + (high - low) * static_cast<float>(random.Unit());
  return values;
}

arrays::Archive Examples(const Dims& shape, const std::vector<float>& values) {
  arrays::Archive archive;
  archive.emplace("x", arrays::MakeArray<float>(shape, values));
  return archive;
}

Result<QuantizedGraph> QuantizeOn(const runtime::Graph& graph, const arrays::Archive& examples) {
  EF_ASSIGN_OR_RETURN(const Calibration calibration, Calibrate(std::make_shared<const runtime::Graph>(graph), examples));
  return QuantizeGraph(graph, calibration.ranges);
}

TEST(Calibrate, FindsTheRanges) {
  OnnxModel model;
  model.Input("x", {2}).Output("y").Floats("w", {2, 1}, {1, -2});
  model.Node("MatMul", {"x", "w"}, "m");
  model.Node("Relu", {"m"}, "r");
  model.Node("Add", {"m", "r"}, "y");
  const auto graph = Import(model);
  ASSERT_TRUE(graph);
  const auto calibration = Calibrate(std::make_shared<const runtime::Graph>(*graph), Examples({3, 2}, {1, 0, 5, 1, 0, 2}));
  ASSERT_TRUE(calibration) << calibration.error().ToString();
  EXPECT_EQ(calibration->examples, 3U);
  std::map<std::string, std::pair<float, float>> ranges;
  for (std::size_t i = 0; i < graph->tensors.size(); ++i) {
    ranges[graph->tensors[i].name] = {calibration->ranges[i].min, calibration->ranges[i].max};
  }
  EXPECT_EQ(ranges["x"], std::pair(0.0F, 5.0F));
  EXPECT_EQ(ranges["m"], std::pair(-4.0F, 3.0F));
  EXPECT_EQ(ranges["r"], std::pair(0.0F, 3.0F));
}

TEST(Calibrate, RefusesDataThatDoesNotFit) {
  OnnxModel model;
  model.Input("x", {2}).Output("y").Floats("w", {2, 1}, {3e38F, 3e38F});
  model.Node("MatMul", {"x", "w"}, "y");
  const auto graph = std::make_shared<const runtime::Graph>(*Import(model));
  const auto refusal = [&](const arrays::Archive& examples) {
    const auto calibration = Calibrate(graph, examples);
    if (calibration) return std::string("accepted");
    EXPECT_EQ(calibration.error().reason(), "BAD_CALIBRATION");
    return calibration.error().message();
  };
  EXPECT_THAT(refusal({}), HasSubstr("no array 'x'"));
  EXPECT_THAT(refusal(Examples({2, 3}, Iota(6))), HasSubstr("must be float32 [examples, 2]"));
  EXPECT_THAT(refusal(Examples({0, 2}, {})), HasSubstr("an example or more"));
  EXPECT_THAT(refusal(Examples({1, 2}, {1, NAN})), HasSubstr("NaN or infinity"));
  EXPECT_THAT(refusal(Examples({1, 2}, {1, 1})), HasSubstr("'y' becomes NaN or infinite"));
}

// One layer: the error of each output is bounded by the rounding of input, weights, bias and output.
TEST(Quantize, FullyConnectedErrorIsBounded) {
  constexpr std::size_t kIn = 32, kOut = 8, kExamples = 64;
  OnnxModel model;
  model.Input("x", {kIn}).Output("y").Floats("w", {kOut, kIn}, Random(kIn * kOut, 1)).Floats("b", {kOut}, Random(kOut, 2));
  SetInt(model.Node("Gemm", {"x", "w", "b"}, "y"), "transB", 1);
  const auto fp32 = Import(model);
  ASSERT_TRUE(fp32);
  const auto inputs = Random(kIn * kExamples, 3, -1, 2);
  const auto quantized = QuantizeOn(*fp32, Examples({kExamples, kIn}, inputs));
  ASSERT_TRUE(quantized) << quantized.error().ToString();
  ASSERT_TRUE(runtime::ValidateGraph(quantized->graph).ok());
  EXPECT_GT(*quantized->nodes[0].weight_snr_db, 40);
  const double input_step = 3.0 / 255, weight_step = 1.0 / 127;
  const double bound = kIn * (input_step / 2 * 1 + weight_step / 2 * 2) + 0.51 * quantized->nodes[0].output->scale;
  for (std::size_t e = 0; e < kExamples; ++e) {
    const std::vector<float> x(inputs.begin() + static_cast<std::ptrdiff_t>(e * kIn),
                               inputs.begin() + static_cast<std::ptrdiff_t>((e + 1) * kIn));
    const auto exact = RunGraph(*fp32, x);
    const auto rough = RunGraph(quantized->graph, x);
    double mean = 0;
    for (std::size_t o = 0; o < kOut; ++o) {
      EXPECT_NEAR(exact[o], rough[o], bound);
      mean += std::abs(exact[o] - rough[o]) / kOut;
    }
    EXPECT_LT(mean, bound / 5);
  }
}

// Every operator in one network, on both delegates.
TEST(Quantize, AWholeNetworkStaysClose) {
  OnnxModel model;
  model.Input("x", {2, 8, 8})
      .Output("y")
      .Floats("w", {4, 2, 3, 3}, Random(72, 1))
      .Floats("d", {5, 64}, Random(320, 2, -0.3F, 0.3F));
  SetInts(model.Node("Conv", {"x", "w"}, "c"), "pads", {1, 1, 1, 1});
  model.Node("Relu", {"c"}, "r");
  model.Node("Add", {"c", "r"}, "a");
  onnx::NodeProto& pool = model.Node("MaxPool", {"a"}, "p");
  SetInts(pool, "kernel_shape", {2, 2});
  SetInts(pool, "strides", {2, 2});
  onnx::NodeProto& average = model.Node("AveragePool", {"p"}, "v");
  SetInts(average, "kernel_shape", {1, 1});
  model.Node("Flatten", {"v"}, "f");
  SetInt(model.Node("Gemm", {"f", "d"}, "g"), "transB", 1);
  model.Node("Softmax", {"g"}, "y");
  const auto fp32 = Import(model);
  ASSERT_TRUE(fp32) << fp32.error().ToString();
  const auto inputs = Random(128 * 20, 3);
  const auto quantized = QuantizeOn(*fp32, Examples({20, 2, 8, 8}, inputs));
  ASSERT_TRUE(quantized) << quantized.error().ToString();
  const Status valid = runtime::ValidateGraph(quantized->graph);
  ASSERT_TRUE(valid.ok()) << valid.ToString();
  EXPECT_FALSE(quantized->nodes.back().int8);
  EXPECT_EQ(quantized->graph.tensors[static_cast<std::size_t>(quantized->graph.outputs[0])].name, "y");
  double error_sum = 0;
  for (std::size_t e = 0; e < 20; ++e) {
    const std::vector<float> x(inputs.begin() + static_cast<std::ptrdiff_t>(e * 128),
                               inputs.begin() + static_cast<std::ptrdiff_t>((e + 1) * 128));
    const auto exact = RunGraph(*fp32, x);
    for (const char* delegate : {"reference", "onednn"}) {
      const auto rough = RunGraph(quantized->graph, x, delegate);
      for (std::size_t o = 0; o < exact.size(); ++o) {
        EXPECT_NEAR(exact[o], rough[o], 0.1) << delegate;
        error_sum += std::abs(exact[o] - rough[o]);
      }
    }
  }
  EXPECT_LT(error_sum / (2 * 20 * 5), 0.02);
}

TEST(Quantize, ChannelsOfZerosAndBiasesFarAboveTheirWeights) {
  OnnxModel model;
  model.Input("x", {2}).Output("y").Floats("w", {3, 2}, {0, 0, 1e-12F, 0, 1, 1}).Floats("b", {3}, {5, 100, -1});
  SetInt(model.Node("Gemm", {"x", "w", "b"}, "y"), "transB", 1);
  const auto fp32 = Import(model);
  ASSERT_TRUE(fp32);
  const auto quantized = QuantizeOn(*fp32, Examples({2, 2}, {1, 2, -1, 0.5F}));
  ASSERT_TRUE(quantized) << quantized.error().ToString();
  const Status valid = runtime::ValidateGraph(quantized->graph);
  ASSERT_TRUE(valid.ok()) << valid.ToString();
  const auto y = RunGraph(quantized->graph, {1, 2});
  EXPECT_NEAR(y[0], 5, 0.3);
  EXPECT_NEAR(y[1], 100, 0.3);
  EXPECT_NEAR(y[2], 2, 0.3);
}

TEST(Quantize, InputsThatAreAlwaysZero) {
  OnnxModel model;
  model.Input("x", {2}).Output("y").Floats("w", {2, 2}, {1, 2, 3, 4});
  model.Node("MatMul", {"x", "w"}, "y");
  const auto fp32 = Import(model);
  ASSERT_TRUE(fp32);
  const auto quantized = QuantizeOn(*fp32, Examples({1, 2}, {0, 0}));
  ASSERT_TRUE(quantized) << quantized.error().ToString();
  EXPECT_THAT(RunGraph(quantized->graph, {0, 0}), ::testing::ElementsAre(0, 0));
}

}  // namespace
}  // namespace edgefleet::compiler
