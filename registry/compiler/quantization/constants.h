// A layer's constants in another precision.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "device_client/runtime/graph.h"
#include "registry/compiler/calibration/range.h"
#include "registry/compiler/quantization/layers.h"
#include "registry/compiler/quantization/weights.h"

namespace edgefleet::compiler {

struct QuantizedConstant {
  runtime::DataType type = runtime::DataType::kFloat32;
  Bytes data;
  std::optional<runtime::Quantization> quantization;
  std::vector<float> real;  // what the data stands for
};

// The constant of a former version of this model with the same name, type and shape, whose scales shall be used again; null if
// there is none.
using FormerConstant = const runtime::Tensor*;

// Weights for kFp16, kBf16, kInt8Weights and kInt4 (in groups of `group_size`). `per_tensor`: one int8 scale for all.
QuantizedConstant QuantizeWeights(const runtime::Tensor& weights, const WeightedLayer& layer, Precision precision,
                                  bool per_tensor, std::int32_t group_size, FormerConstant former);

// Weights for int8 arithmetic on inputs of scale `input_scale`: scales are coarser than the weights need only where `bias` (one
// an output channel, or none) would not fit int32 otherwise. INVALID_ARGUMENT [BAD_CALIBRATION] if a scale is beyond what a
// device takes; the caller adds the node's name.
Result<QuantizedConstant> QuantizeInt8Weights(const runtime::Tensor& weights, const WeightedLayer& layer, bool per_tensor,
                                              std::span<const float> bias, float input_scale, FormerConstant former);

// The int8 layer's bias, int32.
QuantizedConstant QuantizeBias(std::span<const float> bias, float input_scale, std::span<const float> weight_scales);

// A constant operand quantized as a whole.
QuantizedConstant QuantizeOperand(const runtime::Tensor& constant, AffineScale scale);

// 16-bit floats; `type` is kFloat16 or kBFloat16.
QuantizedConstant QuantizeHalf(const runtime::Tensor& constant, runtime::DataType type);

}  // namespace edgefleet::compiler
