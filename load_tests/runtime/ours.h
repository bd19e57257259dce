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

// The variants that the compiler makes, as .efm files by precision ("fp32", "int8"). `calibration` may be empty: then there is
// no int8. Errors of compiler::Compile.
Result<std::map<std::string, Bytes>> CompileVariants(const std::string& name, ByteView onnx, const NamedArrays& calibration);

// A loaded model with inputs of given values, on one thread. Belongs to one thread at a time.
class OurRun {
 public:
  // `inputs` by name, all of the graph's; dimension 0 of the first is the batch. Errors of LoadEfm and Session::Create,
  // INVALID_ARGUMENT [BAD_INPUT].
  static Result<OurRun> Create(Bytes efm, const NamedArrays& inputs);

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
