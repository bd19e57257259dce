// What each ONNX operator becomes (https://github.com/onnx/onnx/blob/v1.12.0/docs/Operators.md).
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "registry/compiler/onnx_importer.h"

namespace edgefleet::compiler {
namespace {

using Shape = std::vector<std::int64_t>;

constexpr std::int64_t kWindowMax =
    65'536;  // of kernels, strides, dilations and pads: keeps all arithmetic below far from overflow

std::string ToText(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

std::int64_t Product(std::span<const std::int64_t> dims) {
  std::int64_t product = 1;
  for (const std::int64_t dim : dims) product *= dim;
  return product;
}

// ---- windows of convolutions and pools

struct Window {
  std::array<std::int32_t, 2> kernel{1, 1};
  std::array<std::int32_t, 2> strides{1, 1};
  std::array<std::int32_t, 2> dilations{1, 1};
  std::array<std::int32_t, 4> pads{0, 0, 0, 0};
  std::array<std::int64_t, 2> output{1, 1};
  bool ceiled = false;  // pads were added to round the output up
};

Result<std::array<std::int32_t, 2>> ReadPair(NodeReader& node, const char* name) {
  EF_ASSIGN_OR_RETURN(const auto values, node.Ints(name));
  if (values.empty()) return std::array<std::int32_t, 2>{1, 1};
  if (values.size() != 2)
    return node.Unsupported(std::string("'") + name + "' must have 2 values; only 2-D windows are supported");
  for (const std::int64_t value : values) {
    if (value < 1 || value > kWindowMax)
      return node.Bad(std::string("'") + name + "' must be 1 to " + std::to_string(kWindowMax));
  }
  return std::array{static_cast<std::int32_t>(values[0]), static_cast<std::int32_t>(values[1])};
}

Status ReadPads(NodeReader& node, Window& window) {
  EF_ASSIGN_OR_RETURN(const auto values, node.Ints("pads"));
  if (values.empty()) return OkStatus();
  if (values.size() != 4) return node.Bad("'pads' must have 4 values");
  for (std::size_t i = 0; i < 4; ++i) {
    if (values[i] < 0 || values[i] > kWindowMax) return node.Bad("'pads' must be 0 to " + std::to_string(kWindowMax));
    window.pads[i] = static_cast<std::int32_t>(values[i]);
  }
  return OkStatus();
}

// Pads of SAME_UPPER and SAME_LOWER: as many outputs as ceil(size / stride), the odd pad at the end or at the beginning.
void SetSamePads(Window& window, std::size_t axis, std::int64_t size, bool upper) {
  const std::int64_t stride = window.strides[axis];
  const std::int64_t extent = std::int64_t{window.kernel[axis] - 1} * window.dilations[axis] + 1;
  const std::int64_t total = std::max<std::int64_t>(((size + stride - 1) / stride - 1) * stride + extent - size, 0);
  const std::int64_t half = total / 2;
  window.pads[axis] = static_cast<std::int32_t>(upper ? half : total - half);
  window.pads[axis + 2] = static_cast<std::int32_t>(upper ? total - half : half);
}

// The output size of one axis. With `ceil` a last window that begins inside the input is completed by padding at the end.
Status SetOutput(NodeReader& node, Window& window, std::size_t axis, std::int64_t size, bool ceil) {
  const std::int64_t stride = window.strides[axis];
  const std::int64_t extent = std::int64_t{window.kernel[axis] - 1} * window.dilations[axis] + 1;
  const std::int64_t room = size + window.pads[axis] + window.pads[axis + 2] - extent;
  if (room < 0) return node.Bad("its window of " + std::to_string(extent) + " is larger than the padded input");
  window.output[axis] = room / stride + 1;
  const std::int64_t missing = (stride - room % stride) % stride;
  if (ceil && missing > 0 && window.output[axis] * stride < size + window.pads[axis]) {
    window.output[axis] += 1;
    window.pads[axis + 2] += static_cast<std::int32_t>(missing);
    window.ceiled = true;
  }
  return OkStatus();
}

// Everything but the kernel, for an input [1, C, H, W]. The limit on H and W keeps the arithmetic within 64 bits.
Status ReadWindow(NodeReader& node, const Shape& input, bool ceil, Window& window) {
  EF_ASSIGN_OR_RETURN(window.strides, ReadPair(node, "strides"));
  EF_ASSIGN_OR_RETURN(window.dilations, ReadPair(node, "dilations"));
  EF_RETURN_IF_ERROR(ReadPads(node, window));
  EF_ASSIGN_OR_RETURN(const std::string auto_pad, node.String("auto_pad", "NOTSET"));
  const bool same = auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER";
  if (!same && auto_pad != "NOTSET" && auto_pad != "VALID") return node.Bad("'auto_pad' has an unknown value");
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const std::int64_t size = input[axis + 2];
    if (auto_pad == "VALID") window.pads[axis] = window.pads[axis + 2] = 0;
    if (same) SetSamePads(window, axis, size, auto_pad == "SAME_UPPER");
    EF_RETURN_IF_ERROR(SetOutput(node, window, axis, size, ceil));
  }
  return OkStatus();
}

Result<Shape> ImageShape(const NodeReader& node, ValueId id) {
  const Shape& shape = node.Shape(id);
  if (shape.size() != 4) return node.Unsupported("its input " + ToText(shape) + " must be [batch, channels, height, width]");
  return shape;
}

// ---- operators

Status ImportConv(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(2, 3));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  EF_ASSIGN_OR_RETURN(const Shape input, ImageShape(node, x));
  EF_ASSIGN_OR_RETURN(OnnxConstant weights, node.FloatConstant(1));
  if (weights.shape.size() != 4) return node.Bad("its weights " + ToText(weights.shape) + " must have 4 dimensions");
  EF_ASSIGN_OR_RETURN(const std::int64_t groups, node.Int("group", 1));
  if (groups < 1 || input[1] % groups != 0 || weights.shape[0] % groups != 0 || weights.shape[1] != input[1] / groups) {
    return node.Bad("weights " + ToText(weights.shape) + " in " + std::to_string(groups) + " groups do not fit the input " +
                    ToText(input));
  }
  Window window;
  EF_ASSIGN_OR_RETURN(const auto kernel, node.Ints("kernel_shape"));
  if (!kernel.empty() && !std::ranges::equal(kernel, std::span(weights.shape).subspan(2))) {
    return node.Bad("'kernel_shape' differs from the weights' shape " + ToText(weights.shape));
  }
  if (weights.shape[2] > kWindowMax || weights.shape[3] > kWindowMax) return node.Bad("the kernel is too large");
  window.kernel = {static_cast<std::int32_t>(weights.shape[2]), static_cast<std::int32_t>(weights.shape[3])};
  EF_RETURN_IF_ERROR(ReadWindow(node, input, false, window));
  const std::int64_t channels = weights.shape[0];
  std::vector<ValueId> inputs{x, node.AddConstant(1, "", weights.shape, std::move(weights.floats))};
  if (node.has_input(2)) {
    EF_ASSIGN_OR_RETURN(OnnxConstant bias, node.FloatConstant(2));
    if (bias.shape != Shape{channels})
      return node.Bad("its bias " + ToText(bias.shape) + " must be [" + std::to_string(channels) + "]");
    inputs.push_back(node.AddConstant(2, "", bias.shape, std::move(bias.floats)));
  }
  const runtime::Conv2d op{window.strides, window.pads, window.dilations, static_cast<std::int32_t>(groups)};
  return node.Emit(op, std::move(inputs), {1, channels, window.output[0], window.output[1]});
}

std::string BitsOf(float value) { return std::to_string(std::bit_cast<std::uint32_t>(value)); }

// [K, M] -> [M, K].
std::vector<float> Transpose(const std::vector<float>& values, std::int64_t rows, std::int64_t columns) {
  std::vector<float> out(values.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      out[static_cast<std::size_t>(c * rows + r)] = values[static_cast<std::size_t>(r * columns + c)];
    }
  }
  return out;
}

