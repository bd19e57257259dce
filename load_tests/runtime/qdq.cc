#include "load_tests/runtime/qdq.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "load_tests/runtime/ort/session.h"

namespace edgefleet::load_tests {
namespace {

struct Range {
  float low = 0, high = 0;  // 0 is always representable
};

struct Scale {
  float scale = 1;
  std::uint8_t zero_point = 0;
};

// ONNX Runtime's compute_scale_zp for uint8.
Scale ScaleOf(const Range& range) {
  Scale result;
  if (range.high > range.low) result.scale = (range.high - range.low) / 255;
  result.zero_point = static_cast<std::uint8_t>(std::clamp(std::nearbyint(-range.low / result.scale), 0.0F, 255.0F));
  return result;
}

bool IsActivationNode(const onnx::NodeProto& node) { return node.op_type() == "Relu" || node.op_type() == "Clip"; }
// The output takes the input's values as they are.
bool MovesData(const onnx::NodeProto& node) { return node.op_type() == "MaxPool" || node.op_type() == "Flatten"; }
bool HasWeights(const onnx::NodeProto& node) {
  return node.op_type() == "Conv" || node.op_type() == "Gemm" || node.op_type() == "MatMul";
}
bool IsKnown(const onnx::NodeProto& node) {
  return IsActivationNode(node) || MovesData(node) || HasWeights(node) || node.op_type() == "Add" ||
         node.op_type() == "GlobalAveragePool";
}

Result<onnx::ModelProto> Parse(ByteView bytes) {
  onnx::ModelProto model;
  if (!model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return InvalidArgument("QDQ_MODEL", "no ONNX model");
  if (model.graph().input_size() != 1) return InvalidArgument("QDQ_MODEL", "the model must have one input");
  for (const onnx::NodeProto& node : model.graph().node()) {
    if (!IsKnown(node)) return InvalidArgument("QDQ_MODEL", "cannot quantize " + node.op_type() + " of node " + node.name());
  }
  return model;
}

Bytes Serialize(const onnx::ModelProto& model) { return ToBytes(AsBytes(model.SerializeAsString())); }

// The range of every activation over the examples, from a model that gives them all out.
Result<std::map<std::string, Range>> Calibrate(onnx::ModelProto model, std::span<const arrays::Array> examples) {
  onnx::GraphProto& graph = *model.mutable_graph();
  std::set<std::string> known;
  for (const onnx::ValueInfoProto& output : graph.output()) known.insert(output.name());
  for (const onnx::NodeProto& node : graph.node()) {
    if (!known.insert(node.output(0)).second) continue;
    onnx::ValueInfoProto* output = graph.add_output();
    output->set_name(node.output(0));
    output->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
  }
  EF_ASSIGN_OR_RETURN(const OrtSession session, OrtSession::Load(Serialize(model)));
  std::map<std::string, Range> ranges;
  const auto widen = [&](const std::string& name, std::span<const float> values) {
    const auto [low, high] = std::ranges::minmax(values);
    Range& range = ranges[name];
    range = {std::min(range.low, low), std::max(range.high, high)};
  };
  for (const arrays::Array& example : examples) {
    widen(graph.input(0).name(), example.values<float>());
    EF_ASSIGN_OR_RETURN(const std::vector<arrays::Array> outputs, session.Run({example}));
    for (std::size_t i = 0; i < outputs.size(); ++i) widen(session.outputs()[i].name, outputs[i].values<float>());
  }
  return ranges;
}

class QdqWriter {
 public:
  QdqWriter(const onnx::ModelProto& model, std::map<std::string, Range> ranges, QdqBoundary boundary)
      : source_(model.graph()), ranges_(std::move(ranges)), boundary_(boundary), model_(model) {
    for (const onnx::TensorProto& tensor : source_.initializer()) constants_[tensor.name()] = &tensor;
    for (const onnx::ValueInfoProto& output : source_.output()) results_.insert(output.name());
    graph().clear_node();
    graph().clear_initializer();
  }

  Result<Bytes> Write() {
    BeginInput();
    for (int i = 0; i < source_.node_size(); ++i) {
      const onnx::NodeProto& node = source_.node(i);
      if (IsActivationNode(node)) continue;  // part of the node before it
      EF_RETURN_IF_ERROR(AddNode(node, FusedOutput(node)));
    }
    return Serialize(model_);
  }

 private:
  onnx::GraphProto& graph() { return *model_.mutable_graph(); }

  // The output of the node, or of the only Relu or Clip that takes it.
  std::string FusedOutput(const onnx::NodeProto& node) const {
    for (const onnx::NodeProto& next : source_.node()) {
      if (IsActivationNode(next) && next.input(0) == node.output(0)) return next.output(0);
    }
    return node.output(0);
  }

  void BeginInput() {
    const std::string& name = source_.input(0).name();
    scales_[name] = ScaleOf(ranges_[name]);
    AddScale(name, scales_[name]);
    if (boundary_ == QdqBoundary::kUint8) {
      graph().mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::UINT8);
      AddLinear("DequantizeLinear", name, name, name + "_dequantized", -1);
    } else {
      AddPair(name, name, name + "_dequantized");
    }
    values_[name] = name + "_dequantized";
  }

  Status AddNode(const onnx::NodeProto& node, const std::string& output) {
    onnx::NodeProto copy = node;
    for (int i = 0; i < node.input_size(); ++i) {
      if (const auto value = values_.find(node.input(i)); value != values_.end()) copy.set_input(i, value->second);
    }
    if (HasWeights(node)) EF_RETURN_IF_ERROR(QuantizeWeights(node, copy));
    const bool result = results_.contains(output);
    const std::string raw = result ? output + "_float" : output;
    copy.set_output(0, raw);
    *graph().add_node() = copy;
    scales_[output] = MovesData(node) ? scales_.at(node.input(0)) : ScaleOf(ranges_.at(output));
    AddScale(output, scales_[output]);
    if (result && boundary_ == QdqBoundary::kUint8) {
      for (onnx::ValueInfoProto& value : *graph().mutable_output()) {
        value.mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::UINT8);
      }
      AddLinear("QuantizeLinear", raw, output, output, -1);
      return OkStatus();
    }
    values_[output] = result ? output : output + "_dequantized";
    AddPair(raw, output, values_[output]);
    return OkStatus();
  }

