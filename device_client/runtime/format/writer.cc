#include <flatbuffers/flatbuffers.h>

#include <algorithm>

#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/format/layout.h"
#include "device_client/runtime/validate.h"
#include "efm_generated.h"

namespace edgefleet::runtime {
namespace {

using Builder = flatbuffers::FlatBufferBuilder;

fbs::Pair ToPair(const std::array<std::int32_t, 2>& value) { return {value[0], value[1]}; }
fbs::Pads ToPads(const std::array<std::int32_t, 4>& value) { return {value[0], value[1], value[2], value[3]}; }
fbs::Activation ToFbs(Activation activation) { return static_cast<fbs::Activation>(activation); }

struct WrittenOperator {
  fbs::Operator type;
  flatbuffers::Offset<void> table;
};

struct OperatorWriter {
  Builder& builder;

  WrittenOperator operator()(const Conv2d& op) const {
    const fbs::Pair strides = ToPair(op.strides);
    const fbs::Pads pads = ToPads(op.pads);
    const fbs::Pair dilations = ToPair(op.dilations);
    return {fbs::Operator_Conv2d,
            fbs::CreateConv2d(builder, &strides, &pads, &dilations, op.groups, ToFbs(op.activation)).Union()};
  }
  WrittenOperator operator()(const FullyConnected& op) const {
    return {fbs::Operator_FullyConnected, fbs::CreateFullyConnected(builder, ToFbs(op.activation)).Union()};
  }
  WrittenOperator operator()(const Pool2d& op) const {
    const fbs::Pair kernel = ToPair(op.kernel);
    const fbs::Pair strides = ToPair(op.strides);
    const fbs::Pads pads = ToPads(op.pads);
    const auto kind = static_cast<fbs::PoolKind>(op.kind);
    return {fbs::Operator_Pool2d, fbs::CreatePool2d(builder, kind, &kernel, &strides, &pads, op.count_include_pad).Union()};
  }
  WrittenOperator operator()(const GlobalAveragePool&) const {
    return {fbs::Operator_GlobalAveragePool, fbs::CreateGlobalAveragePool(builder).Union()};
  }
  WrittenOperator operator()(const Relu&) const { return {fbs::Operator_Relu, fbs::CreateRelu(builder).Union()}; }
  WrittenOperator operator()(const Add& op) const {
    return {fbs::Operator_Add, fbs::CreateAdd(builder, ToFbs(op.activation)).Union()};
  }
  WrittenOperator operator()(const Flatten&) const { return {fbs::Operator_Flatten, fbs::CreateFlatten(builder).Union()}; }
  WrittenOperator operator()(const Softmax&) const { return {fbs::Operator_Softmax, fbs::CreateSoftmax(builder).Union()}; }
  WrittenOperator operator()(const Quantize&) const { return {fbs::Operator_Quantize, fbs::CreateQuantize(builder).Union()}; }
  WrittenOperator operator()(const Dequantize&) const {
    return {fbs::Operator_Dequantize, fbs::CreateDequantize(builder).Union()};
  }
};

flatbuffers::Offset<fbs::Tensor> WriteTensor(Builder& builder, const Tensor& tensor, std::uint64_t offset) {
  flatbuffers::Offset<fbs::Quantization> quantization;
  if (tensor.quantization) {
    const Quantization& q = *tensor.quantization;
    const bool symmetric = std::ranges::all_of(q.zero_points, [](std::int32_t z) { return z == 0; });
    const auto scales = builder.CreateVector(q.scales);
    const auto zero_points =
        symmetric ? flatbuffers::Offset<flatbuffers::Vector<std::int32_t>>() : builder.CreateVector(q.zero_points);
    quantization = fbs::CreateQuantization(builder, scales, zero_points, q.axis);
  }
  const auto name = builder.CreateString(tensor.name);
  // Dimensions fit: ValidateGraph bounds them by kElementsMax.
  const auto shape = builder.CreateVector(std::vector<std::int32_t>(tensor.shape.begin(), tensor.shape.end()));
  return fbs::CreateTensor(builder, name, static_cast<fbs::DataType>(tensor.type), shape, quantization, offset,
                           tensor.data.size());
}

flatbuffers::Offset<fbs::Node> WriteNode(Builder& builder, const Node& node) {
  const WrittenOperator op = std::visit(OperatorWriter{builder}, node.op);
  const auto name = builder.CreateString(node.name);
  const auto inputs = builder.CreateVector(node.inputs);
  const auto outputs = builder.CreateVector(node.outputs);
  return fbs::CreateNode(builder, name, op.type, op.table, inputs, outputs);
}

void WriteGraph(Builder& builder, const Graph& graph, const std::vector<std::uint64_t>& offsets) {
  std::vector<flatbuffers::Offset<fbs::Tensor>> tensors;
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) tensors.push_back(WriteTensor(builder, graph.tensors[i], offsets[i]));
  std::vector<flatbuffers::Offset<fbs::Node>> nodes;
  for (const Node& node : graph.nodes) nodes.push_back(WriteNode(builder, node));
  const auto name = builder.CreateString(graph.name);
  const auto tensor_vector = builder.CreateVector(tensors);
  const auto node_vector = builder.CreateVector(nodes);
  const auto inputs = builder.CreateVector(graph.inputs);
  const auto outputs = builder.CreateVector(graph.outputs);
  const auto parameters = builder.CreateVector(graph.parameters);
  builder.Finish(fbs::CreateGraph(builder, name, tensor_vector, node_vector, inputs, outputs, parameters));
}

}  // namespace

Result<Bytes> WriteEfm(const Graph& graph) {
  EF_RETURN_IF_ERROR(ValidateGraph(graph));
  std::vector<std::uint64_t> offsets(graph.tensors.size(), 0);
  std::uint64_t weights_size = 0;
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    if (!graph.tensors[i].is_constant()) continue;
    offsets[i] = AlignUp(weights_size);
    weights_size = offsets[i] + graph.tensors[i].data.size();
    if (weights_size > kEfmFileBytesMax) break;
  }
  Builder builder;
  if (weights_size <= kEfmFileBytesMax) WriteGraph(builder, graph, offsets);

  EfmHeader header;
  header.graph_offset = sizeof header;
  header.graph_size = builder.GetSize();
  header.weights_offset = AlignUp(header.graph_offset + header.graph_size);
  header.weights_size = weights_size;
  header.file_size = header.weights_offset + header.weights_size;
  if (header.file_size > kEfmFileBytesMax || header.graph_size > kEfmGraphBytesMax) {
    return ResourceExhausted("EFM_TOO_LARGE", "the model needs more than an .efm file may hold");
  }
  Bytes out(header.file_size);
  std::memcpy(out.data(), &header, sizeof header);
  std::memcpy(out.data() + header.graph_offset, builder.GetBufferPointer(), header.graph_size);
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    const ByteView data = graph.tensors[i].data;
    if (!data.empty()) std::memcpy(out.data() + header.weights_offset + offsets[i], data.data(), data.size());
  }
  return out;
}

}  // namespace edgefleet::runtime
