// The built `edgefleet model` commands that work on files: compile -> inspect -> run -> bench, and what they refuse.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/arrays/npy.h"
#include "base/arrays/npz.h"
#include "base/file.h"
#include "base/random.h"
#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/session.h"
#include "load_tests/fashion/fashion_network.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::int64_t kExamples = 70;  // no multiple of a batch
constexpr std::size_t kPixels = 28 * 28;

arrays::Array Images(std::int64_t count) {
  SeededRandom random(7);
  std::vector<float> pixels(static_cast<std::size_t>(count) * kPixels);
  for (float& pixel : pixels) pixel = static_cast<float>(random.Unit() * 2 - 1);
  return arrays::MakeArray<float>({count, 1, 28, 28}, pixels);
}

arrays::Array Labels(std::int64_t count) {
  std::vector<std::int64_t> labels(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int64_t>(i % 10);
  return arrays::MakeArray<std::int64_t>({count}, labels);
}

class ModelFiles : public testing::Test {
 protected:
  // The network and its data, and fp32 and int8 files of it.
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    Write("cnn.onnx", fashion::MakeFashionCnn(1));
    Write("data.npz", *arrays::WriteNpz({{"image", Images(kExamples)}, {"labels", Labels(kExamples)}}));
    Write("images.npz", *arrays::WriteNpz({{"image", Images(kExamples)}}));
    fp32_ = Command({"compile", File("cnn.onnx"), "-o", File("fp32.efm"), "--json"});
    int8_ = Command({"compile", File("cnn.onnx"), "-o", File("int8.efm"), "--precision", "int8", "--calibration",
                     File("images.npz"), "--eval", File("data.npz"), "--max-accuracy-drop", "100", "--report",
                     File("report.json"), "--report-html", File("report.html"), "--json"});
  }
  static void TearDownTestSuite() { delete std::exchange(folder_, nullptr); }

  static std::string File(const std::string& name) { return (folder_->path() / name).string(); }
  static void Write(const std::string& name, ByteView content) { ASSERT_TRUE(WriteFileAtomic(File(name), content).ok()); }
  static test::RunResult Command(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {EDGEFLEET_PROGRAM, "model"});
    return test::RunProgram(arguments);
  }
  static test::RunResult RunOn(const std::string& input, const std::string& output, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"run", File("fp32.efm"), "--input", File(input), "--output", File(output)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Command(arguments);
  }
  // The reason, after a check that the message is the same as text and that nothing was written.
  static std::string RefusalOf(std::vector<std::string> arguments, const std::string& message) {
    const auto plain = Command(arguments);
    EXPECT_NE(plain.exit_code, 0);
    EXPECT_THAT(plain.out, IsEmpty());
    EXPECT_THAT(plain.err, AllOf(HasSubstr("error: "), HasSubstr(message)));
    arguments.push_back("--json");
    const auto result = Command(arguments);
    EXPECT_EQ(result.exit_code, plain.exit_code);
    EXPECT_FALSE(fs::exists(File("refused.npz")));
    return json::parse(result.out)["error"]["reason"];
  }
  static std::string RefusalOfInput(const arrays::Archive& archive, const std::string& message) {
    Write("bad.npz", *arrays::WriteNpz(archive));
    return RefusalOf({"run", File("fp32.efm"), "--input", File("bad.npz"), "--output", File("refused.npz")}, message);
  }
  static arrays::Array ReadOutput(const std::string& name) {
    const auto archive = arrays::ReadNpz((*MappedFile::Open(File(name)))->bytes());
    EXPECT_TRUE(archive) << archive.error().ToString();
    EXPECT_EQ(archive->size(), 1U);
    return archive->at("logits");
  }

  static test::TempDir* folder_;
  static test::RunResult fp32_;
  static test::RunResult int8_;
};
test::TempDir* ModelFiles::folder_ = nullptr;
test::RunResult ModelFiles::fp32_;
test::RunResult ModelFiles::int8_;

