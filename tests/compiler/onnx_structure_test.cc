// What real files have beyond operators: open sizes, other types, branches, functions, any order, data in other files,
// quantization.
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "device_client/runtime/specialize.h"
#include "tests/compiler/onnx_model.h"
#include "tests/compiler/reference_run.h"

namespace edgefleet::compiler {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Result<runtime::Graph> ImportWith(const OnnxModel& model, const ImportOptions& options = {}) {
  return ImportOnnx(model.bytes(), options);
}

std::string Refusal(const OnnxModel& model, const ImportOptions& options = {}) {
  const auto graph = ImportWith(model, options);
  return graph ? "accepted" : graph.error().reason() + ": " + graph.error().message();
}

Bytes BytesOf(const std::vector<float>& values) { return ToBytes(std::as_bytes(std::span(values))); }

std::vector<float> Floats(const Bytes& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

// The only output for float32 inputs.
std::vector<float> RunFloats(const Result<runtime::Graph>& graph, const std::vector<std::vector<float>>& inputs) {
  if (!graph) {
    ADD_FAILURE() << graph.error().ToString();
    return {};
  }
  std::vector<Bytes> bytes;
  for (const auto& input : inputs) bytes.push_back(BytesOf(input));
  const auto outputs = runtime::RunOnReference(*graph, bytes);
  if (!outputs) {
    ADD_FAILURE() << outputs.error().ToString();
    return {};
  }
  return Floats(outputs->at(0));
}

const runtime::Tensor& InputOf(const runtime::Graph& graph, std::size_t index = 0) { return graph.tensor(graph.inputs[index]); }
const runtime::Tensor& OutputOf(const runtime::Graph& graph, std::size_t index = 0) {
  return graph.tensor(graph.outputs[index]);
}

// x [batch, ...]: "3" is a size, anything else a symbol.
OnnxModel WithInput(const std::vector<std::string>& dims, int opset = 13, int type = onnx::TensorProto::FLOAT) {
  OnnxModel model(opset);
  auto* input = model.graph().add_input();
  input->set_name("x");
  auto* tensor = input->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(type);
  tensor->mutable_shape();
  for (const std::string& dim : dims) {
    auto* added = tensor->mutable_shape()->add_dim();
    if (dim.find_first_not_of("0123456789") == std::string::npos) {
      added->set_dim_value(std::stoll(dim));
    } else {
      added->set_dim_param(dim);
    }
  }
  model.Output("y");
  return model;
}

ImportOptions Shapes(const std::vector<std::string>& texts) {
  ImportOptions options;
  for (const std::string& text : texts) options.shapes.push_back(ParseInputShape(text).value());
  return options;
}

// ---- sizes

TEST(OnnxSizes, ASymbolicFirstDimensionIsTheBatch) {
  for (const char* symbol : {"batch", "N", "unk__314", "p2o.DynamicDimension.0", "batch_size"}) {
    OnnxModel model = WithInput({symbol, "3"});
    model.Node("Relu", {"x"}, "y");
    const auto graph = ImportWith(model);
    ASSERT_TRUE(graph) << graph.error().ToString();
    ASSERT_THAT(graph->dynamic, SizeIs(1));
    EXPECT_EQ(graph->dynamic[0].symbol, runtime::kBatchSymbol);
    EXPECT_EQ(graph->dynamic[0].max, runtime::kBatchMax);
    EXPECT_THAT(InputOf(*graph).shape, ElementsAre(1, 3));
  }
  OnnxModel fixed = WithInput({"4", "3"});
  fixed.Node("Relu", {"x"}, "y");
  EXPECT_THAT(ImportWith(fixed)->dynamic, IsEmpty());
}

TEST(OnnxSizes, OtherSymbolsAreGivenOrStayOpen) {
  OnnxModel model = WithInput({"batch", "3", "height", "width"});
  model.Node("Relu", {"x"}, "y");
  const auto open = ImportWith(model);
  ASSERT_TRUE(open) << open.error().ToString();
  ASSERT_THAT(open->dynamic, SizeIs(3));
  EXPECT_EQ(open->dynamic[1].symbol, "height");
  EXPECT_EQ(open->dynamic[1].max, kOpenMax);

  const auto fixed = ImportWith(model, Shapes({"x=2,3,8,9"}));
  ASSERT_TRUE(fixed) << fixed.error().ToString();
  EXPECT_THAT(OutputOf(*fixed).shape, ElementsAre(2, 3, 8, 9));
  EXPECT_THAT(fixed->dynamic, IsEmpty());

  const auto bounded = ImportWith(model, Shapes({"x=*,3,4..8,9"}));
  ASSERT_TRUE(bounded) << bounded.error().ToString();
  EXPECT_THAT(OutputOf(*bounded).shape, ElementsAre(1, 3, 8, 9));
  EXPECT_THAT(bounded->dynamic, SizeIs(2));
  const auto smaller = runtime::Specialize(*bounded, std::vector<runtime::DimensionSize>{{"height", 5}, {"batch", 2}});
  ASSERT_TRUE(smaller) << smaller.error().ToString();
  EXPECT_THAT(OutputOf(*smaller).shape, ElementsAre(2, 3, 5, 9));
}

TEST(OnnxSizes, ANetworkThatNeedsASizeSaysHowToGiveIt) {
  OnnxModel model = WithInput({"batch", "frames"});
  model.Floats("w", {48}, std::vector<float>(48, 1));
  model.Node("Add", {"x", "w"}, "y");
  EXPECT_THAT(Refusal(model), AllOf(HasSubstr("BAD_SHAPE"), HasSubstr("('frames')"), HasSubstr("--shape 'x=1x32..960'")));
  EXPECT_EQ(Refusal(model, Shapes({"x=*,48"})), "accepted");
  OnnxModel sequence = WithInput({"sequence_length", "8"});
  sequence.Node("Relu", {"x"}, "y");
  EXPECT_EQ(ImportWith(sequence)->dynamic.at(0).symbol, "sequence_length");
}

TEST(OnnxSizes, OptionsThatDoNotFit) {
  OnnxModel model = WithInput({"batch", "3"});
  model.Node("Relu", {"x"}, "y");
  EXPECT_THAT(Refusal(model, Shapes({"z=1,3"})), HasSubstr("no such input"));
  EXPECT_THAT(Refusal(model, Shapes({"x=1"})), HasSubstr("2 dimensions"));
  EXPECT_THAT(Refusal(model, Shapes({"x=1,4"})), HasSubstr("fixed at 3"));
  for (const char* text : {"", "x", "=1", "x=a", "x=0", "x=-1", "x=3..2", "x=1..", "x=99999999999999999999"}) {
    EXPECT_FALSE(ParseInputShape(text)) << text;
  }
  EXPECT_TRUE(ParseInputShape("a=b=1,*,2..3"));
}

TEST(OnnxSizes, OneSymbolIsOneSize) {
  OnnxModel model = WithInput({"batch", "frames"});
  auto* second = model.graph().add_input();
  *second = model.graph().input(0);
  second->set_name("z");
  model.Node("Add", {"x", "z"}, "y");
  const auto graph = ImportWith(model, Shapes({"x=*,2..6"}));
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_THAT(graph->dynamic, SizeIs(4));
  const auto other = runtime::Specialize(*graph, std::vector<runtime::DimensionSize>{{"frames", 3}});
  ASSERT_TRUE(other) << other.error().ToString();
  EXPECT_THAT(OutputOf(*other).shape, ElementsAre(1, 3));
}

TEST(OnnxSizes, ABatchThatIsWrittenIntoTheNetworkIsFixed) {
  OnnxModel model = WithInput({"batch", "4"});
  model.Int64s("shape", {1}, {4}).Floats("c", {4}, {1, 2, 3, 4});
  model.Node("Reshape", {"x", "shape"}, "flat");
  model.Node("Add", {"flat", "c"}, "y");
  const auto graph = ImportWith(model);
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_THAT(graph->dynamic, IsEmpty());
  EXPECT_THAT(RunFloats(graph, {{1, 1, 1, 1}}), ElementsAre(2, 3, 4, 5));
}

TEST(OnnxSizes, ShapeComputationsFollowTheBatch) {
  // Shape, Gather, Unsqueeze, Concat, Reshape: how exporters write a flatten.
  OnnxModel model = WithInput({"batch", "2", "3"});
  model.Int64s("zero", {}, {0}).Int64s("axes", {1}, {0}).Int64s("rest", {1}, {-1});
  model.Node("Shape", {"x"}, "s");
  model.Node("Gather", {"s", "zero"}, "n");
  model.Node("Unsqueeze", {"n", "axes"}, "n1");
  SetInt(model.Node("Concat", {"n1", "rest"}, "target"), "axis", 0);
  model.Node("Reshape", {"x", "target"}, "y");
  const auto graph = ImportWith(model);
  ASSERT_TRUE(graph) << graph.error().ToString();
  const auto three = runtime::Specialize(*graph, std::vector<runtime::DimensionSize>{{"batch", 3}});
  ASSERT_TRUE(three) << three.error().ToString();
  EXPECT_THAT(OutputOf(*three).shape, ElementsAre(3, 6));
  EXPECT_THAT(three->nodes, SizeIs(1));
}

TEST(OnnxSizes, PaddingThatFollowsFromOpenSizesIsRefused) {
  OnnxModel model = WithInput({"batch", "1", "height", "width"});
  model.Floats("w", {1, 1, 3, 3}, std::vector<float>(9, 1));
  onnx::NodeProto& conv = model.Node("Conv", {"x", "w"}, "y");
  SetString(conv, "auto_pad", "SAME_UPPER");
  SetInts(conv, "strides", {2, 2});
  EXPECT_THAT(Refusal(model, Shapes({"x=*,1,8..16,8..16"})), HasSubstr("fix the sizes"));
  EXPECT_EQ(Refusal(model, Shapes({"x=*,1,9,9"})), "accepted");
}

// ---- names and parameters

TEST(OnnxNames, InputsOutputsAndParameters) {
  OnnxModel model = WithInput({"batch", "1", "4"});
  model.Floats("conv.weight", {2, 1, 2}, {1, 2, 3, 4}).Floats("conv.bias", {2}, {0, 1}).Floats("fc", {3, 2}, Iota(6));
  model.Node("Conv", {"x", "conv.weight", "conv.bias"}, "c");
  model.Node("MatMul", {"c", "fc"}, "y");
  const auto graph = ImportWith(model);
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_EQ(InputOf(*graph).name, "x");
  EXPECT_EQ(OutputOf(*graph).name, "y");
  ASSERT_THAT(graph->parameters, SizeIs(3));
  const auto name = [&](std::size_t i) { return graph->tensor(graph->parameters[i]).name; };
  EXPECT_THAT((std::vector{name(0), name(1), name(2)}), ElementsAre("conv.weight", "conv.bias", "fc"));
  EXPECT_THAT(graph->tensor(graph->parameters[0]).shape, ElementsAre(2, 1, 1, 2));
  EXPECT_THAT(graph->tensor(graph->parameters[2]).shape, ElementsAre(2, 3));
  // c = [[8, 11, 14], ...] of x = 1..4 by [1, 2] is [5, 8, 11]; by [3, 4] plus 1 it is [12, 19, 26].
  EXPECT_THAT(RunFloats(graph, {Iota(4, 1)}),
              ElementsAre(2 * 8 + 4 * 11, 5 + 3 * 8 + 5 * 11, 2 * 19 + 4 * 26, 12 + 3 * 19 + 5 * 26));
}

TEST(OnnxNames, WeightsThatSomethingElseReadsAreNoParameters) {
  OnnxModel model = WithInput({"batch", "2"});
  model.Floats("w", {2, 2}, {1, 2, 3, 4});
  SetInt(model.Node("Gemm", {"x", "w"}, "g"), "transB", 1);
  model.Node("Mul", {"g", "w"}, "y");
  const auto graph = ImportWith(model);
  ASSERT_TRUE(graph) << graph.error().ToString();
  EXPECT_THAT(graph->parameters, IsEmpty());
}

// ---- types

TEST(OnnxTypes, EveryTypeOfInitializer) {
  struct Case {
    int type;
    std::string raw;
    std::vector<float> expected;
  };
  const auto raw = [](auto... values) {
    std::string text;
    (text.append(reinterpret_cast<const char*>(&values), sizeof values), ...);
    return text;
  };
  const std::vector<Case> cases{
      {onnx::TensorProto::FLOAT16, raw(std::uint16_t{0x3c00}, std::uint16_t{0xc100}), {1, -2.5F}},
      {onnx::TensorProto::BFLOAT16, raw(std::uint16_t{0x3f80}, std::uint16_t{0xc020}), {1, -2.5F}},
      {onnx::TensorProto::DOUBLE, raw(1.0, -2.5), {1, -2.5F}},
      {onnx::TensorProto::INT8, raw(std::int8_t{1}, std::int8_t{-2}), {1, -2}},
      {onnx::TensorProto::UINT8, raw(std::uint8_t{1}, std::uint8_t{254}), {1, 254}},
      {onnx::TensorProto::INT16, raw(std::int16_t{1}, std::int16_t{-300}), {1, -300}},
      {onnx::TensorProto::UINT16, raw(std::uint16_t{1}, std::uint16_t{65'535}), {1, 65'535}},
      {onnx::TensorProto::INT32, raw(std::int32_t{1}, std::int32_t{-70'000}), {1, -70'000}},
      {onnx::TensorProto::UINT32, raw(std::uint32_t{1}, std::uint32_t{70'000}), {1, 70'000}},
      {onnx::TensorProto::INT64, raw(std::int64_t{1}, std::int64_t{-2}), {1, -2}},
      {onnx::TensorProto::UINT64, raw(std::uint64_t{1}, std::uint64_t{2}), {1, 2}},
      {onnx::TensorProto::BOOL, raw(std::uint8_t{1}, std::uint8_t{0}), {1, 0}},
  };
  for (const Case& each : cases) {
    OnnxModel model = WithInput({"2"});
    auto* tensor = model.graph().add_initializer();
    tensor->set_name("c");
    tensor->set_data_type(each.type);
    tensor->add_dims(2);
    tensor->set_raw_data(each.raw);
    SetInt(model.Node("Cast", {"c"}, "f"), "to", onnx::TensorProto::FLOAT);
    model.Node("Add", {"x", "f"}, "y");
    EXPECT_EQ(RunFloats(ImportWith(model), {{0, 0}}), each.expected) << each.type;
  }
  OnnxModel huge = WithInput({"1"});
  auto* tensor = huge.graph().add_initializer();
  tensor->set_name("c");
  tensor->set_data_type(onnx::TensorProto::DOUBLE);
  tensor->add_dims(1);
  tensor->add_double_data(1e300);
  huge.Node("Add", {"x", "c"}, "y");
  EXPECT_THAT(Refusal(huge), AllOf(HasSubstr("BAD_ONNX"), HasSubstr("beyond the float32")));
}

// ---- structure

TEST(OnnxStructure, NodesInAnyOrder) {
  OnnxModel model = WithInput({"2"});
  model.Node("Neg", {"b"}, "y");
  model.Node("Relu", {"a"}, "b");
  model.Node("Neg", {"x"}, "a");
  EXPECT_THAT(RunFloats(ImportWith(model), {{-3, 3}}), ElementsAre(-3, 0));
}

TEST(OnnxStructure, NodesThatNothingNeedsMayBeAnything) {
  OnnxModel model = WithInput({"2"});
  model.Node("Multinomial", {"x"}, "unused");
  model.Node("Neg", {"x"}, "y");
  EXPECT_THAT(RunFloats(ImportWith(model), {{-3, 3}}), ElementsAre(3, -3));
}

onnx::GraphProto Branch(const std::string& op, const std::string& input, const std::string& output) {
  onnx::GraphProto graph;
  graph.set_name("branch");
  auto* node = graph.add_node();
  node->set_op_type(op);
  node->add_input(input);
  node->add_output(output);
  graph.add_output()->set_name(output);
  return graph;
}

void SetGraph(onnx::NodeProto& node, const std::string& name, const onnx::GraphProto& graph) {
  auto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::GRAPH);
  *attribute->mutable_g() = graph;
}

TEST(OnnxStructure, AnIfWithAConstantConditionIsItsBranch) {
  for (const bool value : {true, false}) {
    OnnxModel model = WithInput({"2"});
    // The condition is computed from constants; the branches see the outer graph.
    model.Int64s("a", {}, {value ? 1 : 2}).Int64s("b", {}, {1});
    model.Node("Equal", {"a", "b"}, "condition");
    model.Node("Abs", {"x"}, "outer");
    onnx::NodeProto& node = model.Node("If", {"condition"}, "y");
    SetGraph(node, "then_branch", Branch("Neg", "outer", "t"));
    SetGraph(node, "else_branch", Branch("Sqrt", "outer", "t"));
    const auto graph = ImportWith(model);
    EXPECT_EQ(RunFloats(graph, {{-4, 9}}), value ? (std::vector<float>{-4, -9}) : (std::vector<float>{2, 3}));
    EXPECT_THAT(graph->nodes, SizeIs(2));
  }
}

TEST(OnnxStructure, AConditionOnDataChoosesAtRunTime) {
  OnnxModel model = WithInput({"1"});
  model.Floats("zero", {1}, {0});
  model.Node("Greater", {"x", "zero"}, "condition");
  onnx::NodeProto& node = model.Node("If", {"condition"}, "y");
  SetGraph(node, "then_branch", Branch("Sqrt", "x", "t"));
  SetGraph(node, "else_branch", Branch("Neg", "x", "t"));
  const auto graph = ImportWith(model);
  EXPECT_THAT(RunFloats(graph, {{16}}), ElementsAre(4));
  EXPECT_THAT(RunFloats(graph, {{-5}}), ElementsAre(5));
}

TEST(OnnxStructure, BranchesOfDifferentShapesAreRefused) {
  OnnxModel model = WithInput({"1"});
  model.Floats("zero", {1}, {0}).Int64s("axes", {1}, {0});
  model.Node("Greater", {"x", "zero"}, "condition");
  onnx::NodeProto& node = model.Node("If", {"condition"}, "y");
  onnx::GraphProto squeeze = Branch("Squeeze", "x", "t");
  squeeze.mutable_node(0)->add_input("axes");
  SetGraph(node, "then_branch", squeeze);
  SetGraph(node, "else_branch", Branch("Neg", "x", "t"));
  EXPECT_THAT(Refusal(model), AllOf(HasSubstr("UNSUPPORTED_OPERATOR"), HasSubstr("different shapes")));
}

TEST(OnnxStructure, FunctionsAreInlinedWithTheirAttributes) {
  OnnxModel model = WithInput({"2"});
  auto* import = model.proto.add_opset_import();
  import->set_domain("own");
  import->set_version(1);
  auto* function = model.proto.add_functions();
  function->set_name("Leaky");
  function->set_domain("own");
  function->add_input("a");
  function->add_output("b");
  function->add_attribute("slope");
  function->add_opset_import()->set_version(13);
  auto* leaky = function->add_node();
  leaky->set_op_type("LeakyRelu");
  leaky->add_input("a");
  leaky->add_output("b");
  auto* alpha = leaky->add_attribute();
  alpha->set_name("alpha");
  alpha->set_type(onnx::AttributeProto::FLOAT);
  alpha->set_ref_attr_name("slope");
  for (const auto& [input, output, slope] : {std::tuple{"x", "m", 0.5F}, std::tuple{"m", "y", 0.25F}}) {
    onnx::NodeProto& call = model.Node("Leaky", {input}, output);
    call.set_domain("own");
    SetFloat(call, "slope", slope);
  }
  EXPECT_THAT(RunFloats(ImportWith(model), {{-8, 8}}), ElementsAre(-1, 8));

  leaky->set_op_type("Leaky");
  leaky->set_domain("own");
  EXPECT_THAT(Refusal(model), AllOf(HasSubstr("BAD_ONNX"), HasSubstr("deep")));
}

TEST(OnnxStructure, DeepBranchesAreRefused) {
  onnx::GraphProto graph = Branch("Neg", "x", "t");
  for (int i = 0; i < 28; ++i) {
    onnx::GraphProto outer = Branch("If", "condition", "t");
    SetGraph(*outer.mutable_node(0), "then_branch", graph);
    SetGraph(*outer.mutable_node(0), "else_branch", Branch("Neg", "x", "t"));
    graph = outer;
  }
  OnnxModel model = WithInput({"1"});
  auto* condition = model.graph().add_initializer();
  condition->set_name("condition");
  condition->set_data_type(onnx::TensorProto::BOOL);
  condition->add_int32_data(1);
  onnx::NodeProto& node = model.Node("If", {"condition"}, "y");
  SetGraph(node, "then_branch", graph);
  SetGraph(node, "else_branch", graph);
  EXPECT_THAT(Refusal(model), HasSubstr("BAD_ONNX"));
}

// ---- external data

class OnnxExternalData : public ::testing::Test {
 protected:
  OnnxExternalData() : root_(std::filesystem::path(::testing::TempDir()) / ("onnx_external_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder());
    std::string content(64, '\0');
    for (const float value : {10.0F, 20.0F}) content.append(reinterpret_cast<const char*>(&value), sizeof value);
    std::ofstream(folder() / "weights.bin", std::ios::binary) << content;
    std::ofstream(root_ / "secret.bin", std::ios::binary) << content;
    std::filesystem::create_symlink("../secret.bin", folder() / "link.bin");
  }
  ~OnnxExternalData() override { std::filesystem::remove_all(root_); }

  std::filesystem::path folder() const { return root_ / "model"; }

  static OnnxModel Model(const std::string& location, const std::string& offset = "64", const std::string& length = "8") {
    OnnxModel model = WithInput({"2"});
    auto* tensor = model.graph().add_initializer();
    tensor->set_name("c");
    tensor->set_data_type(onnx::TensorProto::FLOAT);
    tensor->add_dims(2);
    tensor->set_data_location(onnx::TensorProto::EXTERNAL);
    for (const auto& [key, value] :
         {std::pair{"location", location}, std::pair{"offset", offset}, std::pair{"length", length}}) {
      auto* entry = tensor->add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    }
    model.Node("Add", {"x", "c"}, "y");
    return model;
  }

  std::filesystem::path root_;
};

TEST_F(OnnxExternalData, IsReadFromTheModelsFolderOnly) {
  ImportOptions options;
  options.external_data = folder();
  EXPECT_THAT(RunFloats(ImportWith(Model("weights.bin"), options), {{1, 2}}), ElementsAre(11, 22));
  EXPECT_THAT(Refusal(Model("weights.bin")), AllOf(HasSubstr("EXTERNAL_DATA"), HasSubstr("another file")));
  for (const char* location : {"", "../secret.bin", "a/../../secret.bin", "/etc/passwd", "link.bin", ".", "missing.bin"}) {
    EXPECT_THAT(Refusal(Model(location), options), HasSubstr("EXTERNAL_DATA")) << location;
  }
  EXPECT_THAT(Refusal(Model((root_ / "secret.bin").string()), options), HasSubstr("EXTERNAL_DATA"));
}

TEST_F(OnnxExternalData, ExtentsMustLieInTheFile) {
  ImportOptions options;
  options.external_data = folder();
  for (const auto& [offset, length] : {std::pair{"68", "8"}, std::pair{"18446744073709551612", "8"}, std::pair{"-1", "8"},
                                       std::pair{"64", "4"}, std::pair{"64", "1e9"}, std::pair{"", "8"}}) {
    EXPECT_THAT(Refusal(Model("weights.bin", offset, length), options), HasSubstr("EXTERNAL_DATA")) << offset << " " << length;
  }
}

// ---- quantized networks

TEST(OnnxQuantized, WeightsOfDequantizeLinearStayInt8) {
  OnnxModel model = WithInput({"batch", "2"});
  auto* weights = model.graph().add_initializer();
  weights->set_name("w");
  weights->set_data_type(onnx::TensorProto::INT8);
  for (const int dim : {2, 3}) weights->add_dims(dim);
  for (const int q : {1, 2, 3, -4, 5, -6}) weights->add_int32_data(q);
  model.Floats("scale", {3}, {1, 0.5F, 2});
  SetInt(model.Node("DequantizeLinear", {"w", "scale"}, "real"), "axis", 1);
  model.Node("MatMul", {"x", "real"}, "y");
  const auto graph = ImportWith(model);
  EXPECT_THAT(RunFloats(graph, {{10, 1}}), ElementsAre(10 - 4, 0.5F * (20 + 5), 2 * (30 - 6)));
  const auto stored = std::ranges::find(graph->tensors, runtime::DataType::kInt8, &runtime::Tensor::type);
  ASSERT_NE(stored, graph->tensors.end());
  EXPECT_THAT(stored->shape, ElementsAre(3, 2));
  EXPECT_EQ(stored->quantization->axis, 0);
  EXPECT_THAT(graph->parameters, IsEmpty());
}

TEST(OnnxQuantized, UnsignedWeightsAround128BecomeSigned) {
  OnnxModel model = WithInput({"1", "2"});
  for (const auto& [name, values] : {std::pair{"w", std::vector{127, 130}}, std::pair{"zero", std::vector{128}}}) {
    auto* tensor = model.graph().add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::UINT8);
    if (values.size() > 1) tensor->add_dims(static_cast<std::int64_t>(values.size()));
    for (const int value : values) tensor->add_int32_data(value);
  }
  model.Floats("scale", {}, {0.5F});
  model.Node("DequantizeLinear", {"w", "scale", "zero"}, "real");
  model.Node("Mul", {"x", "real"}, "y");
  const auto graph = ImportWith(model);
  EXPECT_THAT(RunFloats(graph, {{2, 2}}), ElementsAre(-1, 2));
  EXPECT_TRUE(std::ranges::any_of(graph->tensors, [](const auto& t) { return t.type == runtime::DataType::kInt8; }));
}

// ---- forms that the conformance suite, which ends at opset 17, does not have

TEST(OnnxOpset18, AxesAreInputs) {
  OnnxModel model = WithInput({"2", "2"}, 18);
  model.Int64s("axes", {1}, {1});
  SetInt(model.Node("ReduceMean", {"x", "axes"}, "y"), "keepdims", 0);
  EXPECT_THAT(RunFloats(ImportWith(model), {{1, 3, 5, 7}}), ElementsAre(2, 6));

  OnnxModel pad = WithInput({"2", "2"}, 18);
  pad.Int64s("axes", {1}, {1}).Int64s("pads", {2}, {0, 1}).Floats("value", {}, {9});
  pad.Node("Pad", {"x", "pads", "value", "axes"}, "y");
  EXPECT_THAT(RunFloats(ImportWith(pad), {{1, 2, 3, 4}}), ElementsAre(1, 2, 9, 3, 4, 9));
}

TEST(OnnxOpset18, SplitInUnequalParts) {
  OnnxModel model = WithInput({"5"}, 18);
  onnx::NodeProto& split = model.Node("Split", {"x"}, "a");
  split.add_output("y");
  SetInt(split, "num_outputs", 2);
  EXPECT_THAT(RunFloats(ImportWith(model), {Iota(5)}), ElementsAre(3, 4));
}

TEST(OnnxOpset18, ResizeOfSomeAxes) {
  OnnxModel model = WithInput({"1", "1", "1", "2"}, 18);
  model.Floats("scales", {1}, {2});
  onnx::NodeProto& resize = model.Node("Resize", {"x", "", "scales"}, "y");
  SetInts(resize, "axes", {3});
  SetString(resize, "mode", "nearest");
  EXPECT_THAT(RunFloats(ImportWith(model), {{1, 2}}), ElementsAre(1, 1, 2, 2));
}

TEST(OnnxOldForms, AttributesInPlaceOfInputs) {
  OnnxModel slice = WithInput({"4"}, 9);
  onnx::NodeProto& node = slice.Node("Slice", {"x"}, "y");
  SetInts(node, "starts", {1});
  SetInts(node, "ends", {-1});
  EXPECT_THAT(RunFloats(ImportWith(slice), {Iota(4)}), ElementsAre(1, 2));

  OnnxModel softmax = WithInput({"1", "2", "2"}, 11);
  softmax.Node("Softmax", {"x"}, "y");  // over axes 1 and 2 together
  EXPECT_THAT(RunFloats(ImportWith(softmax), {{5, 5, 5, 5}}), ElementsAre(0.25F, 0.25F, 0.25F, 0.25F));

  OnnxModel later = WithInput({"1", "2"}, 12);
  later.Node("HardSwish", {"x"}, "y");
  EXPECT_THAT(Refusal(later), AllOf(HasSubstr("BAD_ONNX"), HasSubstr("operator sets 14 to 18")));
}

TEST(OnnxMicrosoft, FusedOperators) {
  OnnxModel model = WithInput({"1", "2"});
  model.Floats("w", {2, 2}, {1, 2, 3, 4});
  onnx::NodeProto& product = model.Node("FusedMatMul", {"x", "w"}, "y");
  product.set_domain("com.microsoft");
  SetInt(product, "transB", 1);
  SetFloat(product, "alpha", 2);
  EXPECT_THAT(RunFloats(ImportWith(model), {{1, 10}}), ElementsAre(2 * 21, 2 * 43));
}

}  // namespace
}  // namespace edgefleet::compiler
