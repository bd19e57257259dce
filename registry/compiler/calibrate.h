// The ranges of a network's activations on real data.
#pragma once

#include <memory>
#include <vector>

#include "base/arrays/npz.h"
#include "device_client/runtime/graph.h"
#include "registry/compiler/calibration/range.h"

namespace edgefleet::compiler {

// By TensorId; constants keep {0, 0}.
struct Calibration {
  std::vector<ActivationRange> ranges;
  std::size_t examples = 0;
};

inline constexpr std::size_t kCalibrationExamplesMax = 4'096;  // the first ones are used

// Smallest and largest value of each activation over the examples. INVALID_ARGUMENT [BAD_CALIBRATION] if an array does not fit
// the network or an activation becomes NaN or infinite.
Result<Calibration> Calibrate(const std::shared_ptr<const runtime::Graph>& graph, const arrays::Archive& examples);

}  // namespace edgefleet::compiler
