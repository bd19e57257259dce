#include "registry/compiler/onnx/importer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "device_client/runtime/validate.h"
#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"
#include "registry/compiler/onnx/sizes.h"

namespace edgefleet::compiler {
namespace {

constexpr int kDepthMax = 24;                                   // of branches and functions in one another
constexpr std::size_t kCopiedBytesMax = std::size_t{64} << 20;  // of functions' nodes

Error BadOnnx(const std::string& what) { return InvalidArgument("BAD_ONNX", what); }
std::string Quoted(const std::string& text) { return "'" + text.substr(0, kNameMax) + "'"; }
std::string Normal(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

Result<std::map<std::string, int>> ReadOpsets(const google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports) {
  std::map<std::string, int> opsets;
  for (const auto& import : imports) {
    const std::string domain = Normal(import.domain());
    if (domain.empty() && (import.version() < kOpsetMin || import.version() > kOpsetMax)) {
      return InvalidArgument("UNSUPPORTED_OPSET", "opset " + std::to_string(import.version()) +
                                                      " is not supported; export with opset " + std::to_string(kOpsetMin) +
                                                      " to " + std::to_string(kOpsetMax));
    }
    const bool added = opsets.emplace(domain, static_cast<int>(std::clamp<std::int64_t>(import.version(), 0, 1'000))).second;
    if (!added && domain.empty()) return BadOnnx("the default operator set is imported twice");
  }
  return opsets;
}

// Names that a node reads, with those that its branches read.
void CollectReads(const onnx::NodeProto& node, std::vector<std::string>& names) {
  for (const std::string& input : node.input()) {
    if (!input.empty()) names.push_back(input);
  }
  for (const auto& attribute : node.attribute()) {
    if (!attribute.has_g()) continue;
    for (const auto& inner : attribute.g().node()) CollectReads(inner, names);
    for (const auto& output : attribute.g().output()) names.push_back(output.name());
  }
}

// Nodes in an order in which each comes after those it reads from, as far as `wanted` needs them.
class Order {
 public:
  explicit Order(const Nodes& nodes) : nodes_(nodes) {}

  Result<std::vector<int>> Find(const std::vector<std::string>& wanted) {
    for (int i = 0; i < nodes_.size(); ++i) {
      for (const std::string& output : nodes_[i].output()) {
        if (!output.empty() && !writers_.emplace(output, i).second) {
          return BadOnnx("value " + Quoted(output) + ": the name is there twice");
        }
      }
    }
    states_.assign(static_cast<std::size_t>(nodes_.size()), State::kNew);
    for (const std::string& name : wanted) {
      const auto writer = writers_.find(name);
      if (writer != writers_.end()) EF_RETURN_IF_ERROR(Visit(writer->second));
    }
    return std::move(order_);
  }

 private:
  enum class State { kNew, kOpen, kDone };
  struct Frame {
    int node;
    std::vector<int> reads;
  };

  Frame Enter(int node) {
    states_[static_cast<std::size_t>(node)] = State::kOpen;
    std::vector<std::string> names;
    CollectReads(nodes_[node], names);
    Frame frame{node, {}};
    for (const std::string& name : names) {
      const auto writer = writers_.find(name);
      if (writer != writers_.end()) frame.reads.push_back(writer->second);
    }
    // The last is visited first: what the file has first stays first.
    std::ranges::sort(frame.reads, std::ranges::greater());
    return frame;
  }

  Status Visit(int first) {
    if (states_[static_cast<std::size_t>(first)] == State::kDone) return OkStatus();
    std::vector<Frame> stack{Enter(first)};
    while (!stack.empty()) {
      Frame& frame = stack.back();
      if (frame.reads.empty()) {
        states_[static_cast<std::size_t>(frame.node)] = State::kDone;
        order_.push_back(frame.node);
        stack.pop_back();
        continue;
      }
      const int next = frame.reads.back();
      frame.reads.pop_back();
      const State state = states_[static_cast<std::size_t>(next)];
      if (state == State::kOpen) {
        return BadOnnx("node " + Quoted(nodes_[next].name().empty() ? nodes_[next].output(0) : nodes_[next].name()) +
                       " reads what is computed from its own output: the graph is cyclic");
      }
      if (state == State::kNew) stack.push_back(Enter(next));
    }
    return OkStatus();
  }

  const Nodes& nodes_;
  std::unordered_map<std::string, int> writers_;
  std::vector<State> states_;
  std::vector<int> order_;
};

template <typename Graph>
std::vector<std::string> OutputNames(const Graph& graph) {
  std::vector<std::string> names;
  for (const auto& output : graph.output()) names.push_back(output.name());
  return names;
}

// Puts a call's attributes where a function's node refers to them. False if nothing had to change.
bool Resolve(onnx::NodeProto& node, const onnx::NodeProto& call, const std::set<std::string>& absent) {
  bool changed = false;
  for (std::string& input : *node.mutable_input()) {
    if (!absent.contains(input)) continue;
    input.clear();
    changed = true;
  }
  for (int i = node.attribute_size() - 1; i >= 0; --i) {
    onnx::AttributeProto& attribute = *node.mutable_attribute(i);
    if (attribute.has_g()) {
      for (auto& inner : *attribute.mutable_g()->mutable_node()) changed = Resolve(inner, call, absent) || changed;
    }
    if (attribute.ref_attr_name().empty()) continue;
    changed = true;
    const auto given =
        std::ranges::find_if(call.attribute(), [&](const auto& each) { return each.name() == attribute.ref_attr_name(); });
    if (given == call.attribute().end()) {
      node.mutable_attribute()->DeleteSubrange(i, 1);
    } else {
      const std::string name = attribute.name();
      attribute = *given;
      attribute.set_name(name);
    }
  }
  return changed;
}

// What to do about an operator that is not supported.
std::string_view AdviceFor(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 14> kAdvice{{
      {"Loop", "export the network with its loops unrolled"},
      {"Scan", "export the network with its loops unrolled"},
      {"NonMaxSuppression", "leave post-processing out of the network and run it on its outputs"},
      {"Unique", "leave post-processing out of the network and run it on its outputs"},
      {"RoiAlign", "leave post-processing out of the network and run it on its outputs"},
      {"Sequence", "export the network with plain tensors"},
      {"SplitToSequence", "export the network with plain tensors"},
      {"ConcatFromSequence", "export the network with plain tensors"},
      {"Optional", "export the network with plain tensors"},
      {"String", "leave text processing out of the network"},
      {"TfIdf", "leave text processing out of the network"},
      {"Random", "export the network for inference, or make random values an input"},
      {"Bernoulli", "export the network for inference, or make random values an input"},
      {"Multinomial", "leave sampling out of the network and do it with its outputs"},
  }};
  for (const auto& [prefix, advice] : kAdvice) {
    if (name.starts_with(prefix)) return advice;
  }
  return "build the network from those in docs/operators.md";
}

}  // namespace

Value* Scope::Find(const std::string& name) {
  for (Scope* scope = this; scope != nullptr; scope = scope->outer) {
    const auto found = scope->values.find(name);
    if (found != scope->values.end()) return &found->second;
  }
  return nullptr;
}

Result<runtime::Graph> Importer::Run() {
  Scope scope;
  EF_RETURN_IF_ERROR(CheckModel(scope));
  EF_RETURN_IF_ERROR(ReadInitializers(model_.graph(), scope));
  EF_RETURN_IF_ERROR(ReadInputs(scope));
  EF_RETURN_IF_ERROR(ImportNodes(model_.graph().node(), OutputNames(model_.graph()), scope));
  EF_ASSIGN_OR_RETURN(auto outputs, ReadOutputs(scope));
  runtime::Graph graph = std::move(builder_).Finish(std::move(outputs));
  graph.name = model_.graph().name().substr(0, kNameMax);
  EF_RETURN_IF_ERROR(FindParameters(graph));
  return graph;
}

Status Importer::CheckModel(Scope& scope) {
  if (!model_.has_graph()) return BadOnnx("the model has no graph");
  if (model_.graph().node_size() == 0) return BadOnnx("the graph has no nodes");
  EF_ASSIGN_OR_RETURN(scope.opsets, ReadOpsets(model_.opset_import()));
  for (const onnx::FunctionProto& function : model_.functions()) {
    if (!functions_.emplace(std::pair(Normal(function.domain()), function.name()), &function).second) {
      return BadOnnx("function " + Quoted(function.name()) + " is there twice");
    }
  }
  return OkStatus();
}

Status Importer::Define(Scope& scope, const std::string& name, Value value) {
  if (name.empty()) return BadOnnx("a value has no name");
  if (!scope.values.emplace(name, value).second) return BadOnnx("value " + Quoted(name) + ": the name is there twice");
  return OkStatus();
}

std::string Importer::FreeName(const std::string& wanted) {
  std::string name = wanted.substr(0, kNameMax);
  if (name.empty()) name = "value";
  const std::string base = name;
  for (int& count = taken_[base]; !names_.insert(name).second;) name = base + "#" + std::to_string(++count + 1);
  return name;
}

Result<TensorId> Importer::Materialize(Value& value, const std::string& wanted) {
  if (value.id != runtime::kAbsent) return value.id;
  EF_ASSIGN_OR_RETURN(TensorValue read, ReadTensor(*value.constant, options_.limits, external_));
  std::string name = FreeName(wanted);
  const bool aligned = reinterpret_cast<std::uintptr_t>(read.bytes.data()) % 64 == 0;
  if (read.mapped != nullptr && read.owned == nullptr && aligned) {
    value.id = builder_.AddBorrowed({std::move(name), read.type, std::move(read.shape), std::nullopt, read.bytes});
    builder_.Keep(std::move(read.mapped));
    return value.id;
  }
  EF_ASSIGN_OR_RETURN(value.id, builder_.AddConstant(std::move(name), read.type, std::move(read.shape), read.bytes));
  return value.id;
}

Status Importer::ReadInitializers(const onnx::GraphProto& graph, Scope& scope) {
  if (graph.sparse_initializer_size() > 0) return BadOnnx("sparse initializers are not supported; export dense ones");
  for (const onnx::TensorProto& tensor : graph.initializer()) {
    EF_RETURN_IF_ERROR(Define(scope, tensor.name(), {runtime::kAbsent, &tensor}));
  }
  return OkStatus();
}

Status Importer::ReadInputs(Scope& scope) {
  std::vector<const onnx::ValueInfoProto*> inputs;
  for (const onnx::ValueInfoProto& input : model_.graph().input()) {
    const Value* known = scope.Find(input.name());
    if (known == nullptr || known->constant == nullptr)
      inputs.push_back(&input);  // before IR version 4 initializers were inputs too
  }
  EF_ASSIGN_OR_RETURN(const InputSizes sizes,
                      InputSizes::Read(inputs, options_.shapes, sizes_.fixed_batch, sizes_.open_default));
  for (const auto* input : inputs) EF_RETURN_IF_ERROR(ReadInput(*input, sizes, scope));
  return OkStatus();
}

Status Importer::ReadInput(const onnx::ValueInfoProto& input, const InputSizes& sizes, Scope& scope) {
  if (input.name().size() > kNameMax) {
    return BadOnnx("input " + Quoted(input.name()) + ": names have at most " + std::to_string(kNameMax) + " bytes");
  }
  if (!input.type().has_tensor_type()) {
    return InvalidArgument("UNSUPPORTED_OPERATOR", "input " + Quoted(input.name()) +
                                                       " is no tensor; sequences, maps and optional values are not supported");
  }
  auto type = GraphType(input.type().tensor_type().elem_type());
  if (!type) return std::move(type.error()).Annotate("input " + Quoted(input.name()));
  EF_ASSIGN_OR_RETURN(const auto dimensions, sizes.Of(input));
  Shape shape;
  for (const auto& size : dimensions) shape.push_back(size.value);
  const auto count = runtime::CheckedCount(shape);
  if (!count || *count > options_.limits.elements_max || shape.size() > runtime::kDimensionsMax) {
    return BadOnnx("input " + Quoted(input.name()) + ": " + runtime::ToText(shape) + " is too large; at most " +
                   std::to_string(options_.limits.elements_max) + " elements and " + std::to_string(runtime::kDimensionsMax) +
                   " dimensions");
  }
  const auto index = static_cast<std::int32_t>(builder_.graph().inputs.size());
  const TensorId id = builder_.AddInput(FreeName(input.name()), *type, std::move(shape));
  for (std::size_t axis = 0; axis < dimensions.size(); ++axis) {
    if (dimensions[axis].symbol.empty()) continue;
    (dimensions[axis].symbol == runtime::kBatchSymbol ? batch_is_dynamic_ : sizes_are_dynamic_) = true;
    builder_.AddDynamic({index, static_cast<std::int32_t>(axis), dimensions[axis].min, dimensions[axis].max,
                         dimensions[axis].symbol.substr(0, kNameMax)});
  }
  return Define(scope, input.name(), {id, nullptr});
}

Result<std::vector<TensorId>> Importer::ImportBranch(const onnx::GraphProto& graph, Scope& scope) {
  EF_RETURN_IF_ERROR(ReadInitializers(graph, scope));
  EF_RETURN_IF_ERROR(ImportNodes(graph.node(), OutputNames(graph), scope));
  std::vector<TensorId> outputs;
  for (const auto& output : graph.output()) {
    Value* value = scope.Find(output.name());
    if (value == nullptr) return BadOnnx("output " + Quoted(output.name()) + " of a branch is computed by no node");
    EF_ASSIGN_OR_RETURN(const TensorId id, Materialize(*value, output.name()));
    outputs.push_back(id);
  }
  return outputs;
}

Status Importer::ImportNodes(const Nodes& nodes, const std::vector<std::string>& wanted, Scope& scope) {
  if (scope.depth > kDepthMax) return BadOnnx("branches and functions lie more than " + std::to_string(kDepthMax) + " deep");
  EF_ASSIGN_OR_RETURN(const std::vector<int> order, Order(nodes).Find(wanted));
  for (const int index : order) EF_RETURN_IF_ERROR(ImportNode(nodes[index], scope));
  return OkStatus();
}

Status Importer::ImportNode(const onnx::NodeProto& node, Scope& scope) {
  if (++nodes_ > options_.limits.nodes_max) {
    return InvalidArgument("TOO_LARGE", "the graph has more than " + std::to_string(options_.limits.nodes_max) + " nodes");
  }
  const std::string domain = Normal(node.domain());
  const auto function = functions_.find(std::pair(domain, node.op_type()));
  if (function != functions_.end()) return ImportCall(*function->second, node, scope);
  const auto opset = scope.opsets.find(domain);
  if (domain.empty() && opset == scope.opsets.end()) return BadOnnx("the model does not import the default operator set");
  NodeContext context(*this, scope, node, opset == scope.opsets.end() ? 1 : opset->second);
  const OnnxOperator* found = FindOperator(domain, node.op_type());
  if (found == nullptr) {
    return context.Unsupported(domain.empty() || domain == "com.microsoft"
                                   ? "this operator is not supported; " + std::string(AdviceFor(node.op_type()))
                                   : "operators of domain " + Quoted(domain) + " are not supported; export with standard ones");
  }
  if (domain.empty() && (context.opset() < found->since || context.opset() > found->until)) {
    return context.Bad("operator sets " + std::to_string(found->since) + " to " +
                       std::to_string(std::min(found->until, kOpsetMax)) + " have this operator, the model's does not");
  }
  EF_RETURN_IF_ERROR(found->import(context));
  return context.CheckAttributes();
}

Status Importer::ImportCall(const onnx::FunctionProto& function, const onnx::NodeProto& node, Scope& scope) {
  const NodeContext context(*this, scope, node, 0);
  Scope inner;
  inner.depth = scope.depth + 1;
  EF_ASSIGN_OR_RETURN(inner.opsets, ReadOpsets(function.opset_import()));
  if (inner.opsets.empty()) inner.opsets = scope.opsets;
  if (node.input_size() > function.input_size() || node.output_size() > function.output_size()) {
    return context.Bad("it has more inputs or outputs than the function");
  }
  std::set<std::string> absent;
  for (int i = 0; i < function.input_size(); ++i) {
    if (i >= node.input_size() || node.input(i).empty()) {
      absent.insert(function.input(i));
      continue;
    }
    const Value* value = scope.Find(node.input(i));
    if (value == nullptr) return context.Bad("input '" + node.input(i).substr(0, kNameMax) + "' is missing");
    EF_RETURN_IF_ERROR(Define(inner, function.input(i), *value));
  }
  const Nodes* nodes = &function.node();
  bool changed = !absent.empty();
  for (const auto& each : function.node()) {
    changed = changed || std::ranges::any_of(each.attribute(), [](const auto& attribute) {
                return !attribute.ref_attr_name().empty() || attribute.has_g();
              });
  }
  if (changed) {
    copied_bytes_ += function.ByteSizeLong() + node.ByteSizeLong() * static_cast<std::size_t>(function.node_size());
    if (copied_bytes_ > kCopiedBytesMax)
      return InvalidArgument("TOO_LARGE", context.Where() + ": calls of functions are too large");
    calls_.push_back(function.node());
    for (auto& each : calls_.back()) Resolve(each, node, absent);
    nodes = &calls_.back();
  }
  EF_RETURN_IF_ERROR(ImportNodes(*nodes, {function.output().begin(), function.output().end()}, inner));
  for (int i = 0; i < node.output_size(); ++i) {
    if (node.output(i).empty()) continue;
    const Value* value = inner.Find(function.output(i));
    if (value == nullptr)
      return context.Bad("the function does not compute its output '" + function.output(i).substr(0, kNameMax) + "'");
    EF_RETURN_IF_ERROR(Define(scope, node.output(i), *value));
  }
  return OkStatus();
}

Result<std::vector<runtime::FoldingBuilder::Output>> Importer::ReadOutputs(Scope& scope) {
  std::vector<runtime::FoldingBuilder::Output> outputs;
  std::set<std::string> seen;
  for (const onnx::ValueInfoProto& output : model_.graph().output()) {
    Value* value = scope.Find(output.name());
    if (value == nullptr) return BadOnnx("output " + Quoted(output.name()) + " is computed by no node");
    if (!seen.insert(output.name()).second) return BadOnnx("output " + Quoted(output.name()) + " is there twice");
    if (output.name().size() > kNameMax) {
      return BadOnnx("output " + Quoted(output.name()) + ": names have at most " + std::to_string(kNameMax) + " bytes");
    }
    EF_ASSIGN_OR_RETURN(const TensorId id, Materialize(*value, output.name()));
    outputs.push_back({id, output.name()});
  }
  if (outputs.empty()) return BadOnnx("the graph has no outputs");
  return outputs;
}

Status FindParameters(runtime::Graph& graph) {
  std::map<TensorId, bool> trainable;  // constants; false: something else reads them too
  std::vector<TensorId> order;
  for (const runtime::Node& node : graph.nodes) {
    const bool weighted =
        std::holds_alternative<runtime::Conv2d>(node.op) || std::holds_alternative<runtime::FullyConnected>(node.op);
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const TensorId id = node.inputs[i];
      if (id == runtime::kAbsent || !graph.tensor(id).is_constant()) continue;
      const bool use = weighted && i > 0 && graph.tensor(id).type == runtime::DataType::kFloat32;
      const auto [entry, first] = trainable.emplace(id, use);
      if (first) order.push_back(id);
      entry->second = entry->second && use;
    }
  }
  for (const TensorId id : order) {
    if (!trainable[id]) continue;
    const runtime::Tensor& tensor = graph.tensor(id);
    for (std::size_t at = 0; at < tensor.data.size(); at += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, tensor.data.data() + at, sizeof value);
      if (!std::isfinite(value)) {
        return BadOnnx("the weights " + Quoted(tensor.name) + " hold NaN or infinity; train or export the network again");
      }
    }
    graph.parameters.push_back(id);
  }
  return OkStatus();
}

}  // namespace edgefleet::compiler
