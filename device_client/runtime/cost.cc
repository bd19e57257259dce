#include "device_client/runtime/cost.h"

#include <algorithm>
#include <variant>

namespace edgefleet::runtime {
namespace {

double Count(const Tensor& tensor) { return static_cast<double>(ElementCount(tensor.shape)); }

double BytesOf(const Tensor& tensor) {
  return tensor.is_constant() ? static_cast<double>(tensor.data.size())
                              : Count(tensor) * static_cast<double>(SizeOf(tensor.type));
}

// Products that make one output element: the weights of one output channel, or the inner dimension.
double ProductsPerElement(const Graph& graph, const Node& node) {
  const auto weights_per = [&](std::size_t axis) {
    const Tensor& weights = graph.tensor(node.inputs[1]);
    return axis < weights.shape.size() ? Count(weights) / static_cast<double>(std::max<std::int64_t>(weights.shape[axis], 1))
                                       : 1.0;
  };
  if (std::holds_alternative<Conv2d>(node.op) || std::holds_alternative<FullyConnected>(node.op)) return weights_per(0);
  if (std::holds_alternative<MatMul>(node.op)) {
    const auto& shape = graph.tensor(node.inputs[0]).shape;
    return shape.empty() ? 1.0 : static_cast<double>(shape.back());
  }
  return 1.0;
}

bool IsRecurrent(const Operator& op) {
  return std::holds_alternative<Lstm>(op) || std::holds_alternative<Gru>(op) || std::holds_alternative<Rnn>(op);
}

double MultiplyAdds(const Graph& graph, const Node& node) {
  if (IsRecurrent(node.op)) {  // all weights at each step of each sequence
    const auto& x = graph.tensor(node.inputs[0]).shape;
    return static_cast<double>(x[0] * x[1]) * (Count(graph.tensor(node.inputs[1])) + Count(graph.tensor(node.inputs[2])));
  }
  if (std::holds_alternative<ConvTranspose2d>(node.op)) {  // each input element meets the weights of its channel
    const Tensor& weights = graph.tensor(node.inputs[1]);
    return Count(graph.tensor(node.inputs[0])) * Count(weights) /
           static_cast<double>(std::max<std::int64_t>(weights.shape[0], 1));
  }
  double elements = 0;
  for (const TensorId id : node.outputs) elements += id == kAbsent ? 0 : Count(graph.tensor(id));
  return elements * ProductsPerElement(graph, node);
}

}  // namespace

Work WorkOf(const Graph& graph, const Node& node) {
  Work work{MultiplyAdds(graph, node), 0};
  for (const TensorId id : node.inputs) work.bytes += id == kAbsent ? 0 : BytesOf(graph.tensor(id));
  for (const TensorId id : node.outputs) work.bytes += id == kAbsent ? 0 : BytesOf(graph.tensor(id));
  return work;
}

}  // namespace edgefleet::runtime
