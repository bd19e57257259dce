#include "device_client/training/step.h"

#include "device_client/training/step_builder.h"

namespace edgefleet::training {
namespace {

using runtime::Graph;
using runtime::Node;
using runtime::TensorId;

constexpr std::size_t kAlignment = 64;

const Node* WriterOf(const Graph& graph, TensorId id) {
  for (const Node& node : graph.nodes) {
    if (node.outputs[0] == id) return &node;
  }
  return nullptr;
}

Status NotTrainable(const std::string& why) {
  return FailedPrecondition("NOT_TRAINABLE", "the graph cannot be trained: " + why);
}

bool IsIdentityOrRelu(const runtime::Activation& activation) {
  return activation.kind == runtime::UnaryKind::kIdentity || activation.kind == runtime::UnaryKind::kRelu;
}

// What the step builder can differentiate.
struct HasGradient {
  const Graph& graph;
  const Node& node;

  bool operator()(const runtime::Conv2d& op) const { return IsIdentityOrRelu(op.activation); }
  bool operator()(const runtime::FullyConnected& op) const {
    return IsIdentityOrRelu(op.activation) && graph.tensor(node.inputs[0]).shape.size() == 2;
  }
  bool operator()(const runtime::Pool2d& op) const { return op.dilations == std::array{1, 1} && !op.ceil; }
  bool operator()(const runtime::Reduce& op) const {
    return op.kind == runtime::ReduceKind::kMean && op.keep_dims && graph.tensor(node.inputs[0]).shape.size() == 4 &&
           op.axes == std::vector<std::int64_t>{2, 3};
  }
  bool operator()(const runtime::Unary& op) const { return op.function.kind == runtime::UnaryKind::kRelu; }
  bool operator()(const runtime::Binary& op) const {
    return op.kind == runtime::BinaryKind::kAdd && IsIdentityOrRelu(op.activation) &&
           graph.tensor(node.inputs[0]).shape == graph.tensor(node.inputs[1]).shape &&
           !graph.tensor(node.inputs[0]).is_constant() && !graph.tensor(node.inputs[1]).is_constant();
  }
  bool operator()(const runtime::Flatten& op) const { return op.axis == 1; }
  bool operator()(const runtime::Softmax& op) const { return !op.log && (op.axis == -1 || op.axis == 1); }
  template <typename Op>
  bool operator()(const Op&) const {
    return false;
  }
};

}  // namespace

TensorId LogitsOf(const Graph& graph) {
  const Node* last = WriterOf(graph, graph.outputs[0]);
  return last != nullptr && std::holds_alternative<runtime::Softmax>(last->op) ? last->inputs[0] : graph.outputs[0];
}

Status CheckTrainable(const Graph& graph) {
  if (graph.parameters.empty()) return NotTrainable("it has no parameters; use the trainable variant");
  if (graph.inputs.size() != 1 || graph.outputs.size() != 1) return NotTrainable("it has not one input and one output");
  for (const runtime::Tensor& tensor : graph.tensors) {
    if (tensor.type != runtime::DataType::kFloat32) return NotTrainable("tensor '" + tensor.name + "' is not fp32");
  }
  const auto& output = graph.tensors[static_cast<std::size_t>(graph.outputs[0])];
  if (output.shape.size() != 2) return NotTrainable("its output is not [1, classes]");
  for (const Node& node : graph.nodes) {
    if (!std::visit(HasGradient{graph, node}, node.op)) {
      return NotTrainable(std::string(runtime::OperatorName(node.op)) + " '" + node.name + "' has no gradient");
    }
    if (std::holds_alternative<runtime::Softmax>(node.op) && node.outputs[0] != graph.outputs[0]) {
      return NotTrainable("Softmax '" + node.name + "' is not the last operator");
    }
    for (const TensorId id : node.inputs) {
      if (id == graph.outputs[0]) return NotTrainable("its output is read by '" + node.name + "'");
    }
  }
  if (WriterOf(graph, graph.outputs[0]) == nullptr) return NotTrainable("its output is its input");
  return OkStatus();
}

TrainingStep::TrainingStep(std::shared_ptr<const Graph> graph, std::int64_t batch) : graph_(std::move(graph)), batch_(batch) {}

Status TrainingStep::Build(std::vector<ParameterPlace>& places, std::size_t bytes_max) {
  StepBuilder(*this, places).Build();
  std::size_t end = 0;
  for (ParameterPlace& place : places) {
    // A parameter that no node uses.
    const auto& tensor = graph_->tensors[static_cast<std::size_t>(place.tensor)];
    if (!place.desc) place.desc = runtime::onednn::Plain(tensor.shape, dnnl::memory::data_type::f32);
    place.offset = end;
    end += (place.desc->get_size() + kAlignment - 1) / kAlignment * kAlignment;
  }
  return program_.Finalize(bytes_max);
}

void TrainingStep::Bind(const StepBuffers& buffers, const std::vector<ParameterPlace>& places) {
  program_.Bind(input_, reinterpret_cast<std::byte*>(buffers.inputs));
  program_.Bind(labels_, reinterpret_cast<std::byte*>(buffers.labels));
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (values_[i]) program_.Bind(*values_[i], buffers.values + places[i].offset);
    if (gradients_[i]) program_.Bind(*gradients_[i], buffers.gradients + places[i].offset);
  }
}

Result<double> TrainingStep::Run(dnnl::stream& stream) {
  EF_RETURN_IF_ERROR(program_.Run(stream));
  return loss_;
}

}  // namespace edgefleet::training
