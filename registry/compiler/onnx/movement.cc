// Operators that move elements: reshapes, slices, joins, gathers, padding, resizing.
#include <algorithm>
#include <array>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::DataType;
using runtime::kAbsent;

std::int32_t Narrow(std::int64_t value) { return static_cast<std::int32_t>(value); }

// Inputs as they are, attributes none.
template <typename Op, int at_least, int at_most>
Status ImportPlain(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(at_least, at_most));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  return node.Finish(Op{}, std::move(inputs));
}

// Inputs as they are, one attribute: the axis.
template <typename Op, int inputs_count>
Status ImportWithAxis(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(inputs_count, inputs_count));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", 0));
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(inputs[0])));
  return node.Finish(Op{.axis = Narrow(axis)}, std::move(inputs));
}

// ---- shapes

// A network exported with a batch of 1 may say "reshape to [1, features]" and mean the batch, which ONNX would refuse for
// others: the first dimension is kept, whatever it is.
Result<TensorId> KeepBatch(NodeContext& node, TensorId x, TensorId target) {
  if (!node.batch_is_dynamic() || !node.IsConstantId(target)) return target;
  EF_ASSIGN_OR_RETURN(auto sizes, node.IntegersOf(target));
  const Shape& shape = node.ShapeOf(x);
  if (sizes.empty() || shape.empty() || sizes[0] != 1 || shape[0] != 1 || std::ranges::count(sizes, -1) != 0) return target;
  sizes[0] = 0;
  return node.List(sizes);
}

Status ImportReshape(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(const bool allow_zero, node.Flag("allowzero", false));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(TensorId target, node.Input(1));
  if (!allow_zero) {
    EF_ASSIGN_OR_RETURN(target, KeepBatch(node, x, target));
  }
  return node.Finish(runtime::Reshape{allow_zero}, {x, target});
}

Status ImportFlatten(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", 1));
  const std::int64_t rank = node.Rank(x);
  if (axis < -rank || axis > rank) return node.Bad("axis " + std::to_string(axis) + " is outside its input");
  if (axis < 0) axis += rank;
  return node.Finish(runtime::Flatten{Narrow(axis)}, {x});
}

// Axes of Squeeze and Unsqueeze: an attribute before opset 13, then an input.
Result<std::vector<std::int64_t>> ReadAxes(NodeContext& node, std::int64_t rank) {
  std::vector<std::int64_t> axes;
  if (node.opset() < 13) {
    EF_ASSIGN_OR_RETURN(axes, node.Ints("axes"));
  } else if (node.has_input(1)) {
    EF_ASSIGN_OR_RETURN(axes, node.Integers(1));
  }
  for (std::int64_t& axis : axes) {
    EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, rank));
  }
  std::ranges::sort(axes);
  if (std::ranges::adjacent_find(axes) != axes.end()) return node.Bad("an axis is there twice");
  return axes;
}

Status ImportSqueeze(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 2));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(auto axes, ReadAxes(node, node.Rank(x)));
  if (axes.empty()) {
    // All dimensions of 1 now, whatever others an inference may have.
    for (std::int64_t axis = 0; axis < node.Rank(x); ++axis) {
      if (node.ShapeOf(x)[static_cast<std::size_t>(axis)] == 1) axes.push_back(axis);
    }
    if (axes.empty()) return node.Bind(0, x);
  }
  return node.Finish(runtime::Squeeze{std::move(axes)}, {x});
}

Status ImportUnsqueeze(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 2));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  std::int64_t added = 0;
  if (node.opset() < 13) {
    EF_ASSIGN_OR_RETURN(const auto axes, node.Ints("axes"));
    added = static_cast<std::int64_t>(axes.size());
  } else if (node.has_input(1)) {
    EF_ASSIGN_OR_RETURN(const auto axes, node.Integers(1));
    added = static_cast<std::int64_t>(axes.size());
  }
  EF_ASSIGN_OR_RETURN(auto axes, ReadAxes(node, node.Rank(x) + added));
  if (axes.empty()) return node.Bad("it needs axes");
  return node.Finish(runtime::Unsqueeze{std::move(axes)}, {x});
}

