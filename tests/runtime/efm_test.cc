#include "device_client/runtime/format/efm.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cctype>
#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "device_client/runtime/parameters.h"
#include "device_client/runtime/session.h"
#include "device_client/runtime/validate.h"
#include "tests/runtime/graph_builder.h"

namespace edgefleet::runtime {
namespace {

using testing::AddOp;
using testing::GlobalAverageOp;
using testing::GraphBuilder;
using testing::PerTensor;
using testing::RandomFloats;
using testing::RandomInt8;
using testing::ReluOp;

// Every operator once, int8 and fp32.
std::shared_ptr<const Graph> EveryOperator() {
  SeededRandom random(3);
  GraphBuilder b;
  TensorId x = b.Input({1, 2, 6, 6});
  x = b.Apply(Quantize{}, {x}, PerTensor(0.02F, -5));
  Conv2d conv{{1, 2}, {1, 1, 1, 1}, {1, 1}, 1, {UnaryKind::kRelu}};
  const Quantization per_channel{{0.01F, 0.02F, 0.03F, 0.04F}, {0, 0, 0, 0}, 0};
  const TensorId w = b.Constant<std::int8_t>({4, 2, 3, 3}, RandomInt8(random, 72), per_channel);
  const TensorId bias = b.Constant<std::int32_t>({4}, {1, -2, 3, -4});
  x = b.Apply(conv, {x, w, bias}, PerTensor(0.05F, -128));
  x = b.Apply(Dequantize{}, {x});
  const TensorId pooled = b.Apply(Pool2d{Pool2d::Kind::kMax, {2, 2}, {1, 1}, {1, 0, 0, 1}, false}, {x});
  x = b.Apply(Pool2d{Pool2d::Kind::kAverage, {2, 2}, {1, 1}, {1, 0, 0, 1}, true}, {x});
  x = b.Apply(AddOp(), {pooled, x});
  x = b.Apply(ReluOp(), {x});
  const TensorId flat = b.Apply(Flatten{}, {x});
  const TensorId fc = b.Parameter({3, b.Shape(flat)[1]}, RandomFloats(random, 3 * b.Shape(flat)[1]));
  const TensorId fc_bias = b.Parameter({3}, {0.1F, 0.2F, 0.3F});
  const TensorId logits = b.Apply(FullyConnected{}, {flat, fc, fc_bias});
  const TensorId averages = b.Apply(GlobalAverageOp(), {x});
  return b.Finish({b.Apply(Softmax{}, {logits}), averages});
}

// The smallest useful model, for exhaustive corruption.
std::shared_ptr<const Graph> Small() {
  GraphBuilder b;
  const TensorId x = b.Input({1, 2});
  const TensorId w = b.Parameter({2, 2}, {1, 2, 3, 4});
  const TensorId bias = b.Parameter({2}, {5, 6});
  return b.Finish({b.Apply(FullyConnected{{UnaryKind::kRelu}}, {x, w, bias})});
}

void ExpectSame(const Graph& a, const Graph& b) {
  EXPECT_EQ(a.name, b.name);
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    const Tensor& s = a.tensors[i];
    const Tensor& t = b.tensors[i];
    EXPECT_EQ(s.name, t.name);
    EXPECT_EQ(s.type, t.type);
    EXPECT_EQ(s.shape, t.shape);
    EXPECT_EQ(ToBytes(s.data), ToBytes(t.data));
    ASSERT_EQ(s.quantization.has_value(), t.quantization.has_value());
    if (s.quantization) {
      EXPECT_EQ(s.quantization->scales, t.quantization->scales);
      EXPECT_EQ(ZeroPoint(s), ZeroPoint(t));
      EXPECT_EQ(s.quantization->axis, t.quantization->axis);
    }
  }
  ASSERT_EQ(a.nodes.size(), b.nodes.size());
  for (std::size_t i = 0; i < a.nodes.size(); ++i) {
    EXPECT_EQ(a.nodes[i].name, b.nodes[i].name);
    EXPECT_EQ(a.nodes[i].op.index(), b.nodes[i].op.index());
    EXPECT_EQ(OperatorName(a.nodes[i].op), OperatorName(b.nodes[i].op));
    EXPECT_EQ(a.nodes[i].inputs, b.nodes[i].inputs);
    EXPECT_EQ(a.nodes[i].outputs, b.nodes[i].outputs);
  }
  EXPECT_EQ(a.inputs, b.inputs);
  EXPECT_EQ(a.outputs, b.outputs);
  EXPECT_EQ(a.parameters, b.parameters);
}

TEST(Efm, RoundTripKeepsEverything) {
  const auto graph = EveryOperator();
  const auto bytes = WriteEfm(*graph);
  ASSERT_TRUE(bytes.has_value()) << bytes.error().ToString();
  const auto loaded = LoadEfm(*bytes);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().ToString();
  ExpectSame(*graph, *loaded);
  const auto& conv = std::get<Conv2d>(loaded->nodes[1].op);
  EXPECT_EQ(conv.strides, (std::array<std::int32_t, 2>{1, 2}));
  EXPECT_EQ(conv.pads, (std::array<std::int32_t, 4>{1, 1, 1, 1}));
  EXPECT_EQ(conv.activation.kind, UnaryKind::kRelu);
  const auto& pool = std::get<Pool2d>(loaded->nodes[4].op);
  EXPECT_TRUE(pool.count_include_pad);
  EXPECT_EQ(pool.pads, (std::array<std::int32_t, 4>{1, 0, 0, 1}));
  EXPECT_EQ(*WriteEfm(*loaded), *bytes) << "the same graph must give the same bytes";
}

TEST(Efm, ConstantsAreMappedInPlaceAndAligned) {
  const auto bytes = WriteEfm(*EveryOperator());
  ASSERT_TRUE(bytes.has_value());
  const auto path = std::filesystem::temp_directory_path() / ("efm_test_" + std::to_string(::getpid()) + ".efm");
  ASSERT_TRUE(WriteFileAtomic(path, *bytes).ok());
  auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.has_value());
  const ByteView mapping = (*file)->bytes();
  const auto graph = LoadEfm(*std::move(file));
  std::filesystem::remove(path);
  ASSERT_TRUE(graph.has_value()) << graph.error().ToString();
  for (const Tensor& tensor : graph->tensors) {
    if (!tensor.is_constant()) continue;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data.data()) % kEfmAlignment, 0U);
    EXPECT_GE(tensor.data.data(), mapping.data());
    EXPECT_LE(tensor.data.data() + tensor.data.size(), mapping.data() + mapping.size());
  }
}

