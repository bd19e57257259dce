// What a network's activations are on real data.
#pragma once

#include <memory>
#include <vector>

#include "base/arrays/npz.h"
#include "device_client/runtime/graph.h"
#include "registry/compiler/calibration/range.h"
#include "registry/compiler/calibration/statistics.h"

namespace edgefleet::compiler {

struct Calibration {
  std::vector<TensorStatistics> tensors;  // by TensorId; of fp32 activations
  // By TensorId, of what convolutions and fully connected layers read: the mean of each channel, empty elsewhere.
  std::vector<std::vector<float>> channel_means;
  std::size_t examples = 0;
};

inline constexpr std::size_t kCalibrationExamplesMax = 4'096;  // the first ones are used

// Runs the examples once. INVALID_ARGUMENT [BAD_CALIBRATION] if an array does not fit the network or an activation becomes NaN
// or infinite.
Result<Calibration> Calibrate(const std::shared_ptr<const runtime::Graph>& graph, const arrays::Archive& examples);

// One range a tensor (by TensorId), chosen as `options` say. INVALID_ARGUMENT [BAD_CALIBRATION].
Result<std::vector<ActivationRange>> ChooseRanges(const runtime::Graph& graph, const Calibration& calibration,
                                                  const CalibrationOptions& options);

}  // namespace edgefleet::compiler