Status ImportTranspose(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(auto order, node.Ints("perm"));
  if (order.empty()) {
    for (std::int64_t axis = node.Rank(x) - 1; axis >= 0; --axis) order.push_back(axis);
  }
  if (order.size() < 2) return node.Bind(0, x);
  return node.Finish(runtime::Transpose{std::move(order)}, {x});
}

// ---- parts

Status ImportConcat(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(node.input_count(), 4'096));
  if (node.input_count() == 0 || !node.HasAttribute("axis")) return node.Bad("it needs inputs and an axis");
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", 0));
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(inputs[0])));
  // Empty parts, with which some exporters begin a list, add nothing.
  const auto empty = [&](TensorId id) {
    const Shape& shape = node.ShapeOf(id);
    return shape.size() > static_cast<std::size_t>(axis) && shape[static_cast<std::size_t>(axis)] == 0;
  };
  std::vector<TensorId> parts;
  std::ranges::copy_if(inputs, std::back_inserter(parts), [&](TensorId id) { return !empty(id); });
  if (parts.empty()) parts = std::move(inputs);
  if (parts.size() == 1) return node.Bind(0, parts[0]);
  return node.Finish(runtime::Concat{Narrow(axis)}, std::move(parts));
}

Status ImportSplit(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, node.opset() < 13 ? 1 : 2));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", 0));
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(x)));
  std::vector<std::int64_t> sizes;
  if (node.opset() < 13) {
    EF_ASSIGN_OR_RETURN(sizes, node.Ints("split"));
  } else if (node.has_input(1)) {
    EF_ASSIGN_OR_RETURN(sizes, node.Integers(1));
  }
  if (node.opset() >= 18) {
    EF_ASSIGN_OR_RETURN(const std::int64_t count, node.Int("num_outputs", node.output_count()));
    if (count != node.output_count()) return node.Bad("'num_outputs' differs from its outputs");
  }
  return node.Finish(runtime::Split{Narrow(axis), std::move(sizes)}, {x});
}

Status ImportSlice(NodeContext& node) {
  if (node.opset() >= 10) return ImportPlain<runtime::Slice, 3, 5>(node);
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  std::vector<TensorId> inputs{x};
  for (const char* name : {"starts", "ends", "axes"}) {
    EF_ASSIGN_OR_RETURN(const auto values, node.Ints(name));
    if (values.empty() && inputs.size() == 3) continue;
    EF_ASSIGN_OR_RETURN(const TensorId list, node.List(values));
    inputs.push_back(list);
  }
  return node.Finish(runtime::Slice{}, std::move(inputs));
}

// The elements where a constant condition holds.
Status ImportCompress(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const auto condition, node.Integers(1));
  std::vector<std::int64_t> kept;
  for (std::size_t i = 0; i < condition.size(); ++i) {
    if (condition[i] != 0) kept.push_back(static_cast<std::int64_t>(i));
  }
  std::int64_t axis = 0;
  if (node.HasAttribute("axis")) {
    EF_ASSIGN_OR_RETURN(axis, node.Int("axis", 0));
    EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(x)));
  } else {
    EF_ASSIGN_OR_RETURN(x, node.Reshape(x, {-1}));
  }
  EF_ASSIGN_OR_RETURN(const TensorId indices, node.List(kept));
  return node.Finish(runtime::Gather{Narrow(axis)}, {x, indices});
}

// ---- gathers and scatters

Status ImportGatherNd(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(const std::int64_t batch, node.Int("batch_dims", 0));
  if (batch < 0 || batch > 64) return node.Bad("'batch_dims' is out of range");
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  return node.Finish(runtime::GatherNd{Narrow(batch)}, std::move(inputs));
}

