// edgefleet model run: a model file on arrays, as a device would run it.
#include <algorithm>
#include <utility>

#include "device_client/runtime/specialize.h"
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

// An output of the graph for the sizes of the inputs.
struct OutputPort {
  runtime::TensorId id = 0;
  std::string name;
  arrays::ElementType type = arrays::ElementType::kFloat32;
  std::vector<std::int64_t> shape;  // of one example
  bool batched = false;             // with more examples, dimension 0 is that many times larger
};

Result<std::vector<std::vector<std::int64_t>>> OutputShapes(const runtime::Graph& graph, const InputArrays& inputs,
                                                            std::int64_t batch) {
  std::vector<runtime::DimensionSize> sizes;
  for (const auto& [symbol, size] : inputs.sizes()) sizes.push_back({symbol, size});
  if (runtime::FindDynamic(graph, runtime::kBatchSymbol)) sizes.push_back({runtime::kBatchSymbol, batch});
  EF_ASSIGN_OR_RETURN(const runtime::Graph specialized, runtime::Specialize(graph, sizes));
  std::vector<std::vector<std::int64_t>> shapes;
  for (const runtime::TensorId id : graph.outputs) shapes.push_back(specialized.tensor(id).shape);
  return shapes;
}

// Compares the shapes for one and for two examples.
Result<std::vector<OutputPort>> OutputPorts(const runtime::Graph& graph, const InputArrays& inputs) {
  EF_ASSIGN_OR_RETURN(const auto of_one, OutputShapes(graph, inputs, 1));
  EF_ASSIGN_OR_RETURN(const auto of_two, OutputShapes(graph, inputs, std::min<std::int64_t>(2, runtime::BatchMax(graph))));
  std::vector<OutputPort> ports;
  for (std::size_t i = 0; i < of_one.size(); ++i) {
    const runtime::Tensor& tensor = graph.tensor(graph.outputs[i]);
    EF_ASSIGN_OR_RETURN(const arrays::ElementType type, ElementTypeFor(tensor));
    auto shape = of_one[i];
    if (inputs.repeated() && shape.empty()) shape = {1};
    auto doubled = shape;
    if (!doubled.empty()) doubled[0] *= 2;
    const bool batched = inputs.repeated() || (!doubled.empty() && of_two[i] == doubled);
    ports.push_back({graph.outputs[i], tensor.name, type, std::move(shape), batched});
  }
  return ports;
}

struct Work {
  std::shared_ptr<const runtime::Graph> graph;
  InputArrays inputs;
  std::vector<OutputPort> outputs;
  std::int64_t batch = 1;
};

// How many examples a run: as asked, unless they only make sense all at once.
Result<std::int64_t> ChooseBatch(const RunSpec& spec, const Work& work) {
  const std::int64_t examples = work.inputs.examples();
  const std::int64_t most = runtime::BatchMax(*work.graph);
  if (work.inputs.splittable() && std::ranges::all_of(work.outputs, &OutputPort::batched)) {
    return std::min({spec.batch == 0 ? kBatchWanted : spec.batch, examples, most});
  }
  if (examples <= most) return examples;
  return InvalidArgument("BAD_INPUT", spec.input + " has " + std::to_string(examples) +
                                          " examples; this model takes them all at once, at most " + std::to_string(most));
}

Result<Work> Plan(Context& context, const RunSpec& spec) {
  EF_ASSIGN_OR_RETURN(auto graph, LoadModel(spec.model));
  if (spec.output.ends_with(".npy") && graph->outputs.size() != 1) {
    return InvalidArgument(kReasonUsage, "the model has " + std::to_string(graph->outputs.size()) +
                                             " outputs and a .npy file holds one array; name an .npz file");
  }
  EF_RETURN_IF_ERROR(CheckWritable(spec.output));
  EF_ASSIGN_OR_RETURN(auto inputs, InputArrays::Open(spec.input, *graph));
  for (const std::string& name : inputs.ignored()) {
    context.out.Note("note: array '" + name + "' is not used; the model has no input of that name");
  }
  EF_ASSIGN_OR_RETURN(auto outputs, OutputPorts(*graph, inputs));
  Work work{std::move(graph), std::move(inputs), std::move(outputs)};
  EF_ASSIGN_OR_RETURN(work.batch, ChooseBatch(spec, work));
  return work;
}