// The fully connected layer's weights [M, K] from input `index`, which holds them so or transposed, times `factor`.
Result<ValueId> DenseWeights(NodeReader& node, int index, bool transposed, float factor, std::int64_t features) {
  EF_ASSIGN_OR_RETURN(OnnxConstant weights, node.FloatConstant(index));
  if (weights.shape.size() != 2 || weights.shape[transposed ? 1 : 0] != features) {
    return node.Bad("weights " + ToText(weights.shape) + " do not fit an input of " + std::to_string(features) + " features");
  }
  if (!transposed) {
    weights.floats = Transpose(weights.floats, weights.shape[0], weights.shape[1]);
    std::swap(weights.shape[0], weights.shape[1]);
  }
  for (float& w : weights.floats) w *= factor;
  return node.AddConstant(index, (transposed ? "" : "T") + BitsOf(factor), weights.shape, std::move(weights.floats));
}

Status ImportGemm(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(2, 3));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  const Shape input = node.Shape(x);
  if (input.size() != 2)
    return node.Unsupported("its input " + ToText(input) + " must be [batch, features]; put a Flatten before it");
  EF_ASSIGN_OR_RETURN(const std::int64_t trans_a, node.Int("transA", 0));
  EF_ASSIGN_OR_RETURN(const std::int64_t trans_b, node.Int("transB", 0));
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 1));
  EF_ASSIGN_OR_RETURN(const float beta, node.Float("beta", 1));
  if (trans_a != 0) return node.Unsupported("transA is not supported; export with transA = 0");
  if (!std::isfinite(alpha) || !std::isfinite(beta)) return node.Bad("alpha and beta must be finite");
  EF_ASSIGN_OR_RETURN(const ValueId weights, DenseWeights(node, 1, trans_b != 0, alpha, input[1]));
  const Shape output{1, node.Shape(weights)[0]};
  std::vector<ValueId> inputs{x, weights};
  if (node.has_input(2)) {
    EF_ASSIGN_OR_RETURN(const OnnxConstant c, node.FloatConstant(2));
    EF_ASSIGN_OR_RETURN(auto bias, node.PerChannel(c, output));
    if (!bias) return node.Bad("its bias " + ToText(c.shape) + " does not broadcast to " + ToText(output));
    for (float& b : *bias) b *= beta;
    inputs.push_back(
        node.AddConstant(2, "bias" + std::to_string(output[1]) + "*" + BitsOf(beta), {output[1]}, std::move(*bias)));
  }
  return node.Emit(runtime::FullyConnected{}, std::move(inputs), output);
}

