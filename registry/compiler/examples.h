// Calibration and evaluation data as the network's inputs.
#pragma once

#include <memory>

#include "base/arrays/npz.h"
#include "device_client/runtime/dataset.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::compiler {

// Checks that `archive` has, for each input of `graph`, a float32 array of its name and shape [examples, ...], finite, and with
// the same number of examples (1 or more) everywhere; returns that number. INVALID_ARGUMENT [`reason`] says which array to
// change.
Result<std::size_t> CheckExamples(const runtime::Graph& graph, const arrays::Archive& archive, const char* reason);

// The labelled examples of an evaluation archive for a graph with one input and one output [1, classes]. `labels` is int64,
// [examples], each 0 to classes - 1. INVALID_ARGUMENT [BAD_EVALUATION, BAD_NPZ, TOO_LARGE].
Result<std::unique_ptr<runtime::Dataset>> ReadEvaluation(const runtime::Graph& graph, ByteView npz);

}  // namespace edgefleet::compiler
