#include <flatbuffers/flatbuffers.h>

#include <algorithm>
#include <new>

#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/format/layout.h"
#include "device_client/runtime/validate.h"
#include "efm_generated.h"

namespace edgefleet::runtime {
namespace {

constexpr flatbuffers::uoffset_t kVerifierDepth = 16;
// A graph, its tensors with quantization, its nodes with operators.
constexpr flatbuffers::uoffset_t kVerifierTables = 1 + 2 * kTensorsMax + 2 * kNodesMax;

Result<EfmHeader> ReadHeader(ByteView bytes) {
  if (bytes.size() < sizeof(EfmHeader)) return InvalidArgument("EFM_TRUNCATED", "the file is shorter than an .efm header");
  EfmHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, EfmHeader{}.magic, sizeof header.magic) != 0) {
    return InvalidArgument("EFM_BAD_HEADER", "the file is no .efm model");
  }
  if (header.version != kEfmVersion) {
    return Unimplemented("EFM_VERSION", "the model has format version " + std::to_string(header.version) +
                                            "; this library reads " + std::to_string(kEfmVersion));
  }
  if (header.file_size > kEfmFileBytesMax || header.graph_size > kEfmGraphBytesMax) {
    return InvalidArgument("EFM_TOO_LARGE", "the model claims more than an .efm file may hold");
  }
  if (bytes.size() < header.file_size) return InvalidArgument("EFM_TRUNCATED", "the file is shorter than its header says");
  // Every field follows from the sizes, so nothing can point outside; the subtraction cannot wrap after the first comparison.
  if (bytes.size() != header.file_size || header.graph_offset != sizeof header || header.graph_size == 0 ||
      header.weights_offset != AlignUp(header.graph_offset + header.graph_size) || header.weights_offset > header.file_size ||
      header.weights_size != header.file_size - header.weights_offset || header.reserved[0] != 0 || header.reserved[1] != 0) {
    return InvalidArgument("EFM_BAD_HEADER", "the header's sizes and offsets contradict one another");
  }
  return header;
}

Status BadGraph(const char* what) { return InvalidArgument("EFM_BAD_GRAPH", std::string("the graph section has ") + what); }

std::string ToName(const flatbuffers::String* text) { return text == nullptr ? std::string() : text->str(); }

template <typename T, typename To = T>
std::vector<To> ToVector(const flatbuffers::Vector<T>* values) {
  return values == nullptr ? std::vector<To>() : std::vector<To>(values->begin(), values->end());
}

Result<std::array<std::int32_t, 2>> ToArray(const fbs::Pair* pair) {
  if (pair == nullptr) return MakeError(BadGraph("an operator without its attributes"));
  return std::array<std::int32_t, 2>{pair->h(), pair->w()};
}
Result<std::array<std::int32_t, 4>> ToArray(const fbs::Pads* pads) {
  if (pads == nullptr) return MakeError(BadGraph("an operator without its attributes"));
  return std::array<std::int32_t, 4>{pads->top(), pads->left(), pads->bottom(), pads->right()};
}

Result<Operator> ReadConv2d(const fbs::Conv2d& table) {
  Conv2d op;
  EF_ASSIGN_OR_RETURN(op.strides, ToArray(table.strides()));
  EF_ASSIGN_OR_RETURN(op.pads, ToArray(table.pads()));
  EF_ASSIGN_OR_RETURN(op.dilations, ToArray(table.dilations()));
  op.groups = table.groups();
  op.activation = static_cast<Activation>(table.activation());
  return Operator(op);
}

Result<Operator> ReadPool2d(const fbs::Pool2d& table) {
  Pool2d op;
  op.kind = static_cast<Pool2d::Kind>(table.kind());
  EF_ASSIGN_OR_RETURN(op.kernel, ToArray(table.kernel()));
  EF_ASSIGN_OR_RETURN(op.strides, ToArray(table.strides()));
  EF_ASSIGN_OR_RETURN(op.pads, ToArray(table.pads()));
  op.count_include_pad = table.count_include_pad();
  return Operator(op);
}

Result<Operator> ReadOperator(const fbs::Node& node) {
  if (node.op() == nullptr) return MakeError(BadGraph("a node without an operator"));
  switch (node.op_type()) {
    case fbs::Operator_Conv2d:
      return ReadConv2d(*node.op_as_Conv2d());
    case fbs::Operator_FullyConnected:
      return Operator(FullyConnected{static_cast<Activation>(node.op_as_FullyConnected()->activation())});
    case fbs::Operator_Pool2d:
      return ReadPool2d(*node.op_as_Pool2d());
    case fbs::Operator_GlobalAveragePool:
      return Operator(GlobalAveragePool{});
    case fbs::Operator_Relu:
      return Operator(Relu{});
    case fbs::Operator_Add:
      return Operator(Add{static_cast<Activation>(node.op_as_Add()->activation())});
    case fbs::Operator_Flatten:
      return Operator(Flatten{});
    case fbs::Operator_Softmax:
      return Operator(Softmax{});
    case fbs::Operator_Quantize:
      return Operator(Quantize{});
    case fbs::Operator_Dequantize:
      return Operator(Dequantize{});
    default:
      return MakeError(BadGraph("an operator that this library does not know"));
  }
}

