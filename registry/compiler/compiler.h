// The model compiler: ONNX in, .efm variants for devices out, with a report on what was done and what it cost.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/status.h"
#include "registry/compiler/onnx/import.h"

namespace edgefleet::compiler {

struct CompileOptions {
  // Largest loss of top-1 accuracy of the int8 variant against fp32, in percentage points; in (0, 100].
  double accuracy_drop_points_max = 1.0;
};

// Views are only read during Compile(). An empty view means "not given".
struct CompileInput {
  std::string name;  // of the model; goes into the files and the report
  ByteView onnx;     // at most 1 GiB
  ByteView
      calibration;  // .npz: one float32 array a graph input, named as it, [examples, ...]; without it there is no int8 variant
  ByteView
      evaluation;  // .npz: the same plus `labels` (int64, [examples]); without it there are no metrics and no accuracy limit
  CompileOptions options;
  std::vector<InputShape> shapes;  // of inputs whose dimensions the model leaves open
  // Values for the trainable constants of the fp32 variant, in the order of its flat parameter vector; they take the place of
  // the network's own. This is how a federated round's result becomes a version: the same network, other numbers.
  std::optional<std::span<const float>> parameters;
  // Told each stage as it begins: "import", "calibrate", "quantize", "validate". May be empty.
  std::function<void(std::string_view stage)> on_stage;
};

struct Metrics {
  std::uint64_t examples = 0;
  double accuracy = 0;  // top-1, in [0, 1]
  double loss = 0;      // mean cross-entropy, nats
};

struct Variant {
  std::string name;       // "fp32", "int8"
  std::string precision;  // "fp32", "int8"
  Bytes efm;              // a complete .efm file; the same input always gives the same bytes
  std::optional<Metrics> metrics;
  bool trainable = false;
};

struct CompileOutput {
  std::vector<Variant> variants;       // fp32 first
  std::string report_json;             // at most 1 MiB
  std::optional<std::string> refusal;  // present: a variant misses its limits; says which, by how much, and what to do
  std::uint64_t parameter_count = 0;   // of the fp32 variant
  // Digest of the parameters' names and shapes (device_client/runtime/parameters.h); the same for every compile of one network,
  // whatever its weights.
  crypto::Sha256Digest layout_sha256{};
};

// Imports, folds and fuses, replaces parameters, calibrates, quantizes, validates, reports. A bad artifact is INVALID_ARGUMENT
// [BAD_ONNX, UNSUPPORTED_OPERATOR, UNSUPPORTED_OPSET, BAD_NPZ, BAD_CALIBRATION, BAD_EVALUATION, BAD_PARAMETERS, BAD_OPTIONS,
// TOO_LARGE] with a message that names the node or the array and says what to do. A network that compiles but misses its limits
// is not an error: see `refusal`. Thread-safe; blocks for as long as the evaluation takes.
Result<CompileOutput> Compile(const CompileInput& input);

// Measures `parameters` in place of those of a trainable .efm (a CompileOutput's fp32 variant) on an evaluation .npz.
// INVALID_ARGUMENT [BAD_PARAMETERS, BAD_EVALUATION, BAD_NPZ], FAILED_PRECONDITION [NOT_TRAINABLE]. Thread-safe.
Result<Metrics> EvaluateParameters(ByteView efm, std::span<const float> parameters, ByteView evaluation);

}  // namespace edgefleet::compiler