Result<runtime::ScatterKind> ReadScatterKind(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const std::string kind, node.String("reduction", "none"));
  using runtime::ScatterKind;
  if (kind == "none") return ScatterKind::kSet;
  if (kind == "add") return ScatterKind::kAdd;
  if (kind == "mul") return ScatterKind::kMul;
  if (kind == "max") return ScatterKind::kMax;
  if (kind == "min") return ScatterKind::kMin;
  return node.Bad("'reduction' has an unknown value");
}

Status ImportScatterElements(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(3, 3));
  EF_ASSIGN_OR_RETURN(const auto kind, ReadScatterKind(node));
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", 0));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(inputs[0])));
  return node.Finish(runtime::ScatterElements{Narrow(axis), kind}, std::move(inputs));
}

Status ImportScatterNd(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(3, 3));
  EF_ASSIGN_OR_RETURN(const auto kind, ReadScatterKind(node));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  return node.Finish(runtime::ScatterNd{kind}, std::move(inputs));
}

// ---- padding and blocks

Status ImportPad(NodeContext& node) {
  EF_ASSIGN_OR_RETURN(const std::string mode, node.String("mode", "constant"));
  runtime::Pad op;
  if (mode == "reflect") {
    op.mode = runtime::Pad::Mode::kReflect;
  } else if (mode == "edge") {
    op.mode = runtime::Pad::Mode::kEdge;
  } else if (mode == "wrap") {
    op.mode = runtime::Pad::Mode::kWrap;
  } else if (mode != "constant") {
    return node.Bad("'mode' has an unknown value");
  }
  if (node.opset() >= 11) {
    EF_RETURN_IF_ERROR(node.CheckInputs(2, 4));
    EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
    return node.Finish(op, std::move(inputs));
  }
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const auto pads, node.Ints("pads"));
  EF_ASSIGN_OR_RETURN(const float value, node.Float("value", 0));
  EF_ASSIGN_OR_RETURN(const TensorId list, node.List(pads));
  EF_ASSIGN_OR_RETURN(const TensorId filler, node.Scalar(node.TypeOf(x), value));
  return node.Finish(op, {x, list, filler});
}

Status ImportDepthToSpace(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const std::int64_t block, node.Int("blocksize", 0));
  EF_ASSIGN_OR_RETURN(const std::string mode, node.String("mode", "DCR"));
  if (block < 1 || block > 65'536) return node.Bad("'blocksize' must be 1 to 65536");
  if (mode != "DCR" && mode != "CRD") return node.Bad("'mode' must be DCR or CRD");
  return node.Finish(runtime::DepthToSpace{Narrow(block), mode == "CRD"}, {x});
}

Status ImportSpaceToDepth(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const std::int64_t block, node.Int("blocksize", 0));
  if (block < 1 || block > 65'536) return node.Bad("'blocksize' must be 1 to 65536");
  return node.Finish(runtime::SpaceToDepth{Narrow(block)}, {x});
}

Status ImportTrilu(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 2));
  EF_ASSIGN_OR_RETURN(const bool upper, node.Flag("upper", true));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  return node.Finish(runtime::Trilu{upper}, std::move(inputs));
}

Status ImportReverseSequence(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(const std::int64_t batch, node.Int("batch_axis", 1));
  EF_ASSIGN_OR_RETURN(const std::int64_t time, node.Int("time_axis", 0));
  if (std::min(batch, time) != 0 || std::max(batch, time) != 1) return node.Bad("'batch_axis' and 'time_axis' must be 0 and 1");
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  return node.Finish(runtime::ReverseSequence{Narrow(batch), Narrow(time)}, std::move(inputs));
}

// ---- resizing

using Coordinates = runtime::Resize::Coordinates;
using Nearest = runtime::Resize::Nearest;

template <typename Enum, std::size_t n>
Result<Enum> Choose(const NodeContext& node, const char* name, const std::string& value,
                    const std::array<std::pair<std::string_view, Enum>, n>& choices) {
  for (const auto& [text, choice] : choices) {
    if (text == value) return choice;
  }
  return node.Unsupported(std::string("'") + name + "' = '" + value.substr(0, 64) + "' is not supported");
}