TEST(Efm, Int8FileIsCompact) {
  // 106,442 parameters: the demo's kind of network.
  const auto build = [](bool int8) {
    GraphBuilder b;
    SeededRandom random(1);
    const auto layer = [&](Operator op, TensorId x, const std::vector<std::int64_t>& shape) {
      if (!int8) {
        const TensorId w = b.Parameter(shape, RandomFloats(random, ElementCount(shape)));
        return b.Apply(op, {x, w, b.Parameter({shape[0]}, RandomFloats(random, shape[0]))});
      }
      Quantization q;
      q.axis = 0;
      q.scales = std::vector<float>(static_cast<std::size_t>(shape[0]), 0.01F);
      const TensorId w = b.Constant<std::int8_t>(shape, RandomInt8(random, ElementCount(shape)), q);
      const TensorId bias =
          b.Constant<std::int32_t>({shape[0]}, std::vector<std::int32_t>(static_cast<std::size_t>(shape[0]), 7));
      return b.Apply(op, {x, w, bias}, PerTensor(0.1F, 3));
    };
    const auto same = [&](TensorId id) { return b.At(id).quantization; };
    TensorId x = b.Input({1, 1, 28, 28});
    if (int8) x = b.Apply(Quantize{}, {x}, PerTensor(0.01F, 0));
    const Conv2d conv{{1, 1}, {1, 1, 1, 1}, {1, 1}, 1, {UnaryKind::kRelu}};
    const Pool2d pool{Pool2d::Kind::kMax, {2, 2}, {2, 2}, {0, 0, 0, 0}, false};
    x = layer(conv, x, {16, 1, 3, 3});
    x = b.Apply(pool, {x}, same(x));
    x = layer(conv, x, {32, 16, 3, 3});
    x = b.Apply(pool, {x}, same(x));
    x = b.Apply(Flatten{}, {x}, same(x));
    x = layer(FullyConnected{{UnaryKind::kRelu}}, x, {64, 1568});
    x = layer(FullyConnected{}, x, {10, 64});
    if (int8) x = b.Apply(Dequantize{}, {x});
    return b.Finish({x});
  };
  const auto fp32 = WriteEfm(*build(false));
  const auto int8 = WriteEfm(*build(true));
  ASSERT_TRUE(fp32.has_value() && int8.has_value());
  EXPECT_LE(static_cast<double>(int8->size()), 0.27 * static_cast<double>(fp32->size()))
      << int8->size() << " of " << fp32->size();
}

