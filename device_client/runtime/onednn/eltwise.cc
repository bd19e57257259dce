#include "device_client/runtime/onednn/eltwise.h"

namespace edgefleet::runtime::onednn {

using dnnl::algorithm;

bool HasEltwise(const Activation& function) {
  if (function.kind == UnaryKind::kClip) return function.alpha <= function.beta;
  return function.kind == UnaryKind::kIdentity || !EltwiseOf(function).empty();
}

std::vector<Eltwise> EltwiseOf(const Activation& function) {
  switch (function.kind) {
    case UnaryKind::kRelu:
      return {{algorithm::eltwise_relu}};
    case UnaryKind::kClip:
      return {{algorithm::eltwise_clip, function.alpha, function.beta}};
    case UnaryKind::kLeakyRelu:
      return {{algorithm::eltwise_relu, function.alpha}};
    case UnaryKind::kElu:
      return {{algorithm::eltwise_elu, function.alpha}};
    case UnaryKind::kSigmoid:
      return {{algorithm::eltwise_logistic}};
    case UnaryKind::kHardSigmoid:
      return {{algorithm::eltwise_linear, function.alpha, function.beta}, {algorithm::eltwise_clip, 0, 1}};
    case UnaryKind::kHardSwish:
      return {{algorithm::eltwise_hardswish}};
    case UnaryKind::kSwish:
      return {{algorithm::eltwise_swish, function.alpha}};
    case UnaryKind::kTanh:
      return {{algorithm::eltwise_tanh}};
    case UnaryKind::kGelu:
      return {{algorithm::eltwise_gelu_erf}};
    case UnaryKind::kGeluTanh:
      return {{algorithm::eltwise_gelu_tanh}};
    case UnaryKind::kMish:
      return {{algorithm::eltwise_mish}};
    case UnaryKind::kSoftplus:
      return {{algorithm::eltwise_soft_relu}};
    case UnaryKind::kExp:
      return {{algorithm::eltwise_exp}};
    case UnaryKind::kLog:
      return {{algorithm::eltwise_log}};
    case UnaryKind::kSqrt:
      return {{algorithm::eltwise_sqrt}};
    case UnaryKind::kReciprocal:
      return {{algorithm::eltwise_pow, 1, -1}};
    case UnaryKind::kAbs:
      return {{algorithm::eltwise_abs}};
    case UnaryKind::kNeg:
      return {{algorithm::eltwise_linear, -1, 0}};
    case UnaryKind::kRound:
      return {{algorithm::eltwise_round}};
    default:
      return {};
  }
}

void AppendEltwise(const Activation& function, dnnl::post_ops& post_ops) {
  for (const Eltwise& eltwise : EltwiseOf(function))
    post_ops.append_eltwise(1.0F, eltwise.algorithm, eltwise.alpha, eltwise.beta);
}

}  // namespace edgefleet::runtime::onednn