Result<runtime::Resize::Mode> ReadMode(NodeContext& node) {
  using Mode = runtime::Resize::Mode;
  EF_ASSIGN_OR_RETURN(const std::string mode, node.String("mode", "nearest"));
  return Choose(
      node, "mode", mode,
      std::array<std::pair<std::string_view, Mode>, 4>{
          {{"nearest", Mode::kNearest}, {"linear", Mode::kLinear}, {"bilinear", Mode::kLinear}, {"cubic", Mode::kCubic}}});
}

// Output pixel i is input pixel floor(i / scale): Upsample, and Resize of opset 10.
Status ImportOldResize(NodeContext& node) {
  runtime::Resize op;
  EF_ASSIGN_OR_RETURN(op.mode, ReadMode(node));
  op.coordinates = Coordinates::kAsymmetric;
  op.nearest = Nearest::kFloor;
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 2));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  TensorId scales = kAbsent;
  if (node.has_input(1)) {
    EF_ASSIGN_OR_RETURN(scales, node.Input(1));
  } else {
    EF_ASSIGN_OR_RETURN(const auto values, node.Floats("scales"));
    EF_ASSIGN_OR_RETURN(scales, node.FloatList(values, {static_cast<std::int64_t>(values.size())}));
  }
  return node.Finish(op, {x, kAbsent, scales});
}

// TensorFlow's half pixels for "nearest" are half a pixel further on than the others: the same pixels by another rounding.
Status SetTensorflowPixels(NodeContext& node, runtime::Resize& op) {
  op.coordinates = Coordinates::kHalfPixel;
  if (op.mode != runtime::Resize::Mode::kNearest) return node.Unsupported("tf_half_pixel_for_nn is for nearest only");
  switch (op.nearest) {
    case Nearest::kFloor:
      op.nearest = Nearest::kRoundPreferCeil;
      return OkStatus();
    case Nearest::kRoundPreferFloor:
      op.nearest = Nearest::kCeil;
      return OkStatus();
    default:
      return node.Unsupported("tf_half_pixel_for_nn with this 'nearest_mode' is not supported; export with half_pixel");
  }
}

Status ReadResizeAttributes(NodeContext& node, runtime::Resize& op) {
  EF_ASSIGN_OR_RETURN(op.mode, ReadMode(node));
  EF_ASSIGN_OR_RETURN(const std::string nearest, node.String("nearest_mode", "round_prefer_floor"));
  EF_ASSIGN_OR_RETURN(
      op.nearest,
      Choose(node, "nearest_mode", nearest,
             std::array<std::pair<std::string_view, Nearest>, 4>{{{"round_prefer_floor", Nearest::kRoundPreferFloor},
                                                                  {"round_prefer_ceil", Nearest::kRoundPreferCeil},
                                                                  {"floor", Nearest::kFloor},
                                                                  {"ceil", Nearest::kCeil}}}));
  EF_ASSIGN_OR_RETURN(const std::string coordinates, node.String("coordinate_transformation_mode", "half_pixel"));
  if (coordinates == "tf_half_pixel_for_nn") {
    EF_RETURN_IF_ERROR(SetTensorflowPixels(node, op));
  } else {
    EF_ASSIGN_OR_RETURN(op.coordinates, Choose(node, "coordinate_transformation_mode", coordinates,
                                               std::array<std::pair<std::string_view, Coordinates>, 6>{
                                                   {{"half_pixel", Coordinates::kHalfPixel},
                                                    {"pytorch_half_pixel", Coordinates::kPytorchHalfPixel},
                                                    {"align_corners", Coordinates::kAlignCorners},
                                                    {"asymmetric", Coordinates::kAsymmetric},
                                                    {"tf_crop_and_resize", Coordinates::kCropAndResize},
                                                    {"half_pixel_symmetric", Coordinates::kHalfPixelSymmetric}}}));
  }
  EF_ASSIGN_OR_RETURN(const std::string policy, node.String("keep_aspect_ratio_policy", "stretch"));
  using Ratio = runtime::Resize::AspectRatio;
  EF_ASSIGN_OR_RETURN(
      op.aspect_ratio,
      Choose(node, "keep_aspect_ratio_policy", policy,
             std::array<std::pair<std::string_view, Ratio>, 3>{
                 {{"stretch", Ratio::kStretch}, {"not_larger", Ratio::kNotLarger}, {"not_smaller", Ratio::kNotSmaller}}}));
  EF_ASSIGN_OR_RETURN(op.axes, node.Ints("axes"));
  EF_ASSIGN_OR_RETURN(op.cubic_a, node.Float("cubic_coeff_a", -0.75F));
  EF_ASSIGN_OR_RETURN(op.exclude_outside, node.Flag("exclude_outside", false));
  EF_ASSIGN_OR_RETURN(op.extrapolation, node.Float("extrapolation_value", 0));
  EF_ASSIGN_OR_RETURN(op.antialias, node.Flag("antialias", false));
  return OkStatus();
}

