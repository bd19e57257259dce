#include "registry/compile_worker.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "registry/limits.h"

namespace edgefleet::registry {
namespace {

constexpr std::size_t kReportBytesMax = 1 << 20;
constexpr std::size_t kRefusalBytesMax = 4096;
constexpr std::size_t kVariantsMax = 16;

// Messages quote names out of the artifacts, which may hold any byte; stores and protobuf want text.
std::string Printable(std::string text, std::size_t size_max) {
  if (text.size() > size_max) text.resize(size_max);
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c != '\n' && (c < 0x20 || c > 0x7e); }, '?');
  return text;
}

// Files mapped for one compile.
struct MappedInputs {
  std::shared_ptr<const MappedFile> onnx, calibration, evaluation, parameters;
};

Status MapOptional(const ArtifactStore& artifacts, const std::optional<Digest>& digest,
                   std::shared_ptr<const MappedFile>* out) {
  if (!digest) return OkStatus();
  EF_ASSIGN_OR_RETURN(*out, artifacts.Map(*digest));
  return OkStatus();
}

Result<MappedInputs> MapInputs(const ArtifactStore& artifacts, const Inputs& inputs) {
  MappedInputs mapped;
  EF_ASSIGN_OR_RETURN(mapped.onnx, artifacts.Map(inputs.onnx));
  EF_RETURN_IF_ERROR(MapOptional(artifacts, inputs.calibration, &mapped.calibration));
  EF_RETURN_IF_ERROR(MapOptional(artifacts, inputs.evaluation, &mapped.evaluation));
  EF_RETURN_IF_ERROR(MapOptional(artifacts, inputs.parameters, &mapped.parameters));
  return mapped;
}

ByteView ViewOf(const std::shared_ptr<const MappedFile>& file) { return file ? file->bytes() : ByteView(); }

std::vector<float> ToFloats(ByteView bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

}  // namespace

CompileWorker::CompileWorker(const Dependencies& dependencies, std::size_t threads, const BackoffOptions& backoff)
    : deps_(dependencies), backoff_(backoff), pool_("compile", threads, threads) {}

void CompileWorker::Wake() {
  // Refused when as many look-ups wait as there are threads: those will find everything.
  (void)pool_.Submit([this] { Work(); });
}

void CompileWorker::Drain() { backoff_.Stop(); }

void CompileWorker::Stop() {
  Drain();
  pool_.Stop();
}

void CompileWorker::Work() {
  while (true) {
    std::optional<VersionKey> next;
    const Status looked = backoff_.Run([&]() -> Status {
      EF_ASSIGN_OR_RETURN(next, TakeNext());
      return OkStatus();
    });
    if (!looked.ok()) deps_.logger.Error("compile queue cannot be read", {{"error", looked.ToString()}});
    if (!looked.ok() || !next) return;
    const Status status = backoff_.Run([&] { return Process(*next); });
    if (!status.ok()) {
      deps_.logger.Error("version left compiling",
                         {{"model", next->model}, {"version", next->version}, {"error", status.ToString()}});
    }
    std::lock_guard lock(mutex_);
    // One that cannot be finished stays taken, so that it does not come again before the next start.
    if (status.ok()) taken_.erase(*next);
  }
}

Result<std::optional<VersionKey>> CompileWorker::TakeNext() {
  std::lock_guard lock(mutex_);
  EF_ASSIGN_OR_RETURN(const auto compiling, deps_.store.ListCompiling(taken_.size() + 1));
  for (const VersionKey& key : compiling) {
    if (taken_.insert(key).second) return std::optional<VersionKey>(key);
  }
  return std::optional<VersionKey>();
}

