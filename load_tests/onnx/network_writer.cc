#include "load_tests/onnx/network_writer.h"

#include <cmath>
#include <numbers>

namespace edgefleet::load_tests {
namespace {

constexpr int kOpset = 13;
constexpr int kIrVersion = 8;

// Box and Muller 1958.
float Normal(RandomSource& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.Unit()));
  return static_cast<float>(radius * std::cos(2 * std::numbers::pi * random.Unit()));
}

}  // namespace

NetworkWriter::NetworkWriter(const std::string& producer, const std::string& graph_name, std::uint64_t seed) : random_(seed) {
  model_.set_ir_version(kIrVersion);
  model_.set_producer_name(producer);
  model_.add_opset_import()->set_version(kOpset);
  model_.mutable_graph()->set_name(graph_name);
}

void NetworkWriter::AddInput(const std::string& name, const Dims& dims) {
  AddValue(model_.mutable_graph()->add_input(), name, dims);
}

void NetworkWriter::AddOutput(const std::string& name, const Dims& dims) {
  AddValue(model_.mutable_graph()->add_output(), name, dims);
}

void NetworkWriter::AddValue(onnx::ValueInfoProto* value, const std::string& name, const Dims& dims) {
  value->set_name(name);
  auto* tensor = value->mutable_type()->mutable_tensor_type();
  tensor->set_elem_type(onnx::TensorProto::FLOAT);
  tensor->mutable_shape()->add_dim()->set_dim_param("batch");
  for (const std::int64_t dim : dims) tensor->mutable_shape()->add_dim()->set_dim_value(dim);
}

void NetworkWriter::AddNormal(const std::string& name, const Dims& dims, float gain) {
  std::int64_t count = 1;
  for (const std::int64_t dim : dims) count *= dim;
  const float deviation = std::sqrt(gain * static_cast<float>(dims.front()) / static_cast<float>(count));
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = deviation * Normal(random_);
  AddFloats(name, dims, values);
}

void NetworkWriter::AddFloats(const std::string& name, const Dims& dims, std::span<const float> values) {
  onnx::TensorProto* tensor = model_.mutable_graph()->add_initializer();
  tensor->set_name(name);
  tensor->set_data_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t dim : dims) tensor->add_dims(dim);
  tensor->set_raw_data(values.data(), values.size_bytes());
}

void NetworkWriter::AddWeights(const std::string& name, const Dims& dims) {
  AddNormal(name + ".weight", dims);
  AddFloats(name + ".bias", {dims.front()}, std::vector<float>(static_cast<std::size_t>(dims.front())));
}

onnx::NodeProto* NetworkWriter::AddNode(const std::string& type, const std::vector<std::string>& inputs,
                                        const std::string& output) {
  onnx::NodeProto* node = model_.mutable_graph()->add_node();
  node->set_op_type(type);
  node->set_name(output);
  for (const std::string& input : inputs) node->add_input(input);
  node->add_output(output);
  return node;
}

void NetworkWriter::AddInts(onnx::NodeProto* node, const std::string& name, const Dims& values) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INTS);
  for (const std::int64_t value : values) attribute->add_ints(value);
}

void NetworkWriter::AddInt(onnx::NodeProto* node, const std::string& name, std::int64_t value) {
  onnx::AttributeProto* attribute = node->add_attribute();
  attribute->set_name(name);
  attribute->set_type(onnx::AttributeProto::INT);
  attribute->set_i(value);
}

void NetworkWriter::AddDense(const std::string& name, const std::string& input, std::int64_t in, std::int64_t out,
                             const std::string& output) {
  AddWeights(name, {out, in});
  AddInt(AddNode("Gemm", {input, name + ".weight", name + ".bias"}, output), "transB", 1);
}

void NetworkWriter::AddMaxPool(const std::string& input, const std::string& output, std::int64_t side) {
  onnx::NodeProto* pool = AddNode("MaxPool", {input}, output);
  AddInts(pool, "kernel_shape", {side, side});
  AddInts(pool, "strides", {side, side});
}

Bytes NetworkWriter::Finish() const { return ToBytes(AsBytes(model_.SerializeAsString())); }

}  // namespace edgefleet::load_tests
