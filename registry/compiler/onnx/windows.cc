// Convolutions and pools, 1-D and 2-D. 1-D ones are 2-D ones of height 1.
#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::kAbsent;
using runtime::ReduceKind;

constexpr std::int64_t kWindowMax = 65'536;  // of kernels, strides, dilations and pads: keeps arithmetic far from overflow

// As runtime's operators want it: {height, width}, {top, left, bottom, right}.
struct Window {
  std::array<std::int32_t, 2> kernel{1, 1};
  std::array<std::int32_t, 2> strides{1, 1};
  std::array<std::int32_t, 2> dilations{1, 1};
  std::array<std::int32_t, 4> pads{0, 0, 0, 0};
  bool same = false;  // auto_pad SAME_UPPER or SAME_LOWER
  bool upper = false;
};

// 1 or 2 spatial dimensions; what the window's arrays begin with is 1 for the former.
Result<std::size_t> SpatialRank(const NodeContext& node, TensorId x) {
  const Shape& shape = node.ShapeOf(x);
  if (shape.size() == 3 || shape.size() == 4) return shape.size() - 2;
  return node.Unsupported("its input " + runtime::ToText(shape) + " must have 1 or 2 spatial dimensions");
}

Result<std::array<std::int32_t, 2>> ReadPair(NodeContext& node, const char* name, std::size_t rank, std::int32_t fallback = 1,
                                             std::int64_t least = 1) {
  EF_ASSIGN_OR_RETURN(const auto values, node.Ints(name));
  std::array<std::int32_t, 2> pair{rank == 1 ? static_cast<std::int32_t>(least) : fallback, fallback};
  if (values.empty()) return pair;
  if (values.size() != rank) return node.Bad(std::string("'") + name + "' must have " + std::to_string(rank) + " values");
  for (std::size_t i = 0; i < rank; ++i) {
    if (values[i] < least || values[i] > kWindowMax) {
      return node.Bad(std::string("'") + name + "' must be " + std::to_string(least) + " to " + std::to_string(kWindowMax));
    }
    pair[2 - rank + i] = static_cast<std::int32_t>(values[i]);
  }
  return pair;
}

Result<Window> ReadWindow(NodeContext& node, std::size_t rank) {
  Window window;
  EF_ASSIGN_OR_RETURN(window.strides, ReadPair(node, "strides", rank));
  EF_ASSIGN_OR_RETURN(window.dilations, ReadPair(node, "dilations", rank));
  EF_ASSIGN_OR_RETURN(const auto pads, node.Ints("pads"));
  if (!pads.empty() && pads.size() != 2 * rank) return node.Bad("'pads' must have " + std::to_string(2 * rank) + " values");
  for (std::size_t i = 0; i < pads.size(); ++i) {
    if (pads[i] < 0 || pads[i] > kWindowMax) return node.Bad("'pads' must be 0 to " + std::to_string(kWindowMax));
    window.pads[i < rank ? 2 - rank + i : 4 - 2 * rank + i] = static_cast<std::int32_t>(pads[i]);
  }
  EF_ASSIGN_OR_RETURN(const std::string auto_pad, node.String("auto_pad", "NOTSET"));
  window.upper = auto_pad == "SAME_UPPER";
  window.same = window.upper || auto_pad == "SAME_LOWER";
  if (!window.same && auto_pad != "NOTSET" && auto_pad != "VALID" && !auto_pad.empty()) {
    return node.Bad("'auto_pad' has an unknown value");
  }
  if (window.same || auto_pad == "VALID") window.pads = {0, 0, 0, 0};
  return window;
}

