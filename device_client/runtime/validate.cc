#include "device_client/runtime/validate.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "device_client/runtime/folding_builder.h"
#include "device_client/runtime/inference.h"

namespace edgefleet::runtime {
namespace {

// Scales beyond these would take products and quotients of three scales out of fp32's range.
constexpr float kScaleMin = 0x1p-40F;
constexpr float kScaleMax = 0x1p40F;
constexpr std::size_t kNodeOperandsMax = 4'096;

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
    EF_RETURN_IF_ERROR(CheckDynamic());
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
    if (static_cast<int>(tensor.type) >= kDataTypes) return InvalidArgument("GRAPH_TENSOR", who + " has an unknown type");
    if (tensor.shape.size() > kDimensionsMax) return InvalidArgument("GRAPH_TENSOR", who + " has too many dimensions");
    const auto count = CheckedCount(tensor.shape);
    if (!count) return InvalidArgument("GRAPH_TENSOR", who + ": " + count.error().message());
    EF_RETURN_IF_ERROR(CheckQuantization(tensor, who));
    if (!tensor.is_constant()) {
      if (*count == 0) return InvalidArgument("GRAPH_TENSOR", who + " is an activation without elements");
      if (tensor.type == DataType::kFloat16 || tensor.type == DataType::kInt4) {
        return InvalidArgument("GRAPH_TENSOR", who + " is an activation of a type that only constants have");
      }
      return OkStatus();
    }
    const std::int32_t group_size = tensor.quantization ? tensor.quantization->group_size : 0;
    if (tensor.data.size() != ConstantBytes(tensor.type, tensor.shape, group_size)) {
      return InvalidArgument("GRAPH_TENSOR", who + " has data of another size than its shape");
    }
    if (reinterpret_cast<std::uintptr_t>(tensor.data.data()) % std::max<std::size_t>(SizeOf(tensor.type), 2) != 0) {
      return InvalidArgument("GRAPH_TENSOR", who + " has unaligned data");
    }
    return OkStatus();
  }

  static Status CheckQuantization(const Tensor& tensor, const std::string& who) {
    const auto wrong = [&](const char* what) { return InvalidArgument("GRAPH_QUANTIZATION", who + what); };
    if (tensor.type == DataType::kInt4) {
      const std::int32_t size = tensor.quantization ? tensor.quantization->group_size : 0;
      return size == 32 || size == 64 || size == 128 ? OkStatus() : wrong(" is int4 without groups of 32, 64 or 128");
    }
    if (!tensor.quantization) return OkStatus();
    const Quantization& q = *tensor.quantization;
    if (tensor.type != DataType::kInt8 && tensor.type != DataType::kUint8 && tensor.type != DataType::kInt32) {
      return wrong(" has a quantization that its type cannot have");
    }
    const int rank = static_cast<int>(tensor.shape.size());
    if (q.group_size != 0 || q.axis < -1 || q.axis >= rank || (q.axis >= 0 && !tensor.is_constant())) {
      return wrong(" is quantized along a wrong axis");
    }
    const std::int64_t slices = q.axis < 0 ? 1 : tensor.shape[static_cast<std::size_t>(q.axis)];
    if (static_cast<std::int64_t>(q.scales.size()) != slices ||
        (!q.zero_points.empty() && static_cast<std::int64_t>(q.zero_points.size()) != slices)) {
      return wrong(" needs one scale and zero point, or one a slice");
    }
    if (!std::ranges::all_of(q.scales, [](float scale) { return scale >= kScaleMin && scale <= kScaleMax; })) {
      return wrong(" has a scale outside 2^-40 to 2^40");
    }
    const std::int32_t low = tensor.type == DataType::kInt8 ? -128 : 0;
    const std::int32_t high = tensor.type == DataType::kInt8 ? 127 : tensor.type == DataType::kUint8 ? 255 : 0;
    if (!std::ranges::all_of(q.zero_points, [&](std::int32_t zero_point) { return zero_point >= low && zero_point <= high; })) {
      return wrong(" has a zero point outside its type");
    }
    return OkStatus();
  }