struct Extent {
  std::uint64_t offset;
  std::uint64_t size;
};

Status CheckExtent(const Extent& extent, ByteView weights) {
  if (extent.offset % kEfmAlignment != 0 || extent.offset > weights.size() || extent.size > weights.size() - extent.offset) {
    return InvalidArgument("EFM_BAD_WEIGHTS", "a constant lies outside the weights section or is not aligned");
  }
  return OkStatus();
}

Status CheckDisjoint(std::vector<Extent> extents) {
  std::ranges::sort(extents, {}, &Extent::offset);
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].offset < extents[i - 1].offset + extents[i - 1].size) {
      return InvalidArgument("EFM_BAD_WEIGHTS", "two constants overlap");
    }
  }
  return OkStatus();
}

Result<Tensor> ReadTensor(const fbs::Tensor& table, ByteView weights) {
  Tensor tensor;
  tensor.name = ToName(table.name());
  tensor.type = static_cast<DataType>(table.type());
  tensor.shape = ToVector<std::int32_t, std::int64_t>(table.shape());
  if (const fbs::Quantization* q = table.quantization()) {
    tensor.quantization = Quantization{ToVector(q->scales()), ToVector(q->zero_points()), q->axis()};
  }
  if (table.size() > 0) {
    EF_RETURN_IF_ERROR(CheckExtent({table.offset(), table.size()}, weights));
    tensor.data = weights.subspan(table.offset(), table.size());
  }
  return tensor;
}

Result<Node> ReadNode(const fbs::Node& table) {
  EF_ASSIGN_OR_RETURN(Operator op, ReadOperator(table));
  return Node{ToName(table.name()), std::move(op), ToVector(table.inputs()), ToVector(table.outputs())};
}

Result<Graph> ReadGraph(const fbs::Graph& table, ByteView weights) {
  if (table.tensors() == nullptr || table.nodes() == nullptr) return MakeError(BadGraph("no tensors or no nodes"));
  if (table.tensors()->size() > kTensorsMax || table.nodes()->size() > kNodesMax) {
    return MakeError(BadGraph("too many tensors or nodes"));
  }
  Graph graph;
  graph.name = ToName(table.name());
  std::vector<Extent> extents;
  for (const fbs::Tensor* tensor : *table.tensors()) {
    EF_ASSIGN_OR_RETURN(graph.tensors.emplace_back(), ReadTensor(*tensor, weights));
    if (tensor->size() > 0) extents.push_back({tensor->offset(), tensor->size()});
  }
  EF_RETURN_IF_ERROR(CheckDisjoint(std::move(extents)));
  for (const fbs::Node* node : *table.nodes()) {
    EF_ASSIGN_OR_RETURN(graph.nodes.emplace_back(), ReadNode(*node));
  }
  graph.inputs = ToVector(table.inputs());
  graph.outputs = ToVector(table.outputs());
  graph.parameters = ToVector(table.parameters());
  return graph;
}

// `bytes` are aligned to kEfmAlignment and live as long as `storage`.
Result<Graph> Load(ByteView bytes, std::shared_ptr<const void> storage) {
  EF_ASSIGN_OR_RETURN(const EfmHeader header, ReadHeader(bytes));
  const ByteView section = bytes.subspan(header.graph_offset, header.graph_size);
  const auto* data = reinterpret_cast<const std::uint8_t*>(section.data());
  flatbuffers::Verifier verifier(data, section.size(), kVerifierDepth, kVerifierTables);
  if (!fbs::VerifyGraphBuffer(verifier)) return MakeError(BadGraph("a broken structure"));
  EF_ASSIGN_OR_RETURN(Graph graph, ReadGraph(*fbs::GetGraph(data), bytes.subspan(header.weights_offset, header.weights_size)));
  EF_RETURN_IF_ERROR(ValidateGraph(graph));
  graph.storage = std::move(storage);
  return graph;
}

bool Aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % kEfmAlignment == 0; }

}  // namespace

Result<Graph> LoadEfm(std::shared_ptr<const MappedFile> file) {
  const ByteView bytes = file->bytes();  // mappings start at a page
  return Load(bytes, std::move(file));
}

Result<Graph> LoadEfm(Bytes bytes) {
  if (Aligned(bytes.data())) {
    auto owner = std::make_shared<const Bytes>(std::move(bytes));
    return Load(*owner, owner);
  }
  if (bytes.size() > kEfmFileBytesMax) return InvalidArgument("EFM_TOO_LARGE", "the model is larger than an .efm file may be");
  const std::size_t size = bytes.size();
  constexpr std::align_val_t kAlign{kEfmAlignment};
  std::shared_ptr<void> aligned(::operator new(size + 1, kAlign), [](void* pointer) { ::operator delete(pointer, kAlign); });
  if (size > 0) std::memcpy(aligned.get(), bytes.data(), size);
  return Load(ByteView(static_cast<const std::byte*>(aligned.get()), size), aligned);
}

}  // namespace edgefleet::runtime