Status ImportMatMul(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(2, 2));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  const Shape input = node.Shape(x);
  if (input.size() != 2)
    return node.Unsupported("its input " + ToText(input) + " must be [batch, features]; put a Flatten before it");
  EF_ASSIGN_OR_RETURN(const ValueId weights, DenseWeights(node, 1, false, 1, input[1]));
  return node.Emit(runtime::FullyConnected{}, {x, weights}, {1, node.Shape(weights)[0]});
}

Status ImportAdd(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(2, 2));
  if (!node.IsConstant(0) && !node.IsConstant(1)) {
    EF_ASSIGN_OR_RETURN(const ValueId a, node.Activation(0));
    EF_ASSIGN_OR_RETURN(const ValueId b, node.Activation(1));
    const Shape shape = node.Shape(a);
    if (shape != node.Shape(b)) {
      return node.Unsupported("it adds " + ToText(shape) + " and " + ToText(node.Shape(b)) +
                              "; only equal shapes are supported");
    }
    return node.Emit(Add{}, {a, b}, shape);
  }
  const int constant = node.IsConstant(0) ? 0 : 1;
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(1 - constant));
  const Shape shape = node.Shape(x);
  EF_ASSIGN_OR_RETURN(const OnnxConstant c, node.FloatConstant(constant));
  EF_ASSIGN_OR_RETURN(auto shift, node.PerChannel(c, shape));
  if (!shift) {
    return node.Unsupported("it adds a constant " + ToText(c.shape) + " to " + ToText(shape) +
                            "; only one value a channel is supported");
  }
  std::vector<float> scale(shift->size(), 1.0F);
  return node.Emit(Affine{std::move(scale), std::move(*shift)}, {x}, shape);
}

