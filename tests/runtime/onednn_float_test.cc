// Each fp32 and bf16 step of the onednn delegate against the reference, node by node.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/random.h"
#include "device_client/runtime/folding_builder.h"
#include "device_client/runtime/onednn/float_steps.h"
#include "device_client/runtime/ops/half.h"
#include "device_client/runtime/session.h"

namespace edgefleet::runtime {
namespace {

using Shape = std::vector<std::int64_t>;

// An input of a node under test: an activation, a constant or nothing.
struct Source {
  enum class Kind { kActivation, kConstant, kNone } kind = Kind::kNone;
  DataType type = DataType::kFloat32;
  Shape shape;
  std::vector<std::int64_t> integers = {};
  std::vector<float> floats = {};
  float scale = 1;  // of random activations
};
Source X(Shape shape, DataType type = DataType::kFloat32) { return {Source::Kind::kActivation, type, std::move(shape)}; }
Source Wide(Shape shape) { return {Source::Kind::kActivation, DataType::kFloat32, std::move(shape), {}, {}, 15}; }
Source C(Shape shape, DataType type = DataType::kFloat32) { return {Source::Kind::kConstant, type, std::move(shape)}; }
Source Ints(std::vector<std::int64_t> values) {
  return {Source::Kind::kConstant, DataType::kInt64, {static_cast<std::int64_t>(values.size())}, values};
}
Source Floats(std::vector<float> values) {
  return {Source::Kind::kConstant, DataType::kFloat32, {static_cast<std::int64_t>(values.size())}, {}, values};
}
const Source kNone;

struct Case {
  const char* name;
  Operator op;
  std::vector<Source> inputs;
  std::size_t outputs = 1;
  bool primitive = true;  // else the reference's kernel must run it
};

// A node that takes what the one before made, and these inputs.
struct Link {
  Operator op;
  std::vector<Source> others = {};
};

class Model {
 public:
  Model(const Source& x, const std::vector<Link>& chain) : random_(7), builder_("test") {
    TensorId id = Add(x);
    for (const Link& link : chain) {
      std::vector<TensorId> inputs{id};
      for (const Source& source : link.others) inputs.push_back(Add(source));
      auto ids = builder_.AddNode("node", link.op, inputs, {"y"});
      EXPECT_TRUE(ids.has_value()) << ids.error().ToString();
      if (!ids) return;
      id = (*ids)[0];
    }
    graph_ = std::make_shared<const Graph>(std::move(builder_).Finish({{id, "y"}}));
  }
  explicit Model(const Case& c) : random_(7), builder_("test") {
    std::vector<TensorId> inputs;
    for (const Source& source : c.inputs) inputs.push_back(Add(source));
    std::vector<std::string> names;
    for (std::size_t i = 0; i < c.outputs; ++i) names.push_back("y" + std::to_string(i));
    auto ids = builder_.AddNode("node", c.op, inputs, names);
    EXPECT_TRUE(ids.has_value()) << c.name << ": " << ids.error().ToString();
    if (!ids) return;
    std::vector<FoldingBuilder::Output> outputs;
    for (std::size_t i = 0; i < ids->size(); ++i) outputs.push_back({(*ids)[i], names[i]});
    graph_ = std::make_shared<const Graph>(std::move(builder_).Finish(outputs));
  }

  const std::shared_ptr<const Graph>& graph() const { return graph_; }

  // All outputs as real numbers.
  std::vector<std::vector<float>> Run(const std::string& delegate) const {
    auto session = Session::Create(graph_, {.delegate = delegate});
    EXPECT_TRUE(session.has_value()) << session.error().ToString();
    if (!session) return {};
    std::vector<ByteView> inputs(values_.begin(), values_.end());
    std::vector<Bytes> bytes;
    for (const TensorId id : graph_->outputs) {
      const Tensor& tensor = graph_->tensor(id);
      bytes.emplace_back(static_cast<std::size_t>(ElementCount(tensor.shape)) * SizeOf(tensor.type));
    }
    std::vector<std::span<std::byte>> outputs(bytes.begin(), bytes.end());
    for (int i = 0; i < 2; ++i) {
      const Status status = (*session)->Run(inputs, outputs);
      EXPECT_TRUE(status.ok()) << status.ToString();
    }
    std::vector<std::vector<float>> reals;
    for (std::size_t i = 0; i < bytes.size(); ++i) reals.push_back(Reals(bytes[i], graph_->tensor(graph_->outputs[i]).type));
    return reals;
  }

