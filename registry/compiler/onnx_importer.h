// The importer's state and its view of one node. Internal; the operators are in onnx_operators.cc.
#pragma once

#include <onnx/onnx_pb.h>

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "registry/compiler/onnx_tensor.h"

namespace edgefleet::compiler {

class OnnxImporter {
 public:
  OnnxImporter(const onnx::ModelProto& model, const OnnxLimits& limits)
      : model_(model), limits_(limits), elements_left_(2 * limits.elements_max) {}
  Result<IrGraph> Run();

 private:
  friend class NodeReader;

  Status CheckModel();
  Status ReadInitializers();
  Status ReadInputs();
  Status ReadNodes();
  Status ReadOutputs();
  Status TakeName(const std::string& name, std::string_view what);
  // Takes elements off what may be unpacked; a file may name one tensor many times.
  Status Charge(std::int64_t elements);
  Result<ValueId> AddActivation(const std::string& name, std::vector<std::int64_t> shape);

  const onnx::ModelProto& model_;
  const OnnxLimits limits_;
  std::int64_t elements_left_;
  int opset_ = 0;
  IrGraph graph_;
  std::unordered_set<std::string> names_;                              // of every value seen so far
  std::unordered_map<std::string, const onnx::TensorProto*> tensors_;  // initializers and Constant nodes
  std::map<std::string, OnnxConstant> made_;                           // Constant nodes that hold plain numbers
  std::unordered_map<std::string, ValueId> activations_;
  // By initializer and how it was changed, so that shared weights stay shared.
  std::map<std::pair<std::string, std::string>, ValueId> constants_;
  std::unordered_set<std::string> constant_names_;
};

// Reads one node: inputs, attributes (each must be known by the time Finish() is called), and adds what it becomes.
class NodeReader {
 public:
  NodeReader(OnnxImporter& importer, const onnx::NodeProto& node) : importer_(importer), node_(node) {}

  const std::string& type() const { return node_.op_type(); }
  int opset() const { return importer_.opset_; }
  Error Bad(const std::string& what) const;
  Error Unsupported(const std::string& what) const;

  Result<std::int64_t> Int(const char* name, std::int64_t fallback);
  Result<float> Float(const char* name, float fallback);
  Result<std::string> String(const char* name, const char* fallback);
  // Empty if absent.
  Result<std::vector<std::int64_t>> Ints(const char* name);
  void Ignore(const char* name) { known_.insert(name); }
  // Refuses attributes that nothing has read.
  Status Finish() const;

  int input_count() const { return node_.input_size(); }
  bool has_input(int index) const { return index < node_.input_size() && !node_.input(index).empty(); }
  const std::string& input_name(int index) const { return node_.input(index); }
  bool IsConstant(int index) const;
  Status CheckInputCount(int at_least, int at_most) const;
  Result<ValueId> Activation(int index) const;
  Result<OnnxConstant> Constant(int index) const;
  Result<OnnxConstant> FloatConstant(int index) const;
  // The values of a constant that broadcasts to one a channel of `target`; nothing if it does not.
  Result<std::optional<std::vector<float>>> PerChannel(const OnnxConstant& constant,
                                                       const std::vector<std::int64_t>& target) const;
  const std::vector<std::int64_t>& Shape(ValueId id) const { return importer_.graph_.value(id).shape; }

  // A constant of the graph made from input `index`; `change` names what was done to it.
  ValueId AddConstant(int index, const std::string& change, std::vector<std::int64_t> shape, std::vector<float> values);
  // The node's operator; its single output gets `shape`.
  Status Emit(IrOperator op, std::vector<ValueId> inputs, std::vector<std::int64_t> shape);
  // The node is a constant.
  Status EmitConstant();

 private:
  const onnx::AttributeProto* Find(const char* name, int type, Status& error);
  std::string Where() const;
  Status CheckOutputs() const;

  OnnxImporter& importer_;
  const onnx::NodeProto& node_;
  std::set<std::string> known_;
};

// Adds `node` to the graph, or says why not.
Status ImportNode(NodeReader& node);

}  // namespace edgefleet::compiler
