// Models that people ship in npm packages (deploy/npm_packages.txt), with inputs that are the same on every machine.
#pragma once

#include <string>
#include <vector>

#include "base/arrays/array.h"
#include "base/bytes.h"
#include "base/status.h"
#include "load_tests/runtime/ort/session.h"

namespace edgefleet::load_tests {

enum class InputKind : std::uint8_t {
  kNormal,      // float32 from N(0, 1)
  kQuiet,       // float32 from N(0, 0.1^2): sound, states
  kSampleRate,  // int64 16,000
};

struct RealInput {
  std::string name;
  std::vector<std::int64_t> shape;
  InputKind kind = InputKind::kNormal;
};

struct RealModel {
  std::string name;  // for people
  std::string package;
  std::string file;
  std::vector<RealInput> inputs;  // one set of sizes that the model accepts
};

const std::vector<RealModel>& RealModels();

// NOT_FOUND [NPM_PACKAGES_MISSING] or an error of ReadFile.
Result<Bytes> ReadModel(const RealModel& model);

arrays::Array MakeInput(const RealInput& input);

// What ONNX Runtime computes for MakeInput() of all inputs. `session` is of the model. Errors of OrtSession, INVALID_ARGUMENT
// [ORT_INPUT] if the model takes an input that `model` does not have.
Result<std::vector<arrays::Array>> RunReference(const RealModel& model, const OrtSession& session);
// The inputs in the session's order.
Result<std::vector<arrays::Array>> InputsFor(const RealModel& model, const OrtSession& session);

}  // namespace edgefleet::load_tests
