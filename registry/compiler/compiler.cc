#include "registry/compiler/compiler.h"

#include <memory>
#include <new>
#include <utility>

#include "device_client/runtime/format/efm.h"
#include "device_client/runtime/parameters.h"
#include "registry/compiler/calibrate.h"
#include "registry/compiler/evaluate.h"
#include "registry/compiler/examples.h"
#include "registry/compiler/onnx/import.h"
#include "registry/compiler/optimize/optimize.h"
#include "registry/compiler/quantize.h"
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
Status Validate(const CompileInput& input, const runtime::Graph& graph, CompileOutput& output) {
  EF_ASSIGN_OR_RETURN(const auto dataset, ReadEvaluation(graph, input.evaluation));
  for (Variant& variant : output.variants) {
    EF_ASSIGN_OR_RETURN(runtime::Graph loaded, runtime::LoadEfm(variant.efm));
    EF_ASSIGN_OR_RETURN(variant.metrics, Measure(std::make_shared<const runtime::Graph>(std::move(loaded)), *dataset));
  }
  if (output.variants.size() > 1) {
    output.refusal = RefusalOf(*output.variants[0].metrics, *output.variants[1].metrics, input.options);
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

  std::optional<Calibration> calibration;
  std::optional<QuantizedGraph> quantized;
  if (!input.calibration.empty()) {
    EnterStage(input, "calibrate");
    EF_ASSIGN_OR_RETURN(const arrays::Archive examples, arrays::ReadNpz(input.calibration));
    EF_ASSIGN_OR_RETURN(calibration, Calibrate(graph, examples));
    EnterStage(input, "quantize");
    EF_ASSIGN_OR_RETURN(quantized, QuantizeGraph(*graph, calibration->ranges));
    EF_ASSIGN_OR_RETURN(Variant int8, MakeVariant("int8", quantized->graph));
    output.variants.push_back(std::move(int8));
  }
  if (!input.evaluation.empty()) {
    EnterStage(input, "validate");
    EF_RETURN_IF_ERROR(Validate(input, *graph, output));
  }
  output.report_json =
      WriteReport({input, output, *graph, calibration ? &*calibration : nullptr, quantized ? &*quantized : nullptr});
  return output;
}

}  // namespace

Result<CompileOutput> Compile(const CompileInput& input) {
  const double limit = input.options.accuracy_drop_points_max;
  if (!(limit > 0 && limit <= 100))
    return InvalidArgument("BAD_OPTIONS", "accuracy_drop_points_max must be above 0 and at most 100");
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
    EF_ASSIGN_OR_RETURN(const auto dataset, ReadEvaluation(graph, evaluation));
    return Measure(std::make_shared<const runtime::Graph>(std::move(graph)), *dataset);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("TOO_LARGE", "the network and its data do not fit this server's memory");
  }
}

}  // namespace edgefleet::compiler
