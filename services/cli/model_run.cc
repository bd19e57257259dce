// edgefleet model run: a model file on arrays, as a device would run it.
#include <algorithm>
#include <utility>

#include "services/cli/commands.h"
#include "services/cli/local_model.h"
#include "services/cli/model_arrays.h"

namespace edgefleet::cli {
namespace {

constexpr std::int64_t kBatchWanted = 32;
constexpr std::uint64_t kOutputBytesMax = std::uint64_t{4} << 30;

struct RunSpec {
  std::string model;
  std::string input;
  std::string output;
  ExecutionSpec execution;
  std::int64_t batch = 0;  // 0: as many as fit
};

struct RunResult {
  arrays::Archive outputs;
  std::string delegate;
  double coverage = 0;
  std::int64_t batch = 0;
  double run_ms = 0;
};

Status CheckOutput(const RunSpec& spec, const std::vector<Port>& ports) {
  if (spec.output.ends_with(".npy") && ports.size() != 1) {
    return InvalidArgument(kReasonUsage, "the model has " + std::to_string(ports.size()) +
                                             " outputs and a .npy file holds one array; name an .npz file");
  }
  return CheckWritable(spec.output);
}

Result<arrays::Archive> AllocateOutputs(const std::vector<Port>& ports, std::int64_t examples) {
  arrays::Archive outputs;
  std::uint64_t total = 0;
  for (const Port& port : ports) {
    arrays::ArrayInfo info{port.type, port.shape};
    if (port.batched) info.shape[0] = examples;
    const auto size = arrays::ByteCount(info);
    if (!size || (total += *size) > kOutputBytesMax) {
      return ResourceExhausted("TOO_LARGE",
                               "the outputs take more than " + FormatBytes(kOutputBytesMax) + "; run fewer examples");
    }
    outputs.emplace(port.name, arrays::Array{info.type, info.shape, Bytes(*size)});
  }
  return outputs;
}

// Without --batch, halves the batch until the session's memory suffices.
Result<std::unique_ptr<runtime::Session>> FittingSession(const std::shared_ptr<const runtime::Graph>& graph,
                                                         const RunSpec& spec, std::int64_t batch) {
  while (true) {
    auto session = MakeSession(graph, spec.execution, batch);
    if (session || session.error().code() != StatusCode::kResourceExhausted || spec.batch != 0 || batch == 1) return session;
    batch /= 2;
  }
}

Result<RunResult> RunAll(Context& context, const RunSpec& spec, const std::shared_ptr<const runtime::Graph>& graph,
                         InputArrays& inputs, const std::vector<Port>& ports) {
  RunResult result;
  EF_ASSIGN_OR_RETURN(result.outputs, AllocateOutputs(ports, inputs.examples()));
  std::int64_t batch = std::min(spec.batch == 0 ? kBatchWanted : spec.batch, inputs.examples());
  std::unique_ptr<runtime::Session> session;
  std::vector<Bytes> buffers;
  Progress progress(context.out, "running", static_cast<std::uint64_t>(inputs.examples()), false);
  for (std::int64_t done = 0; done < inputs.examples(); done += batch) {
    batch = std::min(batch, inputs.examples() - done);
    if (!session || session->batch() != batch) {
      session.reset();
      EF_ASSIGN_OR_RETURN(session, FittingSession(graph, spec, batch));
      batch = session->batch();
      result.batch = std::max(result.batch, batch);
    }
    EF_RETURN_IF_ERROR(inputs.Read(batch, buffers));
    std::vector<std::span<std::byte>> views;
    for (const Port& port : ports) {
      const std::span<std::byte> whole(result.outputs.at(port.name).data);
      const std::size_t example = whole.size() / static_cast<std::size_t>(inputs.examples());
      views.push_back(whole.subspan(static_cast<std::size_t>(done) * example, static_cast<std::size_t>(batch) * example));
    }
    const Stopwatch watch;
    EF_RETURN_IF_ERROR(session->Run(std::vector<ByteView>(buffers.begin(), buffers.end()), views));
    result.run_ms += watch.Milliseconds();
    progress.Set(static_cast<std::uint64_t>(done + batch));
  }
  result.delegate = session->info().delegate;
  result.coverage = session->info().coverage;
  return result;
}

void PrintResult(Context& context, const RunSpec& spec, const InputArrays& inputs, const RunResult& result) {
  if (context.out.json) {
    Json outputs = Json::array();
    for (const auto& [name, array] : result.outputs) {
      outputs.push_back({{"name", name}, {"type", arrays::NameOf(array.type)}, {"shape", array.shape}});
    }
    context.out.PrintJson({{"examples", inputs.examples()},
                           {"batch", result.batch},
                           {"delegate", result.delegate},
                           {"coverage", result.coverage},
                           {"run_ms", result.run_ms},
                           {"ignored_arrays", inputs.ignored()},
                           {"outputs", outputs},
                           {"file", spec.output}});
    return;
  }
  std::vector<std::pair<std::string, std::string>> fields{
      {"examples", std::to_string(inputs.examples()) + ", " + std::to_string(result.batch) + " at a time"},
      {"delegate", result.delegate + ", " + FormatPercent(result.coverage) + " of the nodes"},
      {"time", FormatNumber(result.run_ms) + " ms"},
      {"file", spec.output}};
  for (const auto& [name, array] : result.outputs) fields.emplace_back("output " + name, array.info().ToString());
  context.out.PrintFields(fields);
}

Status Run(Context& context, const RunSpec& spec) {
  EF_ASSIGN_OR_RETURN(const auto graph, LoadModel(spec.model));
  EF_ASSIGN_OR_RETURN(auto input_ports, InputPorts(*graph));
  EF_ASSIGN_OR_RETURN(const auto output_ports, OutputPorts(*graph));
  EF_RETURN_IF_ERROR(CheckOutput(spec, output_ports));
  EF_ASSIGN_OR_RETURN(auto inputs, InputArrays::Open(spec.input, std::move(input_ports)));
  for (const std::string& name : inputs.ignored()) {
    context.out.Note("note: array '" + name + "' is not used; the model has no input of that name");
  }
  EF_ASSIGN_OR_RETURN(const RunResult result, RunAll(context, spec, graph, inputs, output_ports));
  EF_RETURN_IF_ERROR(WriteArrays(spec.output, result.outputs));
  PrintResult(context, spec, inputs, result);
  return OkStatus();
}

}  // namespace

void AddModelRunCommand(CLI::App& model, Action& action) {
  auto spec = std::make_shared<RunSpec>();
  auto* command =
      AddCommand(model, action, "run", "run a model file on arrays, here",
                 "  edgefleet model run fashion.efm --input test.npz --output logits.npz\n"
                 "  edgefleet model run fashion.efm --input images.npy --output logits.npy --delegate reference\n"
                 "\n"
                 "Arrays have the names of the model's inputs and outputs ('edgefleet model inspect' lists them), as in\n"
                 "the ONNX graph. Dimension 0 counts examples; they are run in batches.\n",
                 &Run, spec);
  command->add_option("FILE", spec->model, "the .efm file")->required()->check(CLI::ExistingFile);
  command->add_option("-i,--input", spec->input, ".npz, or .npy for a model with one input")
      ->required()
      ->check(CLI::ExistingFile);
  command->add_option("-o,--output", spec->output, "where to write the outputs: .npz, or .npy for a model with one output")
      ->required();
  AddExecutionOptions(*command, spec->execution);
  command->add_option("--batch", spec->batch, "examples a run (default: up to 32, as memory allows)")
      ->check(CLI::Range(1, 65536));
}

}  // namespace edgefleet::cli
