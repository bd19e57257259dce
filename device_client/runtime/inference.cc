#include "device_client/runtime/inference.h"

#include <algorithm>
#include <utility>

#include "device_client/runtime/cost.h"

namespace edgefleet::runtime {
namespace {

bool ReadsShapesOnly(const Operator& op) {
  return std::holds_alternative<ShapeOf>(op) || std::holds_alternative<SizeOfTensor>(op);
}

std::vector<Operand> OperandsOf(const Graph& graph, const Node& node, const Inference& inference) {
  std::vector<Operand> operands;
  for (const TensorId id : node.inputs) {
    operands.push_back(id == kAbsent ? Operand{} : Operand{&graph.tensor(id), inference.Known(graph, id)});
  }
  return operands;
}

std::int64_t BytesOf(const Tensor& tensor) {
  return tensor.is_constant() ? static_cast<std::int64_t>(tensor.data.size())
                              : ElementCount(tensor.shape) * static_cast<std::int64_t>(SizeOf(tensor.type));
}

}  // namespace

std::string Describe(const Node& node) { return std::string(OperatorName(node.op)) + " '" + node.name + "'"; }

const std::byte* Inference::Known(const Graph& graph, TensorId id) const {
  const Tensor& tensor = graph.tensor(id);
  if (tensor.is_constant()) return tensor.data.data();
  return static_cast<std::size_t>(id) < known_.size() ? known_[static_cast<std::size_t>(id)] : nullptr;
}

Result<std::vector<TypedShape>> Inference::Infer(const Graph& graph, const Node& node) const {
  const std::vector<Operand> operands = OperandsOf(graph, node, *this);
  auto outputs = InferOutputs(node.op, {operands, node.outputs.size()});
  if (!outputs) return MakeError(std::move(outputs.error()).Annotate(Describe(node)));
  return outputs;
}

bool Inference::Affordable(const Graph& graph, const Node& node) {
  if (ReadsShapesOnly(node.op)) return true;
  std::int64_t bytes = 0;
  for (const TensorId id : node.inputs) {
    if (id != kAbsent && BytesOf(graph.tensor(id)) > limits_.bytes_each) return false;
  }
  for (const TensorId id : node.outputs) {
    if (id == kAbsent) continue;
    if (BytesOf(graph.tensor(id)) > limits_.bytes_each) return false;
    bytes += BytesOf(graph.tensor(id));
  }
  const Work work = WorkOf(graph, node);
  const double steps = work.multiply_adds + work.bytes;
  if (bytes > limits_.bytes_total || steps > static_cast<double>(limits_.work_total)) return false;
  limits_.bytes_total -= bytes;
  limits_.work_total -= static_cast<std::int64_t>(steps);
  return true;
}

Result<std::optional<std::vector<ByteView>>> Inference::Evaluate(const Graph& graph, const Node& node) {
  if (std::holds_alternative<Dequantize>(node.op)) return std::nullopt;
  const std::vector<Operand> operands = OperandsOf(graph, node, *this);
  const bool known = ReadsShapesOnly(node.op) || std::ranges::all_of(operands, [](const Operand& operand) {
                       return !operand.present() || operand.data != nullptr;
                     });
  const bool empty =
      std::ranges::all_of(node.outputs, [&](TensorId id) { return id == kAbsent || BytesOf(graph.tensor(id)) == 0; });
  if (!(known || empty) || !Affordable(graph, node)) return std::nullopt;
  std::vector<Destination> destinations;
  std::vector<ByteView> values;
  for (const TensorId id : node.outputs) {
    if (id == kAbsent) {
      destinations.push_back({});
      values.push_back({});
      continue;
    }
    const auto bytes = static_cast<std::size_t>(BytesOf(graph.tensor(id)));
    EF_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Allocate(std::max<std::size_t>(bytes, 1)));
    destinations.push_back({&graph.tensor(id), buffer.data()});
    values.emplace_back(buffer.data(), bytes);
    storage_->push_back(std::move(buffer));
  }
  if (!empty) {
    if (Status ran = RunOperator(node.op, {operands, destinations}); !ran.ok()) {
      return MakeError(std::move(ran).Annotate(Describe(node)));
    }
  }
  for (std::size_t i = 0; i < node.outputs.size(); ++i) {
    if (node.outputs[i] == kAbsent) continue;
    const auto index = static_cast<std::size_t>(node.outputs[i]);
    if (known_.size() <= index) known_.resize(index + 1, nullptr);
    known_[index] = values[i].data();
  }
  return values;
}

}  // namespace edgefleet::runtime