// Without --batch, halves the batch until the session's memory suffices.
Result<std::unique_ptr<runtime::Session>> FittingSession(const RunSpec& spec, const Work& work, std::int64_t batch) {
  const bool may_halve = spec.batch == 0 && std::ranges::all_of(work.outputs, &OutputPort::batched);
  while (true) {
    auto session = MakeSession(work.graph, spec.execution, batch, work.inputs.sizes());
    if (session || session.error().code() != StatusCode::kResourceExhausted || !may_halve || batch == 1) return session;
    batch /= 2;
  }
}

// The arrays of all examples. Without a batch of their own, outputs have the shape that the session gives them.
Result<arrays::Archive> AllocateOutputs(const Work& work, const runtime::Session& session) {
  arrays::Archive outputs;
  std::uint64_t total = 0;
  for (const OutputPort& port : work.outputs) {
    arrays::ArrayInfo info{port.type, session.shape(port.id)};
    if (port.batched) {
      info.shape = port.shape;
      info.shape[0] *= work.inputs.examples();
    }
    const auto size = arrays::ByteCount(info);
    if (!size || (total += *size) > kOutputBytesMax) {
      return ResourceExhausted("TOO_LARGE",
                               "the outputs take more than " + FormatBytes(kOutputBytesMax) + "; run fewer examples");
    }
    outputs.emplace(port.name, arrays::Array{info.type, info.shape, Bytes(*size)});
  }
  return outputs;
}

// Where the session's outputs for `count` examples from `first` on belong.
std::vector<std::span<std::byte>> PartsOf(arrays::Archive& outputs, const Work& work, std::int64_t first, std::int64_t count) {
  std::vector<std::span<std::byte>> parts;
  for (const OutputPort& port : work.outputs) {
    std::span<std::byte> part(outputs.at(port.name).data);
    if (port.batched) {
      const std::size_t example = part.size() / static_cast<std::size_t>(work.inputs.examples());
      part = part.subspan(static_cast<std::size_t>(first) * example, static_cast<std::size_t>(count) * example);
    }
    parts.push_back(part);
  }
  return parts;
}

Result<RunResult> RunAll(Context& context, const RunSpec& spec, Work& work) {
  RunResult result;
  const std::int64_t examples = work.inputs.examples();
  std::int64_t batch = work.batch;
  std::unique_ptr<runtime::Session> session;
  std::vector<Bytes> buffers;
  Progress progress(context.out, "running", static_cast<std::uint64_t>(examples), false);
  for (std::int64_t done = 0; done < examples; done += batch) {
    batch = std::min(batch, examples - done);
    if (!session || session->batch() != batch) {
      session.reset();
      EF_ASSIGN_OR_RETURN(session, FittingSession(spec, work, batch));
      batch = session->batch();
    }
    if (done == 0) {
      result.batch = batch;
      EF_ASSIGN_OR_RETURN(result.outputs, AllocateOutputs(work, *session));
    }
    EF_RETURN_IF_ERROR(work.inputs.Read(batch, buffers));
    const Stopwatch watch;
    EF_RETURN_IF_ERROR(
        session->Run(std::vector<ByteView>(buffers.begin(), buffers.end()), PartsOf(result.outputs, work, done, batch)));
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
  EF_ASSIGN_OR_RETURN(Work work, Plan(context, spec));
  EF_ASSIGN_OR_RETURN(const RunResult result, RunAll(context, spec, work));
  EF_RETURN_IF_ERROR(WriteArrays(spec.output, result.outputs));
  PrintResult(context, spec, work.inputs, result);
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
                 "the ONNX graph. Examples along dimension 0 are run in batches, or one by one by a model of fixed size.\n",
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
