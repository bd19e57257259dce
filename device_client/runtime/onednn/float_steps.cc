#include "device_client/runtime/onednn/float_steps.h"

#include <numeric>

#include "device_client/runtime/onednn/eltwise.h"
#include "device_client/runtime/onednn/objection.h"
#include "device_client/runtime/ops/widen.h"

namespace edgefleet::runtime::onednn {
namespace {

using dnnl::algorithm;
using dnnl::prop_kind;
using Type = dnnl::memory::data_type;

Type TypeOf(const Tensor& tensor) { return tensor.type == DataType::kBFloat16 ? Type::bf16 : Type::f32; }

Dims DimsOf(const Tensor& tensor) { return tensor.shape.empty() ? Dims{1} : Dims(tensor.shape); }

dnnl::primitive_attr WithActivation(const Activation& activation) {
  dnnl::primitive_attr attributes = NewAttributes();
  dnnl::post_ops post_ops;
  AppendEltwise(activation, post_ops);
  attributes.set_post_ops(post_ops);
  return attributes;
}

// A primitive's optional bias.
void Append(Program::Arguments& arguments, const std::optional<View>& bias) {
  if (bias) arguments.emplace_back(DNNL_ARG_BIAS, *bias);
}
dnnl::memory::desc DescOf(const std::optional<View>& view) { return view ? view->desc : dnnl::memory::desc(); }

}  // namespace

bool FloatSteps::Add(const Node& node) {
  if (!FloatObjection(node, *spec_.graph).empty()) return false;
  try {
    std::visit([&](const auto& op) { AddOperator(op, node); }, node.op);
    return true;
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) throw;
    return false;
  }
}

View FloatSteps::Any(TensorId id, Type type) {
  const Tensor& tensor = At(id);
  if (tensor.is_constant()) return Rows(id, DimsOf(tensor), type);
  const View view = view_of_(id);
  return view.desc.data_type() == type ? view : program_.Reordered(view, Plain(DimsOf(tensor), type));
}

View FloatSteps::Rows(TensorId id, const Dims& dims, Type type) {
  const Tensor& tensor = At(id);
  const auto plain = Plain(dims, type);
  if (tensor.is_constant()) return Weights(id, plain, plain);
  return {plain, program_.Reordered(view_of_(id), Plain(DimsOf(tensor), type)).slot};
}

View FloatSteps::Weights(TensorId id, const dnnl::memory::desc& from, const dnnl::memory::desc& wanted) {
  const Tensor& tensor = At(id);
  if (!tensor.is_constant()) return program_.Reordered({from, Rows(id, DimsOf(tensor), from.data_type()).slot}, wanted);
  if (tensor.type == DataType::kFloat32 && from.data_type() == Type::f32)
    return Constant(program_, from, tensor.data.data(), wanted);
  if (tensor.type == DataType::kBFloat16 && from.data_type() == Type::bf16)
    return Constant(program_, from, tensor.data.data(), wanted);
  dnnl::memory::desc source = from;
  source.data.data_type = dnnl_f32;
  const dnnl::memory widened(source, Engine());
  const std::int64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
  WidenRows(tensor, tensor.data.data(), 0, rows, static_cast<float*>(widened.get_data_handle()));
  return source == wanted ? program_.Owned(widened) : Constant(program_, source, widened.get_data_handle(), wanted);
}

std::optional<View> FloatSteps::Bias(const Node& node, std::int64_t channels) {
  if (node.inputs.size() < 3 || node.inputs[2] == kAbsent) return std::nullopt;
  return Rows(node.inputs[2], {channels}, Type::f32);
}

void FloatSteps::Put(TensorId id, const View& view) {
  const Tensor& tensor = At(id);
  const bool same = view.desc.data_type() == TypeOf(tensor);
  views_[id] = same ? view : program_.Reordered(view, Plain(DimsOf(tensor), TypeOf(tensor)));
}

void FloatSteps::PutRows(TensorId id, const View& view) { Put(id, {Plain(DimsOf(At(id)), view.desc.data_type()), view.slot}); }

Type FloatSteps::ProductType(TensorId a, TensorId b) const {
  const bool both = At(a).type == DataType::kBFloat16 && At(b).type == DataType::kBFloat16;
  return both ? Type::bf16 : Type::f32;
}

void FloatSteps::AddOperator(const Conv2d& op, const Node& node) {
  const TensorId x = node.inputs[0], w = node.inputs[1], y = node.outputs[0];
  const Type type = ProductType(x, w);
  const auto& shape = At(w).shape;
  const Dims dims = op.groups == 1 ? Dims(shape) : Dims{op.groups, shape[0] / op.groups, shape[1], shape[2], shape[3]};
  const std::optional<View> bias = Bias(node, shape[0]);
  const dnnl::convolution_forward::desc desc(
      prop_kind::forward_inference, algorithm::convolution_direct, AnyLayout(At(x).shape, type), AnyLayout(dims, type),
      DescOf(bias), AnyLayout(At(y).shape, type), {op.strides[0], op.strides[1]}, {op.dilations[0] - 1, op.dilations[1] - 1},
      {op.pads[0], op.pads[1]}, {op.pads[2], op.pads[3]});
  const dnnl::convolution_forward::primitive_desc pd(desc, WithActivation(op.activation), Engine());
  Program::Arguments arguments{{DNNL_ARG_SRC, program_.Reordered(Any(x, type), pd.src_desc())},
                               {DNNL_ARG_WEIGHTS, Weights(w, Plain(dims, type), pd.weights_desc())}};
  Append(arguments, bias);
  const View out = program_.Temporary(pd.dst_desc());
  arguments.emplace_back(DNNL_ARG_DST, out);
  program_.Add<dnnl::convolution_forward>(pd, std::move(arguments));
  Put(y, out);
}

