// Each pass against the graph it was given: the same numbers, fewer nodes.
#include "registry/compiler/optimize/optimize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "device_client/runtime/folding_builder.h"
#include "device_client/runtime/session.h"
#include "device_client/runtime/validate.h"

namespace edgefleet::compiler {
namespace {

using runtime::Activation;
using runtime::Binary;
using runtime::BinaryKind;
using runtime::DataType;
using runtime::FoldingBuilder;
using runtime::Graph;
using runtime::Operator;
using runtime::TensorId;
using runtime::Unary;
using runtime::UnaryKind;
using ::testing::ElementsAre;
using Shape = std::vector<std::int64_t>;

// Short hands over FoldingBuilder; every error ends the test.
class Net {
 public:
  Net() : builder_("net", kNoFolding), random_(7) {}

  TensorId Input(Shape shape) { return builder_.AddInput("x", DataType::kFloat32, std::move(shape)); }
  TensorId Constant(Shape shape, std::vector<float> values) {
    return builder_
        .AddConstant("c" + std::to_string(++names_), DataType::kFloat32, std::move(shape), std::as_bytes(std::span(values)))
        .value();
  }
  TensorId Scalar(float value) { return Constant({}, {value}); }
  TensorId Integers(std::vector<std::int64_t> values) {
    const Shape shape{static_cast<std::int64_t>(values.size())};
    return builder_.AddConstant("i" + std::to_string(++names_), DataType::kInt64, shape, std::as_bytes(std::span(values)))
        .value();
  }
  TensorId Random(Shape shape, float low = -1, float high = 1) {
    std::vector<float> values(static_cast<std::size_t>(runtime::ElementCount(shape)));
    for (float& value : values) value = low + (high - low) * static_cast<float>(random_.Unit());
    return Constant(std::move(shape), values);
  }
  TensorId Apply(Operator op, std::vector<TensorId> inputs) {
    auto ids =
        builder_.AddNode("n" + std::to_string(++names_), std::move(op), std::move(inputs), {"t" + std::to_string(names_)});
    if (!ids) throw std::invalid_argument(ids.error().ToString());
    return (*ids)[0];
  }
  TensorId Do(BinaryKind kind, TensorId a, TensorId b) { return Apply(Binary{kind, {}}, {a, b}); }
  TensorId Do(UnaryKind kind, TensorId x, float alpha = 0, float beta = 0) { return Apply(Unary{{kind, alpha, beta}}, {x}); }
  // x as exporters write it down between two operators: quantized and dequantized at once.
  TensorId Quantized(TensorId x, DataType type, float scale, std::int32_t zero_point) {
    const runtime::Quantization quantization{{scale}, {zero_point}, -1};
    const std::string name = "q" + std::to_string(++names_);
    const auto ids = builder_.AddNode(name, runtime::Quantize{type}, {x}, {name}, quantization).value();
    return Apply(runtime::Dequantize{}, {ids[0]});
  }
  // Random weights as int8, dequantized; one scale for each slice along `axis`.
  TensorId Weights(Shape shape, int axis) {
    std::vector<std::int8_t> values(static_cast<std::size_t>(runtime::ElementCount(shape)));
    for (std::int8_t& value : values) value = static_cast<std::int8_t>(static_cast<int>(random_.Below(255)) - 127);
    runtime::Quantization quantization{{}, {}, axis};
    for (std::int64_t i = 0; i < (axis < 0 ? 1 : shape[static_cast<std::size_t>(axis)]); ++i) {
      quantization.scales.push_back(0.01F + 0.002F * static_cast<float>(i));
    }
    const TensorId id = builder_
                            .AddConstant("w" + std::to_string(++names_), DataType::kInt8, std::move(shape),
                                         std::as_bytes(std::span(values)), quantization)
                            .value();
    return Apply(runtime::Dequantize{}, {id});
  }
  void Batch() { builder_.AddDynamic({0, 0, 1, 16, std::string(runtime::kBatchSymbol)}); }
  Graph Finish(TensorId output) { return std::move(builder_).Finish({{output, "y"}}); }

