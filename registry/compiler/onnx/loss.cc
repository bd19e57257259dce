// Losses that exporters leave in networks.
#include <array>
#include <utility>

#include "registry/compiler/onnx/node.h"
#include "registry/compiler/onnx/operators.h"

namespace edgefleet::compiler {
namespace {

using runtime::BinaryKind;
using runtime::DataType;
using runtime::kAbsent;
using runtime::ReduceKind;
using runtime::UnaryKind;

// The negative log-likelihood of `target` [N, ...] under `log_probabilities` [N, C, ...]; `weights` [C] may be absent.
Status FinishLoss(NodeContext& node, TensorId log_probabilities, TensorId target, TensorId weights) {
  EF_ASSIGN_OR_RETURN(const std::string reduction, node.String("reduction", "mean"));
  EF_ASSIGN_OR_RETURN(target, node.Cast(target, DataType::kInt64));
  TensorId ignored = kAbsent;
  if (node.HasAttribute("ignore_index")) {
    EF_ASSIGN_OR_RETURN(const std::int64_t index, node.Int("ignore_index", 0));
    EF_ASSIGN_OR_RETURN(const TensorId marker, node.Constant(DataType::kInt64, {}, std::as_bytes(std::span(&index, 1))));
    EF_ASSIGN_OR_RETURN(ignored, node.Binary(BinaryKind::kEqual, target, marker));
    EF_ASSIGN_OR_RETURN(const TensorId zero, node.Scalar(DataType::kInt64, 0));
    EF_ASSIGN_OR_RETURN(target, node.Emit(runtime::Where{}, {ignored, zero, target}));
  }
  EF_ASSIGN_OR_RETURN(const TensorId indices, node.Unsqueeze(target, {1}));
  EF_ASSIGN_OR_RETURN(const TensorId gathered, node.Emit(runtime::GatherElements{1}, {log_probabilities, indices}));
  EF_ASSIGN_OR_RETURN(const TensorId chosen, node.Squeeze(gathered, {1}));
  EF_ASSIGN_OR_RETURN(TensorId loss, node.Unary(UnaryKind::kNeg, chosen));
  TensorId share = kAbsent;
  if (weights != kAbsent) {
    EF_ASSIGN_OR_RETURN(share, node.Emit(runtime::Gather{0}, {weights, target}));
  }
  if (ignored != kAbsent) {
    EF_ASSIGN_OR_RETURN(const TensorId zero, node.Scalar(0.0F));
    if (share == kAbsent) {
      EF_ASSIGN_OR_RETURN(share, node.Scalar(1.0F));
    }
    EF_ASSIGN_OR_RETURN(share, node.Emit(runtime::Where{}, {ignored, zero, share}));
  }
  if (share != kAbsent) {
    EF_ASSIGN_OR_RETURN(loss, node.Binary(BinaryKind::kMul, loss, share));
  }
  if (reduction == "none") return node.Bind(0, loss);
  if (reduction != "sum" && reduction != "mean") return node.Bad("'reduction' has an unknown value");
  const bool mean = reduction == "mean";
  EF_ASSIGN_OR_RETURN(loss, node.Reduce(mean && share == kAbsent ? ReduceKind::kMean : ReduceKind::kSum, loss, {}, false));
  if (mean && share != kAbsent) {
    EF_ASSIGN_OR_RETURN(const TensorId total, node.Reduce(ReduceKind::kSum, share, {}, false));
    EF_ASSIGN_OR_RETURN(loss, node.Binary(BinaryKind::kDiv, loss, total));
  }
  return node.Bind(0, loss);
}

Status ImportNegativeLogLikelihoodLoss(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 3));
  EF_ASSIGN_OR_RETURN(const TensorId x, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId target, node.Input(1));
  EF_ASSIGN_OR_RETURN(const TensorId weights, node.Input(2));
  return FinishLoss(node, x, target, weights);
}

Status ImportSoftmaxCrossEntropyLoss(NodeContext& node) {
  EF_RETURN_IF_ERROR(node.CheckInputs(2, 3));
  EF_RETURN_IF_ERROR(node.CheckOutputs(2));
  EF_ASSIGN_OR_RETURN(const TensorId scores, node.Input(0));
  EF_ASSIGN_OR_RETURN(const TensorId target, node.Input(1));
  EF_ASSIGN_OR_RETURN(const TensorId weights, node.Input(2));
  EF_ASSIGN_OR_RETURN(const TensorId log_probabilities, node.Emit(runtime::Softmax{1, true}, {scores}));
  EF_RETURN_IF_ERROR(node.Bind(1, log_probabilities));
  return FinishLoss(node, log_probabilities, target, weights);
}

constexpr std::array kOperators{
    OnnxOperator{"NegativeLogLikelihoodLoss", ImportNegativeLogLikelihoodLoss, "", 12},
    OnnxOperator{"SoftmaxCrossEntropyLoss", ImportSoftmaxCrossEntropyLoss, "", 12},
};

}  // namespace

std::span<const OnnxOperator> LossOperators() { return kOperators; }

}  // namespace edgefleet::compiler
