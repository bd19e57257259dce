#include "device_client/runtime/validate.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace edgefleet::runtime {
namespace {

// Scales beyond these would take products and quotients of three scales out of fp32's range.
constexpr float kScaleMin = 0x1p-40F;
constexpr float kScaleMax = 0x1p40F;
constexpr std::int32_t kAttributeMax = 1024;  // strides, pads, dilations and windows

using Shape = std::vector<std::int64_t>;

std::string Quoted(const std::string& name) { return "'" + name + "'"; }

// Checks one graph; each step relies on those before it.
class Validator {
 public:
  explicit Validator(const Graph& graph) : graph_(graph) {}

  Status Run() {
    EF_RETURN_IF_ERROR(CheckLimits());
    for (const Tensor& tensor : graph_.tensors) EF_RETURN_IF_ERROR(CheckTensor(tensor));
    written_.assign(graph_.tensors.size(), false);
    EF_RETURN_IF_ERROR(CheckInputs());
    for (const Node& node : graph_.nodes) EF_RETURN_IF_ERROR(CheckNode(node));
    EF_RETURN_IF_ERROR(CheckOutputs());
    return CheckParameters();
  }

 private:
  Status CheckLimits() const {
    if (graph_.tensors.size() > kTensorsMax || graph_.nodes.size() > kNodesMax || graph_.name.size() > kNameBytesMax) {
      return InvalidArgument("GRAPH_LIMIT", "the graph has too many tensors or nodes, or too long a name");
    }
    if (graph_.inputs.empty() || graph_.outputs.empty() || graph_.nodes.empty()) {
      return InvalidArgument("GRAPH_LIMIT", "the graph needs an input, an output and a node");
    }
    if (graph_.inputs.size() > kTensorsMax || graph_.outputs.size() > kTensorsMax) {
      return InvalidArgument("GRAPH_LIMIT", "the graph has too many inputs or outputs");
    }
    return OkStatus();
  }

  static Status CheckTensor(const Tensor& tensor) {
    if (tensor.name.size() > kNameBytesMax) return InvalidArgument("GRAPH_LIMIT", "a tensor's name is too long");
    const std::string who = "tensor " + Quoted(tensor.name);
    if (SizeOf(tensor.type) == 0) return InvalidArgument("GRAPH_TENSOR", who + " has an unknown type");
    if (tensor.shape.empty() || tensor.shape.size() > kDimensionsMax) {
      return InvalidArgument("GRAPH_TENSOR", who + " has no dimension or too many");
    }
    std::int64_t elements = 1;
    for (const std::int64_t dimension : tensor.shape) {
      if (dimension < 1 || dimension > kElementsMax / elements) {
        return InvalidArgument("GRAPH_TENSOR", who + " has a dimension below 1 or too many elements");
      }
      elements *= dimension;
    }
    if (tensor.is_constant()) {
      if (tensor.data.size() != static_cast<std::size_t>(elements) * SizeOf(tensor.type)) {
        return InvalidArgument("GRAPH_TENSOR", who + " has data of another size than its shape");
      }
      if (reinterpret_cast<std::uintptr_t>(tensor.data.data()) % SizeOf(tensor.type) != 0) {
        return InvalidArgument("GRAPH_TENSOR", who + " has unaligned data");
      }
    } else if (tensor.shape[0] != 1) {
      return InvalidArgument("GRAPH_TENSOR", who + " is an activation; its first dimension must be 1");
    }
    return CheckQuantization(tensor, who);
  }

