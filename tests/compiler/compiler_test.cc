// The compiler as the registry uses it, on the demo's network and real images.
#include "registry/compiler/compiler.h"

#include <gmock/gmock.h>

#include <cstring>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/parameters.h"
#include "device_client/training/trainer.h"
#include "load_tests/fashion/fashion_data.h"
#include "load_tests/fashion/fashion_network.h"
#include "tests/compiler/onnx_model.h"

namespace edgefleet::compiler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The network after one pass over a part of the devices' images, and the data it was published with.
class FashionCompile : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto loaded = fashion::LoadFashionMnist();
    ASSERT_TRUE(loaded) << loaded.error().ToString();
    onnx_ = fashion::MakeFashionCnn(1);
    calibration_ = *arrays::WriteNpz(fashion::ToNpz(loaded->holdout, fashion::kCalibration, false));
    evaluation_ = *arrays::WriteNpz(fashion::ToNpz(loaded->test, 4'000, true));
    trained_ = Train(*loaded);
  }

  static std::vector<float> Train(const fashion::FashionMnist& data) {
    const auto untrained = Compile({.name = "fashion", .onnx = onnx_});
    if (!untrained) return {};
    const auto graph = std::make_shared<const runtime::Graph>(*runtime::LoadEfm(untrained->variants[0].efm));
    const auto trainer = training::Trainer::Create(graph, {.batch_size = 32});
    if (!trainer) return {};
    const auto shards = fashion::ShardIid(data.devices->size(), 6, 1);
    const fashion::ShardDataset dataset(data.devices, (*shards)[0]);
    const auto result = (*trainer)->Train(dataset, {.epochs = 1, .learning_rate = 0.05F, .seed = 1});
    return result ? result->parameters : std::vector<float>{};
  }

  static CompileInput Input() {
    return {.name = "fashion", .onnx = onnx_, .calibration = calibration_, .evaluation = evaluation_, .parameters = trained_};
  }

  static inline Bytes onnx_;
  static inline Bytes calibration_;
  static inline Bytes evaluation_;
  static inline std::vector<float> trained_;
};

