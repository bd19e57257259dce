#include "registry/compiler/onnx/node.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace edgefleet::compiler {

using runtime::DataType;

std::string NodeContext::Where() const {
  std::string name = node_.name().substr(0, 256);
  if (name.empty() && node_.output_size() > 0) name = node_.output(0).substr(0, 256);
  const std::string domain = node_.domain().empty() ? "" : node_.domain().substr(0, 64) + ".";
  return "node '" + name + "' (" + domain + node_.op_type().substr(0, 64) + ", opset " + std::to_string(opset_) + ")";
}

Error NodeContext::Bad(const std::string& what) const { return InvalidArgument("BAD_ONNX", Where() + ": " + what); }
Error NodeContext::Unsupported(const std::string& what) const {
  return InvalidArgument("UNSUPPORTED_OPERATOR", Where() + ": " + what);
}

// ---- attributes

bool NodeContext::HasAttribute(std::string_view name) const {
  return std::ranges::any_of(node_.attribute(), [&](const auto& attribute) { return attribute.name() == name; });
}

const onnx::AttributeProto* NodeContext::Find(const char* name, int type, Status& error) {
  known_.insert(name);
  const onnx::AttributeProto* found = nullptr;
  for (const onnx::AttributeProto& attribute : node_.attribute()) {
    if (attribute.name() != name) continue;
    if (found != nullptr) error = Bad(std::string("attribute '") + name + "' is there twice");
    // Type 0: files from before the field existed.
    if (attribute.type() != type && attribute.type() != onnx::AttributeProto::UNDEFINED) {
      error = Bad(std::string("attribute '") + name + "' has the wrong type");
    }
    found = &attribute;
  }
  return found;
}

Result<std::int64_t> NodeContext::Int(const char* name, std::int64_t fallback) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::INT, error);
  EF_RETURN_IF_ERROR(error);
  return attribute == nullptr ? fallback : attribute->i();
}

Result<bool> NodeContext::Flag(const char* name, bool fallback) {
  EF_ASSIGN_OR_RETURN(const std::int64_t value, Int(name, fallback ? 1 : 0));
  return value != 0;
}

Result<float> NodeContext::Float(const char* name, float fallback) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::FLOAT, error);
  EF_RETURN_IF_ERROR(error);
  return attribute == nullptr ? fallback : attribute->f();
}

Result<std::string> NodeContext::String(const char* name, const char* fallback) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::STRING, error);
  EF_RETURN_IF_ERROR(error);
  return attribute == nullptr ? std::string(fallback) : attribute->s();
}

Result<std::vector<std::int64_t>> NodeContext::Ints(const char* name) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::INTS, error);
  EF_RETURN_IF_ERROR(error);
  if (attribute == nullptr) return std::vector<std::int64_t>();
  return std::vector<std::int64_t>(attribute->ints().begin(), attribute->ints().end());
}

Result<std::vector<float>> NodeContext::Floats(const char* name) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::FLOATS, error);
  EF_RETURN_IF_ERROR(error);
  if (attribute == nullptr) return std::vector<float>();
  return std::vector<float>(attribute->floats().begin(), attribute->floats().end());
}

Result<std::vector<std::string>> NodeContext::Strings(const char* name) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::STRINGS, error);
  EF_RETURN_IF_ERROR(error);
  if (attribute == nullptr) return std::vector<std::string>();
  return std::vector<std::string>(attribute->strings().begin(), attribute->strings().end());
}

Result<const onnx::TensorProto*> NodeContext::TensorAttribute(const char* name) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::TENSOR, error);
  EF_RETURN_IF_ERROR(error);
  return attribute == nullptr ? nullptr : &attribute->t();
}

Result<const onnx::GraphProto*> NodeContext::GraphAttribute(const char* name) {
  Status error;
  const auto* attribute = Find(name, onnx::AttributeProto::GRAPH, error);
  EF_RETURN_IF_ERROR(error);
  if (attribute == nullptr) return Bad(std::string("attribute '") + name + "' is missing");
  return &attribute->g();
}

