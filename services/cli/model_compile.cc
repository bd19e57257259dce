// edgefleet model compile: the registry's compiler, here, on files.
#include <algorithm>
#include <filesystem>
#include <utility>

#include "base/file.h"
#include "registry/compiler/compiler.h"
#include "services/cli/commands.h"
#include "services/cli/local_model.h"
#include "services/cli/model_arrays.h"

namespace edgefleet::cli {
namespace {

namespace fs = std::filesystem;

struct CompileSpec {
  std::string network;
  std::string output;
  std::string precision = "fp32";
  std::vector<std::string> shapes;
  std::string calibration;
  std::string evaluation;
  double accuracy_drop = 1.0;
  std::string report;
  std::string report_html;
  std::string calibration_method = "min-max";
  std::string metric = "top1";
  std::string former;
  compiler::QuantizationOptions quantization;
};

Error Usage(std::string message) { return InvalidArgument(kReasonUsage, std::move(message)); }

Status CheckSpec(const CompileSpec& spec) {
  if (spec.precision == "int8" && spec.calibration.empty()) {
    return Usage("--precision int8 needs --calibration DATA.npz: examples of what the model will see");
  }
  for (const std::string& path : {spec.output, spec.report, spec.report_html}) {
    if (!path.empty()) EF_RETURN_IF_ERROR(CheckWritable(path));
  }
  return OkStatus();
}

// "name=1x3x224x224" as the importer writes it: "name=1,3,224,224". A name may hold an 'x', but sizes come last.
Result<std::vector<compiler::InputShape>> ParseShapes(const std::vector<std::string>& texts) {
  std::vector<compiler::InputShape> shapes;
  for (std::string text : texts) {
    const std::size_t sizes = text.rfind('=');
    if (sizes == std::string::npos) return Usage("--shape: '" + text + "' is not INPUT=SIZExSIZEx...");
    std::replace(text.begin() + static_cast<std::ptrdiff_t>(sizes), text.end(), 'x', ',');
    auto shape = compiler::ParseInputShape(text);
    if (!shape) return Usage("--shape: " + shape.error().message());
    shapes.push_back(*std::move(shape));
  }
  return shapes;
}

compiler::CompileOptions OptionsOf(const CompileSpec& spec) {
  compiler::CompileOptions options;
  options.accuracy_drop_points_max = spec.accuracy_drop;
  // The command line admits only names that these know.
  options.precisions = {compiler::ParseVariantPrecision(spec.precision).value_or(compiler::VariantPrecision::kFp32)};
  options.quantization = spec.quantization;
  options.quantization.calibration.method =
      compiler::ParseCalibrationMethod(spec.calibration_method).value_or(compiler::CalibrationMethod::kMinMax);
  options.metric = spec.metric == "mse" ? compiler::Metric::kMse : compiler::Metric::kTop1;
  return options;
}

Result<compiler::CompileOutput> RunCompiler(Context& context, const CompileSpec& spec,
                                            std::vector<compiler::InputShape> shapes) {
  EF_ASSIGN_OR_RETURN(const auto network, MappedFile::Open(spec.network));
  std::shared_ptr<const MappedFile> calibration;
  std::shared_ptr<const MappedFile> evaluation;
  compiler::CompileInput input;
  input.name = fs::path(spec.network).stem().string();
  input.onnx = network->bytes();
  input.shapes = std::move(shapes);
  input.options = OptionsOf(spec);
  std::shared_ptr<const MappedFile> former;
  if (spec.precision != "fp32" && !spec.calibration.empty()) {
    EF_ASSIGN_OR_RETURN(calibration, MappedFile::Open(spec.calibration));
    input.calibration = calibration->bytes();
  }
  if (!spec.evaluation.empty()) {
    EF_ASSIGN_OR_RETURN(evaluation, MappedFile::Open(spec.evaluation));
    input.evaluation = evaluation->bytes();
  }
  if (!spec.former.empty()) {
    EF_ASSIGN_OR_RETURN(former, MappedFile::Open(spec.former));
    input.former.push_back({spec.precision, former->bytes()});
  }
  input.on_stage = [&context](std::string_view stage) { context.out.Note("compiling: " + std::string(stage)); };
  return compiler::Compile(input);
}

void PrintCompiled(Context& context, const CompileSpec& spec, const compiler::CompileOutput& output,
                   const compiler::Variant& chosen) {
  const compiler::Variant& fp32 = output.variants.front();
  const double share = static_cast<double>(chosen.efm.size()) / static_cast<double>(fp32.efm.size());
  if (context.out.json) {
    Json variants = Json::array();
    for (const compiler::Variant& variant : output.variants) {
      Json one{{"precision", variant.precision}, {"bytes", variant.efm.size()}, {"trainable", variant.trainable}};
      if (variant.metrics) {
        one.update({{"examples", variant.metrics->examples},
                    {"accuracy", variant.metrics->accuracy},
                    {"loss", variant.metrics->loss}});
      }
      variants.push_back(std::move(one));
    }
    context.out.PrintJson({{"file", spec.output},
                           {"precision", chosen.precision},
                           {"bytes", chosen.efm.size()},
                           {"share_of_fp32", share},
                           {"trainable_parameters", output.parameter_count},
                           {"metric", spec.metric},
                           {"variants", variants}});
    return;
  }
  context.out.PrintFields({{"file", spec.output},
                           {"precision", chosen.precision},
                           {"size", FormatBytes(chosen.efm.size()) + ", " + FormatPercent(share) + " of fp32"},
                           {"trainable parameters", std::to_string(output.parameter_count)}});
  if (!chosen.metrics) return;
  std::vector<Row> rows;
  for (const compiler::Variant& variant : output.variants) {
    rows.push_back({variant.precision, FormatPercent(variant.metrics->accuracy), FormatNumber(variant.metrics->loss),
                    FormatBytes(variant.efm.size())});
  }
  const bool mse = spec.metric == "mse";
  context.out.PrintTable({"PRECISION", mse ? "R SQUARED" : "ACCURACY", mse ? "MSE" : "LOSS", "SIZE"}, rows);
}

Status Compile(Context& context, const CompileSpec& spec) {
  EF_RETURN_IF_ERROR(CheckSpec(spec));
  EF_ASSIGN_OR_RETURN(auto shapes, ParseShapes(spec.shapes));
  auto output = RunCompiler(context, spec, std::move(shapes));
  if (!output) return std::move(output).error().Annotate(spec.network);
  if (!spec.report.empty()) EF_RETURN_IF_ERROR(WriteFileAtomic(spec.report, AsBytes(output->report_json)));
  if (!spec.report_html.empty()) EF_RETURN_IF_ERROR(WriteFileAtomic(spec.report_html, AsBytes(output->report_html)));
  if (output->refusal) return FailedPrecondition(kReasonModelRefused, *output->refusal);
  const auto chosen = std::ranges::find(output->variants, spec.precision, &compiler::Variant::precision);
  if (chosen == output->variants.end()) return Internal("VARIANT_MISSING", "the compiler made no " + spec.precision + " file");
  EF_RETURN_IF_ERROR(WriteFileAtomic(spec.output, chosen->efm));
  PrintCompiled(context, spec, *output, *chosen);
  return OkStatus();
}

constexpr char kExamples[] =
    "  edgefleet model compile cnn.onnx -o cnn.efm\n"
    "  edgefleet model compile cnn.onnx -o cnn-int8.efm --precision int8 --calibration train.npz \\\n"
    "      --eval test.npz --max-accuracy-drop 0.5 --report report.json --report-html report.html\n"
    "  edgefleet model compile detector.onnx -o detector.efm --shape image=1x3x32..960x32..960\n"
    "\n"
    "Needs no server. A network that loses more accuracy than allowed is refused (exit code 5), and no file is written but\n"
    "the reports.\n";

void AddQuantizationOptions(CLI::App& command, CompileSpec& spec) {
  compiler::QuantizationOptions& options = spec.quantization;
  command
      .add_option("--percentile", options.calibration.percentile, "of the values that --calibration-method percentile keeps")
      ->capture_default_str()
      ->check(CLI::Range(50.0, 100.0));
  command.add_flag("--per-tensor", options.per_tensor_weights, "int8: one scale for all weights of a layer, not one a channel");
  command.add_option("--group-size", options.group_size, "int4: weights that share a scale")
      ->capture_default_str()
      ->check(CLI::IsMember({32, 64, 128}));
  command.add_option("--max-size", options.size_share_max, "mixed: largest size of the weights as a share of fp32's")
      ->check(CLI::Range(0.01, 1.0));
  command.add_option("--prune-weights", options.prune_weights, "share of the weights, the smallest, to set to zero")
      ->check(CLI::Range(0.0, 0.99));
  command.add_option("--prune-channels", options.prune_channels, "share of the channels, the weakest, to take out")
      ->check(CLI::Range(0.0, 0.99));
  command.add_option("--former", spec.former, "this variant of the version before: its scales are kept while they are as good")
      ->check(CLI::ExistingFile);
}

}  // namespace

void AddModelCompileCommand(CLI::App& model, Action& action) {
  auto spec = std::make_shared<CompileSpec>();
  auto* command = AddCommand(model, action, "compile", "compile a network to a model file, here", kExamples, &Compile, spec);
  command->add_option("NET", spec->network, "the network, ONNX")->required()->check(CLI::ExistingFile);
  command->add_option("-o,--output", spec->output, "where to write the .efm file")->required();
  command->add_option("--precision", spec->precision, "fp32, fp16, bf16, int8, int4 or mixed")
      ->capture_default_str()
      ->check(CLI::IsMember({"fp32", "fp16", "bf16", "int8", "int4", "mixed"}));
  command
      ->add_option("--shape", spec->shapes,
                   "INPUT=SIZExSIZEx... for sizes that the network leaves open; 32..960 for bounds, * for what it says; may be "
                   "given again")
      ->allow_extra_args(false);
  command->add_option("--calibration", spec->calibration, "inputs as .npz; needed for int8, good for all but fp32")
      ->check(CLI::ExistingFile);
  command->add_option("--calibration-method", spec->calibration_method, "how int8 ranges are chosen")
      ->capture_default_str()
      ->check(CLI::IsMember({"min-max", "entropy", "percentile"}));
  command->add_option("--eval", spec->evaluation, "inputs and labels (or outputs) as .npz; measures what is compiled")
      ->check(CLI::ExistingFile);
  command->add_option("--metric", spec->metric, "of --eval: top1 accuracy, or mse against the outputs there or those of fp32")
      ->capture_default_str()
      ->check(CLI::IsMember({"top1", "mse"}));
  command
      ->add_option("--max-accuracy-drop", spec->accuracy_drop,
                   "points of accuracy on --eval that may be lost against fp32 before the network is refused")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 100.0));
  command->add_option("--report", spec->report, "where to write the compiler's report, JSON");
  command->add_option("--report-html", spec->report_html, "where to write it as a page for people");
  AddQuantizationOptions(*command, *spec);
}

}  // namespace edgefleet::cli
