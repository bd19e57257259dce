// The range of values that int8 shall represent, and the scale that follows from it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/status.h"
#include "registry/compiler/calibration/statistics.h"

namespace edgefleet::compiler {

struct ActivationRange {
  float min = 0;
  float max = 0;
};

// real = scale * (q - zero_point), q in [-128, 127] (Jacob et al. 2018, section 2.1).
struct AffineScale {
  float scale = 1;
  std::int32_t zero_point = 0;
};

// The quantization of activations in [min, max], widened to hold 0, which is represented exactly (padding and ReLU need it).
// A range of zero width gets scale 1. Finite bounds only.
AffineScale ScaleOf(ActivationRange range);

// How the range is chosen from what was seen. What lies outside saturates.
enum class CalibrationMethod {
  kMinMax,      // all of it
  kEntropy,     // where the quantized distribution tells least from the real one (Migacz 2017, "8-bit inference with TensorRT")
  kPercentile,  // without the outermost values on each side
};

// "min-max", "entropy", "percentile".
std::string_view CalibrationMethodName(CalibrationMethod method);
// Nothing for any other text.
std::optional<CalibrationMethod> ParseCalibrationMethod(std::string_view name);

struct CalibrationOptions {
  CalibrationMethod method = CalibrationMethod::kMinMax;
  // Of kPercentile: the share of the values (percent, in (0, 100]) that stays inside; half of the rest is cut off on each side.
  double percentile = 99.99;
};

// The range to represent; it holds 0 and lies within [min(0, statistics.min), max(0, statistics.max)]. All methods use the same
// statistics. INVALID_ARGUMENT [BAD_CALIBRATION], naming `tensor`, if a NaN or an infinity was seen.
//
// kEntropy, for a range [low, high] with a scale of its own: P is the distribution of the values with those outside put into
// the outermost bins; Q is what the 256 levels can tell of the values inside, each level's count spread evenly over its bins
// that are not empty. The range with the smallest KL(P || Q) wins: `high` and `low` in turn, each over 128 candidates, until
// neither changes. Zeros are left out here and of percentiles, since every range represents them exactly (ReLU's would drown
// the rest).
Result<ActivationRange> ChooseRange(std::string_view tensor, const TensorStatistics& statistics,
                                    const CalibrationOptions& options);

}  // namespace edgefleet::compiler
