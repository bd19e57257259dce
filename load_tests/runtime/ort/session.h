// A model in ONNX Runtime, the peer that benches and tests compare with: one thread, sequential, all graph optimizations.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/arrays/array.h"
#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet::load_tests {

// An input or output as the model declares it; -1 is a dimension that it leaves open.
struct OrtPort {
  std::string name;
  arrays::ElementType type = arrays::ElementType::kFloat32;
  std::vector<std::int64_t> shape;
};

// A model with inputs of given values and shapes: what is timed. Belongs to one thread at a time.
class OrtRun {
 public:
  ~OrtRun();
  OrtRun(OrtRun&&) noexcept;
  OrtRun& operator=(OrtRun&&) noexcept;

  // From the second call on into the memory of the first call's outputs. INTERNAL [ORT_FAILED].
  Status operator()();
  // Copies of the last run's outputs, in the model's order. FAILED_PRECONDITION [ORT_NOT_RUN] before the first run.
  Result<std::vector<arrays::Array>> Outputs() const;

 private:
  friend class OrtSession;
  struct State;
  explicit OrtRun(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class OrtSession {
 public:
  // `model` is an ONNX file, read during the call only. NOT_FOUND [NPM_PACKAGES_MISSING] if ONNX Runtime was not fetched,
  // INTERNAL [ORT_UNUSABLE | ORT_FAILED], UNIMPLEMENTED [ORT_TYPE] for inputs or outputs that are no tensors of such a type.
  static Result<OrtSession> Load(ByteView model);
  ~OrtSession();
  OrtSession(OrtSession&&) noexcept;
  OrtSession& operator=(OrtSession&&) noexcept;

  const std::vector<OrtPort>& inputs() const;
  const std::vector<OrtPort>& outputs() const;

  // One array for each of inputs(). The session must outlive the run. INVALID_ARGUMENT [ORT_INPUT], INTERNAL [ORT_FAILED].
  Result<OrtRun> Prepare(std::vector<arrays::Array> inputs) const;
  // Prepares, runs once, and gives the outputs.
  Result<std::vector<arrays::Array>> Run(std::vector<arrays::Array> inputs) const;

 private:
  struct State;
  explicit OrtSession(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace edgefleet::load_tests
