// Imports hostile ONNX files. The seed has what hostile files abuse: branches, a function, shape computations, open sizes,
// quantized and external weights, windows.
#include <onnx/onnx_pb.h>

#include <string>
#include <vector>

#include "registry/compiler/onnx/import.h"
#include "tests/fuzz/target.h"

namespace edgefleet::fuzz {
namespace {

onnx::NodeProto& AddNode(google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes, const std::string& type,
                         const std::vector<std::string>& inputs, const std::string& output) {
  onnx::NodeProto* node = nodes.Add();
  node->set_op_type(type);
  for (const std::string& input : inputs) node->add_input(input);
  node->add_output(output);
  return *node;
}

onnx::AttributeProto& AddAttribute(onnx::NodeProto& node, const std::string& name, onnx::AttributeProto::AttributeType type) {
  onnx::AttributeProto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(type);
  return *attribute;
}

onnx::TensorProto& AddTensor(onnx::GraphProto& graph, const std::string& name, int type, const std::vector<std::int64_t>& dims,
                             const std::string& raw) {
  onnx::TensorProto* tensor = graph.add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(type);
  for (const std::int64_t dim : dims) tensor->add_dims(dim);
  tensor->set_raw_data(raw);
  return *tensor;
}

std::string Raw(const std::vector<std::int64_t>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(std::int64_t)};
}

void AddBranch(onnx::NodeProto& node, const std::string& name, const std::string& type) {
  onnx::GraphProto& graph = *AddAttribute(node, name, onnx::AttributeProto::GRAPH).mutable_g();
  AddNode(*graph.mutable_node(), type, {"pooled"}, "r");
  graph.add_output()->set_name("r");
}

onnx::ModelProto MakeModel() {
  onnx::ModelProto model;
  model.set_ir_version(8);
  model.add_opset_import()->set_version(15);
  onnx::OperatorSetIdProto& own = *model.add_opset_import();
  own.set_domain("own");
  own.set_version(1);
  onnx::GraphProto& graph = *model.mutable_graph();
  auto& type = *graph.add_input()->mutable_type()->mutable_tensor_type();
  graph.mutable_input(0)->set_name("x");
  type.set_elem_type(onnx::TensorProto::FLOAT);
  type.mutable_shape()->add_dim()->set_dim_param("batch");
  for (const int dim : {1, 8, 8}) type.mutable_shape()->add_dim()->set_dim_value(dim);

  AddTensor(graph, "w", onnx::TensorProto::INT8, {2, 1, 3, 3}, std::string(18, '\x05'));
  AddTensor(graph, "scale", onnx::TensorProto::FLOAT, {}, std::string("\0\0\0\x3f", 4));
  AddTensor(graph, "zero", onnx::TensorProto::INT64, {}, Raw({0}));
  AddTensor(graph, "axes", onnx::TensorProto::INT64, {1}, Raw({0}));
  AddTensor(graph, "rest", onnx::TensorProto::INT64, {1}, Raw({-1}));
  AddTensor(graph, "yes", onnx::TensorProto::BOOL, {}, "\x01");
  onnx::TensorProto& external = AddTensor(graph, "external", onnx::TensorProto::FLOAT, {1}, "");
  external.set_data_location(onnx::TensorProto::EXTERNAL);
  external.add_external_data()->set_key("location");
  external.mutable_external_data(0)->set_value("weights.bin");

  auto& nodes = *graph.mutable_node();
  AddNode(nodes, "DequantizeLinear", {"w", "scale"}, "real");
  onnx::NodeProto& conv = AddNode(nodes, "Conv", {"x", "real"}, "conv");
  AddAttribute(conv, "auto_pad", onnx::AttributeProto::STRING).set_s("SAME_UPPER");
  onnx::NodeProto& pool = AddNode(nodes, "MaxPool", {"conv"}, "pooled");
  auto& kernel = AddAttribute(pool, "kernel_shape", onnx::AttributeProto::INTS);
  kernel.add_ints(2), kernel.add_ints(2);
  onnx::NodeProto& branch = AddNode(nodes, "If", {"yes"}, "chosen");
  AddBranch(branch, "then_branch", "Relu");
  AddBranch(branch, "else_branch", "Neg");
  AddNode(nodes, "Leaky", {"chosen"}, "called").set_domain("own");
  AddNode(nodes, "Shape", {"called"}, "shape");
  AddNode(nodes, "Gather", {"shape", "zero"}, "count");
  AddNode(nodes, "Unsqueeze", {"count", "axes"}, "list");
  AddAttribute(AddNode(nodes, "Concat", {"list", "rest"}, "target"), "axis", onnx::AttributeProto::INT).set_i(0);
  AddNode(nodes, "Reshape", {"called", "target"}, "flat");
  AddNode(nodes, "Softmax", {"flat"}, "y");
  AddNode(nodes, "Add", {"flat", "external"}, "unused");
  graph.add_output()->set_name("y");

  onnx::FunctionProto& function = *model.add_functions();
  function.set_name("Leaky");
  function.set_domain("own");
  function.add_input("a");
  function.add_output("b");
  function.add_opset_import()->set_version(15);
  onnx::NodeProto& leaky = AddNode(*function.mutable_node(), "LeakyRelu", {"a"}, "b");
  AddAttribute(leaky, "alpha", onnx::AttributeProto::FLOAT).set_ref_attr_name("slope");
  return model;
}

}  // namespace

const Bytes& Seed() {
  static const Bytes seed = ToBytes(AsBytes(MakeModel().SerializeAsString()));
  return seed;
}

}  // namespace edgefleet::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace edgefleet;
  compiler::ImportOptions options;
  // Small limits, so that an input that is allowed to be large is not slow.
  options.limits.elements_max = 1 << 20;
  options.limits.nodes_max = 1'000;
  options.external_data = "/nonexistent";
  static_cast<void>(compiler::ImportOnnx({reinterpret_cast<const std::byte*>(data), size}, options));
  return 0;
}
