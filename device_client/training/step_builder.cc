#include "device_client/training/step_builder.h"

#include <algorithm>

#include "device_client/training/loss.h"

namespace edgefleet::training {
namespace {

using dnnl::algorithm;
using dnnl::prop_kind;
using runtime::Activation;
using runtime::UnaryKind;
using runtime::onednn::AnyLayout;
using runtime::onednn::Dims;
using runtime::onednn::Engine;
using runtime::onednn::NewAttributes;
using runtime::onednn::Plain;
using runtime::onednn::Program;

constexpr auto kFloat = dnnl::memory::data_type::f32;

// Reverse-mode needs only the output of this ReLU.
constexpr algorithm kRelu = algorithm::eltwise_relu_use_dst_for_bwd;

dnnl::primitive_attr WithActivation(Activation activation) {
  dnnl::primitive_attr attributes = NewAttributes();
  if (activation.kind == UnaryKind::kRelu) {
    dnnl::post_ops post_ops;
    post_ops.append_eltwise(1.0F, algorithm::eltwise_relu, 0.0F, 0.0F);
    attributes.set_post_ops(post_ops);
  }
  return attributes;
}

Dims GroupedDims(const std::vector<std::int64_t>& shape, std::int32_t groups) {
  if (groups == 1) return shape;
  return {groups, shape[0] / groups, shape[1], shape[2], shape[3]};
}

}  // namespace

StepBuilder::StepBuilder(TrainingStep& step, std::vector<ParameterPlace>& places)
    : step_(step),
      places_(places),
      program_(step.program_),
      needs_gradient_(step.graph_->tensors.size(), false),
      has_gradient_(places.size(), false) {}

void StepBuilder::Build() {
  const TensorId input = step_.graph_->inputs[0];
  step_.input_ = program_.External(PlainOf(input));
  step_.labels_ = program_.External(Plain({step_.batch_}, dnnl::memory::data_type::s32));
  step_.values_.resize(places_.size());
  step_.gradients_.resize(places_.size());
  values_[input] = step_.input_;
  for (const Node& node : step_.graph_->nodes) {
    MarkNeeds(node);
    std::visit([&](const auto& op) { AddOperator(op, node); }, node.op);
  }
  AddLoss();
  while (!backward_.empty()) {
    backward_.back()();
    backward_.pop_back();
  }
}

void StepBuilder::MarkNeeds(const Node& node) {
  const bool needs = std::ranges::any_of(node.inputs, [&](TensorId id) { return PlaceOf(id) || NeedsGradient(id); });
  needs_gradient_[static_cast<std::size_t>(node.outputs[0])] = needs;
}

Dims StepBuilder::BatchDims(TensorId id) const {
  Dims dims = At(id).shape;
  dims[0] = step_.batch_;
  return dims;
}

StepBuilder::Desc StepBuilder::PlainOf(TensorId id) const { return Plain(BatchDims(id), kFloat); }

std::optional<std::size_t> StepBuilder::PlaceOf(TensorId id) const {
  const auto found = std::ranges::find(places_, id, &ParameterPlace::tensor);
  if (found == places_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - places_.begin());
}

StepBuilder::View StepBuilder::Weight(TensorId id, const Dims& dims, const Desc& wanted) {
  const auto index = PlaceOf(id);
  if (!index) return runtime::onednn::Constant(program_, Plain(dims, kFloat), At(id).data.data(), wanted);
  ParameterPlace& place = places_[*index];
  if (!place.desc) place.desc = wanted;
  std::optional<View>& value = step_.values_[*index];
  if (!value) value = program_.External(*place.desc);
  return program_.Reordered(*value, wanted);
}

StepBuilder::View StepBuilder::GradientTarget(TensorId id, const Desc& desc) {
  const std::size_t index = *PlaceOf(id);
  std::optional<View>& home = step_.gradients_[index];
  if (!home) home = program_.External(*places_[index].desc);
  return has_gradient_[index] || home->desc != desc ? program_.Temporary(desc) : *home;
}

void StepBuilder::FinishGradient(TensorId id, const View& view) {
  const std::size_t index = *PlaceOf(id);
  const View& home = *step_.gradients_[index];
  if (view.slot != home.slot) {
    dnnl::primitive_attr attributes = NewAttributes();
    dnnl::post_ops post_ops;
    if (has_gradient_[index]) post_ops.append_sum(1.0F);  // a parameter that several nodes use
    attributes.set_post_ops(post_ops);
    program_.Reorder(view, home, attributes);
  }
  has_gradient_[index] = true;
}

void StepBuilder::Contribute(TensorId id, const View& gradient) {
  const auto [former, first] = gradients_.try_emplace(id, gradient);
  if (first) return;
  const View earlier = former->second;
  const dnnl::sum::primitive_desc pd(earlier.desc, {1.0F, 1.0F}, {earlier.desc, gradient.desc}, Engine(), NewAttributes());
  const View total = program_.Temporary(earlier.desc);
  program_.Add<dnnl::sum>(pd, {{DNNL_ARG_MULTIPLE_SRC, earlier}, {DNNL_ARG_MULTIPLE_SRC + 1, gradient}, {DNNL_ARG_DST, total}});
  former->second = total;
}

std::optional<StepBuilder::View> StepBuilder::GradientBehind(Activation activation, const Node& node) {
  const auto found = gradients_.find(node.outputs[0]);
  if (found == gradients_.end()) return std::nullopt;
  if (activation.kind == UnaryKind::kIdentity) return found->second;
  const View out = values_.at(node.outputs[0]);
  const dnnl::eltwise_forward::desc hint(prop_kind::forward_training, kRelu, out.desc, 0.0F);
  const dnnl::eltwise_forward::primitive_desc hint_pd(hint, NewAttributes(), Engine());
  const View above = program_.Reordered(found->second, out.desc);
  const dnnl::eltwise_backward::desc desc(kRelu, out.desc, out.desc, 0.0F);
  const dnnl::eltwise_backward::primitive_desc pd(desc, NewAttributes(), Engine(), hint_pd);
  const View below = program_.Temporary(out.desc);
  program_.Add<dnnl::eltwise_backward>(pd, {{DNNL_ARG_DST, out}, {DNNL_ARG_DIFF_DST, above}, {DNNL_ARG_DIFF_SRC, below}});
  return below;
}

void StepBuilder::AddLoss() {
  const TensorId id = LogitsOf(*step_.graph_);
  if (!NeedsGradient(id)) return;
  const View logits = program_.Reordered(values_.at(id), PlainOf(id));
  const View gradient = program_.Temporary(PlainOf(id));
  const auto rows = static_cast<std::size_t>(step_.batch_);
  const auto count = rows * static_cast<std::size_t>(At(id).shape[1]);
  program_.AddNative(
      [this_step = &step_, rows, count](const std::vector<std::byte*>& data) {
        this_step->loss_ = SoftmaxCrossEntropy({reinterpret_cast<const float*>(data[0]), count},
                                               {reinterpret_cast<const std::int32_t*>(data[1]), rows},
                                               {reinterpret_cast<float*>(data[2]), count});
        return OkStatus();
      },
      {logits, step_.labels_, gradient});
  Contribute(id, gradient);
}

void StepBuilder::AddOperator(const runtime::Conv2d& op, const Node& node) {
  const TensorId in = node.inputs[0];
  const TensorId weights = node.inputs[1];
  const TensorId out = node.outputs[0];
  const bool biased = node.inputs.size() > 2;
  const Dims weight_dims = GroupedDims(At(weights).shape, op.groups);
  const Dims bias_dims{At(weights).shape[0]};
  const Dims strides{op.strides[0], op.strides[1]};
  const Dims dilations{op.dilations[0] - 1, op.dilations[1] - 1};
  const Dims before{op.pads[0], op.pads[1]};
  const Dims after{op.pads[2], op.pads[3]};
  const Desc any_in = AnyLayout(BatchDims(in), kFloat);
  const Desc any_weights = AnyLayout(weight_dims, kFloat);
  const Desc any_out = AnyLayout(BatchDims(out), kFloat);
  const Desc bias = biased ? Plain(bias_dims, kFloat) : Desc();

  const dnnl::convolution_forward::desc desc(prop_kind::forward_training, algorithm::convolution_direct, any_in, any_weights,
                                             bias, any_out, strides, dilations, before, after);
  const dnnl::convolution_forward::primitive_desc pd(desc, WithActivation(op.activation), Engine());
  const View source = program_.Reordered(values_.at(in), pd.src_desc());
  Program::Arguments arguments{{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, Weight(weights, weight_dims, pd.weights_desc())}};
  if (biased) arguments.emplace_back(DNNL_ARG_BIAS, Weight(node.inputs[2], bias_dims, bias));
  values_[out] = program_.Temporary(pd.dst_desc());
  arguments.emplace_back(DNNL_ARG_DST, values_[out]);
  program_.Add<dnnl::convolution_forward>(pd, std::move(arguments));

  // A backward primitive's hint must not carry post-ops.
  const dnnl::convolution_forward::primitive_desc hint(desc, NewAttributes(), Engine());
  backward_.push_back([=, this, &node] {
    const auto gradient = GradientBehind(op.activation, node);
    if (!gradient) return;
    const bool bias_learns = biased && PlaceOf(node.inputs[2]);
    if (PlaceOf(weights) || bias_learns) {
      const dnnl::convolution_backward_weights::desc backward(algorithm::convolution_direct, any_in, any_weights,
                                                              bias_learns ? bias : Desc(), any_out, strides, dilations, before,
                                                              after);
      const dnnl::convolution_backward_weights::primitive_desc backward_pd(backward, NewAttributes(), Engine(), hint);
      AddWeightGradients<dnnl::convolution_backward_weights>(backward_pd, node, source, *gradient);
    }
    if (NeedsGradient(in)) {
      const dnnl::convolution_backward_data::desc backward(algorithm::convolution_direct, any_in, any_weights, any_out, strides,
                                                           dilations, before, after);
      const dnnl::convolution_backward_data::primitive_desc backward_pd(backward, NewAttributes(), Engine(), hint);
      AddDataGradient<dnnl::convolution_backward_data>(backward_pd, node, weight_dims, *gradient);
    }
  });
}

void StepBuilder::AddOperator(const runtime::FullyConnected& op, const Node& node) {
  const TensorId in = node.inputs[0];
  const TensorId weights = node.inputs[1];
  const TensorId out = node.outputs[0];
  const bool biased = node.inputs.size() > 2;
  const Dims weight_dims = At(weights).shape;
  const Dims bias_dims{At(weights).shape[0]};
  const Desc any_weights = AnyLayout(weight_dims, kFloat);
  const Desc bias = biased ? Plain(bias_dims, kFloat) : Desc();

  const dnnl::inner_product_forward::desc desc(prop_kind::forward_training, PlainOf(in), any_weights, bias, PlainOf(out));
  const dnnl::inner_product_forward::primitive_desc pd(desc, WithActivation(op.activation), Engine());
  const View source = program_.Reordered(values_.at(in), pd.src_desc());
  Program::Arguments arguments{{DNNL_ARG_SRC, source}, {DNNL_ARG_WEIGHTS, Weight(weights, weight_dims, pd.weights_desc())}};
  if (biased) arguments.emplace_back(DNNL_ARG_BIAS, Weight(node.inputs[2], bias_dims, bias));
  values_[out] = program_.Temporary(pd.dst_desc());
  arguments.emplace_back(DNNL_ARG_DST, values_[out]);
  program_.Add<dnnl::inner_product_forward>(pd, std::move(arguments));

  const dnnl::inner_product_forward::primitive_desc hint(desc, NewAttributes(), Engine());
  backward_.push_back([=, this, &node] {
    const auto gradient = GradientBehind(op.activation, node);
    if (!gradient) return;
    const bool bias_learns = biased && PlaceOf(node.inputs[2]);
    if (PlaceOf(weights) || bias_learns) {
      const dnnl::inner_product_backward_weights::desc backward(PlainOf(in), any_weights, bias_learns ? bias : Desc(),
                                                                PlainOf(out));
      const dnnl::inner_product_backward_weights::primitive_desc backward_pd(backward, NewAttributes(), Engine(), hint);
      AddWeightGradients<dnnl::inner_product_backward_weights>(backward_pd, node, source, *gradient);
    }
    if (NeedsGradient(in)) {
      const dnnl::inner_product_backward_data::desc backward(PlainOf(in), any_weights, PlainOf(out));
      const dnnl::inner_product_backward_data::primitive_desc backward_pd(backward, NewAttributes(), Engine(), hint);
      AddDataGradient<dnnl::inner_product_backward_data>(backward_pd, node, weight_dims, *gradient);
    }
  });
}

template <typename Primitive, typename PrimitiveDesc>
void StepBuilder::AddWeightGradients(const PrimitiveDesc& pd, const Node& node, const View& source, const View& gradient) {
  const TensorId weights = node.inputs[1];
  const bool weights_learn = PlaceOf(weights).has_value();
  const bool bias_learns = node.inputs.size() > 2 && PlaceOf(node.inputs[2]);
  const View target =
      weights_learn ? GradientTarget(weights, pd.diff_weights_desc()) : program_.Temporary(pd.diff_weights_desc());
  Program::Arguments arguments{{DNNL_ARG_SRC, program_.Reordered(source, pd.src_desc())},
                               {DNNL_ARG_DIFF_DST, program_.Reordered(gradient, pd.diff_dst_desc())},
                               {DNNL_ARG_DIFF_WEIGHTS, target}};
  View bias_target;
  if (bias_learns) {
    bias_target = GradientTarget(node.inputs[2], pd.diff_bias_desc());
    arguments.emplace_back(DNNL_ARG_DIFF_BIAS, bias_target);
  }
  program_.Add<Primitive>(pd, std::move(arguments));
  if (weights_learn) FinishGradient(weights, target);
  if (bias_learns) FinishGradient(node.inputs[2], bias_target);
}

template <typename Primitive, typename PrimitiveDesc>
void StepBuilder::AddDataGradient(const PrimitiveDesc& pd, const Node& node, const Dims& weight_dims, const View& gradient) {
  const View target = program_.Temporary(pd.diff_src_desc());
  program_.Add<Primitive>(pd, {{DNNL_ARG_DIFF_DST, program_.Reordered(gradient, pd.diff_dst_desc())},
                               {DNNL_ARG_WEIGHTS, Weight(node.inputs[1], weight_dims, pd.weights_desc())},
                               {DNNL_ARG_DIFF_SRC, target}});
  Contribute(node.inputs[0], target);
}

void StepBuilder::AddPooling(const Node& node, algorithm kind, const Dims& kernel, const Dims& strides, const Dims& before,
                             const Dims& after) {
  const TensorId in = node.inputs[0];
  const TensorId out = node.outputs[0];
  const View source = values_.at(in);
  const dnnl::pooling_forward::desc desc(prop_kind::forward_training, kind, source.desc, AnyLayout(BatchDims(out), kFloat),
                                         strides, kernel, before, after);
  const dnnl::pooling_forward::primitive_desc pd(desc, NewAttributes(), Engine());
  const View result = program_.Temporary(pd.dst_desc());
  values_[out] = result;
  Program::Arguments arguments{{DNNL_ARG_SRC, source}, {DNNL_ARG_DST, result}};
  std::optional<View> workspace;  // where each maximum came from
  if (pd.workspace_desc().get_size() > 0) {
    workspace = program_.Temporary(pd.workspace_desc());
    arguments.emplace_back(DNNL_ARG_WORKSPACE, *workspace);
  }
  program_.Add<dnnl::pooling_forward>(pd, std::move(arguments));

  backward_.push_back([=, this, &node] {
    const auto gradient = GradientBehind({}, node);
    if (!gradient || !NeedsGradient(in)) return;
    const dnnl::pooling_backward::desc backward(kind, source.desc, result.desc, strides, kernel, before, after);
    const dnnl::pooling_backward::primitive_desc backward_pd(backward, NewAttributes(), Engine(), pd);
    const View target = program_.Temporary(source.desc);
    Program::Arguments backward_arguments{{DNNL_ARG_DIFF_DST, program_.Reordered(*gradient, result.desc)},
                                          {DNNL_ARG_DIFF_SRC, target}};
    if (workspace) backward_arguments.emplace_back(DNNL_ARG_WORKSPACE, *workspace);
    program_.Add<dnnl::pooling_backward>(backward_pd, std::move(backward_arguments));
    Contribute(in, target);
  });
}

void StepBuilder::AddOperator(const runtime::Pool2d& op, const Node& node) {
  algorithm kind = algorithm::pooling_max;
  if (op.kind == runtime::Pool2d::Kind::kAverage) {
    kind = op.count_include_pad ? algorithm::pooling_avg_include_padding : algorithm::pooling_avg_exclude_padding;
  }
  AddPooling(node, kind, {op.kernel[0], op.kernel[1]}, {op.strides[0], op.strides[1]}, {op.pads[0], op.pads[1]},
             {op.pads[2], op.pads[3]});
}

// The mean of each channel, by CheckTrainable.
void StepBuilder::AddOperator(const runtime::Reduce&, const Node& node) {
  const auto& shape = At(node.inputs[0]).shape;
  AddPooling(node, algorithm::pooling_avg_exclude_padding, {shape[2], shape[3]}, {1, 1}, {0, 0}, {0, 0});
}

// A ReLU, by CheckTrainable.
void StepBuilder::AddOperator(const runtime::Unary&, const Node& node) {
  const View source = values_.at(node.inputs[0]);
  const dnnl::eltwise_forward::desc desc(prop_kind::forward_training, kRelu, source.desc, 0.0F);
  const dnnl::eltwise_forward::primitive_desc pd(desc, NewAttributes(), Engine());
  const View result = program_.Temporary(source.desc);
  program_.Add<dnnl::eltwise_forward>(pd, {{DNNL_ARG_SRC, source}, {DNNL_ARG_DST, result}});
  values_[node.outputs[0]] = result;
  backward_.push_back([this, &node] {
    if (!NeedsGradient(node.inputs[0])) return;
    if (const auto gradient = GradientBehind({UnaryKind::kRelu}, node)) Contribute(node.inputs[0], *gradient);
  });
}

// A sum of two tensors of one shape, by CheckTrainable.
void StepBuilder::AddOperator(const runtime::Binary& op, const Node& node) {
  const View left = values_.at(node.inputs[0]);
  const View right = program_.Reordered(values_.at(node.inputs[1]), left.desc);
  const dnnl::binary::desc desc(algorithm::binary_add, left.desc, right.desc, left.desc);
  const dnnl::binary::primitive_desc pd(desc, WithActivation(op.activation), Engine());
  const View result = program_.Temporary(left.desc);
  program_.Add<dnnl::binary>(pd, {{DNNL_ARG_SRC_0, left}, {DNNL_ARG_SRC_1, right}, {DNNL_ARG_DST, result}});
  values_[node.outputs[0]] = result;
  backward_.push_back([this, &op, &node] {
    const auto gradient = GradientBehind(op.activation, node);
    if (!gradient) return;
    for (const TensorId id : node.inputs) {
      if (NeedsGradient(id)) Contribute(id, *gradient);
    }
  });
}

void StepBuilder::AddOperator(const runtime::Flatten&, const Node& node) {
  const TensorId in = node.inputs[0];
  const TensorId out = node.outputs[0];
  const View rows = program_.Reordered(values_.at(in), PlainOf(in));
  values_[out] = {PlainOf(out), rows.slot};
  backward_.push_back([=, this, &node] {
    const auto gradient = GradientBehind({}, node);
    if (!gradient || !NeedsGradient(in)) return;
    Contribute(in, {PlainOf(in), program_.Reordered(*gradient, PlainOf(out)).slot});
  });
}

// The final one, by CheckTrainable: the loss works on its input.
void StepBuilder::AddOperator(const runtime::Softmax&, const Node&) {}

}  // namespace edgefleet::training