 private:
  static constexpr runtime::FoldingLimits kNoFolding{0, 0, 0};
  FoldingBuilder builder_;
  SeededRandom random_;
  int names_ = 0;
};

std::vector<float> Infer(const Graph& graph, std::int64_t batch = 1) {
  const auto shared = std::make_shared<const Graph>(graph);
  auto session = runtime::Session::Create(shared, {.delegate = "reference", .batch = batch});
  EXPECT_TRUE(session.has_value()) << session.error().ToString();
  if (!session) return {};
  std::vector<float> input(static_cast<std::size_t>((*session)->input_size() * batch));
  std::vector<float> output(static_cast<std::size_t>((*session)->output_size() * batch));
  SeededRandom random(3);
  for (float& value : input) value = static_cast<float>(random.Unit() * 8 - 4);
  const Status ran = (*session)->Run(input, output);
  EXPECT_TRUE(ran.ok()) << ran.ToString();
  return output;
}

std::vector<std::string> Names(const Graph& graph) {
  std::vector<std::string> names;
  for (const runtime::Node& node : graph.nodes) names.emplace_back(OperatorName(node.op));
  return names;
}

struct Case {
  const char* name;
  std::function<TensorId(Net&)> build;
  std::vector<std::string> nodes;  // what Optimize() leaves
};

class Optimization : public ::testing::TestWithParam<Case> {};

TEST_P(Optimization, LeavesFewerNodesAndTheSameNumbers) {
  Net net;
  Graph graph = net.Finish(GetParam().build(net));
  ASSERT_TRUE(runtime::ValidateGraph(graph).ok()) << runtime::ValidateGraph(graph).ToString();
  const std::vector<float> before = Infer(graph);
  const Status optimized = Optimize(graph);
  ASSERT_TRUE(optimized.ok()) << optimized.ToString();
  ASSERT_TRUE(runtime::ValidateGraph(graph).ok()) << runtime::ValidateGraph(graph).ToString();
  EXPECT_EQ(Names(graph), GetParam().nodes);
  EXPECT_EQ(graph.tensor(graph.outputs[0]).name, "y");
  const std::vector<float> after = Infer(graph);
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], 2e-5 * (1 + std::abs(before[i]))) << i;
}

TensorId Image(Net& net, TensorId* conv = nullptr) {
  const TensorId x = net.Input({1, 4, 5, 5});
  const TensorId y = net.Apply(runtime::Conv2d{.pads = {1, 1, 1, 1}}, {x, net.Random({6, 4, 3, 3}), net.Random({6})});
  if (conv != nullptr) *conv = y;
  return y;
}

TensorId Normalize(Net& net, TensorId x, std::int64_t channels) {
  return net.Apply(runtime::BatchNorm{1e-3F}, {x, net.Random({channels}), net.Random({channels}), net.Random({channels}),
                                               net.Random({channels}, 0.5F, 2.0F)});
}

TensorId LayerNormal(Net& net, bool power, bool scaled) {
  const TensorId x = net.Input({2, 3, 8});
  const runtime::Reduce mean{runtime::ReduceKind::kMean, {-1}, true};
  const TensorId d = net.Do(BinaryKind::kSub, x, net.Apply(mean, {x}));
  const TensorId square = power ? net.Do(BinaryKind::kPow, d, net.Scalar(2)) : net.Do(BinaryKind::kMul, d, d);
  const TensorId variance = net.Do(BinaryKind::kAdd, net.Apply(mean, {square}), net.Scalar(1e-5F));
  const TensorId y = net.Do(BinaryKind::kDiv, d, net.Do(UnaryKind::kSqrt, variance));
  if (!scaled) return y;
  return net.Do(BinaryKind::kAdd, net.Do(BinaryKind::kMul, y, net.Random({8})), net.Random({8}));
}

