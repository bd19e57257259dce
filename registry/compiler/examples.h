// Calibration and evaluation data as the network's inputs.
#pragma once

#include <memory>
#include <vector>

#include "base/arrays/npz.h"
#include "device_client/runtime/dataset.h"
#include "device_client/runtime/graph.h"
#include "device_client/runtime/session.h"

namespace edgefleet::compiler {

// Checks that `archive` has, for each input of `graph`, an array of its name and type, finite, and with the same number of
// examples (1 or more) everywhere; returns that number. An example is one input: an array holds them one after the other in
// dimension 0, [examples * n, ...] for an input [n, ...] (n is mostly 1, the batch); [examples] for a scalar. INVALID_ARGUMENT
// [`reason`] says which array to change.
Result<std::size_t> CheckExamples(const runtime::Graph& graph, const arrays::Archive& archive, const char* reason);

// Runs a network on examples that CheckExamples() accepts. One thread at a time.
class ExampleRunner {
 public:
  // Both must outlive it. Errors of Session::Create.
  static Result<std::unique_ptr<ExampleRunner>> Create(std::shared_ptr<const runtime::Graph> graph,
                                                       const arrays::Archive& examples, runtime::SessionOptions options = {});
  // Errors of Session::Run.
  Status Run(std::size_t example);
  // The fp32 outputs of the last Run(), one after the other.
  std::vector<float> Outputs() const;

 private:
  ExampleRunner(std::unique_ptr<runtime::Session> session, const arrays::Archive& examples);

  std::unique_ptr<runtime::Session> session_;
  std::vector<const arrays::Array*> inputs_;
  std::vector<Bytes> outputs_;
};

// The labelled examples of an evaluation archive for a graph with one input and one output [1, classes]. `labels` is int64,
// [examples], each 0 to classes - 1. INVALID_ARGUMENT [BAD_EVALUATION, BAD_NPZ, TOO_LARGE].
Result<std::unique_ptr<runtime::Dataset>> ReadEvaluation(const runtime::Graph& graph, ByteView npz);

}  // namespace edgefleet::compiler
