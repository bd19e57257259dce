// ONNX from people who mean harm: a clear error, never a crash, never more memory than the limits.
#include <gmock/gmock.h>

#include <limits>

#include "base/random.h"
#include "load_tests/fashion/fashion_network.h"
#include "registry/compiler/onnx/wire.h"
#include "tests/compiler/onnx_model.h"

namespace edgefleet::compiler {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Refusal(const Result<runtime::Graph>& graph) {
  if (graph) return "accepted";
  EXPECT_EQ(graph.error().code(), StatusCode::kInvalidArgument);
  return graph.error().reason() + ": " + graph.error().message();
}
std::string Refusal(const OnnxModel& model) { return Refusal(ImportOnnx(model.bytes(), {})); }
std::string FullRefusal(const OnnxModel& model) {
  const auto graph = Import(model);
  return graph ? "accepted" : graph.error().reason() + ": " + graph.error().message();
}

// x [N, 2] -> MatMul w -> y.
OnnxModel Small() {
  OnnxModel model;
  model.Input("x", {2}).Output("y").Floats("w", {2, 1}, {1, 2});
  model.Node("MatMul", {"x", "w"}, "y");
  return model;
}

TEST(OnnxHostile, TruncationAtEveryLengthIsRefused) {
  OnnxModel model = Small();
  const Bytes whole = model.bytes();
  ASSERT_TRUE(ImportOnnx(whole, {}));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto graph = ImportOnnx(ByteView(whole).first(size), {});
    // A cut between two top-level fields leaves valid protobuf; what is missing is then noticed.
    EXPECT_FALSE(graph) << "truncated to " << size;
  }
  const Bytes cnn = fashion::MakeFashionCnn(1);
  for (std::size_t size = 0; size < cnn.size(); size += 997) EXPECT_FALSE(ImportOnnx(ByteView(cnn).first(size), {}));
}