 private:
  static std::vector<float> Reals(const Bytes& bytes, DataType type) {
    std::vector<float> reals(bytes.size() / SizeOf(type));
    for (std::size_t i = 0; i < reals.size(); ++i) {
      if (type == DataType::kBFloat16) {
        BFloat16 value;
        std::memcpy(&value, bytes.data() + 2 * i, 2);
        reals[i] = ToFloat(value);
      } else {
        std::memcpy(&reals[i], bytes.data() + 4 * i, 4);
      }
    }
    return reals;
  }

  Bytes RandomBytes(DataType type, const Shape& shape, float scale = 1) {
    if (type == DataType::kInt8 || type == DataType::kInt4) {
      Bytes bytes(ConstantBytes(type, shape, 32));
      for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_.Below(256));
      if (type == DataType::kInt4) {  // scales around 1/8 at the end
        const std::int64_t columns = ElementCount(shape) / shape[0];
        const auto scales = static_cast<std::size_t>(shape[0] * ((columns + 31) / 32));
        for (std::size_t i = 0; i < scales; ++i) {
          const Float16 step = ToFloat16(static_cast<float>(0.1 + 0.05 * random_.Unit()));
          std::memcpy(bytes.data() + bytes.size() - 2 * (i + 1), &step, 2);
        }
      }
      return bytes;
    }
    Bytes bytes;
    for (std::int64_t i = 0; i < ElementCount(shape); ++i) {
      const auto value = static_cast<float>(0.1 + random_.Unit()) * (random_.Below(2) == 0 ? scale : -scale);
      const Float16 half = ToFloat16(value);
      const BFloat16 brain = ToBFloat16(value);
      const void* from = type == DataType::kFloat16    ? static_cast<const void*>(&half)
                         : type == DataType::kBFloat16 ? static_cast<const void*>(&brain)
                                                       : static_cast<const void*>(&value);
      const auto* first = static_cast<const std::byte*>(from);
      bytes.insert(bytes.end(), first, first + SizeOf(type));
    }
    return bytes;
  }

  TensorId Add(const Source& source) {
    const std::string name = "x" + std::to_string(count_++);
    if (source.kind == Source::Kind::kNone) return kAbsent;
    if (source.kind == Source::Kind::kActivation) {
      values_.push_back(RandomBytes(source.type, source.shape, source.scale));
      return builder_.AddInput(name, source.type, source.shape);
    }
    Bytes bytes;
    if (!source.integers.empty()) {
      bytes = ToBytes(std::as_bytes(std::span(source.integers)));
    } else if (!source.floats.empty()) {
      bytes = ToBytes(std::as_bytes(std::span(source.floats)));
    } else {
      bytes = RandomBytes(source.type, source.shape);
    }
    std::optional<Quantization> quantization;
    if (source.type == DataType::kInt8) {
      quantization = Quantization{{}, {}, 0};
      for (std::int64_t i = 0; i < source.shape[0]; ++i) quantization->scales.push_back(0.01F + 0.001F * static_cast<float>(i));
    }
    if (source.type == DataType::kInt4) quantization = Quantization{{}, {}, -1, 32};
    auto id = builder_.AddConstant(name, source.type, source.shape, bytes, quantization);
    EXPECT_TRUE(id.has_value());
    return id.value_or(kAbsent);
  }

