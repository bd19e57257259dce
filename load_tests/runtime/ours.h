// Edgefleet's own way from an ONNX file to an inference: compile, load, run in a session.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/arrays/array.h"
#include "base/bytes.h"
#include "base/status.h"
#include "device_client/runtime/session.h"

namespace edgefleet::load_tests {

// By input name.
using NamedArrays = std::map<std::string, arrays::Array>;

// Imported, optimized, written and loaded again, without further quantization: fp32, or int8 where the file came quantized.
// `inputs` fix the sizes that the model leaves open; where it is null they stay open as far as they may. Errors of ImportOnnx,
// Optimize, WriteEfm and LoadEfm.
Result<runtime::Graph> CompileAsIs(ByteView onnx, const NamedArrays* inputs);

// The compiler's int8 variant. Errors of compiler::Compile and LoadEfm.
Result<runtime::Graph> CompileInt8(const std::string& name, ByteView onnx, const NamedArrays& calibration);

// Bytes of the graph as a file.
Result<std::size_t> FileSize(const runtime::Graph& graph);

// A loaded model with inputs of given values, on one thread. Belongs to one thread at a time.
class OurRun {
 public:
  // `inputs` by name, all of the graph's. Where the graph's batch is open, dimension 0 of its first input is the batch. Errors
  // of Session::Create, INVALID_ARGUMENT [BAD_INPUT].
  static Result<OurRun> Create(runtime::Graph graph, const NamedArrays& inputs, const std::string& delegate = "onednn");

  Status operator()();
  // The last run's outputs, in the graph's order, as bytes of the graph's types.
  const std::vector<Bytes>& outputs() const { return outputs_; }
  const runtime::Session& session() const { return *session_; }

 private:
  std::unique_ptr<runtime::Session> session_;
  std::vector<Bytes> inputs_, outputs_;
  std::vector<ByteView> input_views_;
  std::vector<std::span<std::byte>> output_views_;
};

}  // namespace edgefleet::load_tests
