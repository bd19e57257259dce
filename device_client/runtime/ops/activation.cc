#include "device_client/runtime/ops/activation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {
namespace {

double Sigmoid(double x) {
  // exp of what is not positive, so that neither branch overflows.
  if (x >= 0) return 1 / (1 + std::exp(-x));
  const double power = std::exp(x);
  return power / (1 + power);
}

double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

double Gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); }

double GeluTanh(double x) {
  const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1 + std::tanh(inner));
}

double Clamp(double x, double low, double high) { return std::min(std::max(x, low), high); }

// Those that activations of networks use; `a` and `b` are the parameters.
double Activated(UnaryKind kind, double x, double a, double b) {
  switch (kind) {
    case UnaryKind::kRelu:
      return std::max(x, 0.0);
    case UnaryKind::kClip:
      return Clamp(x, a, b);
    case UnaryKind::kLeakyRelu:
      return x < 0 ? a * x : x;
    case UnaryKind::kElu:
      return x < 0 ? a * std::expm1(x) : x;
    case UnaryKind::kSelu:
      return b * (x <= 0 ? a * std::expm1(x) : x);
    case UnaryKind::kCelu:
      return std::max(x, 0.0) + std::min(a * std::expm1(x / a), 0.0);
    case UnaryKind::kThresholdedRelu:
      return x <= a ? 0 : x;
    case UnaryKind::kSigmoid:
      return Sigmoid(x);
    case UnaryKind::kHardSigmoid:
      return Clamp(a * x + b, 0, 1);
    case UnaryKind::kHardSwish:
      return x * Clamp(x / 6 + 0.5, 0, 1);
    case UnaryKind::kSwish:
      return x * Sigmoid(a * x);
    case UnaryKind::kTanh:
      return std::tanh(x);
    case UnaryKind::kGelu:
      return Gelu(x);
    case UnaryKind::kGeluTanh:
      return GeluTanh(x);
    case UnaryKind::kMish:
      return x * std::tanh(Softplus(x));
    case UnaryKind::kSoftplus:
      return Softplus(x);
    case UnaryKind::kSoftsign:
      return x / (1 + std::abs(x));
    default:
      return x;
  }
}

double Computed(UnaryKind kind, double x) {
  switch (kind) {
    case UnaryKind::kErf:
      return std::erf(x);
    case UnaryKind::kExp:
      return std::exp(x);
    case UnaryKind::kLog:
      return std::log(x);
    case UnaryKind::kSqrt:
      return std::sqrt(x);
    case UnaryKind::kReciprocal:
      return 1 / x;
    case UnaryKind::kAbs:
      return std::abs(x);
    case UnaryKind::kNeg:
      return -x;
    case UnaryKind::kSign:
      return x > 0 ? 1 : x < 0 ? -1 : x;
    case UnaryKind::kFloor:
      return std::floor(x);
    case UnaryKind::kCeil:
      return std::ceil(x);
    case UnaryKind::kRound:
      return std::nearbyint(x);
    case UnaryKind::kSin:
      return std::sin(x);
    case UnaryKind::kCos:
      return std::cos(x);
    case UnaryKind::kTan:
      return std::tan(x);
    case UnaryKind::kAsin:
      return std::asin(x);
    case UnaryKind::kAcos:
      return std::acos(x);
    case UnaryKind::kAtan:
      return std::atan(x);
    case UnaryKind::kSinh:
      return std::sinh(x);
    case UnaryKind::kCosh:
      return std::cosh(x);
    case UnaryKind::kAsinh:
      return std::asinh(x);
    case UnaryKind::kAcosh:
      return std::acosh(x);
    case UnaryKind::kAtanh:
      return std::atanh(x);
    default:
      return x;
  }
}

}  // namespace

bool IsReal(UnaryKind kind) { return kind < UnaryKind::kNot; }

double Apply(const Activation& function, double x) {
  if (function.kind < UnaryKind::kErf) return Activated(function.kind, x, function.alpha, function.beta);
  return Computed(function.kind, x);
}

Status CheckActivation(const Activation& activation, bool int8) {
  if (!IsReal(activation.kind)) return BadAttribute("its activation is no function of real numbers");
  if (int8 && activation.kind > UnaryKind::kClip) {
    return BadAttribute("its activation cannot be fused into an int8 operator; only Relu and Clip can");
  }
  return OkStatus();
}

}  // namespace edgefleet::runtime
