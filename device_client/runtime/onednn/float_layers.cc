// Steps without weights matrices: windows, normalizations, resampling and what looks at each element once.
#include <numeric>
#include <string_view>

#include "device_client/runtime/onednn/eltwise.h"
#include "device_client/runtime/onednn/float_steps.h"

namespace edgefleet::runtime::onednn {
namespace {

using dnnl::algorithm;
using dnnl::normalization_flags;
using dnnl::prop_kind;
using Type = dnnl::memory::data_type;

Type TypeOf(const Tensor& tensor) { return tensor.type == DataType::kBFloat16 ? Type::bf16 : Type::f32; }

std::int64_t Product(const std::vector<std::int64_t>& shape, std::size_t begin) {
  return std::accumulate(shape.begin() + static_cast<std::ptrdiff_t>(begin), shape.end(), std::int64_t{1}, std::multiplies<>());
}

// Refuses what oneDNN has for want of a vector kernel: of operands that it does not know how to broadcast it takes a hundred
// times as long as the reference.
void RefuseScalar(const dnnl::primitive_desc_base& pd) {
  if (std::string_view(pd.impl_info_str()).starts_with("ref")) throw dnnl::error(dnnl_unimplemented, "only a scalar kernel");
}

// [N, C, ...] as [N, C, 1, rest]: what primitives of images take.
Dims AsImage(const std::vector<std::int64_t>& shape) { return {shape[0], shape[1], 1, Product(shape, 2)}; }

}  // namespace

void FloatSteps::AddPooling(const Node& node, algorithm kind, const Dims& strides, const Dims& kernel, const Dims& dilations,
                            const Dims& before, const Dims& after) {
  const TensorId y = node.outputs[0];
  const View in = Any(node.inputs[0], TypeOf(At(y)));
  const auto target = AnyLayout(At(y).shape, TypeOf(At(y)));
  if (dilations == Dims{0, 0}) {
    const dnnl::pooling_forward::desc desc(prop_kind::forward_inference, kind, in.desc, target, strides, kernel, before, after);
    const dnnl::pooling_forward::primitive_desc pd(desc, NewAttributes(), Engine());
    const View out = program_.Temporary(pd.dst_desc());
    program_.Add<dnnl::pooling_forward>(pd, {{DNNL_ARG_SRC, in}, {DNNL_ARG_DST, out}});
    return Put(y, out);
  }
  const dnnl::pooling_v2_forward::desc desc(prop_kind::forward_inference, kind, in.desc, target, strides, kernel, dilations,
                                            before, after);
  const dnnl::pooling_v2_forward::primitive_desc pd(desc, NewAttributes(), Engine());
  const View out = program_.Temporary(pd.dst_desc());
  program_.Add<dnnl::pooling_v2_forward>(pd, {{DNNL_ARG_SRC, in}, {DNNL_ARG_DST, out}});
  Put(y, out);
}

void FloatSteps::AddOperator(const Pool2d& op, const Node& node) {
  algorithm kind = algorithm::pooling_max;
  if (op.kind == Pool2d::Kind::kAverage) {
    kind = op.count_include_pad ? algorithm::pooling_avg_include_padding : algorithm::pooling_avg_exclude_padding;
  }
  Dims after;
  for (std::size_t i = 0; i < 2; ++i) {
    // A last window of `ceil` ends in padding of its own.
    const std::int64_t last = (At(node.outputs[0]).shape[i + 2] - 1) * op.strides[i] + (op.kernel[i] - 1) * op.dilations[i] + 1;
    after.push_back(std::max<std::int64_t>(op.pads[i + 2], last - op.pads[i] - At(node.inputs[0]).shape[i + 2]));
  }
  AddPooling(node, kind, {op.strides[0], op.strides[1]}, {op.kernel[0], op.kernel[1]},
             {op.dilations[0] - 1, op.dilations[1] - 1}, {op.pads[0], op.pads[1]}, after);
}

void FloatSteps::AddOperator(const Reduce&, const Node& node) {
  const auto& shape = At(node.inputs[0]).shape;
  AddPooling(node, algorithm::pooling_avg_exclude_padding, {1, 1}, {shape[2], shape[3]}, {0, 0}, {0, 0}, {0, 0});
}

void FloatSteps::AddOperator(const BatchNorm& op, const Node& node) {
  const TensorId x = node.inputs[0], y = node.outputs[0];
  const auto& shape = At(x).shape;
  const View in = shape.size() == 4 ? Any(x, TypeOf(At(y))) : Rows(x, AsImage(shape), TypeOf(At(y)));
  const dnnl::batch_normalization_forward::desc desc(
      prop_kind::forward_inference, in.desc, op.epsilon,
      normalization_flags::use_global_stats | normalization_flags::use_scale | normalization_flags::use_shift);
  const dnnl::batch_normalization_forward::primitive_desc pd(desc, NewAttributes(), Engine());
  const View out = program_.Temporary(pd.dst_desc());
  const auto parameter = [&](std::size_t i) { return Rows(node.inputs[i], {shape[1]}, Type::f32); };
  program_.Add<dnnl::batch_normalization_forward>(pd, {{DNNL_ARG_SRC, in},
                                                       {DNNL_ARG_SCALE, parameter(1)},
                                                       {DNNL_ARG_SHIFT, parameter(2)},
                                                       {DNNL_ARG_MEAN, parameter(3)},
                                                       {DNNL_ARG_VARIANCE, parameter(4)},
                                                       {DNNL_ARG_DST, out}});
  shape.size() == 4 ? Put(y, out) : PutRows(y, out);
}

// The statistics of groups by layer normalization, then the channels' scales and shifts.
void FloatSteps::AddOperator(const GroupNorm& op, const Node& node) {
  const TensorId x = node.inputs[0], y = node.outputs[0];
  const auto& shape = At(x).shape;
  const std::int64_t groups = op.groups == 0 ? shape[1] : op.groups;
  const View in = Rows(x, {shape[0] * groups, Product(shape, 1) / groups}, Type::f32);
  const dnnl::layer_normalization_forward::desc desc(prop_kind::forward_inference, in.desc, op.epsilon,
                                                     normalization_flags::none);
  const dnnl::layer_normalization_forward::primitive_desc pd(desc, NewAttributes(), Engine());
  const View normal = program_.Temporary(pd.dst_desc());
  program_.Add<dnnl::layer_normalization_forward>(pd, {{DNNL_ARG_SRC, in}, {DNNL_ARG_DST, normal}});
  const View image{Plain(AsImage(shape), Type::f32), normal.slot};
  const View scaled = Apply(algorithm::binary_mul, image, Rows(node.inputs[1], {1, shape[1], 1, 1}, Type::f32));
  PutRows(y, Apply(algorithm::binary_add, scaled, Rows(node.inputs[2], {1, shape[1], 1, 1}, Type::f32)));
}

View FloatSteps::Apply(algorithm kind, const View& a, const View& b) {
  const dnnl::binary::desc desc(kind, a.desc, b.desc, a.desc);
  const dnnl::binary::primitive_desc pd(desc, NewAttributes(), Engine());
  const View out = program_.Temporary(pd.dst_desc());
  program_.Add<dnnl::binary>(pd, {{DNNL_ARG_SRC_0, a}, {DNNL_ARG_SRC_1, b}, {DNNL_ARG_DST, out}});
  return out;
}

void FloatSteps::AddOperator(const LayerNorm& op, const Node& node) {
  const TensorId x = node.inputs[0], y = node.outputs[0];
  const auto& shape = At(x).shape;
  const std::int64_t inner =
      Product(shape, static_cast<std::size_t>(op.axis < 0 ? op.axis + static_cast<int>(shape.size()) : op.axis));
  const View in = Rows(x, {ElementCount(shape) / inner, inner}, TypeOf(At(y)));
  const bool shifted = node.inputs.size() > 2 && node.inputs[2] != kAbsent;
  const auto flags = shifted ? normalization_flags::use_scale | normalization_flags::use_shift : normalization_flags::use_scale;
  const dnnl::layer_normalization_forward::desc desc(prop_kind::forward_inference, in.desc, op.epsilon, flags);
  const dnnl::layer_normalization_forward::primitive_desc pd(desc, NewAttributes(), Engine());
  const View out = program_.Temporary(pd.dst_desc());
  Program::Arguments arguments{
      {DNNL_ARG_SRC, in}, {DNNL_ARG_SCALE, Rows(node.inputs[1], {inner}, Type::f32)}, {DNNL_ARG_DST, out}};
  if (shifted) arguments.emplace_back(DNNL_ARG_SHIFT, Rows(node.inputs[2], {inner}, Type::f32));
  program_.Add<dnnl::layer_normalization_forward>(pd, std::move(arguments));
  PutRows(y, out);
}

void FloatSteps::AddOperator(const Lrn& op, const Node& node) {
  const TensorId x = node.inputs[0], y = node.outputs[0];
  const View in = Rows(x, AsImage(At(x).shape), TypeOf(At(y)));
  const dnnl::lrn_forward::desc desc(prop_kind::forward_inference, algorithm::lrn_across_channels, in.desc, op.size, op.alpha,
                                     op.beta, op.bias);
  const dnnl::lrn_forward::primitive_desc pd(desc, NewAttributes(), Engine());
  const View out = program_.Temporary(pd.dst_desc());
  program_.Add<dnnl::lrn_forward>(pd, {{DNNL_ARG_SRC, in}, {DNNL_ARG_DST, out}});
  PutRows(y, out);
}

void FloatSteps::AddOperator(const Softmax& op, const Node& node) {
  const TensorId x = node.inputs[0], y = node.outputs[0];
  const auto rank = static_cast<int>(At(x).shape.size());
  const int axis = op.axis < 0 ? op.axis + rank : op.axis;
  const View in = Rows(x, At(x).shape, TypeOf(At(y)));
  const auto add = [&]<typename Primitive>(Primitive) {
    const typename Primitive::desc desc(prop_kind::forward_inference, in.desc, axis);
    const typename Primitive::primitive_desc pd(desc, NewAttributes(), Engine());
    const View out = program_.Temporary(pd.dst_desc());
    program_.Add<Primitive>(pd, {{DNNL_ARG_SRC, in}, {DNNL_ARG_DST, out}});
    Put(y, out);
  };
  op.log ? add(dnnl::logsoftmax_forward()) : add(dnnl::softmax_forward());
}

void FloatSteps::AddOperator(const Resize& op, const Node& node) {
  const TensorId y = node.outputs[0];
  const View in = Any(node.inputs[0], TypeOf(At(y)));
  const algorithm kind = op.mode == Resize::Mode::kLinear ? algorithm::resampling_linear : algorithm::resampling_nearest;
  const dnnl::resampling_forward::desc desc(prop_kind::forward_inference, kind, in.desc, AnyLayout(At(y).shape, TypeOf(At(y))));
  const dnnl::resampling_forward::primitive_desc pd(desc, NewAttributes(), Engine());
  const View out = program_.Temporary(pd.dst_desc());
  program_.Add<dnnl::resampling_forward>(pd, {{DNNL_ARG_SRC, in}, {DNNL_ARG_DST, out}});
  Put(y, out);
}

void FloatSteps::AddOperator(const Unary& op, const Node& node) {
  const TensorId y = node.outputs[0];
  View view = Any(node.inputs[0], TypeOf(At(y)));
  for (const Eltwise& eltwise : EltwiseOf(op.function)) {
    const dnnl::eltwise_forward::desc desc(prop_kind::forward_inference, eltwise.algorithm, view.desc, eltwise.alpha,
                                           eltwise.beta);
    const dnnl::eltwise_forward::primitive_desc pd(desc, NewAttributes(), Engine());
    RefuseScalar(pd);
    const View out = program_.Temporary(pd.dst_desc());
    program_.Add<dnnl::eltwise_forward>(pd, {{DNNL_ARG_SRC, view}, {DNNL_ARG_DST, out}});
    view = out;
  }
  Put(y, view);
}

void FloatSteps::AddOperator(const Binary& op, const Node& node) {
  static const std::unordered_map<BinaryKind, algorithm> kAlgorithms{
      {BinaryKind::kAdd, algorithm::binary_add}, {BinaryKind::kSub, algorithm::binary_sub},
      {BinaryKind::kMul, algorithm::binary_mul}, {BinaryKind::kDiv, algorithm::binary_div},
      {BinaryKind::kMin, algorithm::binary_min}, {BinaryKind::kMax, algorithm::binary_max}};
  TensorId a = node.inputs[0], b = node.inputs[1];
  const TensorId y = node.outputs[0];
  // What is broadcast comes second.
  if (At(a).shape != At(y).shape) std::swap(a, b);
  const Type type = TypeOf(At(y));
  const View left = Any(a, type);
  Dims dims = At(b).shape;
  dims.insert(dims.begin(), left.desc.dims().size() - dims.size(), 1);
  const View right = At(b).shape == At(y).shape ? program_.Reordered(Any(b, type), left.desc) : Rows(b, dims, type);
  dnnl::primitive_attr attributes = NewAttributes();
  dnnl::post_ops post_ops;
  AppendEltwise(op.activation, post_ops);
  attributes.set_post_ops(post_ops);
  const dnnl::binary::desc desc(kAlgorithms.at(op.kind), left.desc, right.desc, left.desc);
  const dnnl::binary::primitive_desc pd(desc, attributes, Engine());
  RefuseScalar(pd);
  const View out = program_.Temporary(pd.dst_desc());
  program_.Add<dnnl::binary>(pd, {{DNNL_ARG_SRC_0, left}, {DNNL_ARG_SRC_1, right}, {DNNL_ARG_DST, out}});
  Put(y, out);
}

}  // namespace edgefleet::runtime::onednn
