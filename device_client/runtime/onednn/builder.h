// Turns a partition's nodes into a oneDNN program. Internal to the onednn delegate.
#pragma once

#include <unordered_map>
#include <vector>

#include "device_client/runtime/delegate.h"
#include "device_client/runtime/onednn/float_steps.h"
#include "device_client/runtime/onednn/int8_steps.h"
#include "device_client/runtime/onednn/program.h"

namespace edgefleet::runtime::onednn {

struct BoundTensor {
  TensorId tensor;
  View view;
};

// Between nodes activations keep the layout their producer chose; inputs and outputs of the partition are row-major.
class PartitionBuilder {
 public:
  PartitionBuilder(const PartitionSpec& spec, Program& program);
  // Adds all nodes; throws dnnl::error. Returns the external views to bind.
  std::vector<BoundTensor> Build();

 private:
  void AddNode(const Node& node);
  // int8 primitives, where our kernels do not run.
  void AddOperator(const Conv2d& op, const Node& node);
  void AddOperator(const FullyConnected& op, const Node& node);
  void AddOperator(const Pool2d& op, const Node& node);
  void AddOperator(const Reduce& op, const Node& node);
  void AddOperator(const Binary& op, const Node& node);
  void AddOperator(const Reshape&, const Node& node) { AddAlias(node); }
  void AddOperator(const Squeeze&, const Node& node) { AddAlias(node); }
  void AddOperator(const Unsqueeze&, const Node& node) { AddAlias(node); }
  void AddOperator(const Flatten&, const Node& node) { AddAlias(node); }
  void AddOperator(const Quantize& op, const Node& node);
  void AddOperator(const Dequantize& op, const Node& node);

  template <typename Op>
  void AddOperator(const Op&, const Node& node) {
    AddReference(node);
  }

  // The input's bytes under the output's shape.
  void AddAlias(const Node& node);
  // A step that runs the reference's kernel on row-major buffers: for what only moves elements, or is not worth a primitive.
  void AddReference(const Node& node);

  void AddPooling(const Node& node, dnnl::algorithm algorithm, const Dims& kernel, const Dims& strides, const Dims& pads_before,
                  const Dims& pads_after);

  const Tensor& At(TensorId id) const { return spec_.graph->tensors[static_cast<std::size_t>(id)]; }
  Dims DimsOf(TensorId id) const;
  dnnl::memory::desc PlainOf(TensorId id) const;
  // A constant is bound where it lies; what our kernels hold is brought into row-major order.
  const View& ViewOf(TensorId id);
  const View& Input(const Node& node, std::size_t index = 0) { return ViewOf(node.inputs[index]); }
  View PlainViewOf(TensorId id) { return program_.Reordered(ViewOf(id), PlainOf(id)); }
  View Bias(const Node& node);
  // The input folded into the bias, for primitives without zero points.
  View FoldedBias(const Node& node);
  // Scales from accumulator to output, for int8; 0 is all channels alike, otherwise dimension 1.
  void SetRequantization(const Node& node, dnnl::primitive_attr& attributes) const;

  const PartitionSpec& spec_;
  Program& program_;
  std::unordered_map<TensorId, View> views_;
  Int8Steps int8_;
  FloatSteps floats_;
};

}  // namespace edgefleet::runtime::onednn