  // Constants [outputs, ...], for MatMul [inner, outputs].
  Status QuantizeWeights(const onnx::NodeProto& node, onnx::NodeProto& copy) {
    const auto weight = constants_.find(node.input(1));
    if (weight == constants_.end()) return InvalidArgument("QDQ_MODEL", "the weights of " + node.name() + " are no constant");
    const onnx::TensorProto& tensor = *weight->second;
    const int axis = node.op_type() == "MatMul" ? 1 : 0;
    const std::vector<float> values = Floats(tensor);
    const auto channels = static_cast<std::size_t>(tensor.dims(axis));
    const std::size_t inner = axis == 0 ? values.size() / channels : 1;
    const auto channel_of = [&](std::size_t i) { return i / inner % channels; };
    std::vector<float> scales(channels);
    for (std::size_t i = 0; i < values.size(); ++i) {
      scales[channel_of(i)] = std::max(scales[channel_of(i)], std::abs(values[i]) / 127);
    }
    for (float& scale : scales) scale = scale == 0 ? 1 : scale;
    std::vector<std::int8_t> quantized(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      quantized[i] = static_cast<std::int8_t>(std::clamp(std::nearbyint(values[i] / scales[channel_of(i)]), -127.0F, 127.0F));
    }
    AddTensor<std::int8_t>(tensor.name() + "_quantized", {tensor.dims().begin(), tensor.dims().end()}, onnx::TensorProto::INT8,
                           quantized);
    AddConstantScale<std::int8_t>(tensor.name(), onnx::TensorProto::INT8, scales);
    AddLinear("DequantizeLinear", tensor.name() + "_quantized", tensor.name(), tensor.name() + "_dequantized", axis);
    copy.set_input(1, tensor.name() + "_dequantized");
    if (node.input_size() > 2) QuantizeBias(node.input(2), scales_.at(node.input(0)).scale, scales, copy);
    return OkStatus();
  }

