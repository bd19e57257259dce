// Constants, branches and what does nothing at inference.
#include <array>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::DataType;

Status ImportConstant(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(0, 0));
  EF_RETURN_IF_ERROR(node.CheckOutputs(1));
  if (node.HasAttribute("value")) {
    EF_ASSIGN_OR_RETURN(const onnx::TensorProto* tensor, node.TensorAttribute("value"));
    return node.BindConstant(0, *tensor);
  }
  TensorId id = runtime::kAbsent;
  if (node.HasAttribute("value_float")) {
    EF_ASSIGN_OR_RETURN(const float value, node.Float("value_float", 0));
    EF_ASSIGN_OR_RETURN(id, node.Scalar(value));
  } else if (node.HasAttribute("value_floats")) {
    EF_ASSIGN_OR_RETURN(const auto values, node.Floats("value_floats"));
    EF_ASSIGN_OR_RETURN(id, node.FloatList(values, {static_cast<std::int64_t>(values.size())}));
  } else if (node.HasAttribute("value_int")) {
    EF_ASSIGN_OR_RETURN(const std::int64_t value, node.Int("value_int", 0));
    EF_ASSIGN_OR_RETURN(id, node.Constant(DataType::kInt64, {}, std::as_bytes(std::span(&value, 1))));
  } else if (node.HasAttribute("value_ints")) {
    EF_ASSIGN_OR_RETURN(const auto values, node.Ints("value_ints"));
    EF_ASSIGN_OR_RETURN(id, node.List(values));
  } else {
    return node.Unsupported("it must be a tensor or numbers; sparse tensors and strings are not supported");
  }
  return node.Bind(0, id);
}

Status ImportIdentity(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  return node.Bind(0, x);
}

// At inference nothing is dropped: the mask is all true.
Status ImportDropout(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 3));
  EF_RETURN_IF_ERROR(node.CheckOutputs(2));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(float ratio, node.Float("ratio", 0.5F));
  node.Ignore("seed");
  if (node.has_input(2)) {
    EF_ASSIGN_OR_RETURN(const auto training, node.Integers(2));
    if (node.has_input(1)) {
      EF_ASSIGN_OR_RETURN(const auto ratios, node.FloatValues(1));
      if (!ratios.empty()) ratio = ratios[0];
    }
    if (training.size() != 1 || (training[0] != 0 && ratio != 0)) {
      return node.Unsupported("it is in training mode; export for inference");
    }
  }
  EF_RETURN_IF_ERROR(node.Bind(0, x));
  if (!node.wants(1)) return OkStatus();
  EF_ASSIGN_OR_RETURN(const TensorId shape, node.Emit(runtime::ShapeOf{}, {x}));
  EF_ASSIGN_OR_RETURN(const TensorId one, node.Scalar(node.opset() < 10 ? node.TypeOf(x) : DataType::kBool, 1));
  EF_ASSIGN_OR_RETURN(const TensorId mask, node.Emit(runtime::Fill{}, {shape, one}));
  return node.Bind(1, mask);
}

// ---- If

Status BindAll(NodeContext& node, const std::vector<TensorId>& outputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) EF_RETURN_IF_ERROR(node.Bind(static_cast<int>(i), outputs[i]));
  return OkStatus();
}

// A condition that depends on data: both branches are computed, and the condition chooses. A branch that the sizes do not fit
// could not run in any other way either, so it is the other one's turn.
Status ChooseAtRunTime(NodeContext& node, TensorId condition, const onnx::GraphProto& then_graph,
                       const onnx::GraphProto& else_graph) {
  auto then_outputs = node.Inline(then_graph);
  auto else_outputs = node.Inline(else_graph);
  const auto impossible = [&](const Result<std::vector<TensorId>>& outputs) {
    return !outputs && outputs.error().reason() == "GRAPH_SHAPE" && !node.sizes_are_dynamic();
  };
  if (impossible(then_outputs) && else_outputs) return BindAll(node, *else_outputs);
  if (impossible(else_outputs) && then_outputs) return BindAll(node, *then_outputs);
  EF_RETURN_IF_ERROR(then_outputs ? OkStatus() : std::move(then_outputs.error()));
  EF_RETURN_IF_ERROR(else_outputs ? OkStatus() : std::move(else_outputs.error()));
  EF_ASSIGN_OR_RETURN(condition, node.Reshape(condition, {}));
  for (std::size_t i = 0; i < then_outputs->size(); ++i) {
    const TensorId a = (*then_outputs)[i];
    const TensorId b = (*else_outputs)[i];
    if (node.TypeOf(a) != node.TypeOf(b) || node.ShapeOf(a) != node.ShapeOf(b)) {
      return node.Unsupported("its condition depends on data, and its branches have outputs of different shapes, " +
                              runtime::ToText(node.ShapeOf(a)) + " and " + runtime::ToText(node.ShapeOf(b)) +
                              "; export the network with the condition fixed");
    }
    EF_ASSIGN_OR_RETURN(const TensorId y, node.Emit(runtime::Where{}, {condition, a, b}));
    EF_RETURN_IF_ERROR(node.Bind(static_cast<int>(i), y));
  }
  return OkStatus();
}

Status ImportIf(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const onnx::GraphProto* then_graph, node.GraphAttribute("then_branch"));
  EF_ASSIGN_OR_RETURN(const onnx::GraphProto* else_graph, node.GraphAttribute("else_branch"));
  if (then_graph->output_size() != node.output_count() || else_graph->output_size() != node.output_count()) {
    return node.Bad("its branches must have as many outputs as it has");
  }
  EF_ASSIGN_OR_RETURN(const TensorId condition, node.Input(0));
  if (node.TypeOf(condition) != DataType::kBool || runtime::ElementCount(node.ShapeOf(condition)) != 1) {
    return node.Bad("its condition must be one bool");
  }
  if (node.IsConstantId(condition)) {
    EF_ASSIGN_OR_RETURN(const auto value, node.IntegersOf(condition));
    EF_ASSIGN_OR_RETURN(const auto outputs, node.Inline(value[0] != 0 ? *then_graph : *else_graph));
    return BindAll(node, outputs);
  }
  if (node.IsKnown(condition))
    return node.Unsupported("its condition depends on the sizes of the inputs; fix them with --shape");
  return ChooseAtRunTime(node, condition, *then_graph, *else_graph);
}

constexpr std::array kOperators{
    OnnxOperator{"Constant", ImportConstant, "no sparse tensors, no strings"},
    OnnxOperator{"Dropout", ImportDropout, "for inference"},
    OnnxOperator{"Identity", ImportIdentity},
    OnnxOperator{"If", ImportIf,
                 "constant condition; with one that depends on data both branches are computed and must have the same shapes"},
};

}  // namespace

std::span<const OnnxOperator> ControlOperators() { return kOperators; }

}  // namespace edgefleet::compiler