  SeededRandom random_;
  FoldingBuilder builder_;
  int count_ = 0;
  std::vector<Bytes> values_;
  std::shared_ptr<const Graph> graph_;
};

// Whether a primitive runs the graph's only node.
bool RunsAsPrimitive(const std::shared_ptr<const Graph>& graph) {
  const PartitionSpec spec{graph, {0}, graph->inputs, graph->outputs, 1, 1 << 30};
  const onednn::ThreadScope threads(1);
  onednn::Program program;
  std::unordered_map<TensorId, onednn::View> views;
  const auto view_of = [&](TensorId id) {
    const Tensor& tensor = graph->tensor(id);
    const auto type = tensor.type == DataType::kBFloat16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
    const auto desc = onednn::Plain(tensor.shape.empty() ? onednn::Dims{1} : onednn::Dims(tensor.shape), type);
    return tensor.is_constant() ? program.Borrowed(desc, tensor.data.data()) : program.External(desc);
  };
  return onednn::FloatSteps(spec, program, view_of, views).Add(graph->nodes[0]);
}

void Compare(const Model& model, const char* name, float float_tolerance = 2e-5F) {
  const auto expected = model.Run("reference");
  const auto actual = model.Run("onednn");
  ASSERT_EQ(actual.size(), expected.size()) << name;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const bool bf16 = model.graph()->tensor(model.graph()->outputs[i]).type == DataType::kBFloat16;
    const float tolerance = bf16 ? 1.0F / 128 : float_tolerance;
    float worst = 0;
    std::size_t where = 0;
    for (std::size_t j = 0; j < actual[i].size(); ++j) {
      const float error = std::abs(actual[i][j] - expected[i][j]) / std::max(1.0F, std::abs(expected[i][j]));
      if (!(error <= worst)) worst = error, where = j;
    }
    EXPECT_LE(worst, tolerance) << name << ", output " << i << " at " << where << ": " << actual[i][where] << ", not "
                                << expected[i][where];
  }
}

void Check(const Case& c) {
  const Model model(c);
  ASSERT_TRUE(model.graph()) << c.name;
  ASSERT_EQ(model.graph()->nodes.size(), 1U) << c.name;
  EXPECT_EQ(RunsAsPrimitive(model.graph()), c.primitive) << c.name;
  Compare(model, c.name);
}

constexpr auto kBf16 = DataType::kBFloat16;

TEST(OneDnnFloat, Weighted) {
  using enum UnaryKind;
  const Case cases[] = {
      {"conv", Conv2d{.strides = {2, 1}, .pads = {1, 0, 1, 2}}, {X({2, 5, 8, 7}), C({6, 5, 3, 3}), C({6})}},
      {"conv, computed weights", Conv2d{}, {X({1, 3, 6, 6}), X({4, 3, 2, 2}), X({4})}},
      {"conv, absent bias", Conv2d{}, {X({1, 3, 6, 6}), C({4, 3, 2, 2}), kNone}},
      {"conv, fp16 weights", Conv2d{}, {X({1, 3, 6, 6}), C({4, 3, 2, 2}, DataType::kFloat16), C({4}, DataType::kFloat16)}},
      {"conv, int8 weights", Conv2d{.groups = 2}, {X({1, 4, 6, 6}), C({4, 2, 2, 2}, DataType::kInt8)}},
      {"conv, bf16", Conv2d{.activation = {kRelu}}, {X({1, 16, 6, 6}, kBf16), C({32, 16, 3, 3}, kBf16), C({32})}},
      {"conv, bf16 by int8", Conv2d{}, {X({1, 16, 6, 6}, kBf16), C({32, 16, 3, 3}, DataType::kInt8), C({32}, kBf16)}},
      {"depthwise, bf16", Conv2d{.pads = {1, 1, 1, 1}, .groups = 16}, {X({1, 16, 6, 6}, kBf16), C({16, 1, 3, 3}, kBf16)}},
      {"1-D conv", Conv2d{.pads = {0, 1, 0, 1}}, {X({2, 3, 1, 30}), C({8, 3, 1, 3}), C({8})}},
      {"conv, wide padding", Conv2d{.pads = {3, 3, 3, 3}}, {X({1, 3, 6, 6}), C({4, 3, 2, 2})}, 1, false},
      {"deconv", ConvTranspose2d{.strides = {2, 2}, .pads = {1, 1, 1, 1}}, {X({2, 6, 5, 4}), C({6, 8, 3, 3}), C({8})}},
      {"deconv, output pads",
       ConvTranspose2d{.strides = {2, 2}, .pads = {1, 1, 1, 1}, .output_pads = {1, 1}},
       {X({1, 6, 5, 4}), C({6, 8, 3, 3})}},
      {"deconv, groups and dilations",
       ConvTranspose2d{.dilations = {2, 1}, .groups = 2, .activation = {kRelu}},
       {X({1, 6, 5, 4}), C({6, 4, 3, 2}), C({8})}},
      {"deconv, int8 weights", ConvTranspose2d{.strides = {2, 2}}, {X({1, 4, 5, 4}), C({4, 8, 2, 2}, DataType::kInt8)}},
      {"deconv, bf16", ConvTranspose2d{.strides = {2, 2}}, {X({1, 16, 5, 4}, kBf16), C({16, 16, 2, 2}, kBf16)}},
      {"deconv, unreached",
       ConvTranspose2d{.strides = {2, 2}, .output_pads = {1, 1}},
       {X({1, 4, 5, 4}), C({4, 8, 2, 2})},
       1,
       false},
      {"connected, 3-D", FullyConnected{{kGelu}}, {X({2, 7, 33}), C({20, 33}), C({20})}},
      {"connected, int4", FullyConnected{}, {X({3, 70}), C({20, 70}, DataType::kInt4), C({20})}},
      {"connected, fp16", FullyConnected{}, {X({3, 70}), C({20, 70}, DataType::kFloat16)}},
      {"connected, bf16", FullyConnected{{kTanh}}, {X({3, 64}, kBf16), C({32, 64}, kBf16), C({32}, kBf16)}},
      {"connected, bf16 by int4", FullyConnected{}, {X({3, 64}, kBf16), C({32, 64}, DataType::kInt4)}},
      {"matmul", MatMul{}, {X({3, 5}), X({5, 7})}},
      {"matmul, vectors", MatMul{}, {X({5}), X({5})}},
      {"matmul, vector first", MatMul{}, {X({5}), X({2, 5, 3})}},
      {"matmul, vector last", MatMul{}, {X({2, 4, 5}), X({5})}},
      {"matmul, batches", MatMul{}, {X({2, 3, 4, 5}), X({2, 3, 5, 6})}},
      {"matmul, broadcast batches", MatMul{}, {X({2, 1, 4, 5}), X({3, 5, 6})}},
      {"matmul, constant", MatMul{}, {X({2, 3, 4, 5}), C({5, 6})}},
      {"matmul, constant first", MatMul{}, {C({4, 5}), X({2, 5, 6})}},
      {"matmul, fp16 constant", MatMul{}, {X({2, 4, 5}), C({5, 6}, DataType::kFloat16)}},
      {"matmul, bf16", MatMul{}, {X({2, 8, 32}, kBf16), X({2, 32, 16}, kBf16)}},
  };
  for (const Case& c : cases) Check(c);
}

