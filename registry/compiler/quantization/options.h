// What a variant shall be like.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "registry/compiler/calibration/range.h"

namespace edgefleet::compiler {

enum class VariantPrecision : std::uint8_t { kFp32, kFp16, kBf16, kInt8, kInt4, kMixed };

// "fp32", "fp16", "bf16", "int8", "int4", "mixed".
std::string_view VariantPrecisionName(VariantPrecision precision);
// Nothing for any other text.
std::optional<VariantPrecision> ParseVariantPrecision(std::string_view name);

struct QuantizationOptions {
  CalibrationOptions calibration;
  bool per_tensor_weights = false;       // int8: one scale for all weights of a layer instead of one an output channel
  std::int32_t group_size = 64;          // int4: 32, 64 or 128
  double prune_weights = 0;              // share of the weights to set to zero, in [0, 1)
  double prune_channels = 0;             // share of the output channels to take out where one layer alone reads them, in [0, 1)
  std::optional<double> size_share_max;  // mixed: largest size of the weights against fp32, in (0, 1]
};

}  // namespace edgefleet::compiler
