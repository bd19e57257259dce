// int8 nodes of a partition as steps over our own kernels (device_client/runtime/kernels), which are faster than oneDNN's int8
// primitives and exact. Internal to the onednn delegate.
#pragma once

#include <functional>
#include <optional>
#include <unordered_map>

#include "device_client/runtime/delegate.h"
#include "device_client/runtime/kernels/elements.h"
#include "device_client/runtime/kernels/int8_conv.h"
#include "device_client/runtime/onednn/program.h"

namespace edgefleet::runtime::onednn {

// Whether kernels of ours exist on this processor and run the node. Operators that only reshape are not counted.
bool KernelsRun(const Node& node, const Graph& graph);

// Between its nodes activations are offset bytes, channels last (kernels/int8_conv.h); the partition's other steps see int8 in
// row-major order, which is made when somebody asks for it.
class Int8Steps {
 public:
  // The tensor in row-major order, made by other steps.
  using PlainView = std::function<View(TensorId)>;

  Int8Steps(const PartitionSpec& spec, Program& program, PlainView plain);

  // Adds the node's steps if KernelsRun() and its values allow it, or if it reshapes bytes that are here; false otherwise.
  bool Add(const Node& node);

  // Whether the tensor is here as bytes, and a step that makes int8 in row-major order of it.
  bool Holds(TensorId id) const { return held_.contains(id); }
  View ToPlain(TensorId id);

  // Where the result of a later node goes if it is row-major: fp32 or uint8.
  void SendTo(TensorId id, const View& plain) { targets_[id] = plain; }
  // Such a result of a node that was added.
  std::optional<View> Floats(TensorId id) const {
    const auto known = floats_.find(id);
    return known != floats_.end() ? std::optional(known->second) : std::nullopt;
  }

 private:
  // Elements in row-major order would be [outer, channels, height * width]; they are [outer, height * width, channels].
  struct Held {
    View view;
    std::int64_t channels = 1;
    std::int64_t height = 1;
    std::int64_t width = 1;

    std::int64_t pixels() const { return height * width; }
    bool is_rows() const { return channels == 1 || pixels() == 1; }
  };

  bool AddOperator(const Conv2d& op, const Node& node);
  bool AddOperator(const FullyConnected& op, const Node& node);
  bool AddOperator(const Pool2d& op, const Node& node);
  bool AddOperator(const Reduce& op, const Node& node);
  bool AddOperator(const Unary& op, const Node& node);
  bool AddOperator(const Binary& op, const Node& node);
  bool AddOperator(const Quantize& op, const Node& node);
  bool AddOperator(const Dequantize& op, const Node& node);
  bool AddOperator(const Reshape&, const Node& node) { return AddAlias(node); }
  bool AddOperator(const Flatten&, const Node& node) { return AddAlias(node); }
  bool AddOperator(const Squeeze&, const Node& node) { return AddAlias(node); }
  bool AddOperator(const Unsqueeze&, const Node& node) { return AddAlias(node); }
  template <typename Op>
  bool AddOperator(const Op&, const Node&) {
    return false;
  }

  bool AddAlias(const Node& node);
  // Between uint8, which stays outside, and int8: the same bytes.
  bool AddSignChange(const Node& node);
  // A weighted operator of this geometry; false if its sums could leave int32.
  bool AddWeighted(const Node& node, const kernels::Convolution& shape, std::int64_t batch, const Activation& activation,
                   const Held& source, const Held& target);

  const Tensor& At(TensorId id) const { return spec_.graph->tensor(id); }
  // The tensor's bytes, brought here if need be: as they are, as an image with channels last, and in row-major order.
  Held Bytes(TensorId id);
  Held Pixels(TensorId id);
  Held Rows(TensorId id);
  // Memory for an image with channels last, if the tensor has 4 dimensions, else for rows.
  Held Make(TensorId id);
  Held MakeRows(TensorId id) { return {NewBytes(ElementCount(At(id).shape))}; }
  Held FromPlain(TensorId id, const Held& like);
  View NewBytes(std::int64_t count);

  const PartitionSpec& spec_;
  Program& program_;
  PlainView plain_;
  std::unordered_map<TensorId, Held> held_;
  std::unordered_map<TensorId, View> targets_;
  std::unordered_map<TensorId, View> floats_;
};

}  // namespace edgefleet::runtime::onednn