TEST(OneDnnFloat, FusedActivations) {
  using enum UnaryKind;
  for (const Activation& activation : {Activation{kRelu},
                                       {kClip, 0, 0.5F},
                                       {kLeakyRelu, 0.1F},
                                       {kElu, 0.5F},
                                       {kSigmoid},
                                       {kHardSigmoid, 0.2F, 0.5F},
                                       {kHardSwish},
                                       {kSwish, 1},
                                       {kTanh},
                                       {kGelu},
                                       {kGeluTanh},
                                       {kMish},
                                       {kSoftplus},
                                       {kExp},
                                       {kAbs},
                                       {kNeg}}) {
    const std::string name = "activation " + std::to_string(static_cast<int>(activation.kind));
    Check({name.c_str(), Conv2d{.activation = activation}, {X({1, 8, 6, 6}), C({16, 8, 1, 1}), C({16})}});
    Check({name.c_str(), FullyConnected{activation}, {X({2, 8}), C({16, 8}), C({16})}});
    Check({name.c_str(), Unary{activation}, {X({2, 3, 5})}});
    Check({name.c_str(), Unary{activation}, {Wide({20, 50})}});
    Check({name.c_str(), Binary{BinaryKind::kAdd, activation}, {X({2, 8, 3}), C({8, 1})}});
    Check({name.c_str(), Unary{activation}, {X({2, 3, 16}, kBf16)}});
  }
  Check({"scalar", Unary{{kExp}}, {X({})}});
  Check({"reversed clip", Unary{{kClip, 1, 0}}, {X({4})}, 1, false});
  Check({"softsign", Conv2d{.activation = {kSoftsign}}, {X({1, 2, 3, 3}), C({2, 2, 1, 1})}, 1, false});
}

