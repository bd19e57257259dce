// Steps of a program that compute with fp32 and bf16 primitives. Internal to the onednn delegate.
//
// Weights of narrower types are widened to fp32 when the program is built. A product of two bf16 operands is a bf16 primitive
// (sums are fp32); one of bf16 activations with other weights is computed in fp32 and rounded.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "device_client/runtime/delegate.h"
#include "device_client/runtime/onednn/program.h"

namespace edgefleet::runtime::onednn {

class FloatSteps {
 public:
  // `view_of` gives an activation's or fp32 or bf16 constant's place in whatever layout it has; results go to `views`.
  FloatSteps(const PartitionSpec& spec, Program& program, std::function<View(TensorId)> view_of,
             std::unordered_map<TensorId, View>& views)
      : spec_(spec), program_(program), view_of_(std::move(view_of)), views_(views) {}

  // False if FloatObjection() or oneDNN has an objection; then only unused steps were added. Throws dnnl::error.
  bool Add(const Node& node);

 private:
  using Type = dnnl::memory::data_type;

  void AddOperator(const Conv2d& op, const Node& node);
  void AddOperator(const ConvTranspose2d& op, const Node& node);
  void AddOperator(const FullyConnected& op, const Node& node);
  void AddOperator(const MatMul& op, const Node& node);
  void AddOperator(const Lstm& op, const Node& node);
  void AddOperator(const Gru& op, const Node& node);
  void AddOperator(const Rnn& op, const Node& node);
  void AddOperator(const Pool2d& op, const Node& node);
  void AddOperator(const Reduce& op, const Node& node);
  void AddOperator(const BatchNorm& op, const Node& node);
  void AddOperator(const GroupNorm& op, const Node& node);
  void AddOperator(const LayerNorm& op, const Node& node);
  void AddOperator(const Lrn& op, const Node& node);
  void AddOperator(const Softmax& op, const Node& node);
  void AddOperator(const Resize& op, const Node& node);
  void AddOperator(const Unary& op, const Node& node);
  void AddOperator(const Binary& op, const Node& node);
  template <typename Op>
  void AddOperator(const Op&, const Node&) {}  // FloatObjection() has one

  const Tensor& At(TensorId id) const { return spec_.graph->tensor(id); }
  // In a layout of its producer's choice, as `type`.
  View Any(TensorId id, Type type);
  // Row-major, seen as `dims`, as `type`; a constant of a narrow type is widened.
  View Rows(TensorId id, const Dims& dims, Type type);
  // Constant or computed weights that lie as `from` says, laid out as `wanted`.
  View Weights(TensorId id, const dnnl::memory::desc& from, const dnnl::memory::desc& wanted);
  // The bias of `channels`, if the node has one.
  std::optional<View> Bias(const Node& node, std::int64_t channels);
  // A result of the output's dimensions, of any layout and floating type.
  void Put(TensorId id, const View& view);
  // A row-major result seen as other dimensions.
  void PutRows(TensorId id, const View& view);
  Type ProductType(TensorId a, TensorId b) const;

  void AddPooling(const Node& node, dnnl::algorithm algorithm, const Dims& strides, const Dims& kernel, const Dims& dilations,
                  const Dims& before, const Dims& after);
  View Apply(dnnl::algorithm algorithm, const View& a, const View& b);
  // Matrices of recurrent layers: [D, G * H, K] constants with gates in the order `gates`, and biases summed to [D, G, H].
  View GateWeights(TensorId id, const std::vector<int>& gates, std::int64_t hidden, const dnnl::memory::desc& wanted);
  template <typename Op>
  void AddRecurrent(const Op& op, const Node& node);

  const PartitionSpec& spec_;
  Program& program_;
  std::function<View(TensorId)> view_of_;
  std::unordered_map<TensorId, View>& views_;
};

}  // namespace edgefleet::runtime::onednn