// As many outputs as ceil(size / stride); the odd pad at the end or at the beginning.
Status SetSamePads(const NodeContext& node, Window& window, TensorId x) {
  if (!window.same) return OkStatus();
  const Shape& shape = node.ShapeOf(x);
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const std::int64_t stride = window.strides[axis];
    if (stride > 1 && node.sizes_are_dynamic()) {
      return node.Unsupported("its padding follows from the size of its input (auto_pad); fix the sizes with --shape");
    }
    const std::int64_t size = axis + shape.size() < 4 ? 1 : shape[axis + shape.size() - 2];
    const std::int64_t extent = std::int64_t{window.kernel[axis] - 1} * window.dilations[axis] + 1;
    const std::int64_t total = std::max<std::int64_t>(((size + stride - 1) / stride - 1) * stride + extent - size, 0);
    const std::int64_t half = total / 2;
    if (total > kWindowMax) return node.Bad("its window is too large");
    window.pads[axis] = static_cast<std::int32_t>(window.upper ? half : total - half);
    window.pads[axis + 2] = static_cast<std::int32_t>(window.upper ? total - half : half);
  }
  return OkStatus();
}

// [N, C, W] as [N, C, 1, W], and back.
Result<TensorId> Widen(NodeContext& node, TensorId x, std::size_t rank) {
  return rank == 2 ? Result<TensorId>(x) : node.Unsqueeze(x, {2});
}

Result<TensorId> EmitNarrow(NodeContext& node, runtime::Operator op, std::vector<TensorId> inputs, std::size_t rank) {
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Emit(std::move(op), std::move(inputs)));
  return rank == 2 ? Result<TensorId>(y) : node.Squeeze(y, {2});
}

// Weights [O, I, W] as [O, I, 1, W].
Result<TensorId> WidenWeights(NodeContext& node, TensorId w, std::size_t rank) {
  if (rank == 2 || node.Rank(w) != 3) return w;
  EF_ASSIGN_OR_RETURN(const auto changed,
                      node.ChangeConstantId(w, "2-D", [](const Shape& shape, ByteView bytes, std::size_t, int axis) {
                        return NodeContext::Changed{{shape[0], shape[1], 1, shape[2]}, ToBytes(bytes), axis == 2 ? 3 : axis};
                      }));
  return changed ? Result<TensorId>(*changed) : node.Unsqueeze(w, {2});
}

Status SetKernel(NodeContext& node, Window& window, TensorId weights, std::size_t rank) {
  const Shape& shape = node.ShapeOf(weights);
  if (shape.size() != 4 || shape[2] < 1 || shape[3] < 1 || shape[2] > kWindowMax || shape[3] > kWindowMax) {
    return node.Bad("its weights " + runtime::ToText(shape) + " do not fit an input with " + std::to_string(rank) +
                    " spatial dimensions");
  }
  window.kernel = {static_cast<std::int32_t>(shape[2]), static_cast<std::int32_t>(shape[3])};
  EF_ASSIGN_OR_RETURN(const auto kernel, node.Ints("kernel_shape"));
  if (!kernel.empty() && !std::ranges::equal(kernel, std::span(shape).last(rank))) {
    return node.Bad("'kernel_shape' differs from the weights' shape " + runtime::ToText(shape));
  }
  return OkStatus();
}

Result<std::int32_t> ReadGroups(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const std::int64_t groups, node.Int("group", 1));
  if (groups < 1 || groups > (1 << 24)) return node.Bad("'group' must be 1 or more");
  return static_cast<std::int32_t>(groups);
}

// The activation of com.microsoft's FusedConv.
Result<runtime::Activation> ReadActivation(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const std::string name, node.String("activation", ""));
  EF_ASSIGN_OR_RETURN(const auto values, node.Floats("activation_params"));
  const auto at = [&](std::size_t i, float fallback) { return i < values.size() ? values[i] : fallback; };
  using runtime::UnaryKind;
  if (name.empty()) return runtime::Activation{};
  if (name == "Relu") return runtime::Activation{UnaryKind::kRelu};
  if (name == "Sigmoid") return runtime::Activation{UnaryKind::kSigmoid};
  if (name == "Tanh") return runtime::Activation{UnaryKind::kTanh};
  if (name == "LeakyRelu") return runtime::Activation{UnaryKind::kLeakyRelu, at(0, 0.01F)};
  if (name == "Clip") return runtime::Activation{UnaryKind::kClip, at(0, -3.4e38F), at(1, 3.4e38F)};
  if (name == "HardSigmoid") return runtime::Activation{UnaryKind::kHardSigmoid, at(0, 0.2F), at(1, 0.5F)};
  return node.Unsupported("activation '" + name.substr(0, 64) + "' is not supported");
}