TEST(OneDnnFloat, Windows) {
  using Kind = Pool2d::Kind;
  for (const Kind kind : {Kind::kMax, Kind::kAverage}) {
    const Case cases[] = {
        {"pool", Pool2d{.kind = kind, .kernel = {3, 2}, .strides = {2, 1}, .pads = {1, 0, 1, 1}}, {X({2, 5, 9, 8})}},
        {"pool, padding counts",
         Pool2d{.kind = kind, .kernel = {3, 3}, .pads = {1, 1, 1, 1}, .count_include_pad = true},
         {X({1, 5, 9, 8})}},
        {"pool, dilations",
         Pool2d{.kind = kind, .kernel = {3, 2}, .pads = {1, 1, 1, 1}, .dilations = {2, 3}},
         {X({2, 5, 9, 8})}},
        {"pool, ceil", Pool2d{.kind = kind, .kernel = {3, 3}, .strides = {2, 2}, .ceil = true}, {X({1, 5, 8, 8})}},
        {"pool, ceil and padding",
         Pool2d{.kind = kind, .kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1}, .ceil = true},
         {X({1, 5, 8, 8})}},
        {"pool, bf16", Pool2d{.kind = kind, .kernel = {2, 2}, .strides = {2, 2}}, {X({1, 16, 8, 8}, kBf16)}},
        {"pool, ceil that counts",
         Pool2d{.kind = kind, .kernel = {3, 3}, .strides = {2, 2}, .count_include_pad = true, .ceil = true},
         {X({1, 5, 8, 8})},
         1,
         false},
        {"pool, sparse taps",
         Pool2d{.kind = kind, .kernel = {2, 1}, .pads = {2, 0, 4, 0}, .dilations = {5, 1}},
         {X({1, 1, 1, 2})},
         1,
         false},
    };
    for (const Case& c : cases) Check(c);
  }
  Check({"global average", Reduce{ReduceKind::kMean, {2, 3}, true}, {X({2, 5, 7, 6})}});
}

TEST(OneDnnFloat, Normalizations) {
  const Case cases[] = {
      {"layer", LayerNorm{}, {X({2, 3, 8}), C({8}), C({8})}},
      {"layer, two dimensions", LayerNorm{.axis = 1, .epsilon = 0.1F}, {X({2, 3, 8}), C({3, 8})}},
      {"layer, bf16", LayerNorm{}, {X({4, 64}, kBf16), C({64}, kBf16), C({64})}},
      {"layer, computed scale", LayerNorm{}, {X({4, 8}), X({8}), X({8})}},
      {"layer, broadcast scale", LayerNorm{.axis = 1}, {X({2, 3, 8}), C({8})}, 1, false},
      {"layer, statistics", LayerNorm{}, {X({2, 3, 8}), C({8}), C({8})}, 3, false},
      {"group", GroupNorm{2}, {X({2, 6, 4, 5}), C({6}), C({6})}},
      {"instance", GroupNorm{}, {X({2, 6, 9}), C({6}), C({6})}},
      {"softmax", Softmax{}, {X({3, 10})}},
      {"softmax of channels", Softmax{.axis = 1}, {X({2, 7, 3, 4})}},
      {"softmax of examples", Softmax{.axis = 0}, {X({5, 3})}},
      {"log softmax", Softmax{.axis = 1, .log = true}, {X({2, 7, 3})}},
      {"softmax, bf16", Softmax{}, {X({3, 32}, kBf16)}},
      {"lrn", Lrn{.size = 3, .alpha = 0.5F, .beta = 0.75F, .bias = 2}, {X({2, 7, 3, 4})}},
      {"lrn, even", Lrn{.size = 4}, {X({2, 7, 3, 4})}, 1, false},
      {"lrn, wide", Lrn{.size = 5}, {X({2, 4, 3, 4})}, 1, false},
  };
  for (const Case& c : cases) Check(c);
}

TEST(OneDnnFloat, BatchNorm) {
  // Variances are not negative.
  const Source variance = Floats({0.5F, 1, 2, 0.25F, 3, 4});
  for (const Shape& shape : {Shape{2, 6, 4, 5}, Shape{2, 6}, Shape{2, 6, 9}, Shape{1, 6, 2, 2, 3}}) {
    Check({"batch", BatchNorm{}, {X(shape), C({6}), C({6}), C({6}), variance}});
  }
}

