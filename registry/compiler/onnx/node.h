// One ONNX node as the functions that import operators see it. Internal.
#pragma once

#include <onnx/onnx_pb.h>

#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/compiler/onnx/importer.h"

namespace edgefleet::compiler {

class NodeContext {
 public:
  NodeContext(Importer& importer, Scope& scope, const onnx::NodeProto& node, int opset)
      : importer_(importer), scope_(scope), node_(node), opset_(opset) {}

  const std::string& type() const { return node_.op_type(); }
  int opset() const { return opset_; }
  Error Bad(const std::string& what) const;
  Error Unsupported(const std::string& what) const;
  std::string Where() const;

  // Attributes; those that nothing has asked for are refused at the end.
  bool HasAttribute(std::string_view name) const;
  Result<std::int64_t> Int(const char* name, std::int64_t fallback);
  Result<bool> Flag(const char* name, bool fallback);
  Result<float> Float(const char* name, float fallback);
  Result<std::string> String(const char* name, const char* fallback);
  Result<std::vector<std::int64_t>> Ints(const char* name);  // empty if absent
  Result<std::vector<float>> Floats(const char* name);
  Result<std::vector<std::string>> Strings(const char* name);
  Result<const onnx::TensorProto*> TensorAttribute(const char* name);  // null if absent
  Result<const onnx::GraphProto*> GraphAttribute(const char* name);
  Result<runtime::DataType> TypeAttribute(const char* name, int fallback);
  void Ignore(const char* name) { known_.insert(name); }
  Status CheckAttributes() const;

  // Inputs.
  int input_count() const { return node_.input_size(); }
  bool has_input(int index) const { return index < node_.input_size() && !node_.input(index).empty(); }
  Status CheckInputs(int at_least, int at_most) const;
  Result<TensorId> Input(int index);  // kAbsent for one that is not there
  Result<std::vector<TensorId>> Inputs();
  const runtime::Tensor& At(TensorId id) const { return importer_.builder_.At(id); }
  const Shape& ShapeOf(TensorId id) const { return At(id).shape; }
  std::int64_t Rank(TensorId id) const { return static_cast<std::int64_t>(ShapeOf(id).size()); }
  runtime::DataType TypeOf(TensorId id) const { return At(id).type; }
  // The axis in [0, rank).
  Result<std::int64_t> Axis(std::int64_t axis, std::int64_t rank) const;

  // Values of constants.
  // A float32 constant, or one that is dequantized, of so many dimensions (any if negative).
  bool IsWeights(int index, int rank = -1);
  // A value that follows from the sizes of the inputs, or from constants alone.
  bool IsKnown(TensorId id) const { return importer_.builder_.Known(id) != nullptr; }
  bool IsConstantId(TensorId id) const { return At(id).is_constant(); }
  Result<std::vector<std::int64_t>> Integers(int index);  // int64, int32, int8, uint8, bool
  Result<std::vector<float>> FloatValues(int index);
  Result<std::vector<std::int64_t>> IntegersOf(TensorId id);
  Result<std::vector<float>> Floats(TensorId id);

  // New constants.
  Result<TensorId> Constant(runtime::DataType type, Shape shape, ByteView bytes,
                            std::optional<runtime::Quantization> quantization = std::nullopt, const std::string& name = "");
  Result<TensorId> List(const std::vector<std::int64_t>& values);  // int64 [n]
  Result<TensorId> Scalar(float value);
  Result<TensorId> Scalar(runtime::DataType type, double value);
  Result<TensorId> FloatList(const std::vector<float>& values, Shape shape);

  // Weights as a layer needs them: `change` names what `make` does to the values; shared weights stay shared, and those that
  // are dequantized stay quantized. `make` gets values of `size` bytes each.
  struct Changed {
    Shape shape;
    Bytes bytes;
    int axis = -1;  // where a scale a slice is now
  };
  using Change = std::function<Changed(const Shape& shape, ByteView bytes, std::size_t size, int axis)>;
  // Nothing if the input is no constant.
  Result<std::optional<TensorId>> ChangeConstant(int index, const std::string& change, const Change& make);
  Result<std::optional<TensorId>> ChangeConstantId(TensorId id, const std::string& change, const Change& make);

