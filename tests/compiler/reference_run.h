// Runs a graph on the kernels that define what operators mean, node by node.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "device_client/runtime/arena.h"
#include "device_client/runtime/graph.h"
#include "device_client/runtime/ops/ops.h"

namespace edgefleet::runtime {

// Outputs for the inputs' default shapes, row-major. INVALID_ARGUMENT [INPUT_SIZE].
inline Result<std::vector<Bytes>> RunOnReference(const Graph& graph, const std::vector<Bytes>& inputs) {
  std::vector<AlignedBuffer> buffers(graph.tensors.size());
  const auto allocate = [&](TensorId id) -> Status {
    const Tensor& tensor = graph.tensor(id);
    const std::size_t bytes = static_cast<std::size_t>(ElementCount(tensor.shape)) * SizeOf(tensor.type);
    EF_ASSIGN_OR_RETURN(buffers[static_cast<std::size_t>(id)], AlignedBuffer::Allocate(std::max<std::size_t>(bytes, 1)));
    return OkStatus();
  };
  if (inputs.size() != graph.inputs.size()) return InvalidArgument("INPUT_SIZE", "the number of inputs differs");
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& tensor = graph.tensor(graph.inputs[i]);
    if (inputs[i].size() != static_cast<std::size_t>(ElementCount(tensor.shape)) * SizeOf(tensor.type)) {
      return InvalidArgument("INPUT_SIZE", "input '" + tensor.name + "' has another size");
    }
    EF_RETURN_IF_ERROR(allocate(graph.inputs[i]));
    std::ranges::copy(inputs[i], buffers[static_cast<std::size_t>(graph.inputs[i])].data());
  }
  for (const Node& node : graph.nodes) {
    std::vector<Operand> operands;
    std::vector<Destination> destinations;
    for (const TensorId id : node.inputs) {
      if (id == kAbsent) {
        operands.emplace_back();
        continue;
      }
      const Tensor& tensor = graph.tensor(id);
      operands.push_back({&tensor, tensor.is_constant() ? tensor.data.data() : buffers[static_cast<std::size_t>(id)].data()});
    }
    for (const TensorId id : node.outputs) {
      if (id != kAbsent) EF_RETURN_IF_ERROR(allocate(id));
      destinations.push_back(id == kAbsent ? Destination{}
                                           : Destination{&graph.tensor(id), buffers[static_cast<std::size_t>(id)].data()});
    }
    EF_RETURN_IF_ERROR(RunOperator(node.op, {operands, destinations}));
  }
  std::vector<Bytes> outputs;
  for (const TensorId id : graph.outputs) {
    const Tensor& tensor = graph.tensor(id);
    const ByteView bytes(buffers[static_cast<std::size_t>(id)].data(),
                         static_cast<std::size_t>(ElementCount(tensor.shape)) * SizeOf(tensor.type));
    outputs.push_back(ToBytes(bytes));
  }
  return outputs;
}

}  // namespace edgefleet::runtime
