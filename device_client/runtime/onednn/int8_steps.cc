#include "device_client/runtime/onednn/int8_steps.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "device_client/runtime/ops/affine.h"
#include "device_client/runtime/ops/ops.h"

namespace edgefleet::runtime::onednn {
namespace {

using kernels::Affine;
using kernels::AffineResult;
using kernels::Convolution;
using kernels::Image;
using kernels::Int8Elements;

using Data = std::vector<std::byte*>;

const std::uint8_t* Source(const std::byte* data) { return reinterpret_cast<const std::uint8_t*>(data); }
std::uint8_t* Target(std::byte* data) { return reinterpret_cast<std::uint8_t*>(data); }

Affine AffineOf(const Tensor& tensor) { return {tensor.quantization->scales[0], ZeroPoint(tensor)}; }
AffineResult ResultOf(const Tensor& tensor, const Activation& activation = {}) {
  const Range8 range = RangeOf(activation, tensor);
  return {AffineOf(tensor), range.low, range.high};
}

bool IsBytes(const Tensor& tensor) {
  return tensor.type == DataType::kInt8 && !tensor.is_constant() && tensor.quantization && tensor.quantization->axis < 0;
}

// uint8 with a zero point 128 higher is the same bytes as int8 with the offset.
bool IsSignChange(const Tensor& from, const Tensor& to) {
  const bool types = (from.type == DataType::kUint8 && IsBytes(to)) || (IsBytes(from) && to.type == DataType::kUint8);
  if (!types || from.is_constant() || !from.quantization || !to.quantization) return false;
  if (from.quantization->axis >= 0 || to.quantization->axis >= 0) return false;
  const std::int32_t shift = from.type == DataType::kUint8 ? -128 : 128;
  return from.quantization->scales == to.quantization->scales && ZeroPoint(to) == ZeroPoint(from) + shift;
}

// What KernelsRun() asks of each operator.
struct Fitness {
  const Node& node;
  const Graph& graph;

  const Tensor& In(std::size_t i = 0) const { return graph.tensor(node.inputs[i]); }
  const Tensor& Out() const { return graph.tensor(node.outputs[0]); }
  bool has(std::size_t i) const { return i < node.inputs.size() && node.inputs[i] != kAbsent; }
  bool bytes() const { return IsBytes(In()) && IsBytes(Out()); }
  bool weighted(const Activation& activation) const {
    const Tensor& weights = In(1);
    const bool weights_fit =
        weights.type == DataType::kInt8 && weights.is_constant() && weights.quantization && weights.quantization->axis <= 0;
    const bool bias_fits = !has(2) || (In(2).type == DataType::kInt32 && In(2).is_constant());
    return bytes() && weights_fit && bias_fits && simple(activation);
  }
  static bool simple(const Activation& activation) {
    return activation.kind == UnaryKind::kIdentity || activation.kind == UnaryKind::kRelu ||
           activation.kind == UnaryKind::kClip;
  }