void FloatSteps::AddOperator(const ConvTranspose2d& op, const Node& node) {
  const TensorId x = node.inputs[0], w = node.inputs[1], y = node.outputs[0];
  const Type type = ProductType(x, w);
  const auto& shape = At(w).shape;
  // oneDNN's weights are outputs by inputs; ours lie the other way round.
  const std::int64_t inputs = shape[0] / op.groups, outputs = shape[1], taps = shape[2] * shape[3];
  Dims dims{op.groups, outputs, inputs, shape[2], shape[3]};
  Dims strides{inputs * outputs * taps, taps, outputs * taps, shape[3], 1};
  if (op.groups == 1) {
    dims.erase(dims.begin());
    strides.erase(strides.begin());
  }
  const std::optional<View> bias = Bias(node, outputs * op.groups);
  const dnnl::deconvolution_forward::desc desc(
      prop_kind::forward_inference, algorithm::deconvolution_direct, AnyLayout(At(x).shape, type), AnyLayout(dims, type),
      DescOf(bias), AnyLayout(At(y).shape, type), {op.strides[0], op.strides[1]}, {op.dilations[0] - 1, op.dilations[1] - 1},
      {op.pads[0], op.pads[1]}, {op.pads[2] - op.output_pads[0], op.pads[3] - op.output_pads[1]});
  const dnnl::deconvolution_forward::primitive_desc pd(desc, WithActivation(op.activation), Engine());
  Program::Arguments arguments{{DNNL_ARG_SRC, program_.Reordered(Any(x, type), pd.src_desc())},
                               {DNNL_ARG_WEIGHTS, Weights(w, {dims, type, strides}, pd.weights_desc())}};
  Append(arguments, bias);
  const View out = program_.Temporary(pd.dst_desc());
  arguments.emplace_back(DNNL_ARG_DST, out);
  program_.Add<dnnl::deconvolution_forward>(pd, std::move(arguments));
  Put(y, out);
}

void FloatSteps::AddOperator(const FullyConnected& op, const Node& node) {
  const TensorId x = node.inputs[0], w = node.inputs[1], y = node.outputs[0];
  const Type type = ProductType(x, w);
  const auto& shape = At(w).shape;
  const std::int64_t rows = ElementCount(At(y).shape) / shape[0];
  const std::optional<View> bias = Bias(node, shape[0]);
  // With few rows the weights are read once, whatever their layout: they stay where they are mapped.
  constexpr std::int64_t kFewRows = 4;
  const auto layout = rows <= kFewRows && type == Type::f32 ? Plain(shape, type) : AnyLayout(shape, type);
  const dnnl::inner_product_forward::desc desc(prop_kind::forward_inference, Plain({rows, shape[1]}, type), layout,
                                               DescOf(bias), Plain({rows, shape[0]}, type));
  const dnnl::inner_product_forward::primitive_desc pd(desc, WithActivation(op.activation), Engine());
  Program::Arguments arguments{{DNNL_ARG_SRC, Rows(x, {rows, shape[1]}, type)},
                               {DNNL_ARG_WEIGHTS, Weights(w, Plain(shape, type), pd.weights_desc())}};
  Append(arguments, bias);
  const View out = program_.Temporary(pd.dst_desc());
  arguments.emplace_back(DNNL_ARG_DST, out);
  program_.Add<dnnl::inner_product_forward>(pd, std::move(arguments));
  PutRows(y, out);
}

void FloatSteps::AddOperator(const MatMul&, const Node& node) {
  const TensorId a = node.inputs[0], b = node.inputs[1], y = node.outputs[0];
  const Type type = ProductType(a, b);
  Dims left = At(a).shape;
  Dims right = At(b).shape;
  if (left.size() == 1) left = {1, left[0]};
  if (right.size() == 1) right.push_back(1);
  if (right.size() == 2 && left.size() > 2) {  // one matrix for all rows
    const std::int64_t inner = left.back();
    left = {std::accumulate(left.begin(), left.end() - 1, std::int64_t{1}, std::multiplies<>()), inner};
  }
  const std::size_t rank = std::max(left.size(), right.size());
  left.insert(left.begin(), rank - left.size(), 1);
  right.insert(right.begin(), rank - right.size(), 1);
  Dims out;
  for (std::size_t i = 0; i + 2 < rank; ++i) out.push_back(std::max(left[i], right[i]));
  out.push_back(left[rank - 2]);
  out.push_back(right[rank - 1]);
  const bool constant = At(b).is_constant();
  const dnnl::matmul::desc desc(Plain(left, type), constant ? AnyLayout(right, type) : Plain(right, type), Plain(out, type));
  const dnnl::matmul::primitive_desc pd(desc, NewAttributes(), Engine());
  const View result = program_.Temporary(pd.dst_desc());
  const View weights = constant ? Weights(b, Plain(right, type), pd.weights_desc()) : Rows(b, right, type);
  program_.Add<dnnl::matmul>(pd, {{DNNL_ARG_SRC, Rows(a, left, type)}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, result}});
  PutRows(y, result);
}

}  // namespace edgefleet::runtime::onednn