INSTANTIATE_TEST_SUITE_P(
    Patterns, Optimization,
    ::testing::Values(
        Case{"BatchNormIntoConv", [](Net& n) { return Normalize(n, Image(n), 6); }, {"Conv2d"}},
        Case{"BatchNormThenRelu6", [](Net& n) { return n.Do(UnaryKind::kClip, Normalize(n, Image(n), 6), 0, 6); }, {"Conv2d"}},
        Case{"BatchNormAlone",
             [](Net& n) {
               return Normalize(n, n.Input({1, 4, 3, 3}), 4);
             },
             {"Conv2d"}},
        Case{"BatchNormOfFeatures",
             [](Net& n) {
               return Normalize(n, n.Apply(runtime::FullyConnected{}, {n.Input({3, 5}), n.Random({4, 5})}), 4);
             },
             {"FullyConnected"}},
        Case{"BatchNormIntoTransposedConv",
             [](Net& n) {
               const TensorId x = n.Input({1, 4, 3, 3});
               return Normalize(n, n.Apply(runtime::ConvTranspose2d{.groups = 2}, {x, n.Random({4, 3, 2, 2})}), 6);
             },
             {"ConvTranspose2d"}},
        Case{"ScaleAndShiftOfChannels",
             [](Net& n) {
               const TensorId scaled = n.Do(BinaryKind::kMul, Image(n), n.Random({6, 1, 1}));
               return n.Do(BinaryKind::kSub, n.Random({1, 6, 1, 1}), n.Do(BinaryKind::kDiv, scaled, n.Scalar(3)));
             },
             {"Conv2d"}},
        Case{"SumWithAnotherShapeStays",
             [](Net& n) {
               return n.Do(BinaryKind::kAdd, Image(n), n.Random({1, 6, 5, 5}));
             },
             {"Conv2d", "Add"}},
        Case{"ReluOfSum",
             [](Net& n) {
               TensorId conv = 0;
               const TensorId y = Image(n, &conv);
               return n.Do(UnaryKind::kRelu, n.Do(BinaryKind::kAdd, y, n.Do(UnaryKind::kTanh, conv)));
             },
             {"Conv2d", "Tanh", "Add"}},
        Case{"HardSwishByHardSigmoid",
             [](Net& n) {
               const TensorId x = Image(n);
               return n.Do(BinaryKind::kMul, n.Do(UnaryKind::kHardSigmoid, x, 1.0F / 6, 0.5F), x);
             },
             {"Conv2d", "HardSwish"}},
        Case{"HardSwishByClip",
             [](Net& n) {
               const TensorId x = Image(n);
               const TensorId clip = n.Do(UnaryKind::kClip, n.Do(BinaryKind::kAdd, x, n.Scalar(3)), 0, 6);
               return n.Do(BinaryKind::kDiv, n.Do(BinaryKind::kMul, x, clip), n.Scalar(6));
             },
             {"Conv2d", "HardSwish"}},
        Case{"HardSigmoidByClip",
             [](Net& n) {
               const TensorId clip = n.Do(UnaryKind::kClip, n.Do(BinaryKind::kAdd, n.Input({4, 4}), n.Scalar(3)), 0, 6);
               return n.Do(BinaryKind::kMul, clip, n.Scalar(1.0F / 6));
             },
             {"HardSigmoid"}},
        Case{"Swish",
             [](Net& n) {
               const TensorId x = Image(n);
               return n.Do(BinaryKind::kMul, x, n.Do(UnaryKind::kSigmoid, x));
             },
             {"Conv2d", "Swish"}},
        Case{"Mish",
             [](Net& n) {
               const TensorId x = Image(n);
               return n.Do(BinaryKind::kMul, x, n.Do(UnaryKind::kTanh, n.Do(UnaryKind::kSoftplus, x)));
             },
             {"Conv2d", "Mish"}},
        Case{"GateOfAnotherTensorStays",
             [](Net& n) {
               const TensorId x = Image(n);
               const TensorId gate = n.Do(UnaryKind::kSigmoid, x);
               return n.Do(BinaryKind::kMul, n.Do(UnaryKind::kTanh, x), gate);
             },
             {"Conv2d", "Sigmoid", "Tanh", "Mul"}},
        Case{"Gelu",
             [](Net& n) {
               const TensorId x = n.Input({3, 7});
               const TensorId erf = n.Do(UnaryKind::kErf, n.Do(BinaryKind::kDiv, x, n.Scalar(1.41421354F)));
               const TensorId gate = n.Do(BinaryKind::kMul, x, n.Do(BinaryKind::kAdd, erf, n.Scalar(1)));
               return n.Do(BinaryKind::kMul, gate, n.Scalar(0.5F));
             },
             {"Gelu"}},
        Case{"GeluTanh",
             [](Net& n) {
               const TensorId x = n.Input({3, 7});
               const TensorId cube = n.Do(BinaryKind::kMul, n.Scalar(0.044715F), n.Do(BinaryKind::kPow, x, n.Scalar(3)));
               const TensorId inner = n.Do(BinaryKind::kMul, n.Scalar(0.7978846F), n.Do(BinaryKind::kAdd, x, cube));
               const TensorId gate = n.Do(BinaryKind::kAdd, n.Scalar(1), n.Do(UnaryKind::kTanh, inner));
               return n.Do(BinaryKind::kMul, n.Do(BinaryKind::kMul, n.Scalar(0.5F), x), gate);
             },
             {"GeluTanh"}},
        Case{"ClipByMinAndMax",
             [](Net& n) {
               return n.Do(BinaryKind::kMin, n.Do(BinaryKind::kMax, n.Input({3, 7}), n.Scalar(-1)), n.Scalar(2));
             },
             {"Clip"}},
        Case{"ReluByMax",
             [](Net& n) {
               return n.Do(BinaryKind::kMax, n.Scalar(0), n.Input({3, 7}));
             },
             {"Relu"}},
        Case{"LayerNorm", [](Net& n) { return LayerNormal(n, true, true); }, {"LayerNorm"}},
        Case{"LayerNormByProduct", [](Net& n) { return LayerNormal(n, false, false); }, {"LayerNorm"}},
        Case{"TransposesCancel",
             [](Net& n) {
               const TensorId there = n.Apply(runtime::Transpose{{0, 2, 3, 1}}, {n.Input({1, 2, 3, 4})});
               return n.Do(UnaryKind::kTanh, n.Apply(runtime::Transpose{{0, 3, 1, 2}}, {there}));
             },
             {"Tanh"}},
        Case{"TransposesMerge",
             [](Net& n) {
               const TensorId once = n.Apply(runtime::Transpose{{0, 2, 3, 1}}, {n.Input({1, 2, 3, 4})});
               return n.Apply(runtime::Transpose{{1, 0, 2, 3}}, {once});
             },
             {"Transpose"}},
        Case{"PaddingOfAConvolution",
             [](Net& n) {
               const TensorId padded = n.Apply(runtime::Pad{}, {n.Input({1, 2, 5, 5}), n.Integers({0, 0, 1, 0, 0, 0, 2, 1})});
               return n.Apply(runtime::Conv2d{.strides = {2, 1}}, {padded, n.Random({3, 2, 3, 3})});
             },
             {"Conv2d"}},
        Case{"ReshapeThatFlattens",
             [](Net& n) {
               return n.Apply(runtime::Reshape{}, {n.Input({1, 2, 5}), n.Integers({0, -1})});
             },
             {"Flatten"}},
        Case{"TheSameTwice",
             [](Net& n) {
               const TensorId x = n.Input({3, 7});
               return n.Do(BinaryKind::kAdd, n.Do(UnaryKind::kExp, x), n.Do(UnaryKind::kExp, x));
             },
             {"Exp", "Add"}},
        Case{"NothingLeftButTheOutput",
             [](Net& n) {
               return n.Do(UnaryKind::kIdentity, n.Input({3, 7}));
             },
             {"Identity"}}),
    [](const auto& each) { return each.param.name; });