  bool operator()(const Conv2d& op) const { return weighted(op.activation); }
  bool operator()(const FullyConnected& op) const { return weighted(op.activation); }
  bool operator()(const Pool2d& op) const {
    if (!bytes() || op.dilations != std::array{1, 1}) return false;
    return op.kind == Pool2d::Kind::kAverage ? !op.ceil : In().quantization == Out().quantization;
  }
  bool operator()(const Reduce& op) const {
    return bytes() && op.kind == ReduceKind::kMean && op.keep_dims && In().shape.size() == 4 &&
           op.axes == std::vector<std::int64_t>{2, 3};
  }
  bool operator()(const Unary&) const { return bytes(); }
  bool operator()(const Binary& op) const {
    return op.kind == BinaryKind::kAdd && bytes() && IsBytes(In(1)) && In().shape == In(1).shape && simple(op.activation);
  }
  bool operator()(const Quantize&) const {
    return (In().type == DataType::kFloat32 && !In().is_constant() && IsBytes(Out())) || IsSignChange(In(), Out());
  }
  bool operator()(const Dequantize&) const { return IsBytes(In()) && Out().type == DataType::kFloat32; }
  template <typename Op>
  bool operator()(const Op&) const {
    return false;
  }
};

}  // namespace

bool KernelsRun(const Node& node, const Graph& graph) {
  return Int8Elements() != nullptr && std::visit(Fitness{node, graph}, node.op);
}

Int8Steps::Int8Steps(const PartitionSpec& spec, Program& program, PlainView plain)
    : spec_(spec), program_(program), plain_(std::move(plain)) {}

bool Int8Steps::Add(const Node& node) {
  const bool reshapes = std::holds_alternative<Reshape>(node.op) || std::holds_alternative<Flatten>(node.op) ||
                        std::holds_alternative<Squeeze>(node.op) || std::holds_alternative<Unsqueeze>(node.op);
  if (!reshapes && !KernelsRun(node, *spec_.graph)) return false;
  return std::visit([&](const auto& op) { return AddOperator(op, node); }, node.op);
}

View Int8Steps::NewBytes(std::int64_t count) {
  return program_.Temporary(Plain({count + static_cast<std::int64_t>(kernels::kReadSlackBytes)}, dnnl::memory::data_type::u8));
}

Int8Steps::Held Int8Steps::Make(TensorId id) {
  const auto& shape = At(id).shape;
  Held held{NewBytes(ElementCount(shape))};
  if (shape.size() == 4) {
    held.channels = shape[1];
    held.height = shape[2];
    held.width = shape[3];
  }
  return held;
}

Int8Steps::Held Int8Steps::FromPlain(TensorId id, const Held& like) {
  const std::int64_t count = ElementCount(At(id).shape);
  const Image image{count / (like.channels * like.pixels()), like.channels, like.pixels()};
  program_.AddNative(
      [image](const Data& data) {
        Int8Elements()->from_planes(image, reinterpret_cast<const std::int8_t*>(data[0]), Target(data[1]));
        return OkStatus();
      },
      {plain_(id), like.view});
  return like;
}

Int8Steps::Held Int8Steps::Bytes(TensorId id) {
  const auto known = held_.find(id);
  if (known != held_.end()) return known->second;
  return held_[id] = FromPlain(id, Make(id));
}

Int8Steps::Held Int8Steps::Pixels(TensorId id) {
  Held held = Bytes(id);
  const auto& shape = At(id).shape;
  const bool same = held.channels == shape[1] && held.height == shape[2] && held.width == shape[3];
  if (!same && !(held.is_rows() && (shape[1] == 1 || shape[2] * shape[3] == 1))) return FromPlain(id, Make(id));
  held.channels = shape[1];
  held.height = shape[2];
  held.width = shape[3];
  return held;
}

Int8Steps::Held Int8Steps::Rows(TensorId id) {
  const Held held = Bytes(id);
  return held.is_rows() ? held : FromPlain(id, MakeRows(id));
}

View Int8Steps::ToPlain(TensorId id) {
  const Held& held = held_.at(id);
  const auto& shape = At(id).shape;
  const std::int64_t count = ElementCount(shape);
  const Image image{count / (held.channels * held.pixels()), held.channels, held.pixels()};
  const View plain = program_.Temporary(Plain(shape.empty() ? Dims{1} : Dims(shape), dnnl::memory::data_type::s8));
  program_.AddNative(
      [image](const Data& data) {
        Int8Elements()->to_planes(image, Source(data[0]), reinterpret_cast<std::int8_t*>(data[1]));
        return OkStatus();
      },
      {held.view, plain});
  return plain;
}

bool Int8Steps::AddWeighted(const Node& node, const Convolution& shape, std::int64_t batch, const Activation& activation,
                            const Held& source, const Held& target) {
  const Tensor& weights = At(node.inputs[1]);
  const Tensor& out = At(node.outputs[0]);
  std::vector<double> multipliers;
  for (const float scale : weights.quantization->scales) {
    multipliers.push_back(ScaleOf(At(node.inputs[0])) * scale / ScaleOf(out));
  }
  const Range8 range = RangeOf(activation, out);
  kernels::ConvolutionValues values;
  values.weights = {reinterpret_cast<const std::int8_t*>(weights.data.data()), weights.data.size()};
  if (node.inputs.size() > 2 && node.inputs[2] != kAbsent) {
    const Tensor& bias = At(node.inputs[2]);
    values.bias = {reinterpret_cast<const std::int32_t*>(bias.data.data()), static_cast<std::size_t>(shape.outputs)};
  }
  values.multipliers = multipliers;
  values.input_zero_point = ZeroPoint(At(node.inputs[0]));
  values.output_zero_point = ZeroPoint(out);
  values.low = range.low;
  values.high = range.high;

  using Type = dnnl::memory::data_type;
  const std::size_t packed_bytes = kernels::PackedConvolutionBytes(shape);
  const dnnl::memory packed(Plain({static_cast<std::int64_t>(packed_bytes)}, Type::u8), Engine());
  auto* bytes = static_cast<std::byte*>(packed.get_data_handle());
  if (!kernels::PackConvolution(shape, values, {bytes, packed_bytes}).ok()) return false;
  const auto scratch_bytes = static_cast<std::int64_t>(kernels::ConvolutionScratchBytes(shape));
  std::vector<View> views{program_.Owned(packed), source.view};
  views.push_back(target.view);
  if (scratch_bytes > 0) views.push_back(program_.Temporary(Plain({scratch_bytes}, Type::u8)));
  program_.AddNative(
      [shape, batch](const Data& data) {
        kernels::RunConvolution(shape, data[0], batch, Source(data[1]), Target(data[2]), data.size() > 3 ? data[3] : nullptr);
        return OkStatus();
      },
      views);
  held_[node.outputs[0]] = target;
  return true;
}

bool Int8Steps::AddOperator(const Conv2d& op, const Node& node) {
  const auto& x = At(node.inputs[0]).shape;
  const auto& w = At(node.inputs[1]).shape;
  const auto& y = At(node.outputs[0]).shape;
  Convolution shape;
  shape.channels = x[1];
  shape.outputs = w[0];
  shape.height = x[2];
  shape.width = x[3];
  shape.out_height = y[2];
  shape.out_width = y[3];
  shape.kernel_height = w[2];
  shape.kernel_width = w[3];
  shape.stride_y = op.strides[0];
  shape.stride_x = op.strides[1];
  shape.dilation_y = op.dilations[0];
  shape.dilation_x = op.dilations[1];
  shape.pad_top = op.pads[0];
  shape.pad_left = op.pads[1];
  shape.groups = op.groups;
  return AddWeighted(node, shape, x[0], op.activation, Pixels(node.inputs[0]), Make(node.outputs[0]));
}

// The features of an image with its channels last are a window as large as the image.
bool Int8Steps::AddOperator(const FullyConnected& op, const Node& node) {
  const TensorId x = node.inputs[0];
  const auto& w = At(node.inputs[1]).shape;
  const std::int64_t rows = ElementCount(At(x).shape) / w[1];
  Convolution shape;
  shape.outputs = w[0];
  const Held features = Bytes(x);
  const Held target = MakeRows(node.outputs[0]);
  if (!features.is_rows() && At(x).shape.size() != 4 && features.channels * features.pixels() == w[1]) {
    shape.channels = features.channels;
    shape.height = shape.kernel_height = features.height;
    shape.width = shape.kernel_width = features.width;
    return AddWeighted(node, shape, rows, op.activation, features, target);
  }
  shape.channels = w[1];
  return AddWeighted(node, shape, rows, op.activation, Rows(x), target);
}

bool Int8Steps::AddOperator(const Pool2d& op, const Node& node) {
  const auto& x = At(node.inputs[0]).shape;
  const auto& y = At(node.outputs[0]).shape;
  kernels::Pool pool{.batch = x[0],
                     .channels = x[1],
                     .height = x[2],
                     .width = x[3],
                     .out_height = y[2],
                     .out_width = y[3],
                     .kernel_height = op.kernel[0],
                     .kernel_width = op.kernel[1],
                     .stride_y = op.strides[0],
                     .stride_x = op.strides[1],
                     .pad_top = op.pads[0],
                     .pad_left = op.pads[1],
                     .count_padding = op.count_include_pad};
  const Held source = Pixels(node.inputs[0]);
  const Held target = Make(node.outputs[0]);
  const bool most = op.kind == Pool2d::Kind::kMax;
  program_.AddNative(
      [pool, most, affine = AffineOf(At(node.inputs[0])), result = ResultOf(At(node.outputs[0]))](const Data& data) {
        if (most) {
          Int8Elements()->pool_max(pool, Source(data[0]), Target(data[1]));
        } else {
          Int8Elements()->pool_average(pool, Source(data[0]), affine, result, Target(data[1]));
        }
        return OkStatus();
      },
      {source.view, target.view});
  held_[node.outputs[0]] = target;
  return true;
}

bool Int8Steps::AddOperator(const Reduce&, const Node& node) {
  const auto& x = At(node.inputs[0]).shape;
  const Image image{x[0], x[1], x[2] * x[3]};
  const Held source = Pixels(node.inputs[0]);
  const Held target = Make(node.outputs[0]);
  program_.AddNative(
      [image, affine = AffineOf(At(node.inputs[0])), result = ResultOf(At(node.outputs[0]))](const Data& data) {
        Int8Elements()->average(image, Source(data[0]), affine, result, Target(data[1]));
        return OkStatus();
      },
      {source.view, target.view});
  held_[node.outputs[0]] = target;
  return true;
}

// The reference's kernel says what becomes of each of the 256 values.
bool Int8Steps::AddOperator(const Unary&, const Node& node) {
  Tensor in = At(node.inputs[0]);
  Tensor out = At(node.outputs[0]);
  in.shape = out.shape = {256};
  std::array<std::int8_t, 256> values;
  std::array<std::int8_t, 256> results;
  for (int i = 0; i < 256; ++i) values[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(i - 128);
  const Operand operand{&in, reinterpret_cast<const std::byte*>(values.data())};
  const Destination destination{&out, reinterpret_cast<std::byte*>(results.data())};
  if (!RunOperator(node.op, {{&operand, 1}, {&destination, 1}}).ok()) return false;
  const dnnl::memory table(Plain({256}, dnnl::memory::data_type::u8), Engine());
  auto* entries = static_cast<std::uint8_t*>(table.get_data_handle());
  for (std::size_t i = 0; i < 256; ++i) entries[i] = static_cast<std::uint8_t>(results[i] + 128);

  Held target = Bytes(node.inputs[0]);
  const View source = target.view;
  const std::int64_t count = ElementCount(At(node.outputs[0]).shape);
  target.view = NewBytes(count);
  program_.AddNative(
      [count](const Data& data) {
        Int8Elements()->look_up(count, Source(data[1]), Source(data[0]), Target(data[2]));
        return OkStatus();
      },
      {program_.Owned(table), source, target.view});
  held_[node.outputs[0]] = target;
  return true;
}

bool Int8Steps::AddOperator(const Binary& op, const Node& node) {
  Held a = Bytes(node.inputs[0]);
  Held b = Bytes(node.inputs[1]);
  if (a.channels != b.channels || a.height != b.height || a.width != b.width) {
    a = Rows(node.inputs[0]);
    b = Rows(node.inputs[1]);
  }
  const std::int64_t count = ElementCount(At(node.outputs[0]).shape);
  Held target = a;
  target.view = NewBytes(count);
  program_.AddNative(
      [count, left = AffineOf(At(node.inputs[0])), right = AffineOf(At(node.inputs[1])),
       result = ResultOf(At(node.outputs[0]), op.activation)](const Data& data) {
        Int8Elements()->add(count, Source(data[0]), left, Source(data[1]), right, result, Target(data[2]));
        return OkStatus();
      },
      {a.view, b.view, target.view});
  held_[node.outputs[0]] = target;
  return true;
}

bool Int8Steps::AddSignChange(const Node& node) {
  const TensorId in = node.inputs[0];
  const TensorId out = node.outputs[0];
  const std::int64_t count = ElementCount(At(out).shape);
  const bool enters = At(in).type == DataType::kUint8;
  const Held held = enters ? Make(out) : Bytes(in);
  const Image image{count / (held.channels * held.pixels()), held.channels, held.pixels()};
  View plain;
  if (enters) {
    plain = plain_(in);
    held_[out] = held;
  } else {
    const auto wanted = targets_.find(out);
    plain = wanted != targets_.end() ? wanted->second : program_.Temporary(Plain({count}, dnnl::memory::data_type::u8));
    floats_[out] = plain;
  }
  program_.AddNative(
      [image, count, enters, rows = held.is_rows()](const Data& data) {
        const std::byte* from = data[0];
        std::byte* to = data[1];
        if (rows) {
          std::memcpy(to, from, static_cast<std::size_t>(count));
          return OkStatus();
        }
        if (enters) {
          Int8Elements()->from_planes(image, reinterpret_cast<const std::int8_t*>(from), Target(to));
        } else {
          Int8Elements()->to_planes(image, Source(from), reinterpret_cast<std::int8_t*>(to));
        }
        for (std::int64_t i = 0; i < count; ++i) to[i] ^= std::byte{0x80};
        return OkStatus();
      },
      {enters ? plain : held.view, enters ? held.view : plain});
  return true;
}

bool Int8Steps::AddOperator(const Quantize&, const Node& node) {
  if (IsSignChange(At(node.inputs[0]), At(node.outputs[0]))) return AddSignChange(node);
  const Held target = Make(node.outputs[0]);
  const std::int64_t count = ElementCount(At(node.outputs[0]).shape);
  const Image image = target.is_rows() ? Image{1, 1, count}
                                       : Image{count / (target.channels * target.pixels()), target.channels, target.pixels()};
  program_.AddNative(
      [image, affine = AffineOf(At(node.outputs[0]))](const Data& data) {
        Int8Elements()->quantize(image, reinterpret_cast<const float*>(data[0]), affine, Target(data[1]));
        return OkStatus();
      },
      {plain_(node.inputs[0]), target.view});
  held_[node.outputs[0]] = target;
  return true;
}

bool Int8Steps::AddOperator(const Dequantize&, const Node& node) {
  const TensorId out = node.outputs[0];
  const Held source = Bytes(node.inputs[0]);
  const auto& shape = At(out).shape;
  const std::int64_t count = ElementCount(shape);
  const Image image = source.is_rows() ? Image{1, 1, count}
                                       : Image{count / (source.channels * source.pixels()), source.channels, source.pixels()};
  const auto wanted = targets_.find(out);
  floats_[out] = wanted != targets_.end()
                     ? wanted->second
                     : program_.Temporary(Plain(shape.empty() ? Dims{1} : Dims(shape), dnnl::memory::data_type::f32));
  program_.AddNative(
      [image, affine = AffineOf(At(node.inputs[0]))](const Data& data) {
        Int8Elements()->dequantize(image, Source(data[0]), affine, reinterpret_cast<float*>(data[1]));
        return OkStatus();
      },
      {source.view, floats_.at(out)});
  return true;
}

// The same bytes under another shape, where that needs no movement.
bool Int8Steps::AddAlias(const Node& node) {
  const auto known = held_.find(node.inputs[0]);
  if (known == held_.end() || !IsBytes(At(node.outputs[0]))) return false;
  const Held from = known->second;
  const auto& shape = At(node.outputs[0]).shape;
  Held to = from;
  if (shape.size() == 4) {
    to.channels = shape[1];
    to.height = shape[2];
    to.width = shape[3];
    const bool same = to.channels == from.channels && to.height == from.height && to.width == from.width;
    if (!same && !(from.is_rows() && to.is_rows())) return false;
  } else if (from.is_rows()) {
    to.channels = to.height = to.width = 1;
  }
  held_[node.outputs[0]] = to;
  return true;
}

}  // namespace edgefleet::runtime::onednn
