// ONNX's messages and edgefleet's share one protobuf in a server process.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>

#include "edgefleet/registry/v1/registry.pb.h"
#include "tests/compiler/onnx_model.h"

namespace edgefleet::compiler {
namespace {

TEST(OnnxBesideGrpc, BothAreRegisteredOnceAndWork) {
  registry::v1::Version version;
  version.set_model("m");
  registry::v1::Version copy;
  ASSERT_TRUE(copy.ParseFromString(version.SerializeAsString()));
  EXPECT_EQ(copy.model(), "m");

  OnnxModel model;
  model.Input("x", {2}).Output("y").Node("Relu", {"x"}, "y");
  EXPECT_TRUE(Import(model));

  const auto* pool = google::protobuf::DescriptorPool::generated_pool();
  ASSERT_NE(pool->FindMessageTypeByName("edgefleet.registry.v1.Version"), nullptr);
  EXPECT_EQ(pool->FindMessageTypeByName("onnx.ModelProto"), onnx::ModelProto::descriptor());
}

}  // namespace
}  // namespace edgefleet::compiler