  bool IsId(TensorId id) const { return id >= 0 && static_cast<std::size_t>(id) < graph_.tensors.size(); }
  const Tensor& At(TensorId id) const { return graph_.tensor(id); }

  Status CheckInputs() {
    for (const TensorId id : graph_.inputs) {
      if (!IsId(id) || At(id).is_constant() || written_[static_cast<std::size_t>(id)]) {
        return InvalidArgument("GRAPH_ORDER", "a graph input is no activation, or is listed twice");
      }
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

  Status CheckDynamic() const {
    if (graph_.dynamic.size() > kDynamicMax) return InvalidArgument("GRAPH_LIMIT", "too many dynamic dimensions");
    for (const DynamicDimension& each : graph_.dynamic) {
      if (each.symbol.empty() || each.symbol.size() > kNameBytesMax || each.input < 0 ||
          static_cast<std::size_t>(each.input) >= graph_.inputs.size()) {
        return InvalidArgument("GRAPH_DYNAMIC", "a dynamic dimension has no name or is of no input");
      }
      const auto& shape = At(graph_.inputs[static_cast<std::size_t>(each.input)]).shape;
      if (each.axis < 0 || static_cast<std::size_t>(each.axis) >= shape.size()) {
        return InvalidArgument("GRAPH_DYNAMIC", "dynamic dimension " + Quoted(each.symbol) + " is of no axis");
      }
      const std::int64_t size = shape[static_cast<std::size_t>(each.axis)];
      if (each.min < 1 || each.max > kElementsMax || size < each.min || size > each.max) {
        return InvalidArgument("GRAPH_DYNAMIC",
                               "dynamic dimension " + Quoted(each.symbol) + " has bounds that its default is outside of");
      }
    }
    return OkStatus();
  }

  Status CheckNode(const Node& node) {
    if (node.name.size() > kNameBytesMax) return InvalidArgument("GRAPH_LIMIT", "a node's name is too long");
    who_ = Describe(node);
    if (node.inputs.size() > kNodeOperandsMax || node.outputs.empty() || node.outputs.size() > kNodeOperandsMax) {
      return InvalidArgument("GRAPH_NODE", who_ + " has no output, or too many inputs or outputs");
    }
    for (const TensorId id : node.inputs) {
      if (id == kAbsent) continue;
      if (!IsId(id)) return InvalidArgument("GRAPH_NODE", who_ + " reads a tensor that does not exist");
      if (!At(id).is_constant() && !written_[static_cast<std::size_t>(id)]) {
        return InvalidArgument("GRAPH_ORDER", who_ + " reads an activation before it is written");
      }
    }
    bool any = false;
    for (const TensorId id : node.outputs) {
      if (id == kAbsent) continue;
      if (!IsId(id) || At(id).is_constant() || written_[static_cast<std::size_t>(id)]) {
        return InvalidArgument("GRAPH_ORDER", who_ + " writes a constant, or what is already written");
      }
      written_[static_cast<std::size_t>(id)] = any = true;
    }
    if (!any) return InvalidArgument("GRAPH_NODE", who_ + " has no output");
    EF_RETURN_IF_ERROR(CheckOutputTypes(node));
    EF_RETURN_IF_ERROR(CheckNodeQuantization(node));
    const auto evaluated = inference_.Evaluate(graph_, node);
    return evaluated ? OkStatus() : Status(evaluated.error());
  }

  Status CheckOutputTypes(const Node& node) const {
    EF_ASSIGN_OR_RETURN(const std::vector<TypedShape> inferred, inference_.Infer(graph_, node));
    for (std::size_t i = 0; i < inferred.size(); ++i) {
      if (node.outputs[i] == kAbsent) continue;
      const Tensor& out = At(node.outputs[i]);
      if (out.type != inferred[i].type) {
        return InvalidArgument("GRAPH_TYPE", who_ + " yields " + std::string(DataTypeName(inferred[i].type)) + ", not " +
                                                 std::string(DataTypeName(out.type)));
      }
      if (out.shape != inferred[i].shape) {
        return InvalidArgument("GRAPH_SHAPE", who_ + " yields " + ToText(inferred[i].shape) + ", not " + ToText(out.shape));
      }
    }
    return OkStatus();
  }

  // That 8-bit operands are quantized where the operator computes with what they stand for.
  Status CheckNodeQuantization(const Node& node) const {
    const auto wrong = [&](const char* what) { return InvalidArgument("GRAPH_QUANTIZATION", who_ + what); };
    const Tensor& out = At(*std::ranges::find_if(node.outputs, [](TensorId id) { return id != kAbsent; }));
    const Tensor* in = node.inputs.empty() || node.inputs[0] == kAbsent ? nullptr : &At(node.inputs[0]);
    if (std::holds_alternative<Quantize>(node.op))
      return out.quantization ? OkStatus() : wrong(" has an output without quantization");
    if (std::holds_alternative<Dequantize>(node.op))
      return in->quantization ? OkStatus() : wrong(" has an input without quantization");
    if (in == nullptr || in->type != DataType::kInt8) return OkStatus();
    if (MovesElements(node.op)) return CheckSameQuantization(node);
    const bool weighted = IsWeighted(node.op);
    if (weighted && (!in->quantization || !out.quantization)) return wrong(" has an int8 input or output without quantization");
    if (weighted && node.inputs.size() > 1) return CheckWeights(node);
    if (out.type == DataType::kInt8 && in->quantization.has_value() != out.quantization.has_value()) {
      return wrong(" has an int8 input and output of which only one is quantized");
    }
    return OkStatus();
  }

  static bool IsWeighted(const Operator& op) {
    return std::holds_alternative<Conv2d>(op) || std::holds_alternative<ConvTranspose2d>(op) ||
           std::holds_alternative<FullyConnected>(op);
  }

  Status CheckWeights(const Node& node) const {
    const Tensor& weights = At(node.inputs[1]);
    if (weights.type != DataType::kInt8) return OkStatus();
    const int axis = std::holds_alternative<ConvTranspose2d>(node.op) ? 1 : 0;
    if (!weights.quantization || (weights.quantization->axis >= 0 && weights.quantization->axis != axis)) {
      return InvalidArgument("GRAPH_QUANTIZATION", who_ + " has weights quantized along another axis than their outputs");
    }
    if (!std::ranges::all_of(weights.quantization->zero_points, [](std::int32_t zero_point) { return zero_point == 0; })) {
      return InvalidArgument("GRAPH_QUANTIZATION", who_ + " has weights with a zero point; they must be symmetric");
    }
    return OkStatus();
  }

  Status CheckSameQuantization(const Node& node) const {
    const Tensor& in = At(node.inputs[0]);
    const std::size_t inputs = std::holds_alternative<Concat>(node.op) ? node.inputs.size() : 1;
    for (std::size_t i = 1; i < inputs; ++i) {
      if (node.inputs[i] != kAbsent && !Same(in, At(node.inputs[i]))) return KeepsQuantization();
    }
    for (const TensorId id : node.outputs) {
      if (id != kAbsent && !Same(in, At(id))) return KeepsQuantization();
    }
    return OkStatus();
  }
  Status KeepsQuantization() const {
    return InvalidArgument("GRAPH_QUANTIZATION", who_ + " must keep its input's quantization");
  }
  static bool Same(const Tensor& a, const Tensor& b) {
    if (a.quantization.has_value() != b.quantization.has_value()) return false;
    return !a.quantization || (a.quantization->scales == b.quantization->scales && ZeroPoint(a) == ZeroPoint(b));
  }

  const Graph& graph_;
  Inference inference_{kShapeFolding};
  std::vector<bool> written_;
  std::string who_;
};

}  // namespace

Status ValidateGraph(const Graph& graph) { return Validator(graph).Run(); }

}  // namespace edgefleet::runtime
