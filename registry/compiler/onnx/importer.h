// The importer's state: names, scopes and the graph that grows. Internal.
#pragma once

#include <onnx/onnx_pb.h>

#include <deque>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "device_client/runtime/folding_builder.h"
#include "registry/compiler/onnx/import.h"
#include "registry/compiler/onnx/tensor.h"

namespace edgefleet::compiler {

using runtime::TensorId;
using Shape = std::vector<std::int64_t>;

inline constexpr std::size_t kNameMax = 240;  // leaves the limit of devices room for the suffixes that passes add

// What a name stands for: a tensor of the graph, or a constant that nothing has used yet.
struct Value {
  TensorId id = runtime::kAbsent;
  const onnx::TensorProto* constant = nullptr;
};

// The names of one graph. Those of a branch see their surroundings; those of a function do not.
struct Scope {
  Scope* outer = nullptr;
  std::map<std::string, int> opsets;  // by domain; "" is the default one
  int depth = 0;                      // of branches and functions
  std::unordered_map<std::string, Value> values;

  Value* Find(const std::string& name);  // null if nothing is called so
};

using Nodes = google::protobuf::RepeatedPtrField<onnx::NodeProto>;

class Importer {
 public:
  // How dimensions that the model leaves open are taken: see InputSizes.
  struct Sizes {
    bool fixed_batch = false;
    std::int64_t open_default = 0;
  };

  Importer(const onnx::ModelProto& model, const ImportOptions& options, const Sizes& sizes)
      : model_(model), options_(options), sizes_(sizes), external_(options.external_data), builder_("") {}
  Result<runtime::Graph> Run();
  bool batch_is_dynamic() const { return batch_is_dynamic_; }

 private:
  friend class NodeContext;

  Status CheckModel(Scope& scope);
  Status ReadInputs(Scope& scope);
  Status ReadInput(const onnx::ValueInfoProto& input, const class InputSizes& sizes, Scope& scope);
  Status ReadInitializers(const onnx::GraphProto& graph, Scope& scope);
  Result<std::vector<TensorId>> ImportBranch(const onnx::GraphProto& graph, Scope& scope);
  // The nodes that `wanted` needs, each after those that it reads from.
  Status ImportNodes(const Nodes& nodes, const std::vector<std::string>& wanted, Scope& scope);
  Status ImportNode(const onnx::NodeProto& node, Scope& scope);
  Status ImportCall(const onnx::FunctionProto& function, const onnx::NodeProto& node, Scope& scope);
  Result<std::vector<runtime::FoldingBuilder::Output>> ReadOutputs(Scope& scope);

  Status Define(Scope& scope, const std::string& name, Value value);
  // The tensor, made of the initializer at its first use.
  Result<TensorId> Materialize(Value& value, const std::string& name);
  // A name like `wanted` that no tensor has, short enough for devices.
  std::string FreeName(const std::string& wanted);

  const onnx::ModelProto& model_;
  const ImportOptions& options_;
  const Sizes sizes_;
  ExternalData external_;
  runtime::FoldingBuilder builder_;
  std::unordered_set<std::string> names_;       // of tensors
  std::unordered_map<std::string, int> taken_;  // how often a free name like it was asked for
  std::map<std::pair<std::string, std::string>, const onnx::FunctionProto*> functions_;  // by domain and name
  // Weights that a layer reads in another form, so that shared weights stay shared.
  std::map<std::pair<const void*, std::string>, TensorId> changed_;
  std::map<TensorId, TensorId> dequantized_;  // outputs of Dequantize nodes whose input is a constant
  std::deque<Nodes> calls_;                   // nodes of functions with a call's attributes in place
  std::size_t nodes_ = 0;
  std::size_t copied_bytes_ = 0;
  bool batch_is_dynamic_ = false;
  bool sizes_are_dynamic_ = false;  // other dimensions than the batch
};

// Parameters as ImportOnnx promises them. INVALID_ARGUMENT [BAD_ONNX] for one that is not finite.
Status FindParameters(runtime::Graph& graph);

}  // namespace edgefleet::compiler