TEST(OneDnnFloat, Resizing) {
  using Coordinates = Resize::Coordinates;
  const auto linear = [](Coordinates coordinates) { return Resize{.mode = Resize::Mode::kLinear, .coordinates = coordinates}; };
  const Resize pytorch{.coordinates = Coordinates::kAsymmetric, .nearest = Resize::Nearest::kFloor};
  const Case cases[] = {
      {"linear, larger", linear(Coordinates::kHalfPixel), {X({2, 3, 4, 5}), kNone, Floats({1, 1, 2, 3})}},
      {"linear, smaller", linear(Coordinates::kPytorchHalfPixel), {X({1, 3, 9, 8}), kNone, kNone, Ints({1, 3, 4, 5})}},
      {"linear, one dimension", linear(Coordinates::kHalfPixel), {X({1, 3, 9}), kNone, Floats({1, 1, 2})}},
      {"linear, corners", linear(Coordinates::kAlignCorners), {X({1, 3, 4, 4}), kNone, Floats({1, 1, 2, 2})}, 1, false},
      {"linear, uneven", linear(Coordinates::kHalfPixel), {X({1, 3, 4, 4}), kNone, Floats({1, 1, 1.3F, 1.3F})}, 1, false},
      {"nearest", pytorch, {X({2, 3, 4, 5}), kNone, Floats({1, 1, 2, 3})}},
      {"nearest, centers", Resize{}, {X({2, 3, 4, 5}), kNone, Floats({1, 1, 4, 2})}},
      {"nearest, smaller", pytorch, {X({2, 3, 4, 6}), kNone, Floats({1, 1, 0.5F, 0.5F})}, 1, false},
      {"nearest, bf16", pytorch, {X({1, 16, 4, 5}, kBf16), kNone, Floats({1, 1, 2, 2})}},
      {"channels", Resize{}, {X({1, 3, 4, 4}), kNone, Floats({1, 2, 1, 1})}, 1, false},
      {"cubic", Resize{.mode = Resize::Mode::kCubic}, {X({1, 3, 4, 4}), kNone, Floats({1, 1, 2, 2})}, 1, false},
  };
  for (const Case& c : cases) Check(c);
}

TEST(OneDnnFloat, Binary) {
  for (const BinaryKind kind :
       {BinaryKind::kAdd, BinaryKind::kSub, BinaryKind::kMul, BinaryKind::kDiv, BinaryKind::kMin, BinaryKind::kMax}) {
    const bool commutes = kind != BinaryKind::kSub && kind != BinaryKind::kDiv;
    const Case cases[] = {
        {"alike", Binary{kind}, {X({2, 5, 3, 4}), X({2, 5, 3, 4})}},
        {"channels", Binary{kind}, {X({2, 5, 3, 4}), C({5, 1, 1})}},
        {"last dimension", Binary{kind}, {X({2, 5, 6}), C({6})}},
        {"one number", Binary{kind}, {X({2, 5, 6}), C({})}},
        {"broadcast first", Binary{kind}, {C({6}), X({2, 5, 6})}, 1, commutes},
        {"both broadcast", Binary{kind}, {X({5, 1}), X({1, 6})}, 1, false},
        {"bf16", Binary{kind}, {X({2, 5, 16}, kBf16), X({2, 5, 16}, kBf16)}},
    };
    for (const Case& c : cases) Check(c);
  }
}

