#include "registry/compiler/compiler.h"

#include <algorithm>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/parameters.h"
#include "registry/compiler/evaluate.h"
#include "registry/compiler/examples.h"
#include "registry/compiler/onnx/import.h"
#include "registry/compiler/optimize/optimize.h"
#include "registry/compiler/quantization/search.h"
#include "registry/compiler/report.h"

namespace edgefleet::compiler {
namespace {

using GraphPtr = std::shared_ptr<const runtime::Graph>;

constexpr std::size_t kModelNameMax = 240;

void EnterStage(const CompileInput& input, std::string_view stage) {
  if (input.on_stage) input.on_stage(stage);
}

Result<runtime::Graph> ReplaceParameters(const runtime::Graph& graph, std::span<const float> parameters) {
  auto replaced = runtime::WithParameters(graph, parameters);
  if (replaced || replaced.error().code() != StatusCode::kInvalidArgument) return replaced;
  return InvalidArgument("BAD_PARAMETERS", replaced.error().message());
}

Result<GraphPtr> ImportGraph(const CompileInput& input) {
  EF_ASSIGN_OR_RETURN(runtime::Graph graph, ImportOnnx(input.onnx, {.shapes = input.shapes}));
  graph.name = input.name;
  EF_RETURN_IF_ERROR(Optimize(graph));
  if (input.parameters) {
    EF_ASSIGN_OR_RETURN(graph, ReplaceParameters(graph, *input.parameters));
  }
  return std::make_shared<const runtime::Graph>(std::move(graph));
}

Result<Variant> MakeVariant(const std::string& precision, const runtime::Graph& graph) {
  EF_ASSIGN_OR_RETURN(Bytes efm, runtime::WriteEfm(graph));
  return Variant{precision, precision, std::move(efm), std::nullopt, !graph.parameters.empty()};
}

// Measures the files as devices will load them, and decides.
Status Validate(const Evaluator& evaluator, const CompileOptions& options, CompileOutput& output) {
  for (Variant& variant : output.variants) {
    EF_ASSIGN_OR_RETURN(runtime::Graph loaded, runtime::LoadEfm(variant.efm));
    EF_ASSIGN_OR_RETURN(variant.metrics, evaluator.Measure(std::make_shared<const runtime::Graph>(std::move(loaded))));
    if (!output.refusal) output.refusal = RefusalOf(variant.name, *output.variants[0].metrics, *variant.metrics, options);
  }
  return OkStatus();
}

std::vector<VariantPrecision> WantedPrecisions(const CompileInput& input) {
  std::vector<VariantPrecision> wanted;
  for (const VariantPrecision precision : input.options.precisions) {
    if (precision == VariantPrecision::kFp32 || std::ranges::find(wanted, precision) != wanted.end()) continue;
    if (precision == VariantPrecision::kInt8 && input.calibration.empty()) continue;
    wanted.push_back(precision);
  }
  return wanted;
}

// The same variant of the version before; nothing if there is none or it cannot be read: then there is nothing to keep.
std::optional<runtime::Graph> FormerGraph(const CompileInput& input, std::string_view precision) {
  const auto found = std::ranges::find(input.former, precision, &FormerVariant::precision);
  if (found == input.former.end()) return std::nullopt;
  auto graph = runtime::LoadEfm(ToBytes(found->efm));
  if (!graph) return std::nullopt;
  return std::move(*graph);
}

Status MakeQuantized(const CompileInput& input, const GraphPtr& fp32, const Evaluator* evaluator, CompileOutput& output,
                     std::vector<SearchResult>& searches) {
  const std::vector<VariantPrecision> wanted = WantedPrecisions(input);
  if (wanted.empty()) return OkStatus();
  SearchInput search{
      .fp32 = fp32, .options = input.options.quantization, .score_drop_max = input.options.accuracy_drop_points_max / 100};
  arrays::Archive examples;
  if (!input.calibration.empty()) {
    EnterStage(input, "calibrate");
    EF_ASSIGN_OR_RETURN(examples, arrays::ReadNpz(input.calibration));
    search.calibration = &examples;
  }
  if (evaluator != nullptr) {
    search.score = [evaluator](GraphPtr graph) {
      return evaluator->Measure(std::move(graph)).map([](const Metrics& metrics) { return metrics.accuracy; });
    };
  }
  EF_ASSIGN_OR_RETURN(const auto quantizer, Quantizer::Create(std::move(search)));
  EnterStage(input, "quantize");
  for (const VariantPrecision precision : wanted) {
    const std::string name(VariantPrecisionName(precision));
    const std::optional<runtime::Graph> former = FormerGraph(input, name);
    EF_ASSIGN_OR_RETURN(SearchResult found, quantizer->Quantize(precision, former ? &*former : nullptr));
    EF_ASSIGN_OR_RETURN(Variant variant, MakeVariant(name, found.quantized.graph));
    output.variants.push_back(std::move(variant));
    searches.push_back(std::move(found));
  }
  return OkStatus();
}

Result<CompileOutput> CompileChecked(const CompileInput& input) {
  EnterStage(input, "import");
  EF_ASSIGN_OR_RETURN(const GraphPtr graph, ImportGraph(input));
  CompileOutput output;
  output.parameter_count = static_cast<std::uint64_t>(runtime::ParameterCount(*graph));
  output.layout_sha256 = runtime::LayoutSha256(*graph);
  EF_ASSIGN_OR_RETURN(Variant fp32, MakeVariant("fp32", *graph));
  output.variants.push_back(std::move(fp32));

  std::unique_ptr<Evaluator> evaluator;
  if (!input.evaluation.empty()) {
    EF_ASSIGN_OR_RETURN(evaluator, Evaluator::Create(graph, input.evaluation, input.options.metric));
  }
  std::vector<SearchResult> searches;
  EF_RETURN_IF_ERROR(MakeQuantized(input, graph, evaluator.get(), output, searches));
  if (evaluator) {
    EnterStage(input, "validate");
    EF_RETURN_IF_ERROR(Validate(*evaluator, input.options, output));
  }
  const ReportInput report{input, output, *graph, searches};
  output.report_json = WriteReport(report);
  output.report_html = WriteHtmlReport(report);
  return output;
}

bool IsShare(double share) { return share >= 0 && share < 1; }

Status CheckOptions(const CompileOptions& options) {
  const double limit = options.accuracy_drop_points_max;
  if (!(limit > 0 && limit <= 100))
    return InvalidArgument("BAD_OPTIONS", "accuracy_drop_points_max must be above 0 and at most 100");
  const QuantizationOptions& quantization = options.quantization;
  const double percentile = quantization.calibration.percentile;
  if (!(percentile > 0 && percentile <= 100)) {
    return InvalidArgument("BAD_OPTIONS", "the calibration percentile must be above 0 and at most 100");
  }
  if (quantization.group_size != 32 && quantization.group_size != 64 && quantization.group_size != 128) {
    return InvalidArgument("BAD_OPTIONS", "int4 groups have 32, 64 or 128 weights");
  }
  if (!IsShare(quantization.prune_weights) || !IsShare(quantization.prune_channels)) {
    return InvalidArgument("BAD_OPTIONS", "the share to prune must be from 0 to below 1");
  }
  const double size = quantization.size_share_max.value_or(1);
  if (!(size > 0 && size <= 1)) return InvalidArgument("BAD_OPTIONS", "the size limit must be above 0 and at most 1");
  return OkStatus();
}

}  // namespace

Result<CompileOutput> Compile(const CompileInput& input) {
  EF_RETURN_IF_ERROR(CheckOptions(input.options));
  if (input.name.empty() || input.name.size() > kModelNameMax)
    return InvalidArgument("BAD_OPTIONS", "the model needs a name of 1 to 240 bytes");
  try {
    return CompileChecked(input);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("TOO_LARGE", "the network and its data do not fit this server's memory");
  }
}

Result<Metrics> EvaluateParameters(ByteView efm, std::span<const float> parameters, ByteView evaluation) {
  try {
    EF_ASSIGN_OR_RETURN(const runtime::Graph loaded, runtime::LoadEfm(ToBytes(efm)));
    EF_ASSIGN_OR_RETURN(runtime::Graph graph, ReplaceParameters(loaded, parameters));
    const auto measured = std::make_shared<const runtime::Graph>(std::move(graph));
    EF_ASSIGN_OR_RETURN(const auto evaluator, Evaluator::Create(measured, evaluation, Metric::kTop1));
    return evaluator->Measure(measured);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("TOO_LARGE", "the network and its data do not fit this server's memory");
  }
}

}  // namespace edgefleet::compiler
