// ONNX Runtime as the peer of benches and tests, and the networks that it is measured on.
#include <gmock/gmock.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>

#include "load_tests/runtime/models.h"
#include "load_tests/runtime/ort/session.h"
#include "load_tests/runtime/qdq.h"
#include "tests/support/peers.h"

namespace edgefleet::load_tests {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::int64_t ParameterCount(const Bytes& model) {
  onnx::ModelProto proto;
  EXPECT_TRUE(proto.ParseFromArray(model.data(), static_cast<int>(model.size())));
  std::int64_t count = 0;
  for (const onnx::TensorProto& tensor : proto.graph().initializer()) {
    std::int64_t size = tensor.dims_size() > 0 ? 1 : 0;
    for (const std::int64_t dim : tensor.dims()) size *= dim;
    count += size;
  }
  return count;
}

std::vector<float> RunOne(const Bytes& model, const arrays::Array& input) {
  const auto session = OrtSession::Load(model);
  if (!session) {
    ADD_FAILURE() << session.error().ToString();
    return {};
  }
  const auto outputs = session->Run({input});
  if (!outputs) {
    ADD_FAILURE() << outputs.error().ToString();
    return {};
  }
  const auto values = (*outputs)[0].values<float>();
  return {values.begin(), values.end()};
}

double SnrDecibels(const std::vector<float>& reference, const std::vector<float>& other) {
  double signal = 0, noise = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    signal += reference[i] * reference[i];
    noise += (reference[i] - other[i]) * (reference[i] - other[i]);
  }
  return 10 * std::log10(signal / noise);
}

TEST(Models, HaveTheParametersOfTheirPapers) {
  EXPECT_EQ(ParameterCount(MakeFedAvgCnn(1)), 1'663'370);
  EXPECT_EQ(ParameterCount(MakeFedAvg2nn(1)), 199'210);
  // Torchvision's MobileNetV2 has 3,504,872 trained parameters; the folded form has one bias in place of scale and shift.
  EXPECT_EQ(ParameterCount(MakeMobileNetV2(1, BatchNorms::kFolded)), 3'504'872 - 17'056);
}

class Ort : public tests::PeerTest {};

TEST_F(Ort, TellsAndTakesWhatTheModelDeclares) {
  const auto session = OrtSession::Load(MakeFedAvg2nn(1));
  ASSERT_TRUE(session) << session.error().ToString();
  ASSERT_EQ(session->inputs().size(), 1U);
  EXPECT_EQ(session->inputs()[0].name, "image");
  EXPECT_EQ(session->inputs()[0].type, arrays::ElementType::kFloat32);
  EXPECT_THAT(session->inputs()[0].shape, ElementsAre(-1, 1, 28, 28));
  EXPECT_EQ(session->outputs()[0].name, "logits");

  auto run = session->Prepare({MakeInput(1, {3, 1, 28, 28})});
  ASSERT_TRUE(run);
  EXPECT_EQ(run->Outputs().error().reason(), "ORT_NOT_RUN");
  ASSERT_TRUE((*run)().ok());
  const auto first = run->Outputs();
  ASSERT_TRUE((*run)().ok());
  const auto second = run->Outputs();
  ASSERT_TRUE(first && second);
  EXPECT_THAT((*first)[0].shape, ElementsAre(3, 10));
  EXPECT_EQ((*first)[0].data, (*second)[0].data);
}

TEST_F(Ort, ErrorsAreValues) {
  EXPECT_EQ(OrtSession::Load(AsBytes("junk")).error().reason(), "ORT_FAILED");
  const auto session = OrtSession::Load(MakeFedAvg2nn(1));
  ASSERT_TRUE(session);
  EXPECT_EQ(session->Run({}).error().reason(), "ORT_INPUT");
  arrays::Array input = MakeInput(1, {1, 1, 28, 28});
  input.shape[0] = 2;
  EXPECT_EQ(session->Run({input}).error().reason(), "ORT_INPUT");
  EXPECT_THAT(session->Run({MakeInput(1, {1, 1, 28, 27})}).error().message(), HasSubstr("invalid dimensions"));
}

TEST_F(Ort, FoldedBatchNormsComputeTheSame) {
  const arrays::Array image = MakeInput(7, {1, 3, 224, 224});
  const std::vector<float> nodes = RunOne(MakeMobileNetV2(1, BatchNorms::kNodes), image);
  const std::vector<float> folded = RunOne(MakeMobileNetV2(1, BatchNorms::kFolded), image);
  ASSERT_EQ(nodes.size(), 1000U);
  EXPECT_GT(SnrDecibels(nodes, folded), 90);
  // Activations neither vanish nor grow.
  EXPECT_GT(*std::ranges::max_element(nodes), 1);
  EXPECT_LT(*std::ranges::max_element(nodes), 100);
}

TEST_F(Ort, QdqModelsAreNearTheirFloatOnes) {
  struct Case {
    const char* name;
    Bytes model;
    std::vector<std::int64_t> shape;
  };
  for (const Case& c : {Case{"cnn", MakeFedAvgCnn(1), {1, 1, 28, 28}}, Case{"2nn", MakeFedAvg2nn(1), {1, 1, 28, 28}},
                        Case{"mobilenet", MakeMobileNetV2(1, BatchNorms::kFolded), {1, 3, 224, 224}},
                        Case{"matmul", MakeMatMul(1, 64, 48), {5, 64}}}) {
    SCOPED_TRACE(c.name);
    const std::vector<arrays::Array> examples{MakeInput(1, c.shape), MakeInput(2, c.shape)};
    const auto qdq = QuantizeQdq(c.model, examples);
    ASSERT_TRUE(qdq) << qdq.error().ToString();
    EXPECT_LT(qdq->size(), c.model.size() / 2);
    EXPECT_GT(SnrDecibels(RunOne(c.model, examples[0]), RunOne(*qdq, examples[0])), 22);
  }
}

TEST_F(Ort, QdqBoundariesCanBeUint8) {
  const std::vector<arrays::Array> examples{MakeInput(1, {5, 64})};
  const auto qdq = QuantizeQdq(MakeMatMul(1, 64, 48), examples, QdqBoundary::kUint8);
  ASSERT_TRUE(qdq) << qdq.error().ToString();
  const auto session = OrtSession::Load(*qdq);
  ASSERT_TRUE(session) << session.error().ToString();
  EXPECT_EQ(session->inputs()[0].type, arrays::ElementType::kUint8);
  EXPECT_EQ(session->outputs()[0].type, arrays::ElementType::kUint8);
  EXPECT_TRUE(session->Run({arrays::MakeArray<std::uint8_t>({5, 64}, std::vector<std::uint8_t>(320, 7))}));
  EXPECT_EQ(QuantizeQdq(MakeMobileNetV2(1, BatchNorms::kNodes), examples).error().reason(), "QDQ_MODEL");
}

}  // namespace
}  // namespace edgefleet::load_tests