Result<DataType> NodeContext::TypeAttribute(const char* name, int fallback) {
  EF_ASSIGN_OR_RETURN(const std::int64_t type, Int(name, fallback));
  auto found = GraphType(static_cast<int>(std::clamp<std::int64_t>(type, 0, 1'000)));
  if (!found) return MakeError(std::move(found.error()).Annotate(Where()));
  return found;
}

Status NodeContext::CheckAttributes() const {
  for (const onnx::AttributeProto& attribute : node_.attribute()) {
    if (!known_.contains(attribute.name())) {
      return Unsupported("attribute '" + attribute.name().substr(0, 64) + "' is not supported; export the node without it");
    }
  }
  return OkStatus();
}

// ---- inputs

Status NodeContext::CheckInputs(int at_least, int at_most) const {
  if (node_.input_size() > at_most) return Bad("it has more than " + std::to_string(at_most) + " inputs");
  for (int i = 0; i < at_least; ++i) {
    if (!has_input(i)) return Bad("input " + std::to_string(i) + " is missing");
  }
  return OkStatus();
}

Result<TensorId> NodeContext::Input(int index) {
  if (!has_input(index)) return runtime::kAbsent;
  Value* value = scope_.Find(node_.input(index));
  if (value == nullptr) {
    return Bad("input '" + node_.input(index).substr(0, 240) +
               "' is neither an input, an initializer nor the output of a node");
  }
  auto id = importer_.Materialize(*value, node_.input(index));
  if (!id) return MakeError(std::move(id.error()).Annotate(Where()));
  return id;
}

Result<std::vector<TensorId>> NodeContext::Inputs() {
  std::vector<TensorId> ids;
  for (int i = 0; i < input_count(); ++i) {
    EF_ASSIGN_OR_RETURN(const TensorId id, Input(i));
    ids.push_back(id);
  }
  return ids;
}

Result<std::int64_t> NodeContext::Axis(std::int64_t axis, std::int64_t rank) const {
  if (axis < -rank || axis >= rank) {
    return Bad("axis " + std::to_string(axis) + " is outside a tensor of " + std::to_string(rank) + " dimensions");
  }
  return axis < 0 ? axis + rank : axis;
}

// ---- constants

bool NodeContext::IsWeights(int index, int rank) {
  if (!has_input(index)) return false;
  const Value* value = scope_.Find(node_.input(index));
  if (value == nullptr) return false;
  if (value->constant != nullptr && value->id == runtime::kAbsent) {
    const auto type = GraphType(value->constant->data_type());
    return type && *type == DataType::kFloat32 && (rank < 0 || value->constant->dims_size() == rank);
  }
  const runtime::Tensor& tensor = At(value->id);
  const bool real = (tensor.is_constant() && tensor.type == DataType::kFloat32) || Dequantized(value->id);
  return real && (rank < 0 || std::cmp_equal(tensor.shape.size(), rank));
}

namespace {

template <typename T, typename Out>
std::vector<Out> Widen(ByteView bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return {values.begin(), values.end()};
}

}  // namespace

Result<std::vector<std::int64_t>> NodeContext::IntegersOf(TensorId id) {
  const runtime::Tensor& tensor = At(id);
  if (!tensor.is_constant()) {
    return Unsupported("'" + tensor.name +
                       "' must be a constant; export with constant folding on, or fix the sizes that it is " + "computed from");
  }
  switch (tensor.type) {
    case DataType::kInt64:
      return Widen<std::int64_t, std::int64_t>(tensor.data);
    case DataType::kInt32:
      return Widen<std::int32_t, std::int64_t>(tensor.data);
    case DataType::kInt8:
      return Widen<std::int8_t, std::int64_t>(tensor.data);
    case DataType::kUint8:
    case DataType::kBool:
      return Widen<std::uint8_t, std::int64_t>(tensor.data);
    default:
      return Bad("'" + tensor.name + "' must hold integers");
  }
}

Result<std::vector<float>> NodeContext::Floats(TensorId id) {
  const runtime::Tensor& tensor = At(id);
  if (!tensor.is_constant()) return Unsupported("'" + tensor.name + "' must be a constant; export with constant folding on");
  if (tensor.type != DataType::kFloat32) return Bad("'" + tensor.name + "' must be float32");
  return Widen<float, float>(tensor.data);
}

Result<std::vector<std::int64_t>> NodeContext::Integers(int index) {
  EF_ASSIGN_OR_RETURN(const TensorId id, Input(index));
  return IntegersOf(id);
}

Result<std::vector<float>> NodeContext::FloatValues(int index) {
  EF_ASSIGN_OR_RETURN(const TensorId id, Input(index));
  return Floats(id);
}

std::string NodeContext::StepName() {
  const std::string base = node_.output_size() > 0 && !node_.output(0).empty() ? node_.output(0) : node_.name();
  return importer_.FreeName(base.substr(0, 200) + "." + std::to_string(++steps_));
}

Result<TensorId> NodeContext::Constant(DataType type, Shape shape, ByteView bytes,
                                       std::optional<runtime::Quantization> quantization, const std::string& name) {
  return importer_.builder_.AddConstant(name.empty() ? StepName() : importer_.FreeName(name), type, std::move(shape), bytes,
                                        std::move(quantization));
}

Result<TensorId> NodeContext::List(const std::vector<std::int64_t>& values) {
  return Constant(DataType::kInt64, {static_cast<std::int64_t>(values.size())}, std::as_bytes(std::span(values)));
}

Result<TensorId> NodeContext::FloatList(const std::vector<float>& values, Shape shape) {
  return Constant(DataType::kFloat32, std::move(shape), std::as_bytes(std::span(values)));
}

Result<TensorId> NodeContext::Scalar(float value) { return FloatList({value}, {}); }

Result<TensorId> NodeContext::Scalar(DataType type, double value) {
  const auto make = [&](auto typed) { return Constant(type, {}, std::as_bytes(std::span(&typed, 1))); };
  switch (type) {
    case DataType::kFloat32:
      return make(static_cast<float>(value));
    case DataType::kInt64:
      return make(static_cast<std::int64_t>(value));
    case DataType::kInt32:
      return make(static_cast<std::int32_t>(value));
    case DataType::kInt8:
      return make(static_cast<std::int8_t>(value));
    case DataType::kUint8:
    case DataType::kBool:
      return make(static_cast<std::uint8_t>(value));
    default:
      return Unsupported("its data type is not supported");
  }
}

Result<TensorId> NodeContext::TensorFrom(const onnx::TensorProto& tensor) {
  Value value{runtime::kAbsent, &tensor};
  auto id = importer_.Materialize(value, StepName());
  if (!id) return MakeError(std::move(id.error()).Annotate(Where()));
  return id;
}

std::optional<TensorId> NodeContext::Dequantized(TensorId real) const {
  const auto found = importer_.dequantized_.find(real);
  if (found == importer_.dequantized_.end()) return std::nullopt;
  return found->second;
}

Result<std::optional<TensorId>> NodeContext::ChangeConstant(int index, const std::string& change, const Change& make) {
  const std::string& name = node_.input(index);
  const Value* value = scope_.Find(name);
  if (value == nullptr) return std::optional<TensorId>();
  if (value->id != runtime::kAbsent) return ChangeConstantId(value->id, change, make);
  // Initializers are read here, not materialized: only the changed form is kept.
  const auto key = std::pair(static_cast<const void*>(value->constant), change);
  if (const auto found = importer_.changed_.find(key); found != importer_.changed_.end()) return std::optional(found->second);
  auto read = ReadTensor(*value->constant, importer_.options_.limits, importer_.external_);
  if (!read) return MakeError(std::move(read.error()).Annotate(Where()));
  Changed changed = make(read->shape, read->bytes, runtime::SizeOf(read->type), -1);
  EF_ASSIGN_OR_RETURN(const TensorId id, Constant(read->type, std::move(changed.shape), changed.bytes, std::nullopt, name));
  importer_.changed_.emplace(key, id);
  return std::optional(id);
}

Result<std::optional<TensorId>> NodeContext::ChangeConstantId(TensorId id, const std::string& change, const Change& make) {
  const auto quantized = Dequantized(id);
  if (!At(id).is_constant() && !quantized) return std::optional<TensorId>();
  const runtime::Tensor source = At(quantized.value_or(id));  // a copy: constants added below move the graph's
  const auto key = std::pair(static_cast<const void*>(source.data.data()), change);
  if (const auto found = importer_.changed_.find(key); found != importer_.changed_.end()) return std::optional(found->second);
  auto quantization = source.quantization;
  Changed changed = make(source.shape, source.data, runtime::SizeOf(source.type), quantization ? quantization->axis : -1);
  if (quantization) quantization->axis = changed.axis;
  EF_ASSIGN_OR_RETURN(TensorId result, Constant(source.type, std::move(changed.shape), changed.bytes, std::move(quantization)));
  // The form that layers read has the initializer's name: parameters are known by it.
  std::swap(importer_.builder_.graph().tensor(quantized.value_or(id)).name, importer_.builder_.graph().tensor(result).name);
  if (quantized) {
    const TensorId constant = result;
    EF_ASSIGN_OR_RETURN(result, Emit(runtime::Dequantize{}, {constant}));
    RememberDequantized(result, constant);
  }
  importer_.changed_.emplace(key, result);
  return std::optional(result);
}

// ---- outputs

Status NodeContext::CheckOutputs(int at_most) const {
  if (node_.output_size() == 0) return Bad("it has no output");
  for (int i = at_most; i < node_.output_size(); ++i) {
    if (!node_.output(i).empty()) return Unsupported("output " + std::to_string(i) + " is not supported; export for inference");
  }
  return OkStatus();
}

Status NodeContext::Bind(int index, TensorId id) {
  if (!wants(index)) return OkStatus();
  if (own_.erase(id) != 0) {
    runtime::Graph& graph = importer_.builder_.graph();
    graph.tensor(id).name = importer_.FreeName(node_.output(index));
    if (!graph.nodes.empty() && std::ranges::count(graph.nodes.back().outputs, id) != 0) {
      graph.nodes.back().name = (node_.name().empty() ? graph.tensor(id).name : node_.name()).substr(0, kNameMax);
    }
  }
  return importer_.Define(scope_, node_.output(index), {id, nullptr});
}

Status NodeContext::BindConstant(int index, const onnx::TensorProto& tensor) {
  return importer_.Define(scope_, node_.output(index), {runtime::kAbsent, &tensor});
}

Result<std::vector<TensorId>> NodeContext::Inline(const onnx::GraphProto& graph) {
  Scope inner;
  inner.outer = &scope_;
  inner.opsets = scope_.opsets;
  inner.depth = scope_.depth + 1;
  auto outputs = importer_.ImportBranch(graph, inner);
  if (!outputs) return MakeError(std::move(outputs.error()).Annotate(Where()));
  return outputs;
}

Result<std::vector<TensorId>> NodeContext::Add(const std::string& name, runtime::Operator op, std::vector<TensorId> inputs,
                                               std::vector<std::string> outputs,
                                               std::optional<runtime::Quantization> quantization) {
  auto ids = importer_.builder_.AddNode(name, std::move(op), std::move(inputs), std::move(outputs), std::move(quantization));
  if (!ids) return MakeError(std::move(ids.error()).Annotate(Where()));
  for (const TensorId id : *ids) {
    if (id == runtime::kAbsent) continue;
    const std::int64_t count = runtime::ElementCount(ShapeOf(id));
    if (count > importer_.options_.limits.elements_max) {
      return InvalidArgument("TOO_LARGE", Where() + ": '" + At(id).name + "' has more than " +
                                              std::to_string(importer_.options_.limits.elements_max) + " elements");
    }
  }
  return ids;
}

Result<TensorId> NodeContext::Emit(runtime::Operator op, std::vector<TensorId> inputs,
                                   std::optional<runtime::Quantization> quantization) {
  std::string name = StepName();
  EF_ASSIGN_OR_RETURN(const auto ids, Add(name, std::move(op), std::move(inputs), {name}, std::move(quantization)));
  own_.insert(ids[0]);
  return ids[0];
}

Result<std::vector<TensorId>> NodeContext::EmitAll(runtime::Operator op, std::vector<TensorId> inputs,
                                                   const std::vector<bool>& outputs) {
  std::vector<std::string> names;
  for (const bool wanted : outputs) names.push_back(wanted ? StepName() : "");
  EF_ASSIGN_OR_RETURN(auto ids, Add(StepName(), std::move(op), std::move(inputs), std::move(names), std::nullopt));
  own_.insert(ids.begin(), ids.end());
  return ids;
}

Status NodeContext::Finish(runtime::Operator op, std::vector<TensorId> inputs,
                           std::optional<runtime::Quantization> quantization) {
  std::vector<std::string> names;
  for (const std::string& output : node_.output()) names.push_back(output.empty() ? "" : importer_.FreeName(output));
  while (!names.empty() && names.back().empty()) names.pop_back();
  if (names.empty()) return Bad("it has no output");
  const std::string name = (node_.name().empty() ? names[0] : node_.name()).substr(0, kNameMax);
  EF_ASSIGN_OR_RETURN(const auto ids, Add(name, std::move(op), std::move(inputs), names, std::move(quantization)));
  for (std::size_t i = 0; i < ids.size(); ++i) EF_RETURN_IF_ERROR(Bind(static_cast<int>(i), ids[i]));
  return OkStatus();
}

// ---- steps

Result<TensorId> NodeContext::Unary(runtime::UnaryKind kind, TensorId x, float alpha, float beta) {
  return Emit(runtime::Unary{{kind, alpha, beta}}, {x});
}

namespace {

bool IsNarrow(const runtime::Tensor& tensor) {
  return !tensor.quantization &&
         (tensor.type == DataType::kInt8 || tensor.type == DataType::kUint8 || tensor.type == DataType::kBool);
}
bool Compares(runtime::BinaryKind kind) {
  return kind >= runtime::BinaryKind::kEqual && kind <= runtime::BinaryKind::kGreaterOrEqual;
}
bool IsLogical(runtime::BinaryKind kind) {
  return kind == runtime::BinaryKind::kAnd || kind == runtime::BinaryKind::kOr || kind == runtime::BinaryKind::kXor;
}

}  // namespace

Result<TensorId> NodeContext::Binary(runtime::BinaryKind kind, TensorId a, TensorId b) {
  const DataType type = TypeOf(a);
  if (IsLogical(kind) || !IsNarrow(At(a)) || !IsNarrow(At(b))) return Emit(runtime::Binary{kind, {}}, {a, b});
  EF_ASSIGN_OR_RETURN(const TensorId wide_a, Cast(a, DataType::kInt32));
  EF_ASSIGN_OR_RETURN(const TensorId wide_b, Cast(b, DataType::kInt32));
  EF_ASSIGN_OR_RETURN(const TensorId result, Emit(runtime::Binary{kind, {}}, {wide_a, wide_b}));
  return Compares(kind) ? Result<TensorId>(result) : Cast(result, type);
}

Result<TensorId> NodeContext::Cast(TensorId x, DataType to) {
  if (TypeOf(x) == to) return x;
  return Emit(runtime::Cast{to}, {x});
}

Result<TensorId> NodeContext::Reshape(TensorId x, const std::vector<std::int64_t>& shape) {
  EF_ASSIGN_OR_RETURN(const TensorId target, List(shape));
  return Emit(runtime::Reshape{}, {x, target});
}

Result<TensorId> NodeContext::Transpose(TensorId x, std::vector<std::int64_t> permutation) {
  if (std::ranges::is_sorted(permutation)) return x;
  return Emit(runtime::Transpose{std::move(permutation)}, {x});
}

Result<TensorId> NodeContext::Unsqueeze(TensorId x, std::vector<std::int64_t> axes) {
  return Emit(runtime::Unsqueeze{std::move(axes)}, {x});
}

Result<TensorId> NodeContext::Squeeze(TensorId x, std::vector<std::int64_t> axes) {
  return Emit(runtime::Squeeze{std::move(axes)}, {x});
}

Result<TensorId> NodeContext::Reduce(runtime::ReduceKind kind, TensorId x, std::vector<std::int64_t> axes, bool keep_dims) {
  return Emit(runtime::Reduce{kind, std::move(axes), keep_dims}, {x});
}

}  // namespace edgefleet::compiler
