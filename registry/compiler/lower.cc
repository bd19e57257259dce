#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <span>
#include <type_traits>
#include <variant>

#include "device_client/runtime/validate.h"
#include "registry/compiler/graph_builder.h"
#include "registry/compiler/passes.h"

namespace edgefleet::compiler {
namespace {

Error BadOnnx(const std::string& what) { return InvalidArgument("BAD_ONNX", what); }

// The device's operator; nothing for those that the passes remove.
std::optional<runtime::Operator> DeviceOperator(const IrOperator& op) {
  return std::visit(
      [](const auto& same) -> std::optional<runtime::Operator> {
        using Op = std::decay_t<decltype(same)>;
        if constexpr (std::is_same_v<Op, Affine> || std::is_same_v<Op, Identity>) {
          return std::nullopt;
        } else if constexpr (std::is_same_v<Op, GlobalAveragePool>) {
          return runtime::Reduce{runtime::ReduceKind::kMean, {2, 3}, true};
        } else if constexpr (std::is_same_v<Op, Relu>) {
          return runtime::Unary{{runtime::UnaryKind::kRelu}};
        } else if constexpr (std::is_same_v<Op, Add>) {
          return runtime::Binary{runtime::BinaryKind::kAdd, same.activation};
        } else {
          return same;
        }
      },
      op);
}

class Lowering {
 public:
  explicit Lowering(const IrGraph& graph) : graph_(graph), builder_(graph.name) {}

  Result<runtime::Graph> Run() {
    for (const ValueId input : graph_.inputs) builder_.graph().inputs.push_back(AddActivation(input));
    for (const IrNode& node : graph_.nodes) EF_RETURN_IF_ERROR(AddNode(node));
    for (const ValueId output : graph_.outputs) {
      const auto found = tensors_.find(output);
      if (found == tensors_.end() || std::ranges::find(graph_.inputs, output) != graph_.inputs.end()) {
        return BadOnnx("output '" + graph_.value(output).name + "' is no node's result");
      }
      builder_.graph().outputs.push_back(found->second);
    }
    runtime::Graph lowered = std::move(builder_).Finish();
    runtime::MakeBatchDynamic(lowered);
    if (const Status valid = runtime::ValidateGraph(lowered); !valid.ok())
      return BadOnnx("devices cannot run this: " + valid.message());
    return lowered;
  }

 private:
  runtime::TensorId AddActivation(ValueId value) {
    const IrValue& v = graph_.value(value);
    const runtime::TensorId id = builder_.AddActivation({.name = v.name, .shape = v.shape});
    tensors_.emplace(value, id);
    return id;
  }

  Result<runtime::TensorId> AddParameter(ValueId value) {
    const IrValue& v = graph_.value(value);
    if (!std::ranges::all_of(v.constant, [](float x) { return std::isfinite(x); })) {
      return BadOnnx("the weights '" + v.name +
                     "' overflow float32 when constants are folded into them; export the network again");
    }
    const runtime::TensorId id = builder_.AddConstant({.name = v.name, .shape = v.shape}, std::as_bytes(std::span(v.constant)));
    builder_.graph().parameters.push_back(id);
    tensors_.emplace(value, id);
    return id;
  }

  Status AddNode(const IrNode& node) {
    auto op = DeviceOperator(node.op);
    if (!op) return BadOnnx("node '" + node.name + "' passes an input on as an output; leave it out of the network");
    runtime::Node lowered{node.name, std::move(*op), {}, {}};
    for (const ValueId input : node.inputs) {
      const auto found = tensors_.find(input);
      if (found != tensors_.end()) {
        lowered.inputs.push_back(found->second);
      } else {
        EF_ASSIGN_OR_RETURN(const runtime::TensorId id, AddParameter(input));
        lowered.inputs.push_back(id);
      }
    }
    lowered.outputs = {AddActivation(node.output)};
    builder_.AddNode(std::move(lowered));
    return OkStatus();
  }

  const IrGraph& graph_;
  GraphBuilder builder_;
  std::map<ValueId, runtime::TensorId> tensors_;
};

}  // namespace

Result<runtime::Graph> Lower(const IrGraph& graph) { return Lowering(graph).Run(); }

}  // namespace edgefleet::compiler