struct QuantizedCase {
  const char* name;
  std::function<TensorId(Net&)> build;
  std::vector<std::string> nodes;
  double tolerance;  // a step of the output
};

class QuantizedModels : public ::testing::TestWithParam<QuantizedCase> {};

TEST_P(QuantizedModels, BecomeInt8Operators) {
  Net net;
  Graph graph = net.Finish(GetParam().build(net));
  const std::vector<float> before = Infer(graph);
  const Status optimized = Optimize(graph);
  ASSERT_TRUE(optimized.ok()) << optimized.ToString();
  ASSERT_TRUE(runtime::ValidateGraph(graph).ok()) << runtime::ValidateGraph(graph).ToString();
  EXPECT_EQ(Names(graph), GetParam().nodes);
  const std::vector<float> after = Infer(graph);
  ASSERT_EQ(before.size(), after.size());
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i], after[i], GetParam().tolerance * 1.01 + 1e-5) << i;
  for (const runtime::Tensor& tensor : graph.tensors) EXPECT_NE(tensor.type, DataType::kUint8) << tensor.name;
}

INSTANTIATE_TEST_SUITE_P(
    Patterns, QuantizedModels,
    ::testing::Values(
        QuantizedCase{"ConvolutionInUint8",
                      [](Net& n) {
                        const TensorId x = n.Quantized(n.Input({1, 4, 5, 5}), DataType::kUint8, 0.04F, 120);
                        const TensorId weights = n.Weights({6, 4, 3, 3}, 0);
                        const TensorId conv = n.Apply(runtime::Conv2d{.pads = {1, 1, 1, 1}}, {x, weights, n.Random({6})});
                        return n.Quantized(n.Do(UnaryKind::kRelu, conv), DataType::kUint8, 0.2F, 0);
                      },
                      {"Quantize", "Conv2d", "Dequantize"},
                      0.2},
        QuantizedCase{"ProductWithWeights",
                      [](Net& n) {
                        const TensorId x = n.Quantized(n.Input({3, 8}), DataType::kInt8, 0.04F, -3);
                        const TensorId weights = n.Weights({8, 5}, 1);
                        return n.Quantized(n.Apply(runtime::MatMul{}, {x, weights}), DataType::kInt8, 0.2F, 7);
                      },
                      {"Quantize", "FullyConnected", "Dequantize"},
                      0.2},
        QuantizedCase{"PoolAndSum",
                      [](Net& n) {
                        const TensorId x = n.Quantized(n.Input({1, 2, 4, 4}), DataType::kUint8, 0.04F, 120);
                        runtime::Pool2d pool;
                        pool.kernel = {3, 3};
                        pool.pads = {1, 1, 1, 1};
                        const TensorId top = n.Quantized(n.Apply(pool, {x}), DataType::kUint8, 0.04F, 120);
                        return n.Quantized(n.Do(BinaryKind::kAdd, top, x), DataType::kUint8, 0.07F, 110);
                      },
                      {"Quantize", "MaxPool2d", "Add", "Dequantize"},
                      0.07},
        QuantizedCase{"Function",
                      [](Net& n) {
                        const TensorId x = n.Quantized(n.Input({3, 8}), DataType::kUint8, 0.04F, 120);
                        return n.Quantized(n.Do(UnaryKind::kSigmoid, x), DataType::kUint8, 1.0F / 256, 0);
                      },
                      {"Quantize", "Sigmoid", "Dequantize"},
                      1.0 / 256},
        QuantizedCase{"WeightsAlone",
                      [](Net& n) {
                        return n.Apply(runtime::MatMul{}, {n.Input({3, 8}), n.Weights({8, 5}, -1)});
                      },
                      {"FullyConnected"},
                      1e-4}),
    [](const auto& each) { return each.param.name; });

