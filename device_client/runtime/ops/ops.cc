#include "device_client/runtime/ops/ops.h"

#include "device_client/runtime/validate.h"

namespace edgefleet::runtime {
namespace {

template <typename Op>
concept Inferred = requires(const Op& op, const InferCall& call) {
  Infer(op, call);
};
template <typename Op>
concept Runnable = requires(const Op& op, const RunCall& call) {
  Run(op, call);
};

Error Unknown(std::string_view name) {
  return Unimplemented("OPERATOR_UNKNOWN", "operator " + std::string(name) + " is not supported");
}

}  // namespace

Result<std::vector<TypedShape>> InferOutputs(const Operator& op, const InferCall& call) {
  return std::visit(
      [&]<typename Op>(const Op& each) -> Result<std::vector<TypedShape>> {
        if constexpr (Inferred<Op>) {
          EF_ASSIGN_OR_RETURN(auto outputs, Infer(each, call));
          for (const TypedShape& output : outputs) {
            if (output.shape.size() > kDimensionsMax) return BadShape(ToText(output.shape) + " has too many dimensions");
            EF_RETURN_IF_ERROR(CheckedCount(output.shape).map([](std::int64_t) {}).error_or(OkStatus()));
          }
          return outputs;
        } else {
          return Unknown(Op::kName);
        }
      },
      op);
}

Status RunOperator(const Operator& op, const RunCall& call) {
  return std::visit(
      [&]<typename Op>(const Op& each) -> Status {
        if constexpr (Runnable<Op>) {
          return Run(each, call);
        } else {
          return Unknown(Op::kName);
        }
      },
      op);
}

}  // namespace edgefleet::runtime