Status ImportBatchNormalization(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(5, 5));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  const Shape shape = node.Shape(x);
  EF_ASSIGN_OR_RETURN(const float epsilon, node.Float("epsilon", 1e-5F));
  EF_ASSIGN_OR_RETURN(const std::int64_t training, node.Int("training_mode", 0));
  EF_ASSIGN_OR_RETURN(const std::int64_t spatial, node.Int("spatial", 1));
  node.Ignore("momentum");
  if (training != 0) return node.Unsupported("it is in training mode; export for inference");
  if (spatial != 1) return node.Unsupported("only spatial normalization is supported");
  std::array<std::vector<float>, 4> parts;  // scale, bias, mean, variance
  for (int i = 0; i < 4; ++i) {
    EF_ASSIGN_OR_RETURN(OnnxConstant part, node.FloatConstant(i + 1));
    if (part.shape != Shape{shape[1]})
      return node.Bad("input " + std::to_string(i + 1) + " must be [" + std::to_string(shape[1]) + "]");
    parts[static_cast<std::size_t>(i)] = std::move(part.floats);
  }
  Affine affine;
  for (std::size_t c = 0; c < parts[0].size(); ++c) {
    const double deviation = std::sqrt(double{parts[3][c]} + double{epsilon});
    if (!(deviation > 0) || !std::isfinite(deviation)) return node.Bad("its variance plus epsilon must be positive");
    const double scale = parts[0][c] / deviation;
    affine.scale.push_back(static_cast<float>(scale));
    affine.shift.push_back(static_cast<float>(parts[1][c] - scale * parts[2][c]));
    if (!std::isfinite(affine.scale.back()) || !std::isfinite(affine.shift.back()))
      return node.Bad("its scale overflows float32");
  }
  return node.Emit(std::move(affine), {x}, shape);
}

Result<std::array<std::int32_t, 2>> PoolKernel(NodeReader& node) {
  EF_ASSIGN_OR_RETURN(const auto kernel, node.Ints("kernel_shape"));
  if (kernel.empty()) return node.Bad("'kernel_shape' is missing");
  return ReadPair(node, "kernel_shape");
}

Status ImportPool(NodeReader& node, runtime::Pool2d::Kind kind) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(1, 1));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  EF_ASSIGN_OR_RETURN(const Shape input, ImageShape(node, x));
  EF_ASSIGN_OR_RETURN(const std::int64_t ceil, node.Int("ceil_mode", 0));
  std::int64_t include_pad = 0;
  if (kind == runtime::Pool2d::Kind::kMax) {
    node.Ignore("storage_order");  // orders the indices, which are not supported
  } else {
    EF_ASSIGN_OR_RETURN(include_pad, node.Int("count_include_pad", 0));
  }
  Window window;
  EF_ASSIGN_OR_RETURN(window.kernel, PoolKernel(node));
  EF_RETURN_IF_ERROR(ReadWindow(node, input, ceil != 0, window));
  if (window.dilations != std::array{1, 1}) return node.Unsupported("dilated pooling is not supported");
  if (window.ceiled && include_pad != 0)
    return node.Unsupported("ceil_mode with count_include_pad is not supported; use one of them");
  for (std::size_t i = 0; i < 4; ++i) {
    if (window.pads[i] >= window.kernel[i % 2]) return node.Bad("its pads must be smaller than its kernel");
  }
  const runtime::Pool2d op{kind, window.kernel, window.strides, window.pads, include_pad != 0};
  return node.Emit(op, {x}, {1, input[1], window.output[0], window.output[1]});
}

Status ImportMaxPool(NodeReader& node) { return ImportPool(node, runtime::Pool2d::Kind::kMax); }
Status ImportAveragePool(NodeReader& node) { return ImportPool(node, runtime::Pool2d::Kind::kAverage); }

Status ImportGlobalAveragePool(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(1, 1));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  EF_ASSIGN_OR_RETURN(const Shape input, ImageShape(node, x));
  return node.Emit(GlobalAveragePool{}, {x}, {1, input[1], 1, 1});
}

Status EmitFlatten(NodeReader& node, ValueId x) {
  const Shape shape = node.Shape(x);
  if (shape.size() == 2) return node.Emit(Identity{}, {x}, shape);
  return node.Emit(runtime::Flatten{}, {x}, {1, Product(shape)});
}

Status ImportFlatten(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(1, 1));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  EF_ASSIGN_OR_RETURN(const std::int64_t axis, node.Int("axis", 1));
  const auto rank = static_cast<std::int64_t>(node.Shape(x).size());
  if (axis != 1 && axis != 1 - rank) return node.Unsupported("only axis 1, which keeps the batch, is supported");
  return EmitFlatten(node, x);
}