  static Status CheckQuantization(const Tensor& tensor, const std::string& who) {
    if (!tensor.quantization) {
      if (tensor.type == DataType::kInt8) return InvalidArgument("GRAPH_QUANTIZATION", who + " is int8 without quantization");
      return OkStatus();
    }
    const Quantization& q = *tensor.quantization;
    if (tensor.type == DataType::kFloat32) return InvalidArgument("GRAPH_QUANTIZATION", who + " is fp32 with quantization");
    const int rank = static_cast<int>(tensor.shape.size());
    if (q.axis < -1 || q.axis >= rank || (q.axis >= 0 && !tensor.is_constant())) {
      return InvalidArgument("GRAPH_QUANTIZATION", who + " is quantized along a wrong axis");
    }
    const std::int64_t slices = q.axis < 0 ? 1 : tensor.shape[static_cast<std::size_t>(q.axis)];
    if (static_cast<std::int64_t>(q.scales.size()) != slices ||
        (!q.zero_points.empty() && static_cast<std::int64_t>(q.zero_points.size()) != slices)) {
      return InvalidArgument("GRAPH_QUANTIZATION", who + " needs one scale and zero point, or one a slice");
    }
    if (!std::ranges::all_of(q.scales, [](float scale) { return scale >= kScaleMin && scale <= kScaleMax; })) {
      return InvalidArgument("GRAPH_QUANTIZATION", who + " has a scale outside 2^-40 to 2^40");
    }
    const bool symmetric = tensor.is_constant();
    if (!std::ranges::all_of(q.zero_points, [&](std::int32_t zero_point) {
          return symmetric ? zero_point == 0 : zero_point >= -128 && zero_point <= 127;
        })) {
      return InvalidArgument("GRAPH_QUANTIZATION", who + " has a zero point outside its type, or not 0 in a constant");
    }
    return OkStatus();
  }

  bool IsId(TensorId id) const { return id >= 0 && static_cast<std::size_t>(id) < graph_.tensors.size(); }
  const Tensor& At(TensorId id) const { return graph_.tensors[static_cast<std::size_t>(id)]; }

  Status CheckInputs() {
    for (const TensorId id : graph_.inputs) {
      if (!IsId(id) || At(id).is_constant() || written_[static_cast<std::size_t>(id)]) {
        return InvalidArgument("GRAPH_ORDER", "a graph input is no activation, or is listed twice");
      }
      if (At(id).type == DataType::kInt32) return InvalidArgument("GRAPH_TYPE", "a graph input is int32");
      written_[static_cast<std::size_t>(id)] = true;
    }
    return OkStatus();
  }

  Status CheckOutputs() const {
    for (const TensorId id : graph_.outputs) {
      if (!IsId(id) || !written_[static_cast<std::size_t>(id)]) {
        return InvalidArgument("GRAPH_ORDER", "a graph output is written by no node");
      }
    }
    return OkStatus();
  }

  Status CheckParameters() const {
    if (graph_.parameters.size() > graph_.tensors.size()) return InvalidArgument("GRAPH_PARAMETERS", "too many parameters");
    std::vector<bool> seen(graph_.tensors.size(), false);
    std::int64_t total = 0;
    for (const TensorId id : graph_.parameters) {
      if (!IsId(id) || !At(id).is_constant() || At(id).type != DataType::kFloat32 || seen[static_cast<std::size_t>(id)]) {
        return InvalidArgument("GRAPH_PARAMETERS", "a parameter is no fp32 constant, or is listed twice");
      }
      seen[static_cast<std::size_t>(id)] = true;
      total += ElementCount(At(id).shape);
      if (total > kElementsMax) return InvalidArgument("GRAPH_PARAMETERS", "too many parameters");
    }
    return OkStatus();
  }

  Status CheckNode(const Node& node) {
    if (node.name.size() > kNameBytesMax) return InvalidArgument("GRAPH_LIMIT", "a node's name is too long");
    who_ = std::string(OperatorName(node.op)) + " " + Quoted(node.name);
    const bool weighted = std::holds_alternative<Conv2d>(node.op) || std::holds_alternative<FullyConnected>(node.op);
    const std::size_t inputs_min = weighted || std::holds_alternative<Add>(node.op) ? 2 : 1;
    const std::size_t inputs_max = weighted ? 3 : inputs_min;
    if (node.inputs.size() < inputs_min || node.inputs.size() > inputs_max || node.outputs.size() != 1) {
      return InvalidArgument("GRAPH_NODE", who_ + " has a wrong number of inputs or outputs");
    }
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const TensorId id = node.inputs[i];
      if (!IsId(id)) return InvalidArgument("GRAPH_NODE", who_ + " reads a tensor that does not exist");
      const bool constant_wanted = weighted && i > 0;
      if (At(id).is_constant() != constant_wanted) {
        return InvalidArgument("GRAPH_NODE", who_ + " takes constants for weights and bias, and only there");
      }
      if (!constant_wanted && !written_[static_cast<std::size_t>(id)]) {
        return InvalidArgument("GRAPH_ORDER", who_ + " reads an activation before it is written");
      }
    }
    const TensorId out = node.outputs[0];
    if (!IsId(out) || At(out).is_constant() || written_[static_cast<std::size_t>(out)]) {
      return InvalidArgument("GRAPH_ORDER", who_ + " writes a constant, or what is already written");
    }
    written_[static_cast<std::size_t>(out)] = true;
    EF_RETURN_IF_ERROR(CheckTypes(node));
    return std::visit([&](const auto& op) { return CheckOperator(op, node); }, node.op);
  }

