// The compiler's report: what each layer became, what was tried, and what the variants weigh and are worth.
#pragma once

#include <span>
#include <string>

#include "registry/compiler/compiler.h"
#include "registry/compiler/quantization/search.h"

namespace edgefleet::compiler {

struct ReportInput {
  const CompileInput& input;
  const CompileOutput& output;  // everything but the report
  const runtime::Graph& fp32;
  std::span<const SearchResult> searches;  // of output.variants from the second on
};

// JSON of at most 1 MiB; networks of very many layers lose the last ones, and the report says how many:
//   { "format": 2, "model": ..., "decision": "accepted" | "refused", "refusal"?: ..., "parameters": n, "layout_sha256": hex,
//     "limits": { "accuracy_drop_points_max": x }, "metric": "top1" | "mse", "calibration": { "method", "examples" },
//     "variants": [ { "name", "precision", "bytes", "share_of_fp32", "trainable", "examples"?, "accuracy"?, "loss"?,
//                     "output_error"?: ERROR, "decisions"?: [ { "what", "chosen", "why" } ],
//                     "sensitivity"?: [ { "layer", "precision", "snr_db", "accuracy_drop_points"? } ],
//                     "layers"?: LAYERS, "layers_omitted"? } ],
//     "layers": LAYERS of the fp32 network, "layers_omitted": n }
// LAYERS: [ { "name", "operator", "shape", "parameters", "precision", "weight_bytes"?, "min"?, "max"?, "mean"?, "deviation"?,
// "zero_share"?, "range_min"?, "range_max"?, "scale"?, "zero_point"?, "weight_snr_db"?, "output_error"?: ERROR } ], where min
// to zero_share are of the output on the calibration data, and range_min and range_max is what was chosen. ERROR: { "snr_db"
// (absent: no error), "mse", "largest", "cosine" }.
std::string WriteReport(const ReportInput& report);

// The same as one HTML page without anything from elsewhere, at most 4 MiB: tables, each layer's histogram with the chosen
// range, and plots of error and size by layer.
std::string WriteHtmlReport(const ReportInput& report);

}  // namespace edgefleet::compiler
