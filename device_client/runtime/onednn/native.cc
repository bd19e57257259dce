#include "device_client/runtime/onednn/native.h"

#include <limits>
#include <optional>

#include "device_client/runtime/kernels/float_rows.h"
#include "device_client/runtime/ops/ops.h"
#include "device_client/runtime/ops/strided.h"

namespace edgefleet::runtime::onednn {
namespace {

using kernels::RowFunction;

std::optional<RowFunction> FunctionOf(BinaryKind kind) {
  switch (kind) {
    case BinaryKind::kAdd:
      return RowFunction::kAdd;
    case BinaryKind::kSub:
      return RowFunction::kSub;
    case BinaryKind::kMul:
      return RowFunction::kMul;
    case BinaryKind::kDiv:
      return RowFunction::kDiv;
    case BinaryKind::kMin:
      return RowFunction::kMin;
    case BinaryKind::kMax:
      return RowFunction::kMax;
    default:
      return std::nullopt;
  }
}

void Combine(RowFunction function, const Activation& activation, const Operand& a, const Operand& b, const Destination& y) {
  const Strided<2> inputs(y.shape(), {BroadcastStrides(a.shape(), y.shape()), BroadcastStrides(b.shape(), y.shape())});
  const std::int64_t count = inputs.size(0);
  const auto& strides = inputs.strides(0);
  const bool clip = activation.kind == UnaryKind::kClip;
  const float low = clip ? activation.alpha : 0;
  const float high = clip ? activation.beta : std::numeric_limits<float>::infinity();
  float* to = y.as<float>();
  inputs.ForEach(1, [&](const auto& from) {
    kernels::CombineRow(function, a.as<float>() + from[0], strides[0] == 0, b.as<float>() + from[1], strides[1] == 0, count,
                        to);
    if (activation.kind != UnaryKind::kIdentity) kernels::ClampRow(low, high, count, to);
    to += count;
  });
}

bool RunsFast(const Binary& op, DataType type) {
  const UnaryKind fused = op.activation.kind;
  const bool clamps = fused == UnaryKind::kIdentity || fused == UnaryKind::kRelu || fused == UnaryKind::kClip;
  return type == DataType::kFloat32 && clamps && (FunctionOf(op.kind) || op.kind == BinaryKind::kPow);
}

// False if there is no faster way than the reference's.
bool RanFast(const Binary& op, const RunCall& call) {
  if (!RunsFast(op, call.in(0).type())) return false;
  if (op.kind == BinaryKind::kPow) {
    if (call.in(1).count() != 1 || *call.in(1).as<float>() != 2 || call.out().count() != call.in(0).count()) return false;
    Combine(RowFunction::kMul, op.activation, call.in(0), call.in(0), call.out());
    return true;
  }
  Combine(*FunctionOf(op.kind), op.activation, call.in(0), call.in(1), call.out());
  return true;
}

bool RanFast(const Reduce& op, const RunCall& call) {
  const Operand& x = call.in(0);
  const Destination& y = call.out();
  const auto rank = static_cast<std::int64_t>(x.shape().size());
  const auto last = static_cast<std::int64_t>(op.axes.size());
  if (x.type() != DataType::kFloat32 || (op.kind != ReduceKind::kSum && op.kind != ReduceKind::kMean)) return false;
  // Distinct axes, so that they are the last ones if each is among as many.
  for (const std::int64_t axis : op.axes) {
    if ((axis < 0 ? axis + rank : axis) < rank - last) return false;
  }
  const std::int64_t count = y.count() == 0 ? 0 : x.count() / y.count();
  for (std::int64_t i = 0; i < y.count(); ++i) {
    const double sum = kernels::SumRow(x.as<float>() + i * count, count);
    y.as<float>()[i] = static_cast<float>(op.kind == ReduceKind::kMean ? sum / static_cast<double>(count) : sum);
  }
  return true;
}

template <typename Op>
bool RanFast(const Op&, const RunCall&) {
  return false;
}

}  // namespace

Status RunNative(const Operator& op, const RunCall& call) {
  if (std::visit([&](const auto& each) { return RanFast(each, call); }, op)) return OkStatus();
  return RunOperator(op, call);
}

}  // namespace edgefleet::runtime::onednn
