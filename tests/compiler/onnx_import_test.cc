// Each operator against values worked out by hand.
#include <gmock/gmock.h>

#include <cmath>

#include "registry/compiler/onnx/import.h"
#include "tests/compiler/onnx_model.h"

namespace edgefleet::compiler {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::Pointwise;

MATCHER(NearlyEqual, "") { return std::abs(std::get<0>(arg) - std::get<1>(arg)) < 1e-5F; }

OnnxModel Image(int opset = 13, const Dims& dims = {1, 3, 3}) {
  OnnxModel model(opset);
  model.Input("x", dims).Output("y");
  return model;
}
OnnxModel Features(std::int64_t count, int opset = 13) {
  OnnxModel model(opset);
  model.Input("x", {count}).Output("y");
  return model;
}

std::string Refusal(const OnnxModel& model) {
  const auto graph = Import(model);
  return graph ? "accepted" : graph.error().reason() + ": " + graph.error().message();
}

TEST(OnnxImport, ConvWithPadsStridesAndBias) {
  OnnxModel model = Image();
  model.Floats("w", {1, 1, 2, 2}, {1, 2, 3, 4}).Floats("b", {1}, {10});
  onnx::NodeProto& conv = model.Node("Conv", {"x", "w", "b"}, "y");
  SetInts(conv, "pads", {1, 1, 0, 0});
  SetInts(conv, "strides", {2, 2});
  // x = 0..8; windows at rows and columns -1 and 1.
  EXPECT_THAT(RunModel(model, Iota(9)),
              ElementsAre(10 + 4 * 0, 10 + 3 * 1 + 4 * 2, 10 + 2 * 3 + 4 * 6, 10 + 4 + 2 * 5 + 3 * 7 + 4 * 8));
}

TEST(OnnxImport, GroupedAndDilatedConv) {
  OnnxModel model = Image(13, {2, 3, 3});
  model.Floats("w", {2, 1, 2, 2}, {1, 1, 1, 1, 1, 0, 0, -1});
  onnx::NodeProto& conv = model.Node("Conv", {"x", "w"}, "y");
  SetInts(conv, "dilations", {2, 2});
  SetInt(conv, "group", 2);
  EXPECT_THAT(RunModel(model, Iota(18)), ElementsAre(0 + 2 + 6 + 8, 9 - 17));
}

TEST(OnnxImport, AutoPadSameUpperAndLower) {
  for (const bool upper : {true, false}) {
    OnnxModel model = Image();
    model.Floats("w", {1, 1, 2, 2}, {1, 0, 0, 0});
    onnx::NodeProto& conv = model.Node("Conv", {"x", "w"}, "y");
    SetString(conv, "auto_pad", upper ? "SAME_UPPER" : "SAME_LOWER");
    const std::vector<float> expected = upper ? Iota(9) : std::vector<float>{0, 0, 0, 0, 0, 1, 0, 3, 4};
    EXPECT_THAT(RunModel(model, Iota(9)), Pointwise(NearlyEqual(), expected));
  }
}

TEST(OnnxImport, GemmInBothLayoutsWithAlphaAndBeta) {
  for (const bool transposed : {true, false}) {
    OnnxModel model = Features(2);
    model.Floats("w", transposed ? Dims{3, 2} : Dims{2, 3}, transposed ? std::vector<float>{1, 4, 2, 5, 3, 6} : Iota(6, 1));
    model.Floats("c", {1, 3}, {1, 2, 3});
    onnx::NodeProto& gemm = model.Node("Gemm", {"x", "w", "c"}, "y");
    SetInt(gemm, "transB", transposed ? 1 : 0);
    SetFloat(gemm, "alpha", 2);
    SetFloat(gemm, "beta", 0.5F);
    EXPECT_THAT(RunModel(model, {1, 10}), ElementsAre(2 * 41 + 0.5F, 2 * 52 + 1, 2 * 63 + 1.5F));
  }
}

TEST(OnnxImport, MatMulTakesTheFollowingAddAsItsBias) {
  OnnxModel model = Features(2);
  model.Floats("w", {2, 3}, Iota(6, 1)).Floats("c", {3}, {1, 2, 3});
  model.Node("MatMul", {"x", "w"}, "m");
  model.Node("Add", {"c", "m"}, "y");
  const auto graph = Import(model);
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_EQ(graph->nodes.size(), 1U);
  EXPECT_EQ(graph->parameters.size(), 2U);
  EXPECT_THAT(RunGraph(*graph, {1, 10}), ElementsAre(42, 54, 66));
}

TEST(OnnxImport, OneInitializerInTwoForms) {
  OnnxModel model = Features(2);
  model.Floats("w", {2, 2}, {1, 2, 3, 4});
  model.Node("MatMul", {"x", "w"}, "m");
  SetInt(model.Node("Gemm", {"m", "w"}, "y"), "transB", 1);
  // m = [1, 1] w = [4, 6]; y = m w^T.
  EXPECT_THAT(RunModel(model, {1, 1}), ElementsAre(4 + 12, 12 + 24));
}

TEST(OnnxImport, MaxPoolIgnoresPadsAndCeilModeAddsAWindow) {
  OnnxModel model = Image();
  onnx::NodeProto& pool = model.Node("MaxPool", {"x"}, "y");
  SetInts(pool, "kernel_shape", {2, 2});
  SetInts(pool, "strides", {2, 2});
  SetInt(pool, "ceil_mode", 1);
  std::vector<float> negative = Iota(9, -9);
  EXPECT_THAT(RunModel(model, negative), ElementsAre(-5, -4, -2, -1));
}

TEST(OnnxImport, AveragePoolWithAndWithoutPads) {
  for (const bool include : {true, false}) {
    OnnxModel model = Image(13, {1, 2, 2});
    onnx::NodeProto& pool = model.Node("AveragePool", {"x"}, "y");
    SetInts(pool, "kernel_shape", {2, 2});
    SetInts(pool, "strides", {2, 2});
    SetInts(pool, "pads", {1, 1, 1, 1});
    SetInt(pool, "count_include_pad", include ? 1 : 0);
    const float share = include ? 0.25F : 1.0F;
    EXPECT_THAT(RunModel(model, {1, 2, 3, 4}), ElementsAre(share, 2 * share, 3 * share, 4 * share));
  }
}

TEST(OnnxImport, GlobalAveragePoolFlattenSoftmax) {
  OnnxModel model = Image(13, {2, 2, 2});
  model.Node("GlobalAveragePool", {"x"}, "g");
  SetInt(model.Node("Flatten", {"g"}, "f"), "axis", -3);
  model.Node("Softmax", {"f"}, "y");
  const auto y = RunModel(model, {0, 0, 0, 0, 1, 1, 1, 1});
  EXPECT_THAT(y, ElementsAre(FloatNear(1 / (1 + std::exp(1.0F)), 1e-6F), FloatNear(1 / (1 + std::exp(-1.0F)), 1e-6F)));
}

TEST(OnnxImport, ReshapesThatFlatten) {
  for (const Dims& target : {Dims{0, -1}, Dims{-1, 9}, Dims{1, 9}, Dims{1, -1}, Dims{0, 9}}) {
    OnnxModel model = Image();
    model.Int64s("shape", {2}, target);
    model.Node("Reshape", {"x", "shape"}, "r");
    model.Node("Relu", {"r"}, "y");
    EXPECT_THAT(RunModel(model, Iota(9)), Pointwise(NearlyEqual(), Iota(9)));
  }
  OnnxModel model = Image();
  model.Int64s("shape", {3}, {-1, 3, 3});
  model.Node("Reshape", {"x", "shape"}, "y");
  EXPECT_THAT(RunModel(model, Iota(9)), Pointwise(NearlyEqual(), Iota(9)));
}

TEST(OnnxImport, ReluAndAddOfTwoActivations) {
  OnnxModel model = Features(3);
  model.Node("Relu", {"x"}, "r");
  model.Node("Add", {"x", "r"}, "s");
  model.Node("Relu", {"s"}, "y");
  EXPECT_THAT(RunModel(model, {-1, 0, 2}), ElementsAre(0, 0, 4));
}

TEST(OnnxImport, IdentityAndDropoutLeaveNoTrace) {
  OnnxModel model = Features(2, 12);
  model.Floats("ratio", {}, {0.5F});
  model.Node("Identity", {"x"}, "i");
  model.Node("Relu", {"i"}, "r");
  model.Node("Dropout", {"r", "ratio"}, "y");
  const auto graph = Import(model);
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_EQ(graph->nodes.size(), 1U);
  EXPECT_EQ(graph->tensors[static_cast<std::size_t>(graph->outputs[0])].name, "y");
  EXPECT_THAT(RunGraph(*graph, {-1, 1}), ElementsAre(0, 1));
}

TEST(OnnxImport, ConstantsInTheirForms) {
  OnnxModel model = Features(1);
  onnx::NodeProto& scalar = model.Node("Constant", {}, "c");
  SetFloat(scalar, "value_float", 3);
  onnx::NodeProto& tensor = model.Node("Constant", {}, "w");
  onnx::AttributeProto* value = tensor.add_attribute();
  value->set_name("value");
  value->set_type(onnx::AttributeProto::TENSOR);
  value->mutable_t()->set_data_type(onnx::TensorProto::FLOAT);
  value->mutable_t()->add_dims(1);
  value->mutable_t()->add_dims(2);
  const float raw[] = {2, 4};
  value->mutable_t()->set_raw_data(raw, sizeof raw);
  model.Node("MatMul", {"x", "w"}, "m");
  model.Node("Add", {"m", "c"}, "y");
  EXPECT_THAT(RunModel(model, {10}), ElementsAre(23, 43));
}

TEST(OnnxImport, BatchNormalizationAlone) {
  OnnxModel model = Image(9, {2, 1, 1});
  model.Floats("scale", {2}, {2, 3}).Floats("bias", {2}, {1, -1}).Floats("mean", {2}, {1, 2}).Floats("var", {2}, {4, 9});
  SetFloat(model.Node("BatchNormalization", {"x", "scale", "bias", "mean", "var"}, "y"), "epsilon", 0);
  EXPECT_THAT(RunModel(model, {5, 8}), ElementsAre(FloatNear(2 * 4 / 2.0F + 1, 1e-5F), FloatNear(3 * 6 / 3.0F - 1, 1e-5F)));
}

TEST(OnnxImport, OpsetsFrom7To18) {
  for (int opset = 6; opset <= 19; ++opset) {
    OnnxModel model = Features(2, opset);
    model.Node("Relu", {"x"}, "y");
    EXPECT_THAT(Refusal(model), HasSubstr(opset >= 7 && opset <= 18 ? "accepted" : "UNSUPPORTED_OPSET"));
  }
}

TEST(OnnxImport, InitializersMayBeListedAsInputs) {
  OnnxModel model = Features(2);
  model.Input("w", {2}).Floats("w", {2, 1}, {3, 4});
  model.Node("MatMul", {"x", "w"}, "y");
  EXPECT_THAT(RunModel(model, {1, 1}), ElementsAre(7));
}

TEST(OnnxImport, RefusalsNameTheNodeAndWhatToDo) {
  OnnxModel unknown = Features(2);
  unknown.Node("Multinomial", {"x"}, "y");
  EXPECT_THAT(Refusal(unknown), HasSubstr("UNSUPPORTED_OPERATOR: node 'n_y' (Multinomial, opset 13): "));

  OnnxModel domain = Features(2);
  domain.Node("Relu", {"x"}, "y").set_domain("com.vendor");
  EXPECT_THAT(Refusal(domain), HasSubstr("domain 'com.vendor'"));

  OnnxModel attribute = Features(2);
  SetInt(attribute.Node("Relu", {"x"}, "y"), "surprise", 1);
  EXPECT_THAT(Refusal(attribute), HasSubstr("attribute 'surprise'"));

  OnnxModel training = Features(1, 13);
  training.Int64s("training", {}, {1});
  training.Node("Dropout", {"x", "", "training"}, "y");
  EXPECT_THAT(Refusal(training), HasSubstr("training mode"));

  OnnxModel product = Features(2);
  product.Node("MatMul", {"x", "x"}, "y");
  EXPECT_THAT(Refusal(product), HasSubstr("cannot be multiplied"));
}

}  // namespace
}  // namespace edgefleet::compiler
