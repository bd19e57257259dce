// The compiler's report: what each layer became, and what the variants weigh and are worth.
#pragma once

#include <optional>
#include <string>

#include "registry/compiler/calibrate.h"
#include "registry/compiler/compiler.h"
#include "registry/compiler/quantize.h"

namespace edgefleet::compiler {

struct ReportInput {
  const CompileInput& input;
  const CompileOutput& output;  // everything but the report
  const runtime::Graph& fp32;
  const Calibration* calibration = nullptr;   // null without calibration data
  const QuantizedGraph* quantized = nullptr;  // the same
};

// JSON of at most 1 MiB; networks of very many layers lose the last ones, and the report says how many:
//   { "format": 1, "model": ..., "decision": "accepted" | "refused", "refusal"?: ..., "parameters": n, "layout_sha256": hex,
//     "limits": { "accuracy_drop_points_max": x }, "calibration_examples": n,
//     "variants": [ { "name", "precision", "bytes", "share_of_fp32", "trainable", "examples"?, "accuracy"?, "loss"? } ],
//     "layers": [ { "name", "operator", "shape", "parameters", "precision", "min"?, "max"?, "scale"?, "zero_point"?,
//                   "weight_snr_db"? } ], "layers_omitted": n }
std::string WriteReport(const ReportInput& report);

}  // namespace edgefleet::compiler
