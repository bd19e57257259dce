#include "device_client/runtime/onednn/eltwise.h"

namespace edgefleet::runtime::onednn {

std::optional<Eltwise> EltwiseOf(const Activation& function) {
  using dnnl::algorithm;
  switch (function.kind) {
    case UnaryKind::kRelu:
      return Eltwise{algorithm::eltwise_relu};
    case UnaryKind::kLeakyRelu:
      return Eltwise{algorithm::eltwise_relu, function.alpha};
    case UnaryKind::kClip:
      if (function.alpha > function.beta) return std::nullopt;  // ONNX gives the maximum then
      return Eltwise{algorithm::eltwise_clip, function.alpha, function.beta};
    case UnaryKind::kElu:
      return Eltwise{algorithm::eltwise_elu, function.alpha};
    case UnaryKind::kSigmoid:
      return Eltwise{algorithm::eltwise_logistic};
    case UnaryKind::kTanh:
      return Eltwise{algorithm::eltwise_tanh};
    case UnaryKind::kHardSwish:
      return Eltwise{algorithm::eltwise_hardswish};
    case UnaryKind::kSwish:
      return Eltwise{algorithm::eltwise_swish, function.alpha};
    case UnaryKind::kGelu:
      return Eltwise{algorithm::eltwise_gelu_erf};
    case UnaryKind::kGeluTanh:
      return Eltwise{algorithm::eltwise_gelu_tanh};
    default:
      return std::nullopt;
  }
}

}  // namespace edgefleet::runtime::onednn
