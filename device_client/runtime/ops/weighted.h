// What convolutions and matrix products have in common: the types of their operands, and how a sum becomes a result.
#pragma once

#include "device_client/runtime/ops/activation.h"
#include "device_client/runtime/ops/affine.h"
#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

// Types of x (input 0), weights (1) and bias? (2), and the bias' shape. fp32 and bf16: weights of x's type, or known ones that
// hold real numbers. int8: x quantized as a whole; known symmetric int8 weights quantized as a whole or along `channel_axis`;
// int32 bias; a sum of `reduction` products fits an int32. INVALID_ARGUMENT [GRAPH_NODE | GRAPH_TYPE | GRAPH_SHAPE].
Status CheckWeighted(const InferCall& call, const Activation& activation, std::int64_t channels, int channel_axis,
                     std::int64_t reduction);

// A sum of real products as a result.
struct RealFinish {
  Activation activation;
  double bias = 0;

  float operator()(double sum) const {
    if (activation.kind == UnaryKind::kIdentity) return static_cast<float>(sum + bias);
    return static_cast<float>(Apply(activation, sum + bias));
  }
};

// A sum of int8 products, of one output channel, as a result. The bias' sum cannot overflow: it is 64 bits wide.
struct Int8Finish {
  double multiplier = 1;
  std::int64_t bias = 0;
  std::int32_t zero_point = 0;
  Range8 range;

  std::int8_t operator()(std::int32_t sum) const {
    return static_cast<std::int8_t>(Saturate(static_cast<double>(sum + bias) * multiplier, zero_point, range));
  }
};

// Of output channel `channel`, whose weights have slice `slice`. The operator's output has quantization.
Int8Finish FinishOf(const RunCall& call, const Activation& activation, std::int64_t channel, std::int64_t slice);

// That an int8 output has the quantization that FinishOf() needs. INVALID_ARGUMENT [GRAPH_TYPE].
Status CheckQuantized(const Destination& destination);

}  // namespace edgefleet::runtime