  Status WrongType() const { return InvalidArgument("GRAPH_TYPE", who_ + " has operands of types that do not go together"); }
  Status WrongShape() const { return InvalidArgument("GRAPH_SHAPE", who_ + " has operands of shapes that do not go together"); }

  Status CheckTypes(const Node& node) const {
    const DataType in = At(node.inputs[0]).type;
    const DataType out = At(node.outputs[0]).type;
    if (std::holds_alternative<Quantize>(node.op)) {
      return in == DataType::kFloat32 && out == DataType::kInt8 ? OkStatus() : WrongType();
    }
    if (std::holds_alternative<Dequantize>(node.op)) {
      return in == DataType::kInt8 && out == DataType::kFloat32 ? OkStatus() : WrongType();
    }
    if (in != out || in == DataType::kInt32) return WrongType();
    if (std::holds_alternative<Softmax>(node.op) && in != DataType::kFloat32) return WrongType();
    if (std::holds_alternative<Add>(node.op)) return At(node.inputs[1]).type == in ? OkStatus() : WrongType();
    if (node.inputs.size() > 1) return CheckWeightTypes(node, in);
    return OkStatus();
  }

  Status CheckWeightTypes(const Node& node, DataType in) const {
    const Tensor& weights = At(node.inputs[1]);
    if (weights.type != in) return WrongType();
    if (in == DataType::kInt8) {
      if (weights.quantization->axis > 0) {
        return InvalidArgument("GRAPH_QUANTIZATION", who_ + " has weights quantized along another axis than their outputs");
      }
      if (ElementCount(weights.shape) / weights.shape[0] > kInt8ReductionMax) {
        return InvalidArgument("GRAPH_LIMIT", who_ + " sums too many int8 products for an int32");
      }
    }
    if (node.inputs.size() < 3) return OkStatus();
    const Tensor& bias = At(node.inputs[2]);
    if (bias.type != (in == DataType::kInt8 ? DataType::kInt32 : DataType::kFloat32)) return WrongType();
    if (bias.shape != Shape{weights.shape[0]}) return WrongShape();
    return OkStatus();
  }

  // Whether a window of `kernel` over `in` with these attributes yields `out` positions.
  static bool Slides(std::int64_t in, std::int64_t kernel, std::int32_t stride, std::int32_t pad_before, std::int32_t pad_after,
                     std::int32_t dilation, std::int64_t out) {
    if (kernel < 1 || kernel > kAttributeMax || stride < 1 || stride > kAttributeMax || dilation < 1 ||
        dilation > kAttributeMax || pad_before < 0 || pad_before > kAttributeMax || pad_after < 0 ||
        pad_after > kAttributeMax) {
      return false;
    }
    const std::int64_t span = in + pad_before + pad_after - ((kernel - 1) * dilation + 1);
    return span >= 0 && out == span / stride + 1;
  }

  Status CheckOperator(const Conv2d& op, const Node& node) const {
    if (static_cast<int>(op.activation.kind) >= kUnaryKinds)
      return InvalidArgument("GRAPH_NODE", who_ + " has an unknown activation");
    const Shape& x = At(node.inputs[0]).shape;
    const Shape& w = At(node.inputs[1]).shape;
    const Shape& y = At(node.outputs[0]).shape;
    if (x.size() != 4 || w.size() != 4 || y.size() != 4 || op.groups < 1) return WrongShape();
    if (x[1] % op.groups != 0 || w[0] % op.groups != 0 || w[1] != x[1] / op.groups || y[1] != w[0]) return WrongShape();
    for (std::size_t i = 0; i < 2; ++i) {
      if (!Slides(x[i + 2], w[i + 2], op.strides[i], op.pads[i], op.pads[i + 2], op.dilations[i], y[i + 2]))
        return WrongShape();
    }
    return OkStatus();
  }

