// Matrix products.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::BinaryKind;
using runtime::DataType;
using runtime::kAbsent;

std::string BitsOf(float value) { return std::to_string(std::bit_cast<std::uint32_t>(value)); }

// [R, C] as [C, R].
Bytes Transposed(ByteView bytes, std::size_t size, std::size_t rows, std::size_t columns) {
  Bytes out(bytes.size());
  constexpr std::size_t kTile = 32;  // keeps both sides in the cache
  for (std::size_t r0 = 0; r0 < rows; r0 += kTile) {
    for (std::size_t c0 = 0; c0 < columns; c0 += kTile) {
      for (std::size_t r = r0; r < std::min(r0 + kTile, rows); ++r) {
        for (std::size_t c = c0; c < std::min(c0 + kTile, columns); ++c) {
          std::memcpy(out.data() + (c * rows + r) * size, bytes.data() + (r * columns + c) * size, size);
        }
      }
    }
  }
  return out;
}

void Scale(Bytes& bytes, float factor) {
  for (std::size_t at = 0; at + sizeof(float) <= bytes.size(); at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    value *= factor;
    std::memcpy(bytes.data() + at, &value, sizeof value);
  }
}

NodeContext::Changed Transpose(const Shape& shape, ByteView bytes, std::size_t size, int axis) {
  return {{shape[1], shape[0]},
          Transposed(bytes, size, static_cast<std::size_t>(shape[0]), static_cast<std::size_t>(shape[1])),
          axis < 0 ? axis : 1 - axis};
}

// What a fully connected layer reads: int8 weights with a scale for the whole or for each row are read as they are; nothing for
// others that are dequantized.
std::optional<TensorId> AsStored(const NodeContext& node, TensorId weights) {
  const auto stored = node.Dequantized(weights);
  if (!stored) return weights;
  const runtime::Tensor& tensor = node.At(*stored);
  return tensor.type == DataType::kInt8 && tensor.quantization->axis <= 0 ? stored : std::nullopt;
}

// The fully connected layer's weights [M, K] from input `index`, which holds them so or transposed, times `factor`. Nothing if
// they are no constant, or not of a kind that the layer reads.
Result<std::optional<TensorId>> DenseWeights(NodeContext& node, int index, bool transposed, float factor) {
  if (!node.IsWeights(index, 2)) return std::optional<TensorId>();
  if (transposed && factor == 1) {
    EF_ASSIGN_OR_RETURN(const TensorId id, node.Input(index));
    return AsStored(node, id);
  }
  const std::string change = (transposed ? "" : "T") + BitsOf(factor);
  EF_ASSIGN_OR_RETURN(
      const auto id, node.ChangeConstant(index, change, [&](const Shape& shape, ByteView bytes, std::size_t size, int axis) {
        auto changed = transposed ? NodeContext::Changed{shape, ToBytes(bytes), axis} : Transpose(shape, bytes, size, axis);
        if (factor != 1) Scale(changed.bytes, factor);
        return changed;
      }));
  return id ? AsStored(node, *id) : std::optional<TensorId>();
}

Result<TensorId> TimesFactor(NodeContext& node, TensorId x, float factor) {
  if (factor == 1) return x;
  EF_ASSIGN_OR_RETURN(const TensorId scalar, node.Scalar(factor));
  return node.Binary(BinaryKind::kMul, x, scalar);
}

// The bias [M] from constant input 2 if it is one value, or one for each of the M; nothing if it is something else.
Result<std::optional<TensorId>> DenseBias(NodeContext& node, std::int64_t m, float beta) {
  if (!node.IsWeights(2)) return std::optional<TensorId>();
  EF_ASSIGN_OR_RETURN(const TensorId c, node.Input(2));
  const Shape shape = node.ShapeOf(c);
  const bool list = shape == Shape{m};
  const bool row = !list && (shape == Shape{1, m} || runtime::ElementCount(shape) == 1) && shape.size() <= 2;
  const bool plain = node.IsConstantId(c);
  if (!(list || row) || (!plain && (!list || beta != 1))) return std::optional<TensorId>();
  if (list && beta == 1) return std::optional(c);
  return node.ChangeConstant(2, "bias" + std::to_string(m) + "*" + BitsOf(beta),
                             [&](const Shape&, ByteView bytes, std::size_t, int) {
                               NodeContext::Changed changed{{m}, {}, -1};
                               while (changed.bytes.size() < static_cast<std::size_t>(m) * sizeof(float)) {
                                 changed.bytes.insert(changed.bytes.end(), bytes.begin(), bytes.end());
                               }
                               Scale(changed.bytes, beta);
                               return changed;
                             });
}