TEST(Efm, EveryTruncationIsRefused) {
  const auto bytes = WriteEfm(*Small());
  ASSERT_TRUE(bytes.has_value());
  for (std::size_t size = 0; size < bytes->size(); ++size) {
    const auto graph = LoadEfm(Bytes(bytes->begin(), bytes->begin() + static_cast<std::ptrdiff_t>(size)));
    ASSERT_FALSE(graph.has_value()) << size;
    EXPECT_EQ(graph.error().reason(), "EFM_TRUNCATED") << size;
  }
  Bytes longer = *bytes;
  longer.push_back(std::byte{0});
  EXPECT_EQ(LoadEfm(longer).error().reason(), "EFM_BAD_HEADER");
}

// A damaged file is refused, or is another model that runs within its own bounds (the sanitizers watch).
void ExpectHarmless(const Bytes& bytes) {
  auto graph = LoadEfm(bytes);
  if (!graph) {
    EXPECT_FALSE(graph.error().reason().empty());
    return;
  }
  ASSERT_TRUE(ValidateGraph(*graph).ok());
  const auto shared = std::make_shared<const Graph>(*std::move(graph));
  auto session = Session::Create(shared, {.delegate = "reference", .memory_bytes_max = std::size_t{1} << 20});
  if (!session) return;
  std::vector<Bytes> inputs;
  std::vector<Bytes> outputs;
  const auto sized = [&](TensorId id) {
    const Tensor& tensor = shared->tensors[static_cast<std::size_t>(id)];
    return Bytes(static_cast<std::size_t>(ElementCount(tensor.shape)) * SizeOf(tensor.type));
  };
  for (const TensorId id : shared->inputs) inputs.push_back(sized(id));
  for (const TensorId id : shared->outputs) outputs.push_back(sized(id));
  const std::vector<ByteView> in(inputs.begin(), inputs.end());
  const std::vector<std::span<std::byte>> out(outputs.begin(), outputs.end());
  EXPECT_TRUE((*session)->Run(in, out).ok());
}

TEST(Efm, EveryFlippedBitIsHarmless) {
  for (const auto& graph : {Small(), EveryOperator()}) {
    const auto bytes = WriteEfm(*graph);
    ASSERT_TRUE(bytes.has_value());
    std::uint64_t weights_offset = 0;
    std::memcpy(&weights_offset, bytes->data() + 32, sizeof weights_offset);
    for (std::size_t i = 0; i < weights_offset; ++i) {
      for (int bit = 0; bit < 8; ++bit) {
        Bytes damaged = *bytes;
        damaged[i] ^= static_cast<std::byte>(1 << bit);
        ExpectHarmless(damaged);
      }
    }
  }
}

TEST(Efm, RandomDamageIsHarmless) {
  SeededRandom random(11);
  const auto bytes = WriteEfm(*EveryOperator());
  ASSERT_TRUE(bytes.has_value());
  for (int round = 0; round < 3000; ++round) {
    Bytes damaged = *bytes;
    for (std::uint64_t i = 0; i <= random.Below(6); ++i) {
      damaged[64 + random.Below(damaged.size() - 64)] = static_cast<std::byte>(random.Below(256));
    }
    ExpectHarmless(damaged);
  }
}

TEST(Efm, AnotherVersionOrKindIsNamed) {
  Bytes bytes = *WriteEfm(*Small());
  bytes[4] = std::byte{1};
  EXPECT_EQ(LoadEfm(bytes).error().reason(), "EFM_VERSION");
  EXPECT_EQ(LoadEfm(bytes).error().code(), StatusCode::kUnimplemented);
  bytes[0] = std::byte{'X'};
  EXPECT_EQ(LoadEfm(bytes).error().reason(), "EFM_BAD_HEADER");
}

