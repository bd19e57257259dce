#include "device_client/runtime/onednn/builder.h"

#include <algorithm>
#include <limits>

#include "device_client/runtime/onednn/native.h"
#include "device_client/runtime/onednn/objection.h"

namespace edgefleet::runtime::onednn {
namespace {

using Type = dnnl::memory::data_type;
using dnnl::algorithm;
using dnnl::prop_kind;

Type TypeOf(const Tensor& tensor) {
  switch (tensor.type) {
    case DataType::kInt8:
      return Type::s8;
    case DataType::kInt32:
      return Type::s32;
    case DataType::kFloat32:
      return Type::f32;
    case DataType::kBFloat16:
      return Type::bf16;
    default:
      return Type::u8;
  }
}

bool IsOpaque(const Tensor& tensor) {
  return tensor.type == DataType::kInt64 || tensor.type == DataType::kBool || tensor.type == DataType::kFloat16 ||
         tensor.type == DataType::kUint8;
}

void AppendRelu(Activation activation, dnnl::post_ops& post_ops) {
  if (activation.kind == UnaryKind::kRelu) post_ops.append_eltwise(1.0F, algorithm::eltwise_relu, 0.0F, 0.0F);
}

bool HasBias(const Node& node) { return node.inputs.size() > 2 && node.inputs[2] != kAbsent; }

void AppendShift(float shift, dnnl::post_ops& post_ops) {
  if (shift != 0.0F) post_ops.append_eltwise(1.0F, algorithm::eltwise_linear, 1.0F, shift);
}

Dims GroupedDims(const std::vector<std::int64_t>& shape, std::int32_t groups) {
  if (groups == 1) return shape;
  return {groups, shape[0] / groups, shape[1], shape[2], shape[3]};
}

}  // namespace

PartitionBuilder::PartitionBuilder(const PartitionSpec& spec, Program& program)
    : spec_(spec),
      program_(program),
      int8_(spec, program, [this](TensorId id) { return PlainViewOf(id); }),
      floats_(
          spec, program, [this](TensorId id) { return ViewOf(id); }, views_) {}

// oneDNN knows no scalars, and only some types: the bytes of others are handed from step to step.
Dims PartitionBuilder::DimsOf(TensorId id) const {
  const Tensor& tensor = At(id);
  if (IsOpaque(tensor)) return {ElementCount(tensor.shape) * static_cast<std::int64_t>(SizeOf(tensor.type))};
  return tensor.shape.empty() ? Dims{1} : Dims(tensor.shape);
}

dnnl::memory::desc PartitionBuilder::PlainOf(TensorId id) const { return Plain(DimsOf(id), TypeOf(At(id))); }

const View& PartitionBuilder::ViewOf(TensorId id) {
  const auto known = views_.find(id);
  if (known != views_.end()) return known->second;
  return views_[id] = At(id).is_constant() ? program_.Borrowed(PlainOf(id), At(id).data.data()) : int8_.ToPlain(id);
}

std::vector<BoundTensor> PartitionBuilder::Build() {
  std::vector<BoundTensor> bound;
  for (const TensorId id : spec_.inputs) {
    views_[id] = program_.External(PlainOf(id));
    bound.push_back({id, views_[id]});
  }
  std::vector<BoundTensor> results;
  for (const TensorId id : spec_.outputs) {
    results.push_back({id, program_.External(PlainOf(id))});
    int8_.SendTo(id, results.back().view);
  }
  for (const std::size_t index : spec_.nodes) {
    const Node& node = spec_.graph->nodes[index];
    AddNode(node);
    for (const TensorId id : node.outputs) {
      if (const std::optional<View> floats = int8_.Floats(id)) views_[id] = *floats;
    }
  }
  for (const BoundTensor& result : results) {
    const View& view = ViewOf(result.tensor);
    if (view.slot != result.view.slot) program_.Reorder(view, result.view);
    bound.push_back(result);
  }
  return bound;
}

void PartitionBuilder::AddNode(const Node& node) {
  if (int8_.Add(node) || floats_.Add(node)) return;
  if (!Int8Objection(node, *spec_.graph).empty()) return AddReference(node);
  std::visit([&](const auto& op) { AddOperator(op, node); }, node.op);
}

View PartitionBuilder::Bias(const Node& node) {
  const Tensor& bias = At(node.inputs[2]);
  return program_.Borrowed(Plain(bias.shape, TypeOf(bias)), bias.data.data());
}

View PartitionBuilder::FoldedBias(const Node& node) {
  const Tensor& weights = At(node.inputs[1]);
  const std::int64_t outputs = weights.shape[0];
  const std::int64_t inputs = weights.shape[1];
  const auto* w = reinterpret_cast<const std::int8_t*>(weights.data.data());
  const auto* b = HasBias(node) ? reinterpret_cast<const std::int32_t*>(At(node.inputs[2]).data.data()) : nullptr;
  const dnnl::memory folded(Plain({outputs}, Type::s32), Engine());
  auto* out = static_cast<std::int32_t*>(folded.get_data_handle());
  for (std::int64_t o = 0; o < outputs; ++o) {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < inputs; ++i) sum += w[o * inputs + i];
    const std::int64_t value = (b != nullptr ? b[o] : 0) - sum * ZeroPoint(At(node.inputs[0]));
    using Limits = std::numeric_limits<std::int32_t>;
    out[o] = static_cast<std::int32_t>(std::clamp<std::int64_t>(value, Limits::min(), Limits::max()));
  }
  return program_.Owned(folded);
}

