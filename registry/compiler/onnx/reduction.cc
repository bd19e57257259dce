// Reductions, largest and smallest values, running sums.
#include <array>
#include <numeric>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::DataType;
using runtime::kAbsent;
using runtime::ReduceKind;

// The operator set in which the axes became an input.
constexpr int AxesInputSince(ReduceKind kind) { return kind == ReduceKind::kSum ? 13 : 18; }

template <ReduceKind kind>
Status ImportReduce(NodeContext& node) {
  const bool input = node.opset() >= AxesInputSince(kind);
  EF_RETURN_IF_ERROR(node.CheckInputs(1, input ? 2 : 1));
  EF_ASSIGN_OR_RETURN(TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const bool keep_dims, node.Flag("keepdims", true));
  std::vector<std::int64_t> axes;
  if (!input) {
    EF_ASSIGN_OR_RETURN(axes, node.Ints("axes"));
  } else if (node.has_input(1)) {
    EF_ASSIGN_OR_RETURN(axes, node.Integers(1));
  }
  if (input) {
    EF_ASSIGN_OR_RETURN(const bool keep_all, node.Flag("noop_with_empty_axes", false));
    if (keep_all && axes.empty()) return node.Bind(0, x);
  }
  for (std::int64_t& axis : axes) {
    EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(x)));
  }
  const DataType type = node.TypeOf(x);
  const bool narrow = (type == DataType::kInt8 || type == DataType::kUint8) && !node.At(x).quantization;
  if (!narrow) return node.Finish(runtime::Reduce{kind, std::move(axes), keep_dims}, {x});
  EF_ASSIGN_OR_RETURN(x, node.Cast(x, DataType::kInt32));
  EF_ASSIGN_OR_RETURN(TensorId y, node.Reduce(kind, x, std::move(axes), keep_dims));
  EF_ASSIGN_OR_RETURN(y, node.Cast(y, type));
  return node.Bind(0, y);
}

template <bool largest>
Status ImportArg(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(1, 1));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", 0));
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(x)));
  EF_ASSIGN_OR_RETURN(const bool keep_dims, node.Flag("keepdims", true));
  EF_ASSIGN_OR_RETURN(const bool last, node.Flag("select_last_index", false));
  return node.Finish(runtime::ArgReduce{largest, static_cast<std::int32_t>(axis), keep_dims, last}, {x});
}

Status ImportTopK(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(node.opset() < 10 ? 1 : 2, 2));
  EF_RETURN_IF_ERROR(node.CheckOutputs(2));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(std::int64_t axis, node.Int("axis", -1));
  EF_ASSIGN_OR_RETURN(axis, node.Axis(axis, node.Rank(x)));
  EF_ASSIGN_OR_RETURN(const bool largest, node.Flag("largest", true));
  node.Ignore("sorted");  // sorted is one of the orders that "not sorted" allows
  TensorId k = kAbsent;
  if (node.opset() < 10) {
    EF_ASSIGN_OR_RETURN(const std::int64_t count, node.Int("k", 0));
    EF_ASSIGN_OR_RETURN(k, node.List({count}));
  } else {
    EF_ASSIGN_OR_RETURN(k, node.Input(1));
  }
  return node.Finish(runtime::TopK{static_cast<std::int32_t>(axis), largest}, {x, k});
}

Status ImportCumSum(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 2));
  EF_ASSIGN_OR_RETURN(const bool exclusive, node.Flag("exclusive", false));
  EF_ASSIGN_OR_RETURN(const bool reverse, node.Flag("reverse", false));
  EF_ASSIGN_OR_RETURN(auto inputs, node.Inputs());
  return node.Finish(runtime::CumSum{exclusive, reverse}, std::move(inputs));
}

constexpr std::array kOperators{
    OnnxOperator{"ArgMax", ImportArg<true>},
    OnnxOperator{"ArgMin", ImportArg<false>},
    OnnxOperator{"CumSum", ImportCumSum, "", 11},
    OnnxOperator{"ReduceL1", ImportReduce<ReduceKind::kL1>, "axes constant"},
    OnnxOperator{"ReduceL2", ImportReduce<ReduceKind::kL2>, "axes constant"},
    OnnxOperator{"ReduceLogSum", ImportReduce<ReduceKind::kLogSum>, "axes constant"},
    OnnxOperator{"ReduceLogSumExp", ImportReduce<ReduceKind::kLogSumExp>, "axes constant"},
    OnnxOperator{"ReduceMax", ImportReduce<ReduceKind::kMax>, "axes constant"},
    OnnxOperator{"ReduceMean", ImportReduce<ReduceKind::kMean>, "axes constant"},
    OnnxOperator{"ReduceMin", ImportReduce<ReduceKind::kMin>, "axes constant"},
    OnnxOperator{"ReduceProd", ImportReduce<ReduceKind::kProd>, "axes constant"},
    OnnxOperator{"ReduceSum", ImportReduce<ReduceKind::kSum>, "axes constant"},
    OnnxOperator{"ReduceSumSquare", ImportReduce<ReduceKind::kSumSquare>, "axes constant"},
    OnnxOperator{"TopK", ImportTopK, "k known when shapes are"},
};

}  // namespace

std::span<const OnnxOperator> ReductionOperators() { return kOperators; }

}  // namespace edgefleet::compiler
