#include <flatbuffers/flatbuffers.h>

#include <algorithm>
#include <array>
#include <new>
#include <optional>
#include <type_traits>

#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/format/layout.h"
#include "device_client/runtime/validate.h"
#include "efm_generated.h"

namespace edgefleet::runtime {
namespace {

constexpr flatbuffers::uoffset_t kVerifierDepth = 16;
// A graph, its tensors with quantization, its nodes with at most 16 attributes, dynamic dimensions.
constexpr flatbuffers::uoffset_t kVerifierTables = 1 + 2 * kTensorsMax + 17 * kNodesMax + kDynamicMax;
constexpr std::size_t kFieldValuesMax = 1'024;  // of a list in an attribute

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

// Reads an operator's fields in their order; the first thing that is wrong ends it.
class FieldReader {
 public:
  explicit FieldReader(const fbs::Node& node) : attributes_(node.attributes()) {}

  void operator()(std::string_view name, std::int32_t& field) { field = Integer(name); }
  void operator()(std::string_view name, bool& field) { field = Bounded(name, 2) != 0; }
  void operator()(std::string_view name, float& field) {
    Next(name, 0, 1);
    if (ok_) field = current_->floats()->Get(0);
  }
  template <typename Enum>
  requires std::is_enum_v<Enum>
  void operator()(std::string_view name, Enum& field) { field = static_cast<Enum>(Bounded(name, kEnumerators<Enum>)); }
  template <std::size_t n>
  void operator()(std::string_view name, std::array<std::int32_t, n>& field) {
    Next(name, n, 0);
    if (ok_) std::copy_n(current_->integers()->begin(), n, field.begin());
  }
  void operator()(std::string_view name, std::vector<std::int64_t>& field) {
    Next(name, kAny, 0);
    if (ok_) field = ToVector<std::int32_t, std::int64_t>(current_->integers());
  }
  void operator()(std::string_view name, Activation& field) {
    Next(name, 1, 2);
    if (ok_) field = ReadActivation(0);
  }
  void operator()(std::string_view name, std::vector<Activation>& field) {
    Next(name, kAny, kAny);
    const std::size_t count = ok_ && current_->integers() != nullptr ? current_->integers()->size() : 0;
    ok_ = ok_ && (current_->floats() == nullptr ? 0 : current_->floats()->size()) == 2 * count;
    field.clear();
    for (std::size_t i = 0; ok_ && i < count; ++i) field.push_back(ReadActivation(static_cast<flatbuffers::uoffset_t>(i)));
  }

  // Everything was there and there was nothing else.
  bool Complete() const { return ok_ && index_ == (attributes_ == nullptr ? 0 : attributes_->size()); }

 private:
  static constexpr std::size_t kAny = static_cast<std::size_t>(-1);

  template <typename T>
  static bool HasSize(const flatbuffers::Vector<T>* values, std::size_t wanted) {
    const std::size_t size = values == nullptr ? 0 : values->size();
    return wanted == kAny ? size <= kFieldValuesMax : size == wanted;
  }

  void Next(std::string_view name, std::size_t integers, std::size_t floats) {
    ok_ = ok_ && attributes_ != nullptr && index_ < attributes_->size();
    if (!ok_) return;
    current_ = attributes_->Get(index_++);
    ok_ = current_->name() != nullptr && current_->name()->string_view() == name && HasSize(current_->integers(), integers) &&
          HasSize(current_->floats(), floats);
  }
  std::int32_t Integer(std::string_view name) {
    Next(name, 1, 0);
    return ok_ ? current_->integers()->Get(0) : 0;
  }
  std::int32_t Bounded(std::string_view name, int end) {
    const std::int32_t value = Integer(name);
    ok_ = ok_ && value >= 0 && value < end;
    return ok_ ? value : 0;
  }
  Activation ReadActivation(flatbuffers::uoffset_t i) {
    const std::int32_t kind = current_->integers()->Get(i);
    ok_ = kind >= 0 && kind < kUnaryKinds;
    return {static_cast<UnaryKind>(ok_ ? kind : 0), current_->floats()->Get(2 * i), current_->floats()->Get(2 * i + 1)};
  }

  const flatbuffers::Vector<flatbuffers::Offset<fbs::Attribute>>* attributes_;
  const fbs::Attribute* current_ = nullptr;
  flatbuffers::uoffset_t index_ = 0;
  bool ok_ = true;
};

Result<Operator> ReadOperator(const fbs::Node& node) {
  if (node.operator_() == nullptr) return MakeError(BadGraph("a node without an operator"));
  std::optional<Operator> op = OperatorNamed(node.operator_()->string_view());
  if (!op) return MakeError(BadGraph("an operator that this library does not know"));
  FieldReader reader(node);
  std::visit([&](auto& each) { each.Fields(each, reader); }, *op);
  if (!reader.Complete()) return MakeError(BadGraph("an operator whose attributes are not its own"));
  return *std::move(op);
}

// What constants without elements point at.
alignas(kEfmAlignment) constexpr std::array<std::byte, kEfmAlignment> kNoBytes{};

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
    tensor.quantization = Quantization{ToVector(q->scales()), ToVector(q->zero_points()), q->axis(), q->group_size()};
  }
  if (!table.constant()) return tensor;
  EF_RETURN_IF_ERROR(CheckExtent({table.offset(), table.size()}, weights));
  // Never null, also where a file ends in a constant without elements.
  tensor.data = table.size() > 0 ? weights.subspan(table.offset(), table.size()) : ByteView(kNoBytes.data(), 0);
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
    if (tensor->constant() && tensor->size() > 0) extents.push_back({tensor->offset(), tensor->size()});
  }
  EF_RETURN_IF_ERROR(CheckDisjoint(std::move(extents)));
  for (const fbs::Node* node : *table.nodes()) {
    EF_ASSIGN_OR_RETURN(graph.nodes.emplace_back(), ReadNode(*node));
  }
  graph.inputs = ToVector(table.inputs());
  graph.outputs = ToVector(table.outputs());
  graph.parameters = ToVector(table.parameters());
  if (table.dynamic() != nullptr) {
    if (table.dynamic()->size() > kDynamicMax) return MakeError(BadGraph("too many dynamic dimensions"));
    for (const fbs::Dynamic* each : *table.dynamic()) {
      graph.dynamic.push_back({each->input(), each->axis(), each->min(), each->max(), ToName(each->symbol())});
    }
  }
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