void PartitionBuilder::SetRequantization(const Node& node, dnnl::primitive_attr& attributes) const {
  const double in = At(node.inputs[0]).quantization->scales[0];
  const double out = At(node.outputs[0]).quantization->scales[0];
  const Quantization& weights = *At(node.inputs[1]).quantization;
  std::vector<float> scales;
  for (const float scale : weights.scales) scales.push_back(static_cast<float>(in * scale / out));
  attributes.set_output_scales(weights.axis < 0 ? 0 : 1 << 1, scales);
}

void PartitionBuilder::AddOperator(const Conv2d& op, const Node& node) {
  const Tensor& weights = At(node.inputs[1]);
  const TensorId in = node.inputs[0], out = node.outputs[0];
  const Dims weight_dims = GroupedDims(weights.shape, op.groups);
  dnnl::primitive_attr attributes = NewAttributes();
  dnnl::post_ops post_ops;
  AppendRelu(op.activation, post_ops);
  attributes.set_post_ops(post_ops);
  SetRequantization(node, attributes);
  if (const auto zero = ZeroPoint(At(in)); zero != 0) attributes.set_zero_points(DNNL_ARG_SRC, 0, {zero});
  if (const auto zero = ZeroPoint(At(out)); zero != 0) attributes.set_zero_points(DNNL_ARG_DST, 0, {zero});
  const bool biased = HasBias(node);
  const auto bias = biased ? Plain({weights.shape[0]}, Type::s32) : dnnl::memory::desc();
  const dnnl::convolution_forward::desc desc(
      prop_kind::forward_inference, algorithm::convolution_direct, AnyLayout(DimsOf(in), Type::s8),
      AnyLayout(weight_dims, Type::s8), bias, AnyLayout(DimsOf(out), Type::s8), {op.strides[0], op.strides[1]},
      {op.dilations[0] - 1, op.dilations[1] - 1}, {op.pads[0], op.pads[1]}, {op.pads[2], op.pads[3]});
  const dnnl::convolution_forward::primitive_desc pd(desc, attributes, Engine());
  Program::Arguments arguments{
      {DNNL_ARG_SRC, program_.Reordered(Input(node), pd.src_desc())},
      {DNNL_ARG_WEIGHTS, Constant(program_, Plain(weight_dims, Type::s8), weights.data.data(), pd.weights_desc())}};
  if (biased) arguments.emplace_back(DNNL_ARG_BIAS, Bias(node));
  views_[out] = program_.Temporary(pd.dst_desc());
  arguments.emplace_back(DNNL_ARG_DST, views_[out]);
  program_.Add<dnnl::convolution_forward>(pd, std::move(arguments));
}

