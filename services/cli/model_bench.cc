// edgefleet model bench: how fast a model file runs here, and how much memory it takes.
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "base/random.h"
#include "services/cli/commands.h"
#include "services/cli/local_model.h"
#include "services/cli/model_arrays.h"

namespace edgefleet::cli {
namespace {

constexpr double kWarmUpShare = 0.1;  // of --seconds
constexpr std::size_t kRunsMax = 10'000'000;
constexpr std::size_t kRunsMin = 3;

struct BenchSpec {
  std::string model;
  std::string input;
  ExecutionSpec execution;
  std::int64_t batch = 1;
  double seconds = 3;
};

struct Measured {
  double load_ms = 0;
  double prepare_ms = 0;
  double first_ms = 0;
  std::vector<double> runs_ms;  // ascending
  runtime::SessionInfo info;
  std::uint64_t file_bytes = 0;
};

std::size_t BytesFor(arrays::ElementType type, const std::vector<std::int64_t>& shape) {
  return static_cast<std::size_t>(runtime::ElementCount(shape)) * arrays::SizeOf(type);
}

// Values that any model can take: floats in [0, 1), bytes of any value, other integers 0 or 1 (indices, lengths).
Bytes RandomInput(arrays::ElementType type, const std::vector<std::int64_t>& shape, RandomSource& random) {
  Bytes bytes(BytesFor(type, shape));
  switch (type) {
    case arrays::ElementType::kFloat32: {
      const std::span values(reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float));
      for (float& value : values) value = static_cast<float>(random.Unit());
      break;
    }
    case arrays::ElementType::kInt8:
    case arrays::ElementType::kUint8:
      random.Fill(bytes);
      break;
    default:
      for (std::size_t i = 0; i < bytes.size(); i += arrays::SizeOf(type)) bytes[i] = static_cast<std::byte>(random.Below(2));
  }
  return bytes;
}

// The arrays of --input, if there are.
Result<std::unique_ptr<InputArrays>> OpenInput(const BenchSpec& spec, const runtime::Graph& graph) {
  if (spec.input.empty()) return nullptr;
  EF_ASSIGN_OR_RETURN(auto inputs, InputArrays::Open(spec.input, graph));
  if (inputs.examples() < spec.batch || (!inputs.splittable() && inputs.examples() != spec.batch)) {
    return InvalidArgument("BAD_INPUT", spec.input + " has " + std::to_string(inputs.examples()) + " examples, --batch is " +
                                            std::to_string(spec.batch));
  }
  return std::make_unique<InputArrays>(std::move(inputs));
}

Result<std::vector<Bytes>> MakeInputs(InputArrays* arrays, const runtime::Session& session) {
  std::vector<Bytes> buffers;
  if (arrays != nullptr) {
    EF_RETURN_IF_ERROR(arrays->Read(session.batch(), buffers));
    return buffers;
  }
  SeededRandom random(1);
  for (const runtime::TensorId id : session.graph().inputs) {
    EF_ASSIGN_OR_RETURN(const arrays::ElementType type, ElementTypeFor(session.graph().tensor(id)));
    buffers.push_back(RandomInput(type, session.shape(id), random));
  }
  return buffers;
}

Result<std::vector<Bytes>> MakeOutputs(const runtime::Session& session) {
  std::vector<Bytes> buffers;
  for (const runtime::TensorId id : session.graph().outputs) {
    EF_ASSIGN_OR_RETURN(const arrays::ElementType type, ElementTypeFor(session.graph().tensor(id)));
    buffers.emplace_back(BytesFor(type, session.shape(id)));
  }
  return buffers;
}

// Inferences until `seconds` are over; all their times.
Result<std::vector<double>> RunFor(double seconds, runtime::Session& session, const std::vector<ByteView>& inputs,
                                   const std::vector<std::span<std::byte>>& outputs) {
  std::vector<double> runs_ms;
  const Stopwatch total;
  do {
    const Stopwatch watch;
    EF_RETURN_IF_ERROR(session.Run(inputs, outputs));
    runs_ms.push_back(watch.Milliseconds());
  } while (runs_ms.size() < kRunsMin || (total.Milliseconds() < seconds * 1000 && runs_ms.size() < kRunsMax));
  return runs_ms;
}

Result<Measured> Measure(Context& context, const BenchSpec& spec) {
  Measured measured;
  const Stopwatch load;
  EF_ASSIGN_OR_RETURN(const auto graph, LoadModel(spec.model));
  measured.load_ms = load.Milliseconds();
  EF_ASSIGN_OR_RETURN(const auto arrays, OpenInput(spec, *graph));
  const Stopwatch prepare;
  EF_ASSIGN_OR_RETURN(const auto session, MakeSession(graph, spec.execution, spec.batch,
                                                      arrays ? arrays->sizes() : std::map<std::string, std::int64_t>()));
  measured.prepare_ms = prepare.Milliseconds();
  EF_ASSIGN_OR_RETURN(const auto inputs, MakeInputs(arrays.get(), *session));
  EF_ASSIGN_OR_RETURN(auto outputs, MakeOutputs(*session));
  const std::vector<ByteView> input_views(inputs.begin(), inputs.end());
  const std::vector<std::span<std::byte>> output_views(outputs.begin(), outputs.end());
  const Stopwatch first;
  EF_RETURN_IF_ERROR(session->Run(input_views, output_views));
  measured.first_ms = first.Milliseconds();
  context.out.Note("measuring for " + FormatNumber(spec.seconds) + " s");
  EF_ASSIGN_OR_RETURN(const auto warm_up, RunFor(spec.seconds * kWarmUpShare, *session, input_views, output_views));
  EF_ASSIGN_OR_RETURN(measured.runs_ms, RunFor(spec.seconds, *session, input_views, output_views));
  std::ranges::sort(measured.runs_ms);
  measured.info = session->info();
  return measured;
}

// The value that a share of the runs does not exceed (nearest rank).
double Percentile(const std::vector<double>& ascending, double share) {
  const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(ascending.size())));
  return ascending[std::clamp<std::size_t>(rank, 1, ascending.size()) - 1];
}

