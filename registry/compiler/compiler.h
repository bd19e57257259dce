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
#include "registry/compiler/quantization/options.h"

namespace edgefleet::compiler {

enum class Metric {
  kTop1,  // accuracy: the share of examples whose label has the largest output; loss: mean cross-entropy in nats
  kMse,   // loss: mean squared error against the targets; accuracy: 1 - loss / variance of the targets (R squared)
};

struct CompileOptions {
  // Largest loss of accuracy of a variant against fp32, in percentage points; in (0, 100].
  double accuracy_drop_points_max = 1.0;
  // The variants to make besides fp32, each once. int8 is left out without calibration data.
  std::vector<VariantPrecision> precisions{VariantPrecision::kInt8};
  QuantizationOptions quantization;
  Metric metric = Metric::kTop1;
};

// A variant of the version before, whose scales may be used again so that the delta between both stays small.
struct FormerVariant {
  std::string precision;
  ByteView efm;
};

// Views are only read during Compile(). An empty view means "not given".
struct CompileInput {
  std::string name;  // of the model; goes into the files and the report
  ByteView onnx;     // at most 1 GiB
  // .npz: one array a graph input, named as it, [examples, ...]; without it there is no int8 variant.
  ByteView calibration;
  // .npz: the same plus `labels` (int64, [examples]), or for Metric::kMse arrays named as the outputs (or none: then the fp32
  // network's own outputs are the targets); without it there are no metrics and no accuracy limit.
  ByteView evaluation;
  CompileOptions options;
  std::vector<InputShape> shapes;  // of inputs whose dimensions the model leaves open
  std::vector<FormerVariant> former;
  // Values for the trainable constants of the fp32 variant, in the order of its flat parameter vector; they take the place of
  // the network's own. This is how a federated round's result becomes a version: the same network, other numbers.
  std::optional<std::span<const float>> parameters;
  // Told each stage as it begins: "import", "calibrate", "quantize", "validate". May be empty.
  std::function<void(std::string_view stage)> on_stage;
};

struct Metrics {
  std::uint64_t examples = 0;
  double accuracy = 0;  // as the Metric says; at most 1
  double loss = 0;
};

struct Variant {
  std::string name;       // as precision
  std::string precision;  // "fp32", "fp16", "bf16", "int8", "int4", "mixed"
  Bytes efm;              // a complete .efm file; the same input always gives the same bytes
  std::optional<Metrics> metrics;
  bool trainable = false;
};

struct CompileOutput {
  std::vector<Variant> variants;       // fp32 first
  std::string report_json;             // at most 1 MiB; see report.h
  std::string report_html;             // a page for people, with all it needs; at most 4 MiB
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