void PartitionBuilder::AddOperator(const FullyConnected& op, const Node& node) {
  const Tensor& weights = At(node.inputs[1]);
  const TensorId out = node.outputs[0];
  dnnl::primitive_attr attributes = NewAttributes();
  dnnl::post_ops post_ops;
  AppendRelu(op.activation, post_ops);
  SetRequantization(node, attributes);
  AppendShift(static_cast<float>(ZeroPoint(At(out))), post_ops);
  attributes.set_post_ops(post_ops);
  const bool folded = ZeroPoint(At(node.inputs[0])) != 0;
  const bool biased = folded || HasBias(node);
  const auto bias = biased ? Plain({weights.shape[0]}, Type::s32) : dnnl::memory::desc();
  const dnnl::inner_product_forward::desc desc(prop_kind::forward_inference, PlainOf(node.inputs[0]),
                                               AnyLayout(weights.shape, Type::s8), bias, PlainOf(out));
  const dnnl::inner_product_forward::primitive_desc pd(desc, attributes, Engine());
  Program::Arguments arguments{
      {DNNL_ARG_SRC, program_.Reordered(Input(node), pd.src_desc())},
      {DNNL_ARG_WEIGHTS, Constant(program_, Plain(weights.shape, Type::s8), weights.data.data(), pd.weights_desc())}};
  if (biased) arguments.emplace_back(DNNL_ARG_BIAS, folded ? FoldedBias(node) : Bias(node));
  views_[out] = program_.Temporary(pd.dst_desc());
  arguments.emplace_back(DNNL_ARG_DST, views_[out]);
  program_.Add<dnnl::inner_product_forward>(pd, std::move(arguments));
}

void PartitionBuilder::AddPooling(const Node& node, algorithm kind, const Dims& kernel, const Dims& strides,
                                  const Dims& pads_before, const Dims& pads_after) {
  const TensorId out = node.outputs[0];
  const dnnl::pooling_forward::desc desc(prop_kind::forward_inference, kind, Input(node).desc,
                                         AnyLayout(DimsOf(out), TypeOf(At(out))), strides, kernel, pads_before, pads_after);
  const dnnl::pooling_forward::primitive_desc pd(desc, NewAttributes(), Engine());
  views_[out] = program_.Temporary(pd.dst_desc());
  program_.Add<dnnl::pooling_forward>(pd, {{DNNL_ARG_SRC, Input(node)}, {DNNL_ARG_DST, views_[out]}});
}

void PartitionBuilder::AddOperator(const Pool2d& op, const Node& node) {
  algorithm kind = algorithm::pooling_max;
  if (op.kind == Pool2d::Kind::kAverage) {
    kind = op.count_include_pad ? algorithm::pooling_avg_include_padding : algorithm::pooling_avg_exclude_padding;
  }
  AddPooling(node, kind, {op.kernel[0], op.kernel[1]}, {op.strides[0], op.strides[1]}, {op.pads[0], op.pads[1]},
             {op.pads[2], op.pads[3]});
}

void PartitionBuilder::AddOperator(const Reduce&, const Node& node) {
  const Tensor& in = At(node.inputs[0]);
  AddPooling(node, algorithm::pooling_avg_exclude_padding, {in.shape[2], in.shape[3]}, {1, 1}, {0, 0}, {0, 0});
}