Status ImportConvolution(NodeContext& node, runtime::Activation activation) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 3));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId w, node.Input(1));
  EF_ASSIGN_OR_RETURN(const TensorId bias, node.Input(2));
  EF_ASSIGN_OR_RETURN(const TensorId y, EmitConvolution(node, x, w, bias, activation));
  return node.Bind(0, y);
}

Status ImportConv(NodeContext& node) { return ImportConvolution(node, {}); }

Status ImportFusedConv(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const runtime::Activation activation, ReadActivation(node));
  return ImportConvolution(node, activation);
}

// Pads that make the transposed convolution's output as large as asked for.
Status SetTransposedPads(NodeContext& node, Window& window, TensorId x, std::array<std::int32_t, 2>& output_pads,
                         std::size_t rank) {
  EF_ASSIGN_OR_RETURN(auto wanted, node.Ints("output_shape"));
  if (wanted.size() == rank + 2) wanted.erase(wanted.begin(), wanted.begin() + 2);
  if (!wanted.empty() && wanted.size() != rank) return node.Bad("'output_shape' must have " + std::to_string(rank) + " values");
  if (wanted.empty() && !window.same) return OkStatus();
  if (node.sizes_are_dynamic()) {
    return node.Unsupported(
        "its padding follows from the size of its input (output_shape, auto_pad); fix the sizes with --shape");
  }
  const Shape& shape = node.ShapeOf(x);
  for (std::size_t i = 0; i < rank; ++i) {
    const std::size_t axis = 2 - rank + i;
    const std::int64_t size = shape[i + 2];
    const std::int64_t target = wanted.empty() ? size * window.strides[axis] : wanted[i];
    const std::int64_t extent = std::int64_t{window.kernel[axis] - 1} * window.dilations[axis] + 1;
    const std::int64_t full = window.strides[axis] * (size - 1) + output_pads[axis] + extent;
    if (target < 1 || target > full + kWindowMax || full - target > kWindowMax)
      return node.Bad("'output_shape' is out of reach");
    const std::int64_t total = full - target;
    if (total < 0) {
      output_pads[axis] += static_cast<std::int32_t>(-total);
      window.pads[axis] = window.pads[axis + 2] = 0;
      continue;
    }
    const std::int64_t half = total / 2;
    window.pads[axis] = static_cast<std::int32_t>(window.upper ? half : total - half);
    window.pads[axis + 2] = static_cast<std::int32_t>(window.upper ? total - half : half);
  }
  return OkStatus();
}

Status ImportConvTranspose(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 3));
  EF_ASSIGN_OR_RETURN(TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const std::size_t rank, SpatialRank(node, x));
  EF_ASSIGN_OR_RETURN(TensorId w, node.Input(1));
  EF_ASSIGN_OR_RETURN(w, WidenWeights(node, w, rank));
  EF_ASSIGN_OR_RETURN(const TensorId bias, node.Input(2));
  EF_ASSIGN_OR_RETURN(Window window, ReadWindow(node, rank));
  EF_RETURN_IF_ERROR(SetKernel(node, window, w, rank));
  EF_ASSIGN_OR_RETURN(auto output_pads, ReadPair(node, "output_padding", rank, 0, 0));
  EF_RETURN_IF_ERROR(SetTransposedPads(node, window, x, output_pads, rank));
  EF_ASSIGN_OR_RETURN(const std::int32_t groups, ReadGroups(node));
  EF_ASSIGN_OR_RETURN(x, Widen(node, x, rank));
  const runtime::ConvTranspose2d op{window.strides, window.pads, window.dilations, output_pads, groups, {}};
  EF_ASSIGN_OR_RETURN(const TensorId y, EmitNarrow(node, op, {x, w, bias}, rank));
  return node.Bind(0, y);
}