  // Outputs.
  int output_count() const { return node_.output_size(); }
  bool wants(int index) const { return index < node_.output_size() && !node_.output(index).empty(); }
  Status CheckOutputs(int at_most) const;
  // The output is what `id` is.
  Status Bind(int index, TensorId id);
  Status BindConstant(int index, const onnx::TensorProto& tensor);
  // A step on the way: one tensor without a name of ONNX's.
  Result<TensorId> Emit(runtime::Operator op, std::vector<TensorId> inputs,
                        std::optional<runtime::Quantization> quantization = std::nullopt);
  // The node's own operator, for all its outputs.
  Status Finish(runtime::Operator op, std::vector<TensorId> inputs,
                std::optional<runtime::Quantization> quantization = std::nullopt);
  Result<std::vector<TensorId>> EmitAll(runtime::Operator op, std::vector<TensorId> inputs, const std::vector<bool>& outputs);

  Result<TensorId> Unary(runtime::UnaryKind kind, TensorId x, float alpha = 0, float beta = 0);
  // As numpy: int8, uint8 and bool values that stand for themselves are computed in int32.
  Result<TensorId> Binary(runtime::BinaryKind kind, TensorId a, TensorId b);
  Result<TensorId> Cast(TensorId x, runtime::DataType to);
  Result<TensorId> Reshape(TensorId x, const std::vector<std::int64_t>& shape);
  Result<TensorId> Transpose(TensorId x, std::vector<std::int64_t> permutation);
  Result<TensorId> Unsqueeze(TensorId x, std::vector<std::int64_t> axes);
  Result<TensorId> Squeeze(TensorId x, std::vector<std::int64_t> axes);
  Result<TensorId> Reduce(runtime::ReduceKind kind, TensorId x, std::vector<std::int64_t> axes, bool keep_dims);

  // Sizes other than the batch may vary from inference to inference.
  bool sizes_are_dynamic() const { return importer_.sizes_are_dynamic_; }
  bool batch_is_dynamic() const { return importer_.batch_is_dynamic_; }

  // A branch: its nodes become part of the graph here. Its outputs.
  Result<std::vector<TensorId>> Inline(const onnx::GraphProto& graph);
  // For outputs of Dequantize: which constant they stand for.
  void RememberDequantized(TensorId real, TensorId constant) { importer_.dequantized_.emplace(real, constant); }
  std::optional<TensorId> Dequantized(TensorId real) const;
  Result<TensorId> TensorFrom(const onnx::TensorProto& tensor);

 private:
  const onnx::AttributeProto* Find(const char* name, int type, Status& error);
  Result<std::vector<TensorId>> Add(const std::string& name, runtime::Operator op, std::vector<TensorId> inputs,
                                    std::vector<std::string> outputs, std::optional<runtime::Quantization> quantization);
  std::string StepName();

  Importer& importer_;
  Scope& scope_;
  const onnx::NodeProto& node_;
  int opset_;
  int steps_ = 0;
  std::set<TensorId> own_;  // steps, which take the output's name if they turn out to be it
  std::set<std::string, std::less<>> known_;
};

// A convolution as the node's attributes describe it, 1-D or 2-D; `bias` may be kAbsent. Weights that are constants, or
// dequantized ones, stay so.
Result<TensorId> EmitConvolution(NodeContext& node, TensorId x, TensorId weights, TensorId bias,
                                 runtime::Activation activation = {});

// As numpy.matmul; by FullyConnected where `b` is constant weights.
Result<TensorId> EmitMatMul(NodeContext& node, TensorId a, TensorId b);

}  // namespace edgefleet::compiler