TEST_F(FashionCompile, Int8IsSmallAndAsGoodAsFp32) {
  ASSERT_FALSE(trained_.empty());
  std::vector<std::string> stages;
  CompileInput input = Input();
  input.on_stage = [&](std::string_view stage) { stages.emplace_back(stage); };
  const auto output = Compile(input);
  ASSERT_TRUE(output) << output.error().ToString();
  EXPECT_FALSE(output->refusal) << *output->refusal;
  EXPECT_THAT(stages, ElementsAre("import", "calibrate", "quantize", "validate"));
  EXPECT_EQ(output->parameter_count, 105'866U);
  ASSERT_EQ(output->variants.size(), 2U);
  const Variant& fp32 = output->variants[0];
  const Variant& int8 = output->variants[1];
  EXPECT_TRUE(fp32.trainable);
  EXPECT_FALSE(int8.trainable);
  EXPECT_EQ(fp32.metrics->examples, 4'000U);
  EXPECT_GT(fp32.metrics->accuracy, 0.75);
  EXPECT_NEAR(int8.metrics->accuracy, fp32.metrics->accuracy, 0.01);
  EXPECT_LE(static_cast<double>(int8.efm.size()), 0.27 * static_cast<double>(fp32.efm.size()));

  const auto report = nlohmann::json::parse(output->report_json);
  EXPECT_EQ(report["decision"], "accepted");
  EXPECT_EQ(report["variants"].size(), 2U);
  EXPECT_EQ(report["variants"][1]["bytes"], int8.efm.size());
  EXPECT_EQ(report["layers"].size(), 7U);
  EXPECT_EQ(report["layers"][0]["precision"], "fp32");
  EXPECT_EQ(report["calibration"]["examples"], fashion::kCalibration);
  EXPECT_GT(report["variants"][1]["output_error"]["snr_db"], 20.0);
  const auto& conv = report["variants"][1]["layers"][0];
  EXPECT_EQ(conv["precision"], "int8");
  EXPECT_GT(conv["weight_snr_db"], 30.0);
  EXPECT_GT(conv["scale"], 0.0);
  EXPECT_GT(conv["output_error"]["snr_db"], 25.0);
  EXPECT_LE(conv["range_max"], conv["max"]);

  const auto measured = EvaluateParameters(fp32.efm, trained_, evaluation_);
  ASSERT_TRUE(measured) << measured.error().ToString();
  EXPECT_EQ(measured->accuracy, fp32.metrics->accuracy);
}

struct Bar {
  VariantPrecision precision;
  double drop_points_max;
  double size_share_max;
  CalibrationMethod method = CalibrationMethod::kMinMax;
};

// Sizes are shares of fp32 plus what a file of any precision has beside its constants: names, operators, scales.
TEST_F(FashionCompile, EveryPrecisionIsSmallAndGoodEnough) {
  ASSERT_FALSE(trained_.empty());
  const std::vector<Bar> bars = {
      {VariantPrecision::kInt8, 0.5, 0.26, CalibrationMethod::kMinMax},
      {VariantPrecision::kInt8, 0.5, 0.26, CalibrationMethod::kEntropy},
      {VariantPrecision::kInt8, 0.5, 0.26, CalibrationMethod::kPercentile},
      {VariantPrecision::kInt4, 2, 0.14},
      {VariantPrecision::kFp16, 0.1, 0.505},
      {VariantPrecision::kBf16, 0.1, 0.505},
  };
  for (const Bar& bar : bars) {
    CompileInput input = Input();
    input.options.accuracy_drop_points_max = bar.drop_points_max;
    input.options.precisions = {bar.precision};
    input.options.quantization.calibration.method = bar.method;
    const auto output = Compile(input);
    ASSERT_TRUE(output) << output.error().ToString();
    ASSERT_EQ(output->variants.size(), 2U);
    EXPECT_FALSE(output->refusal) << *output->refusal;
    const Variant& fp32 = output->variants[0];
    const Variant& variant = output->variants[1];
    const std::string what = variant.name + ", " + std::string(CalibrationMethodName(bar.method));
    EXPECT_LE(100 * (fp32.metrics->accuracy - variant.metrics->accuracy), bar.drop_points_max) << what;
    const double constants = bar.size_share_max * 4 * static_cast<double>(output->parameter_count);
    const double rest = static_cast<double>(fp32.efm.size()) - 4 * static_cast<double>(output->parameter_count);
    EXPECT_LE(static_cast<double>(variant.efm.size()), constants + rest) << what;
  }
}

TEST_F(FashionCompile, OtherParametersKeepTheLayoutAndTheirValues) {
  const auto first = Compile({.name = "fashion", .onnx = onnx_});
  const auto second = Compile({.name = "fashion", .onnx = onnx_, .parameters = trained_});
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->layout_sha256, second->layout_sha256);
  EXPECT_NE(first->variants[0].efm, second->variants[0].efm);
  const auto graph = runtime::LoadEfm(second->variants[0].efm);
  ASSERT_TRUE(graph);
  EXPECT_EQ(runtime::LayoutSha256(*graph), first->layout_sha256);
  EXPECT_EQ(runtime::ReadParameters(*graph), trained_);
  EXPECT_FALSE(second->variants[0].metrics);
  EXPECT_EQ(Compile({.name = "fashion", .onnx = onnx_, .parameters = trained_})->variants[0].efm, second->variants[0].efm);
}

TEST_F(FashionCompile, BadParametersAreRefused) {
  const auto compiled = Compile({.name = "fashion", .onnx = onnx_});
  ASSERT_TRUE(compiled);
  const std::vector<float> few(10);
  std::vector<float> broken = trained_;
  broken[5] = std::numeric_limits<float>::quiet_NaN();
  for (const auto& parameters : {few, broken}) {
    EXPECT_EQ(Compile({.name = "fashion", .onnx = onnx_, .parameters = parameters}).error().reason(), "BAD_PARAMETERS");
    EXPECT_EQ(EvaluateParameters(compiled->variants[0].efm, parameters, evaluation_).error().reason(), "BAD_PARAMETERS");
  }
}

TEST_F(FashionCompile, BadDataIsRefusedWithTheArraysName) {
  arrays::Archive archive = *arrays::ReadNpz(evaluation_);
  const auto refusal = [&] {
    const Bytes npz = *arrays::WriteNpz(archive);
    const auto output = Compile({.name = "fashion", .onnx = onnx_, .evaluation = npz});
    return output ? "accepted" : output.error().reason() + ": " + output.error().message();
  };
  const arrays::Array labels = archive.at("labels");
  const std::int64_t eleven = 11;
  std::memcpy(archive.at("labels").data.data(), &eleven, sizeof eleven);
  EXPECT_THAT(refusal(), HasSubstr("BAD_EVALUATION: label 11"));
  archive.erase("labels");
  EXPECT_THAT(refusal(), HasSubstr("no array 'labels'"));
  archive.emplace("labels", arrays::MakeArray<std::int64_t>({2}, std::vector<std::int64_t>{1, 2}));
  EXPECT_THAT(refusal(), HasSubstr("one label an example"));
  archive.erase("image");
  EXPECT_THAT(refusal(), HasSubstr("no array 'image'"));
  EXPECT_EQ(Compile({.name = "fashion", .onnx = onnx_, .calibration = AsBytes("no zip")}).error().reason(), "BAD_NPZ");
}

TEST(Compile, OptionsAndNetworkAreChecked) {
  EXPECT_EQ(Compile({.name = "x", .options = {.accuracy_drop_points_max = 0}}).error().reason(), "BAD_OPTIONS");
  EXPECT_EQ(Compile({.name = "x", .options = {.accuracy_drop_points_max = std::numeric_limits<double>::quiet_NaN()}})
                .error()
                .reason(),
            "BAD_OPTIONS");
  EXPECT_EQ(Compile({.name = ""}).error().reason(), "BAD_OPTIONS");
  EXPECT_EQ(Compile({.name = "x", .onnx = AsBytes("junk")}).error().reason(), "BAD_ONNX");
}

// Calibrated on data that is nothing like the evaluation's, int8 must lose too much, and say so.
TEST(Compile, AnInt8VariantThatLosesTooMuchIsRefused) {
  OnnxModel model;
  model.Input("x", {1}).Output("y").Floats("w", {2, 1}, {1, -1}).Floats("b", {2}, {-50, 50});
  SetInt(model.Node("Gemm", {"x", "w", "b"}, "y"), "transB", 1);
  const Bytes onnx = model.bytes();
  std::vector<float> inputs;
  std::vector<std::int64_t> labels;
  for (int i = 0; i < 100; ++i) {
    inputs.push_back(static_cast<float>(i));
    labels.push_back(i >= 50 ? 0 : 1);
  }
  arrays::Archive evaluation;
  evaluation.emplace("x", arrays::MakeArray<float>({100, 1}, inputs));
  evaluation.emplace("labels", arrays::MakeArray<std::int64_t>({100}, labels));
  arrays::Archive calibration;
  calibration.emplace("x", arrays::MakeArray<float>({2, 1}, std::vector<float>{0, 1}));
  const Bytes evaluation_npz = *arrays::WriteNpz(evaluation);
  const Bytes calibration_npz = *arrays::WriteNpz(calibration);
  const auto output = Compile({.name = "m", .onnx = onnx, .calibration = calibration_npz, .evaluation = evaluation_npz});
  ASSERT_TRUE(output) << output.error().ToString();
  EXPECT_EQ(output->variants[0].metrics->accuracy, 1);
  ASSERT_TRUE(output->refusal);
  EXPECT_THAT(*output->refusal, HasSubstr("loses 50.00 points"));
  EXPECT_EQ(nlohmann::json::parse(output->report_json)["decision"], "refused");
}

TEST(Compile, NamesThatAreNoTextStillMakeAReport) {
  OnnxModel model;
  model.Input("x", {2}).Output("y\xff");
  model.Node("Relu", {"x"}, "y\xff");
  const Bytes onnx = model.bytes();
  const auto output = Compile({.name = "m", .onnx = onnx});
  ASSERT_TRUE(output) << output.error().ToString();
  EXPECT_FALSE(output->variants[0].trainable);
  EXPECT_EQ(nlohmann::json::parse(output->report_json)["layers"].size(), 1U);
  EXPECT_THAT(output->report_html, HasSubstr("</html>"));
}

}  // namespace
}  // namespace edgefleet::compiler