// Reshape to [batch, features], or to the shape there is.
Status ImportReshape(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(2, 2));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  EF_ASSIGN_OR_RETURN(const std::int64_t allow_zero, node.Int("allowzero", 0));
  EF_ASSIGN_OR_RETURN(const OnnxConstant target, node.Constant(1));
  const Shape input = node.Shape(x);
  const std::int64_t features = Product(input);
  const Shape& dims = target.integers;
  if (target.shape.size() != 1 || dims.empty()) return node.Bad("its shape must be a list of integers");
  if (allow_zero != 0 && std::ranges::count(dims, 0) != 0)
    return node.Unsupported("allowzero with empty dimensions is not supported");
  // The batch: kept (0), inferred (-1), or a fixed 1, which is how exporters write a batch they took for constant.
  const bool keeps_batch = dims[0] == 0 || dims[0] == 1 || dims[0] == -1;
  if (keeps_batch && dims.size() == 2 &&
      (dims[1] == features || (dims[1] == -1 && dims[0] != -1) || (dims[1] == 0 && input.size() == 2))) {
    return EmitFlatten(node, x);
  }
  bool same = keeps_batch && dims.size() == input.size();
  for (std::size_t i = 1; same && i < dims.size(); ++i) same = dims[i] == input[i] || dims[i] == 0;
  if (same) return node.Emit(Identity{}, {x}, input);
  return node.Unsupported("it reshapes " + ToText(input) + " to " + ToText(dims) + "; only [batch, " +
                          std::to_string(features) + "] is supported: use Flatten");
}

Status ImportSoftmax(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(1, 1));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  const Shape shape = node.Shape(x);
  // Before opset 13 the default was 1, and dimensions from the axis on were taken together.
  EF_ASSIGN_OR_RETURN(const std::int64_t axis, node.Int("axis", node.opset() < 13 ? 1 : -1));
  const auto last = static_cast<std::int64_t>(shape.size()) - 1;
  if (axis != last && axis != -1) return node.Unsupported("only the last axis is supported");
  return node.Emit(runtime::Softmax{}, {x}, shape);
}

Status ImportRelu(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(1, 1));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  const Shape shape = node.Shape(x);
  return node.Emit(Relu{}, {x}, shape);
}

Status ImportIdentity(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(1, 1));
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  const Shape shape = node.Shape(x);
  return node.Emit(Identity{}, {x}, shape);
}

// Inference: dropout does nothing.
Status ImportDropout(NodeReader& node) {
  EF_RETURN_IF_ERROR(node.CheckInputCount(1, 3));
  node.Ignore("ratio");
  node.Ignore("seed");
  EF_ASSIGN_OR_RETURN(const ValueId x, node.Activation(0));
  if (node.has_input(2)) {
    EF_ASSIGN_OR_RETURN(const OnnxConstant training, node.Constant(2));
    if (training.integers.size() != 1 || training.integers[0] != 0) {
      return node.Unsupported("it is in training mode; export for inference");
    }
  }
  const Shape shape = node.Shape(x);
  return node.Emit(Identity{}, {x}, shape);
}

struct Importer {
  std::string_view op_type;
  Status (*import)(NodeReader&);
};
constexpr Importer kImporters[] = {
    {"Add", ImportAdd},
    {"AveragePool", ImportAveragePool},
    {"BatchNormalization", ImportBatchNormalization},
    {"Conv", ImportConv},
    {"Dropout", ImportDropout},
    {"Flatten", ImportFlatten},
    {"Gemm", ImportGemm},
    {"GlobalAveragePool", ImportGlobalAveragePool},
    {"Identity", ImportIdentity},
    {"MatMul", ImportMatMul},
    {"MaxPool", ImportMaxPool},
    {"Relu", ImportRelu},
    {"Reshape", ImportReshape},
    {"Softmax", ImportSoftmax},
};

}  // namespace

Status ImportNode(NodeReader& node) {
  if (node.type() == "Constant") return node.EmitConstant();
  const auto* found = std::ranges::find(kImporters, node.type(), &Importer::op_type);
  if (found == std::end(kImporters)) {
    std::string known = "Constant";
    for (const Importer& importer : kImporters) known += ", " + std::string(importer.op_type);
    return node.Unsupported("this operator is not supported; build the network from " + known);
  }
  EF_RETURN_IF_ERROR(found->import(node));
  return node.Finish();
}

}  // namespace edgefleet::compiler
