#include "device_client/runtime/ops/ops.h"

#include "device_client/runtime/ops/conv.h"
#include "device_client/runtime/ops/elementwise.h"
#include "device_client/runtime/ops/gather.h"
#include "device_client/runtime/ops/matmul.h"
#include "device_client/runtime/ops/movement.h"
#include "device_client/runtime/ops/normalize.h"
#include "device_client/runtime/ops/pool.h"
#include "device_client/runtime/ops/quantize.h"
#include "device_client/runtime/ops/recurrent.h"
#include "device_client/runtime/ops/reduce.h"
#include "device_client/runtime/ops/resize.h"
#include "device_client/runtime/ops/shape_values.h"
#include "device_client/runtime/validate.h"

namespace edgefleet::runtime {
namespace {

Status CheckShape(const Shape& shape) {
  if (shape.size() > kDimensionsMax) return BadShape(ToText(shape) + " has too many dimensions");
  EF_ASSIGN_OR_RETURN([[maybe_unused]] const std::int64_t count, CheckedCount(shape));
  return OkStatus();
}

}  // namespace

Result<std::vector<TypedShape>> InferOutputs(const Operator& op, const InferCall& call) {
  // So that the operators' rules compute with dimensions and products of them without fear of overflow.
  for (const Operand& input : call.inputs) {
    if (input.present()) EF_RETURN_IF_ERROR(CheckShape(input.shape()));
  }
  EF_ASSIGN_OR_RETURN(auto outputs, std::visit([&](const auto& each) { return Infer(each, call); }, op));
  for (const TypedShape& output : outputs) EF_RETURN_IF_ERROR(CheckShape(output.shape));
  return outputs;
}

Status RunOperator(const Operator& op, const RunCall& call) {
  return std::visit([&](const auto& each) { return Run(each, call); }, op);
}

}  // namespace edgefleet::runtime