Status ImportPool(NodeContext& node, runtime::Pool2d::Kind kind) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_RETURN_IF_ERROR(node.CheckOutputs(1));
  EF_ASSIGN_OR_RETURN(TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const std::size_t rank, SpatialRank(node, x));
  EF_ASSIGN_OR_RETURN(const bool ceil, node.Flag("ceil_mode", false));
  bool include_pad = false;
  if (kind == runtime::Pool2d::Kind::kMax) {
    node.Ignore("storage_order");  // orders the indices, which are not supported
  } else {
    EF_ASSIGN_OR_RETURN(include_pad, node.Flag("count_include_pad", false));
  }
  EF_ASSIGN_OR_RETURN(Window window, ReadWindow(node, rank));
  if (!node.HasAttribute("kernel_shape")) return node.Bad("'kernel_shape' is missing");
  EF_ASSIGN_OR_RETURN(window.kernel, ReadPair(node, "kernel_shape", rank));
  EF_RETURN_IF_ERROR(SetSamePads(node, window, x));
  const runtime::DataType type = node.TypeOf(x);
  const bool integers = type != runtime::DataType::kFloat32 && !node.At(x).quantization;
  if (integers) {
    EF_ASSIGN_OR_RETURN(x, node.Cast(x, runtime::DataType::kFloat32));
  }
  EF_ASSIGN_OR_RETURN(x, Widen(node, x, rank));
  const runtime::Pool2d op{kind, window.kernel, window.strides, window.pads, include_pad, window.dilations, ceil};
  EF_ASSIGN_OR_RETURN(TensorId y, EmitNarrow(node, op, {x}, rank));
  if (integers) {
    EF_ASSIGN_OR_RETURN(y, node.Cast(y, type));
  }
  return node.Bind(0, y);
}

Status ImportMaxPool(NodeContext& node) { return ImportPool(node, runtime::Pool2d::Kind::kMax); }
Status ImportAveragePool(NodeContext& node) { return ImportPool(node, runtime::Pool2d::Kind::kAverage); }

template <ReduceKind kind>
Status ImportGlobalPool(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  std::vector<std::int64_t> axes;
  for (std::int64_t axis = 2; axis < node.Rank(x); ++axis) axes.push_back(axis);
  if (axes.empty()) return node.Bad("its input " + runtime::ToText(node.ShapeOf(x)) + " has no spatial dimensions");
  return node.Finish(runtime::Reduce{kind, std::move(axes), true}, {x});
}

constexpr const char* kDimensions = "1-D and 2-D";

constexpr std::array kOperators{
    OnnxOperator{"AveragePool", ImportAveragePool, kDimensions},
    OnnxOperator{"Conv", ImportConv, kDimensions},
    OnnxOperator{"ConvTranspose", ImportConvTranspose, kDimensions},
    OnnxOperator{"GlobalAveragePool", ImportGlobalPool<ReduceKind::kMean>},
    OnnxOperator{"GlobalMaxPool", ImportGlobalPool<ReduceKind::kMax>},
    OnnxOperator{"MaxPool", ImportMaxPool, "1-D and 2-D; without the output of indices"},
    OnnxOperator{"FusedConv", ImportFusedConv, kDimensions, 1, 1'000, "com.microsoft"},
};

}  // namespace

Result<TensorId> EmitConvolution(NodeContext& node, TensorId x, TensorId w, TensorId bias, runtime::Activation activation) {
  EF_ASSIGN_OR_RETURN(const std::size_t rank, SpatialRank(node, x));
  EF_ASSIGN_OR_RETURN(w, WidenWeights(node, w, rank));
  EF_ASSIGN_OR_RETURN(Window window, ReadWindow(node, rank));
  EF_RETURN_IF_ERROR(SetKernel(node, window, w, rank));
  EF_RETURN_IF_ERROR(SetSamePads(node, window, x));
  EF_ASSIGN_OR_RETURN(const std::int32_t groups, ReadGroups(node));
  EF_ASSIGN_OR_RETURN(x, Widen(node, x, rank));
  return EmitNarrow(node, runtime::Conv2d{window.strides, window.pads, window.dilations, groups, activation}, {x, w, bias},
                    rank);
}

std::span<const OnnxOperator> WindowOperators() { return kOperators; }

}  // namespace edgefleet::compiler