  Status CheckOperator(const FullyConnected& op, const Node& node) const {
    if (static_cast<int>(op.activation.kind) >= kUnaryKinds)
      return InvalidArgument("GRAPH_NODE", who_ + " has an unknown activation");
    const Shape& x = At(node.inputs[0]).shape;
    const Shape& w = At(node.inputs[1]).shape;
    if (x.size() != 2 || w.size() != 2 || w[1] != x[1] || At(node.outputs[0]).shape != Shape{1, w[0]}) return WrongShape();
    return OkStatus();
  }

  Status CheckOperator(const Pool2d& op, const Node& node) const {
    if (op.kind > Pool2d::Kind::kAverage) return InvalidArgument("GRAPH_NODE", who_ + " has an unknown kind");
    const Shape& x = At(node.inputs[0]).shape;
    const Shape& y = At(node.outputs[0]).shape;
    if (x.size() != 4 || y.size() != 4 || y[1] != x[1]) return WrongShape();
    for (std::size_t i = 0; i < 2; ++i) {
      // A window must touch the image, or it would have no maximum and no average.
      if (op.pads[i] >= op.kernel[i] || op.pads[i + 2] >= op.kernel[i]) return WrongShape();
      if (!Slides(x[i + 2], op.kernel[i], op.strides[i], op.pads[i], op.pads[i + 2], 1, y[i + 2])) return WrongShape();
    }
    return op.kind == Pool2d::Kind::kMax ? CheckSameQuantization(node) : OkStatus();
  }

  template <typename Op>
  Status CheckOperator(const Op&, const Node&) const {
    return Unimplemented("OPERATOR_UNKNOWN", who_ + " is not supported");
  }

  Status CheckOperator(const GlobalAveragePool&, const Node& node) const {
    const Shape& x = At(node.inputs[0]).shape;
    if (x.size() != 4 || At(node.outputs[0]).shape != Shape{1, x[1], 1, 1}) return WrongShape();
    return OkStatus();
  }

  Status CheckOperator(const Add& op, const Node& node) const {
    if (static_cast<int>(op.activation.kind) >= kUnaryKinds)
      return InvalidArgument("GRAPH_NODE", who_ + " has an unknown activation");
    if (At(node.inputs[0]).shape != At(node.inputs[1]).shape) return WrongShape();
    return CheckSameShape(node);
  }

  Status CheckOperator(const Flatten&, const Node& node) const {
    if (At(node.outputs[0]).shape != Shape{1, ElementCount(At(node.inputs[0]).shape)}) return WrongShape();
    return CheckSameQuantization(node);
  }

  Status CheckOperator(const Softmax&, const Node& node) const {
    if (At(node.inputs[0]).shape.size() < 2) return WrongShape();
    return CheckSameShape(node);
  }
  Status CheckOperator(const Relu&, const Node& node) const { return CheckSameShape(node); }
  Status CheckOperator(const Quantize&, const Node& node) const { return CheckSameShape(node); }
  Status CheckOperator(const Dequantize&, const Node& node) const { return CheckSameShape(node); }

  Status CheckSameShape(const Node& node) const {
    return At(node.inputs[0]).shape == At(node.outputs[0]).shape ? OkStatus() : WrongShape();
  }

  Status CheckSameQuantization(const Node& node) const {
    const Tensor& in = At(node.inputs[0]);
    const Tensor& out = At(node.outputs[0]);
    if (in.type != DataType::kInt8) return OkStatus();
    if (in.quantization->scales != out.quantization->scales || ZeroPoint(in) != ZeroPoint(out)) {
      return InvalidArgument("GRAPH_QUANTIZATION", who_ + " must keep its input's quantization");
    }
    return OkStatus();
  }

  const Graph& graph_;
  std::vector<bool> written_;
  std::string who_;
};

}  // namespace

Status ValidateGraph(const Graph& graph) { return Validator(graph).Run(); }

}  // namespace edgefleet::runtime
