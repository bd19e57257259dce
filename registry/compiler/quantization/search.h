// Finds how to quantize a network: what helps is tried and measured, and kept if it does.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/arrays/npz.h"
#include "base/status.h"
#include "device_client/runtime/graph.h"
#include "registry/compiler/calibration/collect.h"
#include "registry/compiler/quantization/options.h"
#include "registry/compiler/quantization/rewrite.h"

namespace edgefleet::compiler {

// Of a graph on the evaluation data: higher is better.
using Score = std::function<Result<double>(std::shared_ptr<const runtime::Graph>)>;

struct SearchInput {
  std::shared_ptr<const runtime::Graph> fp32;
  const arrays::Archive* calibration = nullptr;  // null: only what needs no data; must outlive the Quantizer
  QuantizationOptions options;
  Score score;                   // empty: output error alone decides
  double score_drop_max = 0.01;  // against fp32; read with `score`
};

// What was tried, what became of it, and why; for people.
struct Decision {
  std::string what;
  bool chosen = false;
  std::string why;
};

// One weighted layer alone in a precision, the rest in fp32.
struct Sensitivity {
  std::size_t node = 0;
  Precision precision = Precision::kInt8;
  double snr_db = 0;                 // of the network's outputs
  std::optional<double> score_drop;  // with `score`
};

struct SearchResult {
  std::shared_ptr<const runtime::Graph> fp32;  // what was quantized: activations split, pruned, equalized as decided
  QuantizedGraph quantized;
  std::optional<Calibration> calibration;                  // of `fp32`
  std::vector<ActivationRange> ranges;                     // chosen from it
  std::optional<ErrorMeasures> output_error;               // against the fp32 network, on the calibration data
  std::vector<std::optional<ErrorMeasures>> layer_errors;  // by node: its output in the quantized network against fp32
  std::vector<Sensitivity> sensitivity;                    // of mixed, and where a limit was missed at first
  std::vector<Decision> decisions;
};

// Quantizes one network. One thread at a time.
class Quantizer {
 public:
  // Prunes if asked to, calibrates, and measures fp32. INVALID_ARGUMENT [BAD_CALIBRATION], or errors of sessions.
  static Result<std::unique_ptr<Quantizer>> Create(SearchInput input);
  ~Quantizer();
  Quantizer(const Quantizer&) = delete;
  Quantizer& operator=(const Quantizer&) = delete;

  // `former` is this variant of the version before; null if there is none.
  //
  // - int8 needs calibration data. Bias correction and equalization are kept if the network's output error gets smaller,
  //   equalization by 0.5 dB.
  // - The scales of `former` are used again if that costs at most 0.1 dB of output error and nothing of the score.
  // - When the score drops by more than allowed, the most sensitive layers (1, 2, 4, ... up to half of them) get fp16 weights,
  // until
  //   it does not.
  // - kMixed gives each layer int4, int8 or fp16: with `size_share_max` the least noise within it; else the fewest bytes within
  // the
  //   score's limit, or, without a score, at 20 dB of output error.
  // INVALID_ARGUMENT [BAD_CALIBRATION], or errors of sessions.
  Result<SearchResult> Quantize(VariantPrecision precision, const runtime::Graph* former);

 private:
  class Search;
  explicit Quantizer(std::unique_ptr<Search> search);
  std::unique_ptr<Search> search_;
};

}  // namespace edgefleet::compiler
