// Models that people ship in npm packages (deploy/npm_packages.txt), with inputs that are the same on every machine.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/arrays/array.h"
#include "base/bytes.h"
#include "base/status.h"
#include "load_tests/runtime/ort/session.h"

namespace edgefleet::load_tests {

enum class InputKind : std::uint8_t {
  kNormal,  // float32 from N(0, 1)
  kPage,    // float32 [..., height, width]: dark strokes in lines on a light page, so that detectors find something. On noise
            // their outputs are near 0, where ONNX Runtime's logistic function is off by up to 1e-7.
  kQuiet,   // float32 from N(0, 0.1^2): sound, states
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

// By name, for the sizes of the table.
std::map<std::string, arrays::Array> InputsOf(const RealModel& model);

// The same in the order of a session of the model. INVALID_ARGUMENT [ORT_INPUT] if it takes an input that the table lacks.
Result<std::vector<arrays::Array>> InputsFor(const RealModel& model, const OrtSession& session);

}  // namespace edgefleet::load_tests
