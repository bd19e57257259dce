// Builds small ONNX models, right and wrong ones, and runs what the compiler makes of them.
#pragma once

#include <gmock/gmock.h>
#include <onnx/onnx_pb.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "device_client/runtime/session.h"
#include "registry/compiler/onnx/import.h"
#include "registry/compiler/optimize/optimize.h"

namespace edgefleet::compiler {

using Dims = std::vector<std::int64_t>;

class OnnxModel {
 public:
  explicit OnnxModel(int opset = 13) {
    proto.set_ir_version(8);
    proto.add_opset_import()->set_version(opset);
    proto.mutable_graph()->set_name("test");
  }
  // Dimension 0 is a symbolic batch; `dims` are the others.
  OnnxModel& Input(const std::string& name, const Dims& dims) { return Value(graph().add_input(), name, dims); }
  OnnxModel& Output(const std::string& name) { return Value(graph().add_output(), name, {1}); }
  OnnxModel& Floats(const std::string& name, const Dims& dims, const std::vector<float>& values) {
    onnx::TensorProto* tensor = Tensor(name, dims, onnx::TensorProto::FLOAT);
    for (const float value : values) tensor->add_float_data(value);
    return *this;
  }
  OnnxModel& Int64s(const std::string& name, const Dims& dims, const std::vector<std::int64_t>& values) {
    onnx::TensorProto* tensor = Tensor(name, dims, onnx::TensorProto::INT64);
    for (const std::int64_t value : values) tensor->add_int64_data(value);
    return *this;
  }
  onnx::NodeProto& Node(const std::string& type, const std::vector<std::string>& inputs, const std::string& output) {
    onnx::NodeProto* node = graph().add_node();
    node->set_op_type(type);
    node->set_name("n_" + output);
    for (const std::string& input : inputs) node->add_input(input);
    node->add_output(output);
    return *node;
  }
  onnx::GraphProto& graph() { return *proto.mutable_graph(); }
  Bytes bytes() const { return ToBytes(AsBytes(proto.SerializeAsString())); }

  onnx::ModelProto proto;

 private:
  OnnxModel& Value(onnx::ValueInfoProto* value, const std::string& name, const Dims& dims) {
    value->set_name(name);
    auto* tensor = value->mutable_type()->mutable_tensor_type();
    tensor->set_elem_type(onnx::TensorProto::FLOAT);
    tensor->mutable_shape()->add_dim()->set_dim_param("batch");
    for (const std::int64_t dim : dims) tensor->mutable_shape()->add_dim()->set_dim_value(dim);
    return *this;
  }
  onnx::TensorProto* Tensor(const std::string& name, const Dims& dims, int type) {
    onnx::TensorProto* tensor = graph().add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(type);
    for (const std::int64_t dim : dims) tensor->add_dims(dim);
    return tensor;
  }
};

inline void SetInts(onnx::NodeProto& node, const std::string& name, const Dims& values) {
  onnx::AttributeProto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INTS);
  for (const std::int64_t value : values) attribute->add_ints(value);
}
inline void SetInt(onnx::NodeProto& node, const std::string& name, std::int64_t value) {
  onnx::AttributeProto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}
inline void SetFloat(onnx::NodeProto& node, const std::string& name, float value) {
  onnx::AttributeProto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::FLOAT);
  attribute->set_f(value);
}
inline void SetString(onnx::NodeProto& node, const std::string& name, const std::string& value) {
  onnx::AttributeProto* attribute = node.add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::STRING);
  attribute->set_s(value);
}

inline Result<runtime::Graph> Import(const OnnxModel& model) {
  EF_ASSIGN_OR_RETURN(runtime::Graph graph, ImportOnnx(model.bytes(), {}));
  EF_RETURN_IF_ERROR(Optimize(graph));
  return graph;
}

// What the graph computes for one example, on the reference delegate; empty after a failure, which is reported.
inline std::vector<float> RunGraph(const runtime::Graph& graph, const std::vector<float>& input,
                                   const char* delegate = "reference") {
  runtime::SessionOptions options;
  options.delegate = delegate;
  const auto session = runtime::Session::Create(std::make_shared<const runtime::Graph>(graph), options);
  if (!session) {
    ADD_FAILURE() << session.error().ToString();
    return {};
  }
  std::vector<float> output(static_cast<std::size_t>((*session)->output_size()));
  const Status run = (*session)->Run(input, output);
  EXPECT_TRUE(run.ok()) << run.ToString();
  return output;
}

inline std::vector<float> RunModel(const OnnxModel& model, const std::vector<float>& input) {
  const auto graph = Import(model);
  if (!graph) {
    ADD_FAILURE() << graph.error().ToString();
    return {};
  }
  return RunGraph(*graph, input);
}

// 0, 1, 2, ...
inline std::vector<float> Iota(std::size_t count, float first = 0) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = first + static_cast<float>(i);
  return values;
}

}  // namespace edgefleet::compiler