// Transient errors come back to be tried again; anything else becomes the version's refusal.
Status CompileWorker::Process(const VersionKey& key) {
  EF_ASSIGN_OR_RETURN(const Version version, deps_.store.GetVersion(key));
  if (version.state != VersionState::kCompiling) return OkStatus();
  Result<Outcome> built = Build(version);
  if (built && built->state == VersionState::kReady) {
    SetStage(key, "distribute");
    Status distributed =
        backoff_.Run([&] { return deps_.releases.DistributeVersion(key, version.created_unix_ms, built->variants); });
    if (!distributed.ok()) built = tl::unexpected<Status>(std::move(distributed));
  }
  if (!built && (IsTransient(built.error()) || built.error().reason() == "STOPPING")) return built.error();
  Outcome outcome = built ? std::move(*built) : Outcome{.refusal = built.error().ToString()};
  outcome.refusal = Printable(std::move(outcome.refusal), kRefusalBytesMax);
  EF_RETURN_IF_ERROR(backoff_.Run([&] { return deps_.store.Finish(key, outcome); }));
  const bool ready = outcome.state == VersionState::kReady;
  deps_.metrics
      .GetCounter("edgefleet_registry_versions_total", "Versions that were compiled, by outcome.",
                  {{"outcome", ready ? "ready" : "refused"}})
      .Increment();
  deps_.logger.Info(ready ? "version ready" : "version refused",
                    {{"model", key.model}, {"version", key.version}, {"refusal", outcome.refusal}});
  return backoff_.Run([&] { return Notify(key); });
}

Result<Outcome> CompileWorker::Build(const Version& version) {
  EF_ASSIGN_OR_RETURN(const MappedInputs files, MapInputs(deps_.artifacts, version.inputs));
  const std::vector<float> parameters = ToFloats(ViewOf(files.parameters));
  compiler::CompileInput input{.name = version.key.model,
                               .onnx = ViewOf(files.onnx),
                               .calibration = ViewOf(files.calibration),
                               .evaluation = ViewOf(files.evaluation),
                               .options = {.accuracy_drop_points_max = version.inputs.options.accuracy_drop_points_max},
                               .parameters = std::nullopt,
                               .on_stage = [&](std::string_view stage) { SetStage(version.key, stage); }};
  if (files.parameters) input.parameters = parameters;
  EF_ASSIGN_OR_RETURN(const compiler::CompileOutput output, deps_.toolchain.compile(input));
  return Keep(output);
}

// The variants become files of the registry before anything speaks of them.
Result<Outcome> CompileWorker::Keep(const compiler::CompileOutput& output) {
  Outcome outcome{.state = output.refusal ? VersionState::kRefused : VersionState::kReady,
                  .refusal = output.refusal.value_or(""),
                  .variants = {},
                  .parameter_count = output.parameter_count,
                  .layout_sha256 = output.layout_sha256,
                  .report_json = Printable(output.report_json, kReportBytesMax)};
  if (output.variants.size() > kVariantsMax) return Internal("TOO_MANY_VARIANTS", "the compiler made more than 16 variants");
  if (output.refusal) return outcome;
  for (const compiler::Variant& made : output.variants) {
    EF_ASSIGN_OR_RETURN(const Digest digest, deps_.artifacts.Put(made.efm));
    Variant variant{made.name, made.precision, digest, made.efm.size(), std::nullopt, made.trainable};
    if (made.metrics && !std::isfinite(made.metrics->loss)) {
      return InvalidArgument("NOT_FINITE", "variant " + made.name + " yields infinite values or NaN on the evaluation data");
    }
    if (made.metrics) variant.metrics = Metrics{made.metrics->examples, made.metrics->accuracy, made.metrics->loss};
    outcome.variants.push_back(std::move(variant));
  }
  return outcome;
}

// The stage is for people who watch: a store that is away does not hold up the compile.
void CompileWorker::SetStage(const VersionKey& key, std::string_view stage) {
  Status status = deps_.store.SetStage(key, std::string(stage));
  if (status.ok()) status = Notify(key);
  if (!status.ok()) deps_.logger.Warn("stage not told", {{"error", status.ToString()}});
}

Status CompileWorker::Notify(const VersionKey& key) {
  return deps_.watchers.Notify(key, [&] { return deps_.store.GetVersion(key); });
}

}  // namespace edgefleet::registry
