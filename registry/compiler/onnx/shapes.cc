// Operators that make tensors of shapes and numbers.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::BinaryKind;
using runtime::DataType;
using runtime::kAbsent;
using runtime::UnaryKind;

Status ImportShape(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  const std::int64_t rank = node.Rank(x);
  EF_ASSIGN_OR_RETURN(std::int64_t start, node.Int("start", 0));
  EF_ASSIGN_OR_RETURN(std::int64_t end, node.Int("end", rank));
  const auto clamped = [&](std::int64_t at) { return std::clamp<std::int64_t>(at < 0 ? at + rank : at, 0, rank); };
  start = clamped(start);
  end = std::max(clamped(end), start);
  return node.Finish(runtime::ShapeOf{static_cast<std::int32_t>(start), static_cast<std::int32_t>(end)}, {x});
}

Status ImportSize(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  return node.Finish(runtime::SizeOfTensor{}, {x});
}

template <typename Op, int inputs_count>
Status ImportPlain(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(inputs_count, inputs_count));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  return node.Finish(Op{}, std::move(inputs));
}

Status ImportConstantOfShape(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId shape, node.Input(0));
  EF_ASSIGN_OR_RETURN(const onnx::TensorProto* value, node.TensorAttribute("value"));
  TensorId filler = kAbsent;
  if (value == nullptr) {
    EF_ASSIGN_OR_RETURN(filler, node.Scalar(0.0F));
  } else {
    EF_ASSIGN_OR_RETURN(filler, node.TensorFrom(*value));
  }
  return node.Finish(runtime::Fill{}, {shape, filler});
}

// Depth and indices may be of any numeric type.
Status ImportOneHot(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(3, 3));
  EF_ASSIGN_OR_RETURN(const std::int64_t axis, node.Int("axis", -1));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  EF_ASSIGN_OR_RETURN(inputs[0], node.Cast(inputs[0], DataType::kInt64));
  EF_ASSIGN_OR_RETURN(inputs[1], node.Cast(inputs[1], DataType::kInt64));
  EF_ASSIGN_OR_RETURN(const std::int64_t checked, node.Axis(axis, node.Rank(inputs[0]) + 1));
  return node.Finish(runtime::OneHot{static_cast<std::int32_t>(checked)}, std::move(inputs));
}

// Ones on a diagonal, of the input's shape, which must be fixed.
Status ImportEyeLike(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  const Shape shape = node.ShapeOf(x);
  if (shape.size() != 2) return node.Bad("its input " + runtime::ToText(shape) + " must have 2 dimensions");
  if (node.batch_is_dynamic() || node.sizes_are_dynamic()) return node.Unsupported("it needs fixed sizes");
  EF_ASSIGN_OR_RETURN(const std::int64_t k, node.Int("k", 0));
  DataType type = node.TypeOf(x);
  if (node.HasAttribute("dtype")) {
    EF_ASSIGN_OR_RETURN(type, node.TypeAttribute("dtype", 0));
  }
  if (shape[0] > 16'384 || shape[1] > 16'384) return node.Unsupported("it is too large");
  std::vector<float> values(static_cast<std::size_t>(shape[0] * shape[1]), 0.0F);
  for (std::int64_t r = 0; r < shape[0]; ++r) {
    // k may be anything: compared before it is added.
    if (k < -r || k >= shape[1] - r) continue;
    values[static_cast<std::size_t>(r * shape[1] + r + k)] = 1;
  }
  EF_ASSIGN_OR_RETURN(const TensorId eye, node.FloatList(values, shape));
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Cast(eye, type));
  return node.Bind(0, y);
}

// ---- windows of signal processing: cosine sums

struct CosineWindow {
  std::array<double, 3> coefficients;
};

Status ImportWindow(NodeContext& node, const CosineWindow& window) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const bool periodic, node.Flag("periodic", true));
  EF_ASSIGN_OR_RETURN(const DataType type, node.TypeAttribute("output_datatype", onnx::TensorProto::FLOAT));
  EF_ASSIGN_OR_RETURN(const auto size, node.Integers(0));
  if (size.size() != 1 || size[0] < 1 || size[0] > (1 << 20)) return node.Bad("its size must be 1 to 1048576");
  const double period = periodic ? static_cast<double>(size[0]) : static_cast<double>(size[0] - 1);
  std::vector<float> values;
  for (std::int64_t i = 0; i < size[0]; ++i) {
    double value = 0;
    for (std::size_t k = 0; k < window.coefficients.size(); ++k) {
      const double angle = 2 * std::numbers::pi * static_cast<double>(k) * static_cast<double>(i) / period;
      value += (k % 2 == 0 ? 1 : -1) * window.coefficients[k] * std::cos(angle);
    }
    values.push_back(static_cast<float>(value));
  }
  EF_ASSIGN_OR_RETURN(const TensorId list, node.FloatList(values, {size[0]}));
  EF_ASSIGN_OR_RETURN(const TensorId y, node.Cast(list, type));
  return node.Bind(0, y);
}

Status ImportHann(NodeContext& node) { return ImportWindow(node, {{0.5, 0.5, 0}}); }
Status ImportHamming(NodeContext& node) { return ImportWindow(node, {{25.0 / 46, 21.0 / 46, 0}}); }
Status ImportBlackman(NodeContext& node) { return ImportWindow(node, {{0.42, 0.5, 0.08}}); }

constexpr std::array kOperators{
    OnnxOperator{"BlackmanWindow", ImportBlackman, "size constant", 17},
    OnnxOperator{"ConstantOfShape", ImportConstantOfShape, "shape known when shapes are", 9},
    OnnxOperator{"EyeLike", ImportEyeLike, "fixed sizes", 9},
    OnnxOperator{"HammingWindow", ImportHamming, "size constant", 17},
    OnnxOperator{"HannWindow", ImportHann, "size constant", 17},
    OnnxOperator{"NonZero", ImportPlain<runtime::NonZero, 1>, "of what is known when shapes are", 9},
    OnnxOperator{"OneHot", ImportOneHot, "depth known when shapes are", 9},
    OnnxOperator{"Range", ImportPlain<runtime::Range, 3>, "operands known when shapes are", 11},
    OnnxOperator{"Shape", ImportShape},
    OnnxOperator{"Size", ImportSize},
};

}  // namespace

std::span<const OnnxOperator> ShapeOperators() { return kOperators; }

}  // namespace edgefleet::compiler