// What is wrong with a graph, and the reason it is refused with.
struct BadGraph {
  const char* what;
  const char* reason;
  void (*damage)(Graph&);
};

class Validation : public ::testing::TestWithParam<BadGraph> {};

TEST_P(Validation, RefusesWithItsReason) {
  Graph graph = *EveryOperator();
  ASSERT_TRUE(ValidateGraph(graph).ok()) << ValidateGraph(graph).ToString();
  GetParam().damage(graph);
  EXPECT_EQ(ValidateGraph(graph).reason(), GetParam().reason) << ValidateGraph(graph).ToString();
  EXPECT_FALSE(WriteEfm(graph).has_value());
}

// Tensors of EveryOperator: 0 input, 1 quantized, 2 weights, 3 bias, 4 conv, 5 dequantized, 6 max, 7 average, 8 sum, 9 relu,
// 10 flat, 11 fc weights, 12 fc bias, 13 logits.
INSTANTIATE_TEST_SUITE_P(
    Graphs, Validation,
    ::testing::Values(
        BadGraph{"no node", "GRAPH_LIMIT", [](Graph& g) { g.nodes.clear(); }},
        BadGraph{"no output", "GRAPH_LIMIT", [](Graph& g) { g.outputs.clear(); }},
        BadGraph{"dimension 0", "GRAPH_TENSOR", [](Graph& g) { g.tensors[0].shape[1] = 0; }},
        BadGraph{"negative dimension", "GRAPH_TENSOR", [](Graph& g) { g.tensors[0].shape[1] = -2; }},
        BadGraph{"huge shape", "GRAPH_TENSOR",
                 [](Graph& g) {
                   g.tensors[0].shape = {1, 1 << 20, 1 << 20, 1 << 20};
                 }},
        BadGraph{"batch in the shape", "GRAPH_SHAPE", [](Graph& g) { g.tensors[0].shape[0] = 2; }},
        BadGraph{"short constant", "GRAPH_TENSOR", [](Graph& g) { g.tensors[2].data = g.tensors[2].data.first(71); }},
        BadGraph{"unknown type", "GRAPH_TENSOR", [](Graph& g) { g.tensors[0].type = static_cast<DataType>(9); }},
        BadGraph{"int8 without scale", "GRAPH_QUANTIZATION", [](Graph& g) { g.tensors[1].quantization.reset(); }},
        BadGraph{"NaN scale", "GRAPH_QUANTIZATION", [](Graph& g) { g.tensors[1].quantization->scales[0] = NAN; }},
        BadGraph{"negative scale", "GRAPH_QUANTIZATION", [](Graph& g) { g.tensors[1].quantization->scales[0] = -1; }},
        BadGraph{"zero point", "GRAPH_QUANTIZATION", [](Graph& g) { g.tensors[1].quantization->zero_points[0] = 200; }},
        BadGraph{"scales for 3 of 4", "GRAPH_QUANTIZATION", [](Graph& g) { g.tensors[2].quantization->scales.pop_back(); }},
        BadGraph{"asymmetric weights", "GRAPH_TYPE", [](Graph& g) { g.tensors[2].quantization->zero_points[1] = 1; }},
        BadGraph{"quantized fp32", "GRAPH_QUANTIZATION", [](Graph& g) { g.tensors[0].quantization = PerTensor(1); }},
        BadGraph{"wrong id", "GRAPH_NODE", [](Graph& g) { g.nodes[0].inputs[0] = 99; }},
        BadGraph{"negative id", "GRAPH_NODE", [](Graph& g) { g.nodes[0].inputs[0] = -1; }},
        BadGraph{"four inputs", "GRAPH_NODE", [](Graph& g) { g.nodes[1].inputs.push_back(3); }},
        BadGraph{"no weights", "GRAPH_NODE", [](Graph& g) { g.nodes[1].inputs.resize(1); }},
        BadGraph{"two outputs", "GRAPH_NODE", [](Graph& g) { g.nodes[1].outputs.push_back(5); }},
        BadGraph{"activation as weights", "GRAPH_TYPE", [](Graph& g) { g.nodes[1].inputs[1] = 0; }},
        BadGraph{"wrong order", "GRAPH_ORDER", [](Graph& g) { std::swap(g.nodes[0], g.nodes[1]); }},
        BadGraph{"written twice", "GRAPH_ORDER", [](Graph& g) { g.nodes[3].outputs[0] = 5; }},
        BadGraph{"output from nowhere", "GRAPH_ORDER", [](Graph& g) { g.outputs[0] = 2; }},
        BadGraph{"input twice", "GRAPH_ORDER", [](Graph& g) { g.inputs.push_back(0); }},
        BadGraph{"stride 0", "GRAPH_NODE", [](Graph& g) { std::get<Conv2d>(g.nodes[1].op).strides[0] = 0; }},
        BadGraph{"negative pad", "GRAPH_NODE", [](Graph& g) { std::get<Conv2d>(g.nodes[1].op).pads[0] = -1; }},
        BadGraph{"huge dilation", "GRAPH_NODE", [](Graph& g) { std::get<Conv2d>(g.nodes[1].op).dilations[0] = 1 << 30; }},
        BadGraph{"groups 0", "GRAPH_NODE", [](Graph& g) { std::get<Conv2d>(g.nodes[1].op).groups = 0; }},
        BadGraph{"groups 3", "GRAPH_SHAPE", [](Graph& g) { std::get<Conv2d>(g.nodes[1].op).groups = 3; }},
        BadGraph{"pool kernel 0", "GRAPH_SHAPE", [](Graph& g) { std::get<Pool2d>(g.nodes[3].op).kernel[0] = 0; }},
        BadGraph{"pool all padding", "GRAPH_NODE", [](Graph& g) { std::get<Pool2d>(g.nodes[3].op).pads[0] = 2; }},
        BadGraph{"flatten", "GRAPH_SHAPE", [](Graph& g) { g.tensors[10].shape[1] += 1; }},
        BadGraph{"activation kind", "GRAPH_NODE",
                 [](Graph& g) { std::get<Conv2d>(g.nodes[1].op).activation = Activation{static_cast<UnaryKind>(200)}; }},
        BadGraph{"softmax of int8", "GRAPH_TYPE", [](Graph& g) { g.nodes[2].op = Softmax{}; }},
        BadGraph{"quantize to fp32", "GRAPH_TYPE", [](Graph& g) { g.nodes[2].op = Quantize{}; }},
        BadGraph{"parameter is int8", "GRAPH_PARAMETERS", [](Graph& g) { g.parameters[0] = 2; }},
        BadGraph{"parameter twice", "GRAPH_PARAMETERS", [](Graph& g) { g.parameters[1] = g.parameters[0]; }},
        BadGraph{"parameter id", "GRAPH_PARAMETERS", [](Graph& g) { g.parameters[0] = 1000; }}),
    [](const auto& param) {
      std::string name = param.param.what;
      for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name;
    });