std::uint64_t PeakResidentBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

Status Bench(Context& context, const BenchSpec& spec) {
  EF_ASSIGN_OR_RETURN(const Measured measured, Measure(context, spec));
  const auto& runs = measured.runs_ms;
  const double total_ms = std::accumulate(runs.begin(), runs.end(), 0.0);
  const double per_second = 1000 * static_cast<double>(runs.size()) * static_cast<double>(spec.batch) / total_ms;
  const std::uint64_t resident = PeakResidentBytes();
  if (context.out.json) {
    context.out.PrintJson({{"file", spec.model},
                           {"delegate", measured.info.delegate},
                           {"coverage", measured.info.coverage},
                           {"threads", spec.execution.threads},
                           {"batch", spec.batch},
                           {"load_ms", measured.load_ms},
                           {"prepare_ms", measured.prepare_ms},
                           {"first_inference_ms", measured.first_ms},
                           {"runs", runs.size()},
                           {"latency_ms",
                            {{"min", runs.front()},
                             {"median", Percentile(runs, 0.5)},
                             {"p90", Percentile(runs, 0.9)},
                             {"p99", Percentile(runs, 0.99)},
                             {"mean", total_ms / static_cast<double>(runs.size())}}},
                           {"inferences_per_second", per_second},
                           {"session_bytes", measured.info.memory_bytes},
                           {"peak_resident_bytes", resident}});
    return OkStatus();
  }
  const auto ms = [](double value) { return FormatNumber(value) + " ms"; };
  context.out.PrintFields(
      {{"delegate", DelegateText(measured.info)},
       {"threads", std::to_string(spec.execution.threads)},
       {"batch", std::to_string(spec.batch)},
       {"load", ms(measured.load_ms)},
       {"prepare", ms(measured.prepare_ms)},
       {"first inference", ms(measured.first_ms)},
       {"latency", "min " + ms(runs.front()) + ", median " + ms(Percentile(runs, 0.5)) + ", p90 " + ms(Percentile(runs, 0.9)) +
                       ", p99 " + ms(Percentile(runs, 0.99)) + " of " + std::to_string(runs.size()) + " runs"},
       {"inferences/s", FormatNumber(per_second)},
       {"session memory", FormatBytes(measured.info.memory_bytes)},
       {"peak resident", FormatBytes(resident)}});
  return OkStatus();
}

}  // namespace

void AddModelBenchCommand(CLI::App& model, Action& action) {
  auto spec = std::make_shared<BenchSpec>();
  auto* command =
      AddCommand(model, action, "bench", "latency, throughput and memory of a model file, here",
                 "  edgefleet model bench fashion.efm\n"
                 "  edgefleet model bench fashion.efm --delegate reference --threads 2 --batch 8 --seconds 10 --json\n"
                 "\n"
                 "Load: map and check the file. Prepare: place nodes, plan memory, repack weights. Then the first\n"
                 "inference, a warm-up of a tenth of the time, and the measurement.\n",
                 &Bench, spec);
  command->add_option("FILE", spec->model, "the .efm file")->required()->check(CLI::ExistingFile);
  command->add_option("-i,--input", spec->input, ".npz or .npy with at least --batch examples (default: random values)")
      ->check(CLI::ExistingFile);
  AddExecutionOptions(*command, spec->execution);
  command->add_option("--batch", spec->batch, "examples a run")->capture_default_str()->check(CLI::Range(1, 65536));
  command->add_option("--seconds", spec->seconds, "how long to measure")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 3600.0));
}

}  // namespace edgefleet::cli