TEST(OnnxHostile, FlippedBitsNeverCrash) {
  const Bytes small = Small().bytes();
  for (std::size_t bit = 0; bit < small.size() * 8; ++bit) {
    Bytes damaged = small;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    auto imported = ImportOnnx(damaged, {});
    if (imported) static_cast<void>(Optimize(*imported));
  }
  const Bytes cnn = fashion::MakeFashionCnn(1);
  SeededRandom random(7);
  for (int i = 0; i < 300; ++i) {
    Bytes damaged = cnn;
    for (int flips = 0; flips < 8; ++flips) damaged[random.Below(2'000)] ^= static_cast<std::byte>(1U << random.Below(8));
    auto imported = ImportOnnx(damaged, {});
    if (imported) static_cast<void>(Optimize(*imported));
  }
}

TEST(OnnxHostile, NoiseAndEmptiness) {
  EXPECT_THAT(Refusal(ImportOnnx({}, {})), HasSubstr("BAD_ONNX"));
  EXPECT_THAT(Refusal(ImportOnnx(AsBytes("not an onnx file at all"), {})), HasSubstr("BAD_ONNX"));
  SeededRandom random(3);
  for (int i = 0; i < 200; ++i) {
    Bytes noise(random.Below(512));
    random.Fill(noise);
    EXPECT_FALSE(ImportOnnx(noise, {}));
  }
}

TEST(OnnxHostile, CyclesAndMissingValues) {
  OnnxModel cyclic;
  cyclic.Input("x", {2}).Output("y");
  cyclic.Node("Add", {"x", "b"}, "a");
  cyclic.Node("Relu", {"a"}, "b");
  cyclic.Node("Relu", {"b"}, "y");
  EXPECT_THAT(Refusal(cyclic), AllOf(HasSubstr("BAD_ONNX"), HasSubstr("cyclic")));

  OnnxModel missing;
  missing.Input("x", {2}).Output("y").Node("MatMul", {"x", "w"}, "y");
  EXPECT_THAT(Refusal(missing), HasSubstr("input 'w' is neither an input, an initializer nor the output of a node"));

  OnnxModel no_output = Small();
  no_output.graph().mutable_output(0)->set_name("z");
  EXPECT_THAT(Refusal(no_output), HasSubstr("output 'z' is computed by no node"));

  OnnxModel passed_on;
  passed_on.Input("x", {2}).Output("y").Node("Identity", {"x"}, "y");
  EXPECT_EQ(FullRefusal(passed_on), "accepted");
}

TEST(OnnxHostile, NamesThatAreThereTwice) {
  OnnxModel twice = Small();
  twice.Node("Relu", {"x"}, "y");
  EXPECT_THAT(Refusal(twice), HasSubstr("'y': the name is there twice"));
  OnnxModel initializers = Small();
  initializers.Floats("w", {1}, {1});
  EXPECT_THAT(Refusal(initializers), HasSubstr("'w': the name is there twice"));
  OnnxModel long_name;
  long_name.Input(std::string(300, 'n'), {2}).Output("y");
  long_name.Node("Relu", {"x"}, "y");
  EXPECT_THAT(Refusal(long_name), HasSubstr("at most 240 bytes"));
}

TEST(OnnxHostile, AbsurdShapes) {
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
  for (const Dims& dims : {Dims{kHuge, kHuge}, Dims{kHuge}, Dims{0, 3}, Dims{-1, 2}, Dims{1 << 20, 1 << 20}}) {
    OnnxModel weights;
    weights.Input("x", {2}).Output("y").Floats("w", dims, {1});
    weights.Node("MatMul", {"x", "w"}, "y");
    EXPECT_THAT(Refusal(weights), HasSubstr("BAD_ONNX"));
    OnnxModel input;
    input.Input("x", dims).Output("y");
    input.Node("Relu", {"x"}, "y");
    EXPECT_THAT(Refusal(input), AnyOf(HasSubstr("BAD_ONNX"), HasSubstr("BAD_SHAPE")));
  }
  OnnxModel short_data;
  short_data.Input("x", {2}).Output("y").Floats("w", {2, 2}, {1, 2, 3});
  short_data.Node("MatMul", {"x", "w"}, "y");
  EXPECT_THAT(Refusal(short_data), HasSubstr("does not have the 4 elements"));
}

TEST(OnnxHostile, AbsurdWindows) {
  const auto conv = [](const char* name, const Dims& values) {
    OnnxModel model;
    model.Input("x", {1, 4, 4}).Output("y").Floats("w", {1, 1, 1, 1}, {1});
    SetInts(model.Node("Conv", {"x", "w"}, "y"), name, values);
    return FullRefusal(model);
  };
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
  EXPECT_THAT(conv("strides", {0, 1}), HasSubstr("BAD_ONNX"));
  EXPECT_THAT(conv("strides", {kHuge, 1}), HasSubstr("BAD_ONNX"));
  EXPECT_THAT(conv("strides", {1}), HasSubstr("'strides' must have 2 values"));
  EXPECT_THAT(conv("pads", {-1, 0, 0, 0}), HasSubstr("BAD_ONNX"));
  EXPECT_THAT(conv("pads", {kHuge, kHuge, kHuge, kHuge}), HasSubstr("BAD_ONNX"));
  EXPECT_THAT(conv("dilations", {-5, 1}), HasSubstr("BAD_ONNX"));
  EXPECT_THAT(conv("kernel_shape", {7, 7}), HasSubstr("kernel_shape"));
  OnnxModel large;
  large.Input("x", {1, 4, 4}).Output("y");
  SetInts(large.Node("MaxPool", {"x"}, "y"), "kernel_shape", {5, 5});
  EXPECT_THAT(Refusal(large), HasSubstr("its window spans 5 elements"));
}

TEST(OnnxHostile, DataInOtherFilesIsRefused) {
  OnnxModel model = Small();
  model.graph().mutable_initializer(0)->set_data_location(onnx::TensorProto::EXTERNAL);
  auto* entry = model.graph().mutable_initializer(0)->add_external_data();
  entry->set_key("location");
  entry->set_value("/etc/passwd");
  EXPECT_THAT(Refusal(model), HasSubstr("another file"));
}

TEST(OnnxHostile, WeightsThatAreNoNumbers) {
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    OnnxModel model;
    model.Input("x", {2}).Output("y").Floats("w", {2, 1}, {1, value});
    model.Node("MatMul", {"x", "w"}, "y");
    EXPECT_THAT(Refusal(model), HasSubstr("NaN or infinity"));
  }
  OnnxModel overflow;
  overflow.Input("x", {1}).Output("y").Floats("w", {1, 1}, {3e38F});
  SetFloat(overflow.Node("Gemm", {"x", "w"}, "y"), "alpha", 3e38F);
  EXPECT_THAT(FullRefusal(overflow), HasSubstr("NaN or infinity"));
}

TEST(OnnxHostile, BatchAndTypes) {
  OnnxModel fixed = Small();
  fixed.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(0)->set_dim_value(8);
  EXPECT_EQ(Refusal(fixed), "accepted");
  OnnxModel text = Small();
  text.graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::STRING);
  EXPECT_THAT(Refusal(text), HasSubstr("UNSUPPORTED_OPERATOR"));
  OnnxModel half = Small();
  half.graph().mutable_initializer(0)->set_data_type(onnx::TensorProto::FLOAT16);
  EXPECT_THAT(Refusal(half), HasSubstr("does not have the 2 elements"));
}

TEST(OnnxHostile, SizeLimits) {
  const Bytes cnn = fashion::MakeFashionCnn(1);
  EXPECT_THAT(Refusal(ImportOnnx(cnn, {.limits = {.bytes_max = 1'000}})), HasSubstr("TOO_LARGE"));
  EXPECT_THAT(Refusal(ImportOnnx(cnn, {.limits = {.structure_bytes_max = 100}})), HasSubstr("TOO_LARGE"));
  ASSERT_TRUE(OnnxStructureBytes(cnn));
  EXPECT_LT(*OnnxStructureBytes(cnn), 2'000U);
  // Nine million nodes of two bytes each: refused before protobuf makes gigabytes of them.
  std::string nodes;
  for (int i = 0; i < (9 << 20); ++i) nodes += std::string("\x0a\x00", 2);
  std::string model("\x3a");
  for (std::size_t size = nodes.size(); size > 0; size >>= 7)
    model += static_cast<char>((size & 0x7f) | (size > 0x7f ? 0x80 : 0));
  model += nodes;
  EXPECT_THAT(Refusal(ImportOnnx(AsBytes(model), {})), HasSubstr("TOO_LARGE"));
  // One tensor used by many nodes, each of which would unpack it.
  OnnxModel shared;
  shared.Input("x", {64}).Output("y64").Floats("w", {64, 64}, std::vector<float>(4'096, 0.1F));
  shared.Node("Relu", {"x"}, "y0");
  for (int i = 0; i < 64; ++i) {
    const auto gemm = [](int n) { return "y" + std::to_string(n); };
    shared.Node("MatMul", {gemm(i), "w"}, gemm(i + 1));
  }
  EXPECT_TRUE(ImportOnnx(shared.bytes(), {}));
}

}  // namespace
}  // namespace edgefleet::compiler
