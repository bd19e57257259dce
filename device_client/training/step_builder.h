// Adds the primitives of a training step to its program. Internal.
#pragma once

#include <functional>
#include <unordered_map>
#include <vector>

#include "device_client/training/step.h"

namespace edgefleet::training {

class StepBuilder {
 public:
  StepBuilder(TrainingStep& step, std::vector<ParameterPlace>& places);
  void Build();

 private:
  using Node = runtime::Node;
  using TensorId = runtime::TensorId;
  using View = runtime::onednn::View;
  using Dims = runtime::onednn::Dims;
  using Desc = dnnl::memory::desc;

  // Each adds the forward primitive at once and leaves its backward part in `backward_`, to be added in reverse order.
  void AddOperator(const runtime::Conv2d& op, const Node& node);
  void AddOperator(const runtime::FullyConnected& op, const Node& node);
  void AddOperator(const runtime::Pool2d& op, const Node& node);
  void AddOperator(const runtime::Reduce& op, const Node& node);
  void AddOperator(const runtime::Unary& op, const Node& node);
  void AddOperator(const runtime::Binary& op, const Node& node);
  void AddOperator(const runtime::Flatten& op, const Node& node);
  void AddOperator(const runtime::Softmax& op, const Node& node);
  template <typename Op>
  void AddOperator(const Op&, const Node&) {}  // CheckTrainable refuses it

  void AddPooling(const Node& node, dnnl::algorithm algorithm, const Dims& kernel, const Dims& strides, const Dims& before,
                  const Dims& after);
  template <typename Primitive, typename PrimitiveDesc>
  void AddWeightGradients(const PrimitiveDesc& pd, const Node& node, const View& source, const View& gradient);
  template <typename Primitive, typename PrimitiveDesc>
  void AddDataGradient(const PrimitiveDesc& pd, const Node& node, const Dims& weight_dims, const View& gradient);
  void AddLoss();
  // The gradient of a node's output with its fused ReLU undone; nothing if the loss does not depend on it.
  std::optional<View> GradientBehind(runtime::Activation activation, const Node& node);

  const runtime::Tensor& At(TensorId id) const { return step_.graph_->tensors[static_cast<std::size_t>(id)]; }
  Dims BatchDims(TensorId id) const;
  Desc PlainOf(TensorId id) const;
  // A constant in the layout `wanted`: a parameter's current value or a fixed weight. `dims` is the primitive's shape of it.
  View Weight(TensorId id, const Dims& dims, const Desc& wanted);
  std::optional<std::size_t> PlaceOf(TensorId id) const;
  // Where a primitive may write the gradient of a parameter in layout `desc`; FinishGradient() brings it home.
  View GradientTarget(TensorId id, const Desc& desc);
  void FinishGradient(TensorId id, const View& view);
  void Contribute(TensorId id, const View& gradient);
  bool NeedsGradient(TensorId id) const { return needs_gradient_[static_cast<std::size_t>(id)]; }
  void MarkNeeds(const Node& node);

  TrainingStep& step_;
  std::vector<ParameterPlace>& places_;
  runtime::onednn::Program& program_;
  std::unordered_map<TensorId, View> values_;
  std::unordered_map<TensorId, View> gradients_;
  std::vector<bool> needs_gradient_;
  std::vector<bool> has_gradient_;  // of places
  std::vector<std::function<void()>> backward_;
};

}  // namespace edgefleet::training
