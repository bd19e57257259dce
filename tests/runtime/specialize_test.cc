// Building, folding and specializing graphs, and sessions of other sizes.
#include "device_client/runtime/specialize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "device_client/runtime/folding_builder.h"
#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/session.h"
#include "device_client/runtime/validate.h"

namespace edgefleet::runtime {
namespace {

using ::testing::ElementsAre;

TensorId Integers(FoldingBuilder& b, std::vector<std::int64_t> values) {
  const Shape shape{static_cast<std::int64_t>(values.size())};
  return b.AddConstant("i" + std::to_string(values.size()), DataType::kInt64, shape, std::as_bytes(std::span(values))).value();
}

TensorId Apply(FoldingBuilder& b, Operator op, std::vector<TensorId> inputs) {
  static int names = 0;
  const std::string name = "t" + std::to_string(++names);
  auto ids = b.AddNode("node " + name, std::move(op), std::move(inputs), {name});
  if (!ids) throw std::invalid_argument(ids.error().ToString());
  return (*ids)[0];
}

// As exporters write x.view(x.size(0), -1): the shape is taken apart and put together again.
TensorId FlattenByShape(FoldingBuilder& b, TensorId x) {
  const TensorId shape = Apply(b, ShapeOf{}, {x});
  const TensorId batch = Apply(b, Gather{0}, {shape, Integers(b, {0})});
  const TensorId target = Apply(b, Concat{0}, {batch, Integers(b, {-1})});
  return Apply(b, Reshape{}, {x, target});
}

Graph Flattened(bool dynamic) {
  FoldingBuilder b("net");
  const TensorId x = b.AddInput("x", DataType::kFloat32, {1, 2, 3});
  if (dynamic) b.AddDynamic({0, 0, 1, 8, std::string(kBatchSymbol)});
  const TensorId y = FlattenByShape(b, x);
  return std::move(b).Finish({{y, "y"}});
}

TEST(FoldingBuilder, ShapesThatCannotChangeAreFolded) {
  const Graph graph = Flattened(false);
  ASSERT_TRUE(ValidateGraph(graph).ok()) << ValidateGraph(graph).ToString();
  ASSERT_EQ(graph.nodes.size(), 1U);
  EXPECT_EQ(OperatorName(graph.nodes[0].op), "Reshape");
  EXPECT_THAT(graph.tensor(graph.outputs[0]).shape, ElementsAre(1, 6));
}

TEST(FoldingBuilder, ShapesThatMayChangeStayAndFoldPerSession) {
  const Graph graph = Flattened(true);
  ASSERT_TRUE(ValidateGraph(graph).ok()) << ValidateGraph(graph).ToString();
  EXPECT_EQ(graph.nodes.size(), 4U);
  const std::vector<DimensionSize> sizes{{kBatchSymbol, 4}};
  const auto specialized = Specialize(graph, sizes);
  ASSERT_TRUE(specialized.has_value()) << specialized.error().ToString();
  EXPECT_EQ(specialized->nodes.size(), 1U);
  EXPECT_TRUE(specialized->dynamic.empty());
  EXPECT_THAT(specialized->tensor(specialized->outputs[0]).shape, ElementsAre(4, 6));
  EXPECT_TRUE(ValidateGraph(*specialized).ok()) << ValidateGraph(*specialized).ToString();
}

TEST(Specialize, SizesOutsideTheBoundsAreRefused) {
  const Graph graph = Flattened(true);
  for (const std::int64_t size : {0, 9}) {
    const std::vector<DimensionSize> sizes{{kBatchSymbol, size}};
    EXPECT_EQ(Specialize(graph, sizes).error().reason(), "BAD_SHAPE") << size;
  }
  const std::vector<DimensionSize> unknown{{"height", 4}};
  EXPECT_EQ(Specialize(graph, unknown).error().reason(), "BAD_SHAPE");
}

TEST(Specialize, SessionsOfEachSizeComputeTheSame) {
  const Graph written = Flattened(true);
  const auto bytes = WriteEfm(written);
  ASSERT_TRUE(bytes.has_value()) << bytes.error().ToString();
  auto loaded = LoadEfm(*bytes);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().ToString();
  const auto graph = std::make_shared<const Graph>(*std::move(loaded));
  EXPECT_EQ(BatchMax(*graph), 8);
  for (const char* delegate : {"reference", "onednn"}) {
    for (const std::int64_t batch : {1, 3, 8}) {
      auto session = Session::Create(graph, {.delegate = delegate, .batch = batch});
      ASSERT_TRUE(session.has_value()) << session.error().ToString();
      EXPECT_THAT((*session)->shape(graph->outputs[0]), ElementsAre(batch, 6));
      std::vector<float> input(static_cast<std::size_t>(batch * 6));
      std::iota(input.begin(), input.end(), 1.0F);
      std::vector<float> output(input.size());
      ASSERT_TRUE((*session)->Run(input, output).ok());
      EXPECT_EQ(output, input);
    }
    EXPECT_EQ(Session::Create(graph, {.delegate = delegate, .batch = 9}).error().reason(), "BAD_BATCH");
  }
}

TEST(Specialize, OutputsThatBecomeConstantsAreWritten) {
  FoldingBuilder b("net");
  const TensorId x = b.AddInput("x", DataType::kFloat32, {1, 2});
  b.AddDynamic({0, 0, 1, 8, std::string(kBatchSymbol)});
  const TensorId shape = Apply(b, ShapeOf{}, {x});
  const auto graph = std::make_shared<const Graph>(std::move(b).Finish({{shape, "shape"}}));
  auto session = Session::Create(graph, {.delegate = "reference", .batch = 5});
  ASSERT_TRUE(session.has_value()) << session.error().ToString();
  const std::vector<float> input(10);
  std::vector<std::int64_t> output(2);
  const ByteView in = std::as_bytes(std::span(input));
  const std::span<std::byte> out = std::as_writable_bytes(std::span(output));
  ASSERT_TRUE((*session)->Run(std::span(&in, 1), std::span(&out, 1)).ok());
  EXPECT_THAT(output, ElementsAre(5, 2));
}

TEST(FoldingBuilder, OutputsThatAreInputsOrConstantsGetNodes) {
  FoldingBuilder b("net");
  const TensorId x = b.AddInput("x", DataType::kFloat32, {2});
  const TensorId c = Integers(b, {3, 4});
  const Graph graph = std::move(b).Finish({{x, "same"}, {c, "numbers"}});
  ASSERT_TRUE(ValidateGraph(graph).ok()) << ValidateGraph(graph).ToString();
  EXPECT_EQ(graph.tensor(graph.inputs[0]).name, "x");
  EXPECT_EQ(graph.tensor(graph.outputs[0]).name, "same");
  EXPECT_EQ(graph.tensor(graph.outputs[1]).name, "numbers");
}

TEST(FoldingBuilder, DeadNodesAndConstantsGo) {
  FoldingBuilder b("net");
  const TensorId x = b.AddInput("x", DataType::kFloat32, {2});
  Apply(b, Unary{{UnaryKind::kExp}}, {x});
  Integers(b, {1, 2, 3});
  const TensorId y = Apply(b, Unary{{UnaryKind::kTanh}}, {x});
  const Graph graph = std::move(b).Finish({{y, "y"}});
  EXPECT_EQ(graph.nodes.size(), 1U);
  EXPECT_EQ(graph.tensors.size(), 2U);
}

TEST(FoldingBuilder, LimitsLeaveTheRestToRunTime) {
  FoldingBuilder b("net", {.bytes_each = 64, .bytes_total = 100, .work_total = 1'000});
  const TensorId x = b.AddInput("x", DataType::kFloat32, {16});
  TensorId y = x;
  for (int i = 0; i < 3; ++i) {
    const std::vector<float> one{1.0F};
    const TensorId value = b.AddConstant("c", DataType::kFloat32, {1}, std::as_bytes(std::span(one))).value();
    const TensorId wide = Apply(b, Expand{}, {value, Integers(b, {16})});  // 64 bytes: one fits
    y = Apply(b, Binary{BinaryKind::kAdd, {}}, {y, wide});
  }
  const Graph graph = std::move(b).Finish({{y, "y"}});
  EXPECT_EQ(std::ranges::count(graph.nodes, "Expand", [](const Node& node) { return OperatorName(node.op); }), 2);
  EXPECT_TRUE(ValidateGraph(graph).ok()) << ValidateGraph(graph).ToString();
}

TEST(FoldingBuilder, ShapesThatDependOnDataAreRefusedByName) {
  FoldingBuilder b("net");
  const TensorId x = b.AddInput("x", DataType::kFloat32, {4});
  const TensorId target = b.AddInput("target", DataType::kInt64, {2});
  const auto refused = b.AddNode("view", Reshape{}, {x, target}, {"y"});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason(), "SHAPE_DEPENDS_ON_DATA");
  EXPECT_THAT(refused.error().message(), ::testing::HasSubstr("Reshape 'view'"));
}

}  // namespace
}  // namespace edgefleet::runtime