TEST(Parameters, ReadWriteAndLayout) {
  const auto graph = Small();
  EXPECT_EQ(ParameterCount(*graph), 6);
  EXPECT_EQ(ReadParameters(*graph), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  const std::vector<float> values{6, 5, 4, 3, 2, 1};
  const auto changed = WithParameters(*graph, values);
  ASSERT_TRUE(changed.has_value());
  EXPECT_EQ(ReadParameters(*changed), values);
  EXPECT_EQ(ReadParameters(*graph), (std::vector<float>{1, 2, 3, 4, 5, 6})) << "the original stays";
  EXPECT_EQ(LayoutSha256(*changed), LayoutSha256(*graph));
  EXPECT_EQ(ReadParameters(*LoadEfm(*WriteEfm(*changed))), values);

  Graph renamed = *graph;
  renamed.tensors[static_cast<std::size_t>(renamed.parameters[0])].name = "other";
  EXPECT_NE(LayoutSha256(renamed), LayoutSha256(*graph));
}

TEST(Parameters, RefusesBadVectors) {
  const auto graph = Small();
  EXPECT_EQ(WithParameters(*graph, std::vector<float>(5)).error().reason(), "PARAMETER_COUNT");
  EXPECT_EQ(WithParameters(*graph, std::vector<float>{1, 2, 3, 4, 5, NAN}).error().reason(), "PARAMETER_NOT_FINITE");
  Graph frozen = *graph;
  frozen.parameters.clear();
  EXPECT_EQ(WithParameters(frozen, std::vector<float>{}).error().reason(), "NOT_TRAINABLE");
}

}  // namespace
}  // namespace edgefleet::runtime
