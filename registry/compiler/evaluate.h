// How good a variant is, and whether that is good enough.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/arrays/npz.h"
#include "device_client/runtime/dataset.h"
#include "device_client/runtime/graph.h"
#include "registry/compiler/compiler.h"

namespace edgefleet::compiler {

// Evaluation data and what is measured on it. Thread-safe.
class Evaluator {
 public:
  // kTop1: the labelled examples of ReadEvaluation(). kMse: examples (see CheckExamples()); the targets are the arrays named as
  // the network's fp32 outputs if all are there, else the outputs of `fp32`. INVALID_ARGUMENT [BAD_EVALUATION, BAD_NPZ,
  // TOO_LARGE], or errors of sessions.
  static Result<std::unique_ptr<Evaluator>> Create(std::shared_ptr<const runtime::Graph> fp32, ByteView npz, Metric metric);

  // Runs the graph as a device does: `onednn`, and `reference` for what that does not support.
  // INVALID_ARGUMENT [BAD_EVALUATION] if the network yields NaN or infinity.
  Result<Metrics> Measure(std::shared_ptr<const runtime::Graph> graph) const;

 private:
  std::unique_ptr<runtime::Dataset> labelled_;  // of kTop1
  arrays::Archive examples_;                    // of kMse, as are the next
  std::size_t count_ = 0;
  std::vector<std::vector<float>> targets_;  // by example
};

// Why `variant` is refused against `fp32`; nothing if it is good enough.
std::optional<std::string> RefusalOf(const std::string& variant, const Metrics& fp32, const Metrics& measured,
                                     const CompileOptions& options);

}  // namespace edgefleet::compiler