// The real sum in units of the output's scale: both scales folded in, the zero points of all three gathered into one shift.
void PartitionBuilder::AddOperator(const Binary& op, const Node& node) {
  const View left = Input(node, 0);
  const View right = program_.Reordered(Input(node, 1), left.desc);
  const Tensor& a = At(node.inputs[0]);
  const Tensor& b = At(node.inputs[1]);
  const Tensor& out = At(node.outputs[0]);
  const float left_scale = a.quantization->scales[0] / out.quantization->scales[0];
  const float right_scale = b.quantization->scales[0] / out.quantization->scales[0];
  const auto zero_point = static_cast<float>(ZeroPoint(out));
  dnnl::primitive_attr attributes = NewAttributes();
  attributes.set_scales(DNNL_ARG_SRC_0, 0, {left_scale});
  attributes.set_scales(DNNL_ARG_SRC_1, 0, {right_scale});
  dnnl::post_ops post_ops;
  AppendShift(zero_point - left_scale * static_cast<float>(ZeroPoint(a)) - right_scale * static_cast<float>(ZeroPoint(b)),
              post_ops);
  if (op.activation.kind == UnaryKind::kRelu) post_ops.append_eltwise(1.0F, algorithm::eltwise_clip, zero_point, 127.0F);
  attributes.set_post_ops(post_ops);
  const dnnl::binary::desc desc(algorithm::binary_add, left.desc, right.desc, left.desc);
  const dnnl::binary::primitive_desc pd(desc, attributes, Engine());
  const View sum = program_.Temporary(pd.dst_desc());
  program_.Add<dnnl::binary>(pd, {{DNNL_ARG_SRC_0, left}, {DNNL_ARG_SRC_1, right}, {DNNL_ARG_DST, sum}});
  views_[node.outputs[0]] = sum;
}

void PartitionBuilder::AddAlias(const Node& node) {
  const View rows = program_.Reordered(Input(node), PlainOf(node.inputs[0]));
  views_[node.outputs[0]] = {PlainOf(node.outputs[0]), rows.slot};
}

void PartitionBuilder::AddReference(const Node& node) {
  std::vector<View> views;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] != kAbsent) views.push_back(program_.Reordered(Input(node, i), PlainOf(node.inputs[i])));
  }
  for (const TensorId id : node.outputs) {
    if (id == kAbsent) continue;
    views_[id] = program_.Temporary(PlainOf(id));
    views.push_back(views_[id]);
  }
  const auto step = [graph = spec_.graph, &node, inputs = std::vector<Operand>(),
                     outputs = std::vector<Destination>()](const std::vector<std::byte*>& data) mutable {
    inputs.clear();
    outputs.clear();
    std::size_t next = 0;
    for (const TensorId id : node.inputs)
      inputs.push_back(id == kAbsent ? Operand{} : Operand{&graph->tensor(id), data[next++]});
    for (const TensorId id : node.outputs) {
      outputs.push_back(id == kAbsent ? Destination{} : Destination{&graph->tensor(id), data[next++]});
    }
    return RunNative(node.op, {inputs, outputs});
  };
  program_.AddNative(step, views);
}

void PartitionBuilder::AddOperator(const Quantize&, const Node& node) {
  const Tensor& tensor = At(node.outputs[0]);
  dnnl::primitive_attr attributes = NewAttributes();
  attributes.set_output_scales(0, {1.0F / tensor.quantization->scales[0]});
  if (ZeroPoint(tensor) != 0) attributes.set_zero_points(DNNL_ARG_DST, 0, {ZeroPoint(tensor)});
  const View out = program_.Temporary(PlainOf(node.outputs[0]));
  program_.Reorder(program_.Reordered(Input(node), PlainOf(node.inputs[0])), out, attributes);
  views_[node.outputs[0]] = out;
}

void PartitionBuilder::AddOperator(const Dequantize&, const Node& node) {
  const Tensor& tensor = At(node.inputs[0]);
  dnnl::primitive_attr attributes = NewAttributes();
  attributes.set_output_scales(0, {tensor.quantization->scales[0]});
  if (ZeroPoint(tensor) != 0) attributes.set_zero_points(DNNL_ARG_SRC, 0, {ZeroPoint(tensor)});
  const View out = program_.Temporary(PlainOf(node.outputs[0]));
  program_.Reorder(program_.Reordered(Input(node), PlainOf(node.inputs[0])), out, attributes);
  views_[node.outputs[0]] = out;
}

}  // namespace edgefleet::runtime::onednn