TEST(Optimize, ReshapesOfADynamicBatchStayUnlessTheyHoldForEveryBatch) {
  for (const auto& [target, left] : std::vector<std::pair<std::vector<std::int64_t>, std::string>>{
           {{0, -1}, "Flatten"}, {{-1, 10}, "Flatten"}, {{1, -1}, "Reshape"}}) {
    Net net;
    const TensorId x = net.Input({1, 2, 5});
    net.Batch();
    Graph graph = net.Finish(net.Apply(runtime::Reshape{}, {x, net.Integers(target)}));
    ASSERT_TRUE(Optimize(graph).ok());
    EXPECT_THAT(Names(graph), ElementsAre(left));
  }
}

TEST(Optimize, ParametersAreTheWeightsInOrderOfUse) {
  Net net;
  const TensorId x = net.Input({1, 3, 4, 4});
  const TensorId conv = net.Apply(runtime::Conv2d{}, {x, net.Random({2, 3, 2, 2})});
  const TensorId flat = net.Apply(runtime::Flatten{}, {conv});
  Graph graph = net.Finish(net.Apply(runtime::FullyConnected{}, {flat, net.Random({5, 18}), net.Random({5})}));
  ASSERT_TRUE(Optimize(graph).ok());
  std::vector<Shape> shapes;
  for (const TensorId id : graph.parameters) shapes.push_back(graph.tensor(id).shape);
  EXPECT_THAT(shapes, ElementsAre(Shape{2, 3, 2, 2}, Shape{5, 18}, Shape{5}));
}

TEST(Optimize, WeightsThatOverflowAreRefused) {
  Net net;
  const TensorId conv = net.Apply(runtime::Conv2d{}, {net.Input({1, 1, 2, 2}), net.Constant({1, 1, 1, 1}, {3e38F})});
  Graph graph = net.Finish(net.Do(BinaryKind::kMul, conv, net.Scalar(100)));
  EXPECT_EQ(Optimize(graph).reason(), "BAD_ONNX");
}

}  // namespace
}  // namespace edgefleet::compiler