  void QuantizeBias(const std::string& name, float input_scale, std::vector<float> scales, onnx::NodeProto& copy) {
    const std::vector<float> values = Floats(*constants_.at(name));
    std::vector<std::int32_t> quantized(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      scales[i] *= input_scale;
      quantized[i] = static_cast<std::int32_t>(std::nearbyint(values[i] / scales[i]));
    }
    AddTensor<std::int32_t>(name + "_quantized", {static_cast<std::int64_t>(values.size())}, onnx::TensorProto::INT32,
                            quantized);
    AddConstantScale<std::int32_t>(name, onnx::TensorProto::INT32, scales);
    AddLinear("DequantizeLinear", name + "_quantized", name, name + "_dequantized", 0);
    copy.set_input(2, name + "_dequantized");
  }

  static std::vector<float> Floats(const onnx::TensorProto& tensor) {
    std::vector<float> values(tensor.raw_data().size() / sizeof(float));
    std::memcpy(values.data(), tensor.raw_data().data(), tensor.raw_data().size());
    return values;
  }

  template <typename T>
  void AddTensor(const std::string& name, const std::vector<std::int64_t>& dims, int type, const std::vector<T>& values) {
    onnx::TensorProto* tensor = graph().add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(type);
    for (const std::int64_t dim : dims) tensor->add_dims(dim);
    tensor->set_raw_data(values.data(), values.size() * sizeof(T));
  }

  void AddScale(const std::string& name, const Scale& scale) {
    AddTensor<float>(name + "_scale", {}, onnx::TensorProto::FLOAT, {scale.scale});
    AddTensor<std::uint8_t>(name + "_zero_point", {}, onnx::TensorProto::UINT8, {scale.zero_point});
  }

  // A scale a channel, zero points 0.
  template <typename T>
  void AddConstantScale(const std::string& name, int type, const std::vector<float>& scales) {
    const std::vector<std::int64_t> dims{static_cast<std::int64_t>(scales.size())};
    AddTensor<float>(name + "_scale", dims, onnx::TensorProto::FLOAT, scales);
    AddTensor<T>(name + "_zero_point", dims, type, std::vector<T>(scales.size()));
  }

  // `owner`: whose scale and zero point are used.
  void AddLinear(const char* type, const std::string& input, const std::string& owner, const std::string& output, int axis) {
    onnx::NodeProto* node = graph().add_node();
    node->set_op_type(type);
    node->set_name(output + "_" + type);
    for (const std::string& name : {input, owner + "_scale", owner + "_zero_point"}) node->add_input(name);
    node->add_output(output);
    if (axis < 0) return;
    onnx::AttributeProto* attribute = node->add_attribute();
    attribute->set_name("axis");
    attribute->set_type(onnx::AttributeProto::INT);
    attribute->set_i(axis);
  }

  void AddPair(const std::string& input, const std::string& owner, const std::string& output) {
    AddLinear("QuantizeLinear", input, owner, owner + "_quantized", -1);
    AddLinear("DequantizeLinear", owner + "_quantized", owner, output, -1);
  }

  const onnx::GraphProto source_;  // a copy: the written model begins as the source without its nodes
  std::map<std::string, Range> ranges_;
  QdqBoundary boundary_;
  onnx::ModelProto model_;
  std::map<std::string, const onnx::TensorProto*> constants_;
  std::map<std::string, Scale> scales_;        // of activations
  std::map<std::string, std::string> values_;  // what to take in place of an activation
  std::set<std::string> results_;              // the model's outputs
};

}  // namespace

Result<Bytes> QuantizeQdq(ByteView model, std::span<const arrays::Array> examples, QdqBoundary boundary) {
  EF_ASSIGN_OR_RETURN(const onnx::ModelProto parsed, Parse(model));
  EF_ASSIGN_OR_RETURN(auto ranges, Calibrate(parsed, examples));
  return QdqWriter(parsed, std::move(ranges), boundary).Write();
}

}  // namespace edgefleet::load_tests