// Convolutions choose blocks of channels, which 7 channels do not fill; what follows takes that layout or brings it into rows.
TEST(OneDnnFloat, LayoutsOfProducers) {
  const Conv2d conv{.pads = {1, 1, 1, 1}};
  const Link first{conv, {C({7, 5, 3, 3}), C({7})}};
  const Link links[] = {
      {Unary{{UnaryKind::kExp}}},
      {Unary{{UnaryKind::kReciprocal}}},
      {Binary{BinaryKind::kMul}, {C({7, 1, 1})}},
      {Binary{BinaryKind::kDiv}, {C({1, 7, 6, 8})}},
      {Binary{BinaryKind::kAdd}, {C({8})}},
      {BatchNorm{}, {C({7}), C({7}), C({7}), Floats({1, 2, 3, 0.5F, 0.25F, 1, 1})}},
      {GroupNorm{}, {C({7}), C({7})}},
      {LayerNorm{}, {C({8}), C({8})}},
      {Lrn{.size = 3}},
      {Resize{.mode = Resize::Mode::kLinear}, {kNone, Floats({1, 1, 2, 2})}},
      {Resize{}, {kNone, Floats({1, 1, 2, 2})}},
      {Pool2d{.kind = Pool2d::Kind::kAverage, .kernel = {2, 2}, .dilations = {2, 2}}},
      {Pool2d{.kernel = {3, 3}, .strides = {2, 2}, .ceil = true}},
      {ConvTranspose2d{.strides = {2, 2}}, {C({7, 5, 3, 3})}},
      {Softmax{.axis = 1}},
      {FullyConnected{}, {C({4, 8})}},
      {MatMul{}, {C({8, 4})}},
      {Transpose{{0, 2, 3, 1}}},
      {Reduce{ReduceKind::kMean, {2, 3}, true}},
  };
  for (const Link& link : links) {
    const std::string name(OperatorName(link.op));
    Compare(Model(X({2, 5, 6, 8}), {first, link}), name.c_str());
    Compare(Model(X({2, 5, 6, 8}), {first, link, Link{Unary{{UnaryKind::kTanh}}}}), name.c_str());
  }
  // What is not 0 at 0 must not leak from the channels that only fill a block.
  const Link last{conv, {C({4, 7, 3, 3})}};
  for (const Link& link : {Link{Unary{{UnaryKind::kExp}}}, Link{Unary{{UnaryKind::kHardSigmoid, 0.2F, 0.5F}}},
                           Link{Binary{BinaryKind::kAdd}, {C({7, 1, 1})}}, Link{Binary{BinaryKind::kDiv}, {C({7, 1, 1})}}}) {
    Compare(Model(X({2, 5, 6, 8}), {first, link, last}), "leak", 1e-3F);  // exponentials cancel
  }
}

TEST(OneDnnFloat, Recurrent) {
  for (const Direction direction : {Direction::kForward, Direction::kReverse, Direction::kBidirectional}) {
    const std::int64_t d = direction == Direction::kBidirectional ? 2 : 1;
    const Case cases[] = {
        {"lstm", Lstm{.direction = direction, .hidden = 5}, {X({4, 2, 3}), C({d, 20, 3}), C({d, 20, 5}), C({d, 40})}, 3},
        {"lstm, no bias, one output",
         Lstm{.direction = direction, .hidden = 5},
         {X({4, 2, 3}), C({d, 20, 3}), C({d, 20, 5})},
         1},
        {"lstm, states",
         Lstm{.direction = direction, .hidden = 5},
         {X({4, 2, 3}), C({d, 20, 3}), C({d, 20, 5}), C({d, 40}), kNone, X({d, 2, 5}), X({d, 2, 5})},
         3},
        {"lstm, first state",
         Lstm{.direction = direction, .hidden = 5},
         {X({4, 2, 3}), C({d, 20, 3}), C({d, 20, 5}), C({d, 40}), kNone, X({d, 2, 5})},
         2},
        {"lstm, peepholes",
         Lstm{.direction = direction, .hidden = 5},
         {X({4, 2, 3}), C({d, 20, 3}), C({d, 20, 5}), C({d, 40}), kNone, kNone, kNone, C({d, 15})},
         3},
        {"lstm, clip",
         Lstm{.direction = direction, .hidden = 5, .clip = 1},
         {X({4, 2, 3}), C({d, 20, 3}), C({d, 20, 5})},
         3,
         false},
        {"lstm, int8 weights",
         Lstm{.direction = direction, .hidden = 5},
         {X({4, 2, 3}), C({d, 20, 3}, DataType::kInt8), C({d, 20, 5}, DataType::kFloat16)},
         3},
        {"gru", Gru{.direction = direction, .hidden = 5}, {X({4, 2, 3}), C({d, 15, 3}), C({d, 15, 5}), C({d, 30})}, 2},
        {"gru, linear",
         Gru{.direction = direction, .hidden = 5, .linear_before_reset = true},
         {X({4, 2, 3}), C({d, 15, 3}), C({d, 15, 5}), C({d, 30}), kNone, X({d, 2, 5})},
         2},
        {"rnn",
         Rnn{.direction = direction, .hidden = 5},
         {X({4, 2, 3}), C({d, 5, 3}), C({d, 5, 5}), C({d, 10}), kNone, X({d, 2, 5})},
         2},
        {"rnn, relu",
         Rnn{.direction = direction, .hidden = 5, .activations = {{UnaryKind::kRelu}}},
         {X({4, 2, 3}), C({d, 5, 3}), C({d, 5, 5})},
         2},
    };
    for (const Case& c : cases) Check(c);
  }
}

}  // namespace
}  // namespace edgefleet::runtime
