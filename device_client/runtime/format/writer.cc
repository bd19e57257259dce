#include <flatbuffers/flatbuffers.h>

#include <algorithm>

#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/format/layout.h"
#include "device_client/runtime/validate.h"
#include "efm_generated.h"

namespace edgefleet::runtime {
namespace {

using Builder = flatbuffers::FlatBufferBuilder;

// Collects an operator's fields in their order.
class FieldWriter {
 public:
  explicit FieldWriter(Builder& builder) : builder_(builder) {}

  void operator()(std::string_view name, std::int32_t field) { Add(name, {field}, {}); }
  void operator()(std::string_view name, float field) { Add(name, {}, {field}); }
  template <typename Enum>
  requires std::is_enum_v<Enum>
  void operator()(std::string_view name, Enum field) { Add(name, {static_cast<std::int32_t>(field)}, {}); }
  template <std::size_t n>
  void operator()(std::string_view name, const std::array<std::int32_t, n>& field) {
    Add(name, {field.begin(), field.end()}, {});
  }
  void operator()(std::string_view name, const std::vector<std::int64_t>& field) {
    Add(name, {field.begin(), field.end()}, {});
  }
  void operator()(std::string_view name, const Activation& field) {
    Add(name, {static_cast<std::int32_t>(field.kind)}, {field.alpha, field.beta});
  }
  void operator()(std::string_view name, const std::vector<Activation>& field) {
    std::vector<std::int32_t> kinds;
    std::vector<float> floats;
    for (const Activation& each : field) {
      kinds.push_back(static_cast<std::int32_t>(each.kind));
      floats.insert(floats.end(), {each.alpha, each.beta});
    }
    Add(name, std::move(kinds), std::move(floats));
  }

  const std::vector<flatbuffers::Offset<fbs::Attribute>>& attributes() const { return attributes_; }

 private:
  void Add(std::string_view name, std::vector<std::int32_t> integers, std::vector<float> floats) {
    const auto text = builder_.CreateSharedString(name.data(), name.size());
    const auto integer_vector = integers.empty() ? 0 : builder_.CreateVector(integers);
    const auto float_vector = floats.empty() ? 0 : builder_.CreateVector(floats);
    attributes_.push_back(fbs::CreateAttribute(builder_, text, integer_vector, float_vector));
  }

  Builder& builder_;
  std::vector<flatbuffers::Offset<fbs::Attribute>> attributes_;
};

flatbuffers::Offset<fbs::Tensor> WriteTensor(Builder& builder, const Tensor& tensor, std::uint64_t offset) {
  flatbuffers::Offset<fbs::Quantization> quantization;
  if (tensor.quantization) {
    const Quantization& q = *tensor.quantization;
    const bool symmetric = std::ranges::all_of(q.zero_points, [](std::int32_t z) { return z == 0; });
    const auto scales = builder.CreateVector(q.scales);
    const auto zero_points =
        symmetric ? flatbuffers::Offset<flatbuffers::Vector<std::int32_t>>() : builder.CreateVector(q.zero_points);
    quantization = fbs::CreateQuantization(builder, scales, zero_points, q.axis, q.group_size);
  }
  const auto name = builder.CreateString(tensor.name);
  // Dimensions fit: ValidateGraph bounds them by kElementsMax.
  const auto shape = builder.CreateVector(std::vector<std::int32_t>(tensor.shape.begin(), tensor.shape.end()));
  return fbs::CreateTensor(builder, name, static_cast<fbs::DataType>(tensor.type), shape, quantization, tensor.is_constant(),
                           offset, tensor.data.size());
}

flatbuffers::Offset<fbs::Node> WriteNode(Builder& builder, const Node& node) {
  FieldWriter fields(builder);
  std::visit([&](const auto& op) { op.Fields(op, fields); }, node.op);
  const std::string_view op_name = std::visit([](const auto& op) { return op.kName; }, node.op);
  const auto op = builder.CreateSharedString(op_name.data(), op_name.size());
  const auto attributes = builder.CreateVector(fields.attributes());
  const auto name = builder.CreateString(node.name);
  const auto inputs = builder.CreateVector(node.inputs);
  const auto outputs = builder.CreateVector(node.outputs);
  return fbs::CreateNode(builder, name, op, attributes, inputs, outputs);
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
  std::vector<flatbuffers::Offset<fbs::Dynamic>> dynamic;
  for (const DynamicDimension& each : graph.dynamic) {
    const auto symbol = builder.CreateString(each.symbol);
    dynamic.push_back(fbs::CreateDynamic(builder, each.input, each.axis, static_cast<std::int32_t>(each.min),
                                         static_cast<std::int32_t>(each.max), symbol));
  }
  const auto dynamic_vector = builder.CreateVector(dynamic);
  builder.Finish(fbs::CreateGraph(builder, name, tensor_vector, node_vector, inputs, outputs, parameters, dynamic_vector));
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