Status ImportResize(NodeContext& node) {
  if (node.opset() < 11) return ImportOldResize(node);
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 4));
  runtime::Resize op;
  EF_RETURN_IF_ERROR(ReadResizeAttributes(node, op));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  inputs.resize(4, kAbsent);
  // Absent inputs used to be written as empty tensors.
  for (std::size_t i = 1; i < 4; ++i) {
    if (inputs[i] != kAbsent && runtime::ElementCount(node.ShapeOf(inputs[i])) == 0) inputs[i] = kAbsent;
  }
  if (op.coordinates != Coordinates::kCropAndResize) inputs[1] = kAbsent;
  return node.Finish(op, std::move(inputs));
}

constexpr const char* kKnown = "shape operands known when shapes are";

constexpr std::array kOperators{
    OnnxOperator{"Compress", ImportCompress, "condition constant", 9},
    OnnxOperator{"Concat", ImportConcat},
    OnnxOperator{"DepthToSpace", ImportDepthToSpace},
    OnnxOperator{"Expand", ImportPlain<runtime::Expand, 2, 2>, kKnown, 8},
    OnnxOperator{"Flatten", ImportFlatten},
    OnnxOperator{"Gather", ImportWithAxis<runtime::Gather, 2>, "indices outside are clamped unless they are constant"},
    OnnxOperator{"GatherElements", ImportWithAxis<runtime::GatherElements, 2>, "", 11},
    OnnxOperator{"GatherND", ImportGatherNd, "", 11},
    OnnxOperator{"Pad", ImportPad, kKnown},
    OnnxOperator{"Reshape", ImportReshape, kKnown},
    OnnxOperator{"Resize", ImportResize, kKnown, 10},
    OnnxOperator{"ReverseSequence", ImportReverseSequence, "", 10},
    OnnxOperator{"Scatter", ImportScatterElements, "", 9, 10},
    OnnxOperator{"ScatterElements", ImportScatterElements, "", 11},
    OnnxOperator{"ScatterND", ImportScatterNd, "", 11},
    OnnxOperator{"Slice", ImportSlice, kKnown},
    OnnxOperator{"SpaceToDepth", ImportSpaceToDepth},
    OnnxOperator{"Split", ImportSplit, "sizes constant"},
    OnnxOperator{"Squeeze", ImportSqueeze, "axes constant"},
    OnnxOperator{"Tile", ImportPlain<runtime::Tile, 2, 2>, kKnown},
    OnnxOperator{"Transpose", ImportTranspose},
    OnnxOperator{"Trilu", ImportTrilu, "k known when shapes are", 14},
    OnnxOperator{"Unsqueeze", ImportUnsqueeze, "axes constant"},
    OnnxOperator{"Upsample", ImportOldResize, kKnown, 7, 9},
};

}  // namespace

std::span<const OnnxOperator> MovementOperators() { return kOperators; }

}  // namespace edgefleet::compiler
