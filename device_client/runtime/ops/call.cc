#include "device_client/runtime/ops/call.h"

#include <algorithm>
#include <limits>

namespace edgefleet::runtime {
namespace {

constexpr std::int64_t kIntegersMax = 1'024;

}  // namespace

std::string ToText(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

Error BadShape(std::string text) { return InvalidArgument("GRAPH_SHAPE", std::move(text)); }
Error BadType(std::string text) { return InvalidArgument("GRAPH_TYPE", std::move(text)); }
Error BadAttribute(std::string text) { return InvalidArgument("GRAPH_NODE", std::move(text)); }

Status InferCall::CheckArity(std::size_t min, std::size_t max, std::size_t outputs_max) const {
  if (inputs.size() < min || inputs.size() > max) {
    return BadAttribute("it has " + std::to_string(inputs.size()) + " inputs; " + std::to_string(min) + " to " +
                        std::to_string(max) + " are allowed");
  }
  for (std::size_t i = 0; i < min; ++i) {
    if (!inputs[i].present()) return BadAttribute("its input " + std::to_string(i) + " is missing");
  }
  if (outputs < 1 || outputs > outputs_max) {
    return BadAttribute("it has " + std::to_string(outputs) + " outputs; at most " + std::to_string(outputs_max) +
                        " are allowed");
  }
  return OkStatus();
}

Result<std::vector<std::int64_t>> InferCall::Integers(std::size_t i) const {
  const Operand& operand = inputs[i];
  if (operand.type() != DataType::kInt64 && operand.type() != DataType::kInt32) {
    return BadType("its input " + std::to_string(i) + " must be int64 or int32, not " +
                   std::string(DataTypeName(operand.type())));
  }
  if (operand.data == nullptr) {
    return Unimplemented(
        "SHAPE_DEPENDS_ON_DATA",
        "its input " + std::to_string(i) + " is computed from data, so that the shape of its output is not known before");
  }
  const std::int64_t count = operand.count();
  if (count > kIntegersMax) return BadShape("its input " + std::to_string(i) + " has more than 1,024 values");
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  if (operand.type() == DataType::kInt64) {
    std::copy_n(operand.as<std::int64_t>(), count, values.begin());
  } else {
    std::copy_n(operand.as<std::int32_t>(), count, values.begin());
  }
  return values;
}

Result<std::size_t> Axis(std::int64_t axis, std::size_t rank) {
  const auto signed_rank = static_cast<std::int64_t>(rank);
  if (axis < -signed_rank || axis >= signed_rank) {
    return BadAttribute("axis " + std::to_string(axis) + " is outside a tensor of " + std::to_string(rank) + " dimensions");
  }
  return static_cast<std::size_t>(axis < 0 ? axis + signed_rank : axis);
}

Result<std::int64_t> CheckedCount(const Shape& shape) {
  std::int64_t count = 1;
  bool empty = false;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) return BadShape("a dimension of " + ToText(shape) + " is negative");
    empty = empty || dimension == 0;
    if (dimension > 0 && dimension > std::numeric_limits<std::int32_t>::max() / count) {
      return BadShape(ToText(shape) + " has more than 2^31 - 1 elements");
    }
    count *= std::max<std::int64_t>(dimension, 1);
  }
  return empty ? 0 : count;
}

Result<Shape> Broadcast(const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t left = i < a.size() ? a[a.size() - 1 - i] : 1;
    const std::int64_t right = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (left != right && left != 1 && right != 1) return BadShape(ToText(a) + " and " + ToText(b) + " do not broadcast");
    out[out.size() - 1 - i] = left == 1 ? right : left;
  }
  return out;
}

}  // namespace edgefleet::runtime