TEST_F(ModelFiles, CompilesEachPrecision) {
  ASSERT_EQ(fp32_.exit_code, 0) << fp32_.out << fp32_.err;
  const auto fp32 = json::parse(fp32_.out);
  EXPECT_EQ(fp32["precision"], "fp32");
  EXPECT_EQ(fp32["trainable_parameters"], 105'866);
  EXPECT_EQ(fp32["bytes"], fs::file_size(File("fp32.efm")));
  ASSERT_EQ(int8_.exit_code, 0) << int8_.out << int8_.err;
  const auto int8 = json::parse(int8_.out);
  EXPECT_EQ(int8["precision"], "int8");
  EXPECT_LT(int8["share_of_fp32"], 0.26);
  EXPECT_EQ(int8["variants"][1]["examples"], kExamples);
  EXPECT_EQ(json::parse(std::ifstream(File("report.json")))["decision"], "accepted");
  EXPECT_THAT(ToString(*ReadFile(File("report.html"), 1 << 22)), HasSubstr("<html"));
  // The same network gives the same bytes; as text there is a table.
  const auto again = Command({"compile", File("cnn.onnx"), "-o", File("again.efm"), "--eval", File("data.npz")});
  EXPECT_THAT(again.out, AllOf(HasSubstr("fp32       "), HasSubstr("ACCURACY")));
  EXPECT_EQ(*ReadFile(File("again.efm"), 1 << 20), *ReadFile(File("fp32.efm"), 1 << 20));
}

// Each precision makes a smaller file that still runs; what was measured is told.
TEST_F(ModelFiles, CompilesToSmallerWeights) {
  struct Case {
    std::vector<std::string> options;
    double share_max;
  };
  for (const Case& c :
       {Case{{"--precision", "fp16"}, 0.51}, Case{{"--precision", "bf16"}, 0.51},
        Case{{"--precision", "int4", "--group-size", "32"}, 0.2},
        Case{{"--precision", "mixed", "--calibration", File("images.npz"), "--max-size", "0.5"}, 0.52},
        Case{{"--precision", "int8", "--calibration", File("images.npz"), "--calibration-method", "entropy", "--per-tensor"},
             0.26}}) {
    std::vector<std::string> arguments{"compile",          File("cnn.onnx"), "-o",  File("small.efm"),     "--json", "--eval",
                                       File("images.npz"), "--metric",       "mse", "--max-accuracy-drop", "100"};
    arguments.insert(arguments.end(), c.options.begin(), c.options.end());
    const auto result = Command(arguments);
    ASSERT_EQ(result.exit_code, 0) << c.options[1] << result.out << result.err;
    const auto compiled = json::parse(result.out);
    EXPECT_EQ(compiled["precision"], c.options[1]);
    EXPECT_LT(compiled["share_of_fp32"], c.share_max) << c.options[1];
    EXPECT_GE(compiled["variants"][1]["loss"], 0) << c.options[1];
    EXPECT_EQ(Command({"run", File("small.efm"), "-i", File("images.npz"), "-o", File("small.npz")}).exit_code, 0)
        << c.options[1];
  }
}

TEST_F(ModelFiles, SizesAreFixedByShape) {
  const auto compile = [](const char* shape) {
    return Command({"compile", File("cnn.onnx"), "-o", File("shaped.efm"), "--shape", shape, "--json"});
  };
  ASSERT_EQ(compile("image=5x1x28x28").exit_code, 0);
  EXPECT_EQ(json::parse(Command({"inspect", File("shaped.efm"), "--json"}).out)["inputs"][0]["shape"], json({5, 1, 28, 28}));
  EXPECT_EQ(json::parse(compile("image=5").out)["error"]["reason"], "BAD_SHAPE");
  EXPECT_EQ(json::parse(compile("5x1x28x28").out)["error"]["reason"], "BAD_USAGE");
}

TEST_F(ModelFiles, InspectsWhatIsInAFile) {
  const auto fp32 = json::parse(Command({"inspect", File("fp32.efm"), "--json"}).out);
  EXPECT_EQ(fp32["model"], "cnn");
  EXPECT_EQ(fp32["file_bytes"], fs::file_size(File("fp32.efm")));
  EXPECT_EQ(fp32["inputs"][0]["name"], "image");
  EXPECT_EQ(fp32["inputs"][0]["type"], "float32");
  EXPECT_EQ(fp32["inputs"][0]["shape"], json({1, 1, 28, 28}));
  EXPECT_EQ(fp32["outputs"][0]["shape"], json({1, 10}));
  EXPECT_EQ(fp32["parameters"], 105'866);
  EXPECT_EQ(fp32["trainable_parameters"], 105'866);
  EXPECT_EQ(fp32["weights"][0]["bytes"], 4 * 105'866);
  // The first convolution reads 28 * 28 floats and writes 16 times as many, which the pooling then reads: 16 * (28 * 28 + 14 *
  // 14).
  EXPECT_EQ(fp32["peak_activation_bytes"], 4 * 16 * (28 * 28 + 14 * 14));
  EXPECT_EQ(fp32["quantization"]["activations"], 0);
  EXPECT_FALSE(fp32.contains("layers"));

  const auto int8 = json::parse(Command({"inspect", File("int8.efm"), "--json", "--layers"}).out);
  EXPECT_GT(int8["quantization"]["activations"], 4);
  EXPECT_EQ(int8["quantization"]["weights_per_channel"], 4);
  EXPECT_EQ(int8["layers"].size(), int8["nodes"]);
  EXPECT_EQ(int8["layers"][1]["operator"], "Conv2d");
  EXPECT_EQ(int8["layers"][1]["parameters"], 160);
  EXPECT_EQ(int8["layers"][1]["on"]["reference"], "reference");
  for (const auto& delegate : int8["delegates"]) EXPECT_GT(delegate["session_bytes"], 0) << delegate;

  const auto text = Command({"inspect", File("int8.efm"), "--layers"});
  EXPECT_THAT(text.out, AllOf(HasSubstr("float32 [batch, 1, 28, 28]"), HasSubstr("int8     4"), HasSubstr("conv2.pool"),
                              HasSubstr("on reference:   100.00 %"), HasSubstr("size batch:     1 to ")));
}

// What comes out of the command is what a session of the library gives, in whatever batches, to the last bit.
TEST_F(ModelFiles, RunsInBatches) {
  auto graph = runtime::LoadEfm(*MappedFile::Open(File("fp32.efm")));
  ASSERT_TRUE(graph);
  const auto session = runtime::Session::Create(std::make_shared<const runtime::Graph>(*std::move(graph)),
                                                {.delegate = "reference", .batch = 1});
  ASSERT_TRUE(session) << session.error().ToString();
  const arrays::Array images = Images(kExamples);
  std::vector<float> expected(kExamples * 10);
  for (std::size_t i = 0; i < kExamples; ++i) {
    const auto image = images.values<float>().subspan(i * kPixels, kPixels);
    ASSERT_TRUE((*session)->Run(image, std::span(expected).subspan(i * 10, 10)).ok());
  }
  for (const char* batch : {"1", "32", "70", "500"}) {
    const auto result = RunOn("data.npz", "out.npz", {"--delegate", "reference", "--batch", batch, "--json"});
    ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
    const auto summary = json::parse(result.out);
    EXPECT_EQ(summary["examples"], kExamples);
    EXPECT_EQ(summary["ignored_arrays"], json({"labels"}));
    EXPECT_EQ(summary["outputs"][0]["shape"], json({kExamples, 10}));
    const arrays::Array logits = ReadOutput("out.npz");
    EXPECT_THAT(logits.shape, ElementsAre(kExamples, 10));
    EXPECT_THAT(logits.values<float>(), testing::ElementsAreArray(expected));
  }
  const Bytes first = *ReadFile(File("out.npz"), 1 << 20);
  ASSERT_EQ(RunOn("data.npz", "out.npz", {"--delegate", "reference"}).exit_code, 0);
  EXPECT_EQ(*ReadFile(File("out.npz"), 1 << 20), first);
}

// a [batch, length] and b [length], both of a length that the arrays choose; their sum, and (if `transposed`) that with
// examples as columns, which cannot be put together from batches.
void WriteDynamicModel(const std::string& path, bool transposed) {
  runtime::Graph graph;
  graph.name = "dynamic";
  const std::vector<std::vector<std::int64_t>> shapes{{1, 4}, {4}, {1, 4}, {4, 1}};
  const char* names[] = {"a", "b", "sum", "columns"};
  for (std::size_t i = 0; i < 4; ++i) graph.tensors.push_back({.name = names[i], .shape = shapes[i]});
  graph.inputs = {0, 1};
  graph.nodes.push_back({"add", runtime::Binary{runtime::BinaryKind::kAdd}, {0, 1}, {2}});
  graph.nodes.push_back({"transpose", runtime::Transpose{{1, 0}}, {2}, {3}});
  graph.outputs = transposed ? std::vector<runtime::TensorId>{2, 3} : std::vector<runtime::TensorId>{2};
  if (!transposed) graph.nodes.pop_back(), graph.tensors.pop_back();
  graph.dynamic = {{0, 0, 1, 8, std::string(runtime::kBatchSymbol)}, {0, 1, 2, 6, "length"}, {1, 0, 2, 6, "length"}};
  const auto efm = runtime::WriteEfm(graph);
  ASSERT_TRUE(efm) << efm.error().ToString();
  ASSERT_TRUE(WriteFileAtomic(path, *efm).ok());
}

TEST_F(ModelFiles, ArraysChooseTheSizes) {
  WriteDynamicModel(File("dynamic.efm"), false);
  const std::vector<float> a{1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<float> b{10, 20, 30};
  const auto run = [](const arrays::Archive& archive, std::vector<std::string> more = {}) {
    Write("sizes.npz", *arrays::WriteNpz(archive));
    more.insert(more.begin(), {"run", File("dynamic.efm"), "-i", File("sizes.npz"), "-o", File("refused.npz"), "--json"});
    return Command(more);
  };
  const arrays::Array rows = arrays::MakeArray<float>({3, 3}, a);
  const auto result = run({{"a", rows}, {"b", arrays::MakeArray<float>({3}, b)}}, {"--batch", "2"});
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  const auto sums = arrays::ReadNpz(*ReadFile(File("refused.npz"), 1 << 20));
  EXPECT_THAT(sums->at("sum").values<float>(), ElementsAre(11, 22, 33, 14, 25, 36, 17, 28, 39));
  fs::remove(File("refused.npz"));
  EXPECT_THAT(run({{"a", rows}, {"b", arrays::MakeArray<float>({2}, std::span(b).first(2))}}).out,
              AllOf(HasSubstr("BAD_INPUT"), HasSubstr("array 'b' is float32 [2], but other arrays say length = 3")));
  EXPECT_THAT(
      run({{"a", arrays::MakeArray<float>({9, 1}, a)}, {"b", arrays::MakeArray<float>({1}, std::span(b).first(1))}}).out,
      HasSubstr("dimension 1 of array 'a' is 1; the model takes 2 to 6"));
  EXPECT_THAT(run({{"a", rows}}).out, HasSubstr("there is no array 'b', float32 [length]"));
  Write("a.npy", *arrays::WriteNpy(rows));
  EXPECT_EQ(
      RefusalOf({"run", File("dynamic.efm"), "-i", File("a.npy"), "-o", File("refused.npz")}, "inputs 'a' float32 [examples"),
      "BAD_INPUT");
  const auto inspected = json::parse(Command({"inspect", File("dynamic.efm"), "--json"}).out);
  EXPECT_EQ(inspected["dynamic"][1], json::parse(R"({"input": "a", "axis": 1, "symbol": "length", "min": 2, "max": 6})"));
  EXPECT_THAT(Command({"inspect", File("dynamic.efm")}).out, AllOf(HasSubstr("[batch, length]"), HasSubstr("size length:")));
  EXPECT_EQ(Command({"bench", File("dynamic.efm"), "--seconds", "0.01", "-i", File("sizes.npz")}).exit_code, 5);  // no 'b'
  EXPECT_EQ(Command({"bench", File("dynamic.efm"), "--seconds", "0.01", "--batch", "8"}).exit_code, 0);
}

TEST_F(ModelFiles, OutputsOfAllExamplesAreComputedAtOnce) {
  WriteDynamicModel(File("columns.efm"), true);
  const auto run = [](std::int64_t examples) {
    const std::vector<float> ones(static_cast<std::size_t>(examples) * 2, 1);
    Write("ones.npz", *arrays::WriteNpz({{"a", arrays::MakeArray<float>({examples, 2}, ones)},
                                         {"b", arrays::MakeArray<float>({2}, std::vector<float>{0, 1})}}));
    return Command({"run", File("columns.efm"), "-i", File("ones.npz"), "-o", File("columns.npz"), "--batch", "2", "--json"});
  };
  const auto result = run(5);
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_EQ(json::parse(result.out)["batch"], 5);
  const auto outputs = arrays::ReadNpz(*ReadFile(File("columns.npz"), 1 << 20));
  EXPECT_THAT(outputs->at("columns").values<float>(), ElementsAre(1, 1, 1, 1, 1, 2, 2, 2, 2, 2));
  EXPECT_THAT(outputs->at("columns").shape, ElementsAre(2, 5));
  EXPECT_THAT(outputs->at("sum").shape, ElementsAre(5, 2));
  EXPECT_THAT(run(9).out, HasSubstr("takes them all at once, at most 8"));
  EXPECT_EQ(RefusalOf({"run", File("columns.efm"), "-i", File("ones.npz"), "-o", File("refused.npy")}, "has 2 outputs"),
            "BAD_USAGE");
}

// A model of fixed sizes runs on the examples one by one; arrays of just its inputs' shapes are the same for all.
TEST_F(ModelFiles, FixedSizesRunOneByOne) {
  runtime::Graph graph;
  graph.name = "fixed";
  graph.tensors = {{.name = "a", .shape = {2, 2}}, {.name = "b", .shape = {}}, {.name = "sum", .shape = {2, 2}}};
  graph.inputs = {0, 1};
  graph.nodes.push_back({"add", runtime::Binary{runtime::BinaryKind::kAdd}, {0, 1}, {2}});
  graph.outputs = {2, 1};
  Write("fixed.efm", *runtime::WriteEfm(graph));
  const std::vector<float> a{1, 2, 3, 4, 5, 6, 7, 8};
  const auto run = [&](std::int64_t rows, const arrays::Array& b) {
    Write("fixed.npz", *arrays::WriteNpz({{"a", arrays::MakeArray<float>({rows, 2}, std::span(a).first(rows * 2))}, {"b", b}}));
    return Command({"run", File("fixed.efm"), "-i", File("fixed.npz"), "-o", File("sums.npz"), "--json"});
  };
  const arrays::Array shared = arrays::MakeArray<float>({}, std::vector<float>{10});
  ASSERT_EQ(run(4, shared).exit_code, 0);
  auto outputs = arrays::ReadNpz(*ReadFile(File("sums.npz"), 1 << 20));
  EXPECT_THAT(outputs->at("sum").shape, ElementsAre(4, 2));
  EXPECT_THAT(outputs->at("sum").values<float>(), ElementsAre(11, 12, 13, 14, 15, 16, 17, 18));
  EXPECT_THAT(outputs->at("b").values<float>(), ElementsAre(10, 10));
  ASSERT_EQ(run(4, arrays::MakeArray<float>({2}, std::vector<float>{10, 20})).exit_code, 0);
  outputs = arrays::ReadNpz(*ReadFile(File("sums.npz"), 1 << 20));
  EXPECT_THAT(outputs->at("sum").values<float>(), ElementsAre(11, 12, 13, 14, 25, 26, 27, 28));
  EXPECT_THAT(run(4, arrays::MakeArray<float>({3}, std::vector<float>{1, 2, 3})).out,
              HasSubstr("3 examples, but other arrays have 2"));
  EXPECT_THAT(run(3, shared).out, HasSubstr("array 'a' is float32 [3, 2], the model takes float32 [2, 2]"));
  EXPECT_THAT(run(0, shared).out, HasSubstr("array 'a' has no examples"));
  ASSERT_EQ(run(2, shared).exit_code, 0);
  EXPECT_THAT(arrays::ReadNpz(*ReadFile(File("sums.npz"), 1 << 20))->at("b").shape, IsEmpty());
}

TEST_F(ModelFiles, OneArrayNeedsNoName) {
  Write("images.npy", *arrays::WriteNpy(Images(3)));
  const auto result = RunOn("images.npy", "out.npy");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("output logits:"), HasSubstr("float32 [3, 10]"), HasSubstr("onednn")));
  const auto logits = arrays::NpyFile::Open(File("out.npy"));
  ASSERT_TRUE(logits) << logits.error().ToString();
  EXPECT_EQ(logits->info().ToString(), "float32 [3, 10]");
}

TEST_F(ModelFiles, RefusesInputsThatDoNotFit) {
  arrays::Array images = Images(4);
  EXPECT_EQ(RefusalOfInput({{"images", images}}, "there is no array 'image', float32 [examples, 1, 28, 28]"), "BAD_INPUT");
  images.shape = {4, 28, 28};
  EXPECT_EQ(RefusalOfInput({{"image", images}},
                           "array 'image' is float32 [4, 28, 28], the model takes float32 [examples, 1, 28, 28]"),
            "BAD_INPUT");
  images.shape = {4, 1, 28, 28};
  images.type = arrays::ElementType::kInt32;
  EXPECT_EQ(RefusalOfInput({{"image", images}}, "array 'image' is int32 [4, 1, 28, 28], the model takes float32"), "BAD_INPUT");
  images.type = arrays::ElementType::kFloat32;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(images.data.data() + (2 * kPixels + 5) * sizeof nan, &nan, sizeof nan);
  EXPECT_EQ(RefusalOfInput({{"image", images}}, "array 'image' holds NaN in example 2"), "BAD_INPUT");
  EXPECT_EQ(RefusalOfInput({{"image", Images(0)}}, "has no examples"), "BAD_INPUT");
  const arrays::Array zeros{arrays::ElementType::kFloat32, {1'000, 1, 28, 28}, Bytes(1'000 * kPixels * 4)};
  EXPECT_EQ(RefusalOfInput({{"image", zeros}}, "unpacks to more than 200 times its size"), "TOO_LARGE");
  EXPECT_EQ(RefusalOf({"run", File("fp32.efm"), "-i", File("cnn.onnx"), "-o", File("refused.npz")}, "cnn.onnx: not a .npz"),
            "BAD_NPZ");
}

TEST_F(ModelFiles, RefusesFilesAndOptionsThatCannotBe) {
  const auto run = [](const std::string& model, const std::string& output, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"run", File(model), "-i", File("images.npz"), "-o", File(output)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  };
  EXPECT_EQ(RefusalOf(run("cnn.onnx", "refused.npz"), "cnn.onnx: "), "EFM_BAD_HEADER");
  EXPECT_EQ(RefusalOf({"inspect", File("images.npz")}, "images.npz: "), "EFM_BAD_HEADER");
  EXPECT_EQ(RefusalOf(run("fp32.efm", "none/out.npz"), "write into"), "FILE_MISSING");
  EXPECT_EQ(RefusalOf(run("fp32.efm", "images.npz/out.npz"), "is no folder"), "NOT_A_FOLDER");
  EXPECT_EQ(RefusalOf(run("fp32.efm", "."), "is a folder"), "NOT_A_FILE");
  EXPECT_EQ(RefusalOf(run("fp32.efm", "refused.npz", {"--delegate", "tpu"}), "there are: onednn, reference"),
            "DELEGATE_UNKNOWN");
  EXPECT_EQ(RefusalOf(run("fp32.efm", "refused.npz", {"--batch", "0"}), "--batch"), "BAD_USAGE");
  EXPECT_EQ(RefusalOf(run("fp32.efm", "refused.npz", {"--threads", "65"}), "--threads"), "BAD_USAGE");
  EXPECT_EQ(RefusalOf({"bench", File("fp32.efm"), "--batch", "100", "-i", File("images.npz")}, "--batch is 100"), "BAD_INPUT");
  EXPECT_EQ(RefusalOf({"compile", File("images.npz"), "-o", File("refused.npz")}, "images.npz: "), "BAD_ONNX");
  EXPECT_EQ(RefusalOf({"compile", File("cnn.onnx"), "-o", File("refused.npz"), "--precision", "int8"}, "needs --calibration"),
            "BAD_USAGE");
  EXPECT_EQ(RefusalOf({"compile", File("cnn.onnx"), "-o", File("refused.npz"), "--precision", "int7"}, "--precision"),
            "BAD_USAGE");
  EXPECT_EQ(RefusalOf({"compile", File("cnn.onnx"), "-o", File("refused.npz"), "--eval", File("images.npz")}, "labels"),
            "BAD_EVALUATION");
}

// A run that is interrupted leaves nothing behind, and what was there before stays.
TEST_F(ModelFiles, InterruptedRunsLeaveTheOldOutput) {
  Write("many.npz", *arrays::WriteNpz({{"image", Images(20'000)}}, arrays::Packing::kStored));
  Write("kept.npz", AsBytes("the former result"));
  const auto files = [] { return std::distance(fs::directory_iterator(folder_->path()), fs::directory_iterator()); };
  const auto before = files();
  test::ChildProcess run({EDGEFLEET_PROGRAM, "model", "run", File("fp32.efm"), "-i", File("many.npz"), "-o", File("kept.npz"),
                          "--delegate", "reference"});
  ASSERT_TRUE(run.WaitForLine("running 0 %"));
  run.Signal(SIGINT);
  EXPECT_EQ(run.Wait(), 128 + SIGINT);
  EXPECT_EQ(files(), before);
  EXPECT_EQ(AsText(*ReadFile(File("kept.npz"), 1000)), "the former result");
}

TEST_F(ModelFiles, BenchMeasures) {
  const auto result = Command({"bench", File("int8.efm"), "--seconds", "0.05", "--batch", "2", "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  const auto bench = json::parse(result.out);
  const auto& latency = bench["latency_ms"];
  EXPECT_GE(bench["runs"], 3);
  EXPECT_GT(latency["min"], 0);
  EXPECT_LE(latency["min"], latency["median"]);
  EXPECT_LE(latency["median"], latency["p90"]);
  EXPECT_LE(latency["p90"], latency["p99"]);
  EXPECT_GT(bench["inferences_per_second"], 0);
  EXPECT_GT(bench["session_bytes"], 0);
  EXPECT_GT(bench["peak_resident_bytes"], bench["session_bytes"]);
  EXPECT_GT(bench["first_inference_ms"], 0);
  EXPECT_EQ(bench["batch"], 2);
  const auto text =
      Command({"bench", File("int8.efm"), "--seconds", "0.05", "--input", File("images.npz"), "--delegate", "reference"});
  EXPECT_THAT(text.out, AllOf(HasSubstr("latency:"), HasSubstr("inferences/s:"), HasSubstr("reference, 100.00 %")));
}

TEST_F(ModelFiles, HelpHasExamples) {
  for (const char* command : {"compile", "inspect", "run", "bench", "eval"}) {
    const auto help = Command({command, "--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_THAT(help.out, AllOf(HasSubstr("Examples:"), HasSubstr(std::string("edgefleet model ") + command)));
  }
}

}  // namespace
}  // namespace edgefleet::cli
