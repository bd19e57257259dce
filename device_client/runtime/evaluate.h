// How good a classifier is on labelled data.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "device_client/runtime/dataset.h"
#include "device_client/runtime/session.h"

namespace edgefleet::runtime {

struct Evaluation {
  std::int64_t examples = 0;
  double accuracy = 0;       // top-1; the lowest class wins ties
  double cross_entropy = 0;  // mean, in nats; probabilities below 1e-12 count as 1e-12
};

// Runs the whole dataset through a session with one fp32 input and one fp32 output [N, classes]: probabilities if the graph
// ends in Softmax, logits otherwise. A last partial batch is padded and the padding ignored. INVALID_ARGUMENT [NOT_FLOAT |
// EXAMPLE_SIZE | EMPTY_DATASET | BAD_LABEL], or an error of Session::Run; OUT_OF_RANGE [NOT_FINITE] if the model yields NaN or
// infinity.
Result<Evaluation> Evaluate(Session& session, const Dataset& dataset);

// The same for outputs already at hand: examples * classes values.
Result<Evaluation> EvaluateOutputs(std::span<const float> outputs, std::span<const std::int32_t> labels, bool probabilities);

// Whether the graph's first output comes from Softmax.
bool EndsInSoftmax(const Graph& graph);

}  // namespace edgefleet::runtime