Status ImportGemm(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 3));
  EF_ASSIGN_OR_RETURN(TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const bool trans_a, node.Flag("transA", false));
  EF_ASSIGN_OR_RETURN(const bool trans_b, node.Flag("transB", false));
  EF_ASSIGN_OR_RETURN(float alpha, node.Float("alpha", 1));
  EF_ASSIGN_OR_RETURN(const float beta, node.Float("beta", 1));
  if (node.opset() < 7) node.Ignore("broadcast");
  if (!std::isfinite(alpha) || !std::isfinite(beta)) return node.Bad("alpha and beta must be finite");
  if (node.Rank(x) != 2) return node.Bad("its input " + runtime::ToText(node.ShapeOf(x)) + " must have 2 dimensions");
  if (trans_a) {
    EF_ASSIGN_OR_RETURN(x, node.Transpose(x, {1, 0}));
  }
  bool scaled = true;  // by alpha, in the weights
  if (alpha != 1 && node.IsWeights(1, 2)) {
    EF_ASSIGN_OR_RETURN(const TensorId b, node.Input(1));
    scaled = node.IsConstantId(b);  // quantized weights stay as they are
  }
  EF_ASSIGN_OR_RETURN(const auto weights, DenseWeights(node, 1, trans_b, scaled ? alpha : 1));
  std::vector<TensorId> inputs{x};
  bool biased = false;
  if (weights) {
    inputs.push_back(*weights);
    if (scaled) alpha = 1;
    if (node.has_input(2) && alpha == 1) {
      EF_ASSIGN_OR_RETURN(const auto bias, DenseBias(node, node.ShapeOf(*weights)[0], beta));
      biased = bias.has_value();
      if (bias) inputs.push_back(*bias);
    }
    if (alpha == 1 && (biased || !node.has_input(2))) return node.Finish(runtime::FullyConnected{}, std::move(inputs));
  } else {
    EF_ASSIGN_OR_RETURN(TensorId b, node.Input(1));
    if (node.Rank(b) != 2) return node.Bad("its input " + runtime::ToText(node.ShapeOf(b)) + " must have 2 dimensions");
    if (trans_b) {
      EF_ASSIGN_OR_RETURN(b, node.Transpose(b, {1, 0}));
    }
    inputs.push_back(b);
  }
  EF_ASSIGN_OR_RETURN(TensorId y,
                      node.Emit(weights ? runtime::Operator(runtime::FullyConnected{}) : runtime::MatMul{}, std::move(inputs)));
  EF_ASSIGN_OR_RETURN(y, TimesFactor(node, y, alpha));
  if (node.has_input(2) && !biased) {
    EF_ASSIGN_OR_RETURN(TensorId c, node.Input(2));
    EF_ASSIGN_OR_RETURN(c, TimesFactor(node, c, beta));
    EF_ASSIGN_OR_RETURN(y, node.Binary(BinaryKind::kAdd, y, c));
  }
  return node.Bind(0, y);
}

Status ImportMatMul(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(const TensorId a, node.Input(0));
  if (node.Rank(a) >= 2 && node.TypeOf(a) == DataType::kFloat32 && !node.IsConstantId(a)) {
    EF_ASSIGN_OR_RETURN(const auto weights, DenseWeights(node, 1, false, 1));
    if (weights) return node.Finish(runtime::FullyConnected{}, {a, *weights});
  }
  EF_ASSIGN_OR_RETURN(const TensorId b, node.Input(1));
  return node.Finish(runtime::MatMul{}, {a, b});
}

// com.microsoft: alpha * a' * b'.
Status ImportFusedMatMul(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(const float alpha, node.Float("alpha", 1));
  EF_ASSIGN_OR_RETURN(const bool batch_a, node.Flag("transBatchA", false));
  EF_ASSIGN_OR_RETURN(const bool batch_b, node.Flag("transBatchB", false));
  if (batch_a || batch_b) return node.Unsupported("transBatchA and transBatchB are not supported");
  std::vector<TensorId> sides;
  for (int i = 0; i < 2; ++i) {
    EF_ASSIGN_OR_RETURN(const bool transposed, node.Flag(i == 0 ? "transA" : "transB", false));
    EF_ASSIGN_OR_RETURN(TensorId x, node.Input(i));
    if (transposed && node.Rank(x) >= 2) {
      std::vector<std::int64_t> order;
      for (std::int64_t axis = 0; axis < node.Rank(x); ++axis) order.push_back(axis);
      std::swap(order[order.size() - 1], order[order.size() - 2]);
      EF_ASSIGN_OR_RETURN(x, node.Transpose(x, std::move(order)));
    }
    sides.push_back(x);
  }
  EF_ASSIGN_OR_RETURN(TensorId y, node.Emit(runtime::MatMul{}, std::move(sides)));
  EF_ASSIGN_OR_RETURN(y, TimesFactor(node, y, alpha));
  return node.Bind(0, y);
}

constexpr std::array kOperators{
    OnnxOperator{"Gemm", ImportGemm},
    OnnxOperator{"MatMul", ImportMatMul},
    OnnxOperator{"FusedMatMul", ImportFusedMatMul, "without transBatchA, transBatchB", 1, 1'000, "com.microsoft"},
};

}  // namespace

Result<TensorId> EmitMatMul(NodeContext& node, TensorId a, TensorId b) {
  if (node.Rank(a) >= 2 && node.Rank(b) == 2 && node.TypeOf(b) == DataType::kFloat32 && !node.IsConstantId(a)) {
    EF_ASSIGN_OR_RETURN(const auto weights, node.ChangeConstantId(b, "T" + BitsOf(1), Transpose));
    const auto stored = weights ? AsStored(node, *weights) : std::nullopt;
    if (stored) return node.Emit(runtime::FullyConnected{}, {a, *stored});
  }
  return node.Emit(runtime::MatMul{}, {a, b});
}

std::span<const OnnxOperator> DenseOperators() { return kOperators; }

}  // namespace edgefleet::compiler
