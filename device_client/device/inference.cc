#include "device_client/device/inference.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "base/random.h"

namespace edgefleet::device {
namespace {

constexpr std::size_t kLatenciesMax = 1024;
// Relative L2 distance from the reference that rounding of int8 activations can explain and a broken kernel does not stay
// below.
constexpr double kProbeDistanceMax = 0.1;

runtime::ModelCacheOptions CacheOptions(const InferenceOptions& options) {
  return {.bytes_max = options.memory_bytes_max,
          // A last good version that is larger is loaded again when it is needed: the next version's memory matters more.
          .pinned_bytes_max = options.memory_bytes_max / 4,
          .model = {.mode = options.load_mode,
                    .delegate = options.delegate,
                    .threads = options.threads,
                    .sessions_max = runtime::kSessionsMax}};
}

Result<runtime::ModelSource> SourceOf(const update::InstalledVersion& version, const std::string& variant) {
  const auto* installed = version.Find(variant);
  if (installed == nullptr) return NotFound("VARIANT_MISSING", "variant " + variant + " is not installed");
  return runtime::ModelSource{installed->sha256, installed->file};
}

Result<std::vector<float>> Probe(runtime::Session& session) {
  std::vector<float> input(static_cast<std::size_t>(session.input_size()));
  SeededRandom random(1);
  std::generate(input.begin(), input.end(), [&] { return static_cast<float>(random.Unit()); });
  std::vector<float> output(static_cast<std::size_t>(session.output_size()));
  EF_RETURN_IF_ERROR(session.Run(input, output));
  return output;
}

double RelativeDistance(const std::vector<float>& a, const std::vector<float>& reference) {
  double distance = 0;
  double norm = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    distance += std::pow(double{a[i]} - double{reference[i]}, 2);
    norm += std::pow(double{reference[i]}, 2);
  }
  return norm > 0 ? std::sqrt(distance / norm) : std::sqrt(distance);
}

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(share * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

InferenceEngine::InferenceEngine(InferenceOptions options, const Clock& clock)
    : options_(std::move(options)), cache_(CacheOptions(options_)), slot_(cache_, clock) {}

Status InferenceEngine::SelfTest(const update::InstalledVersion& version, const std::string& variant) {
  EF_ASSIGN_OR_RETURN(const auto source, SourceOf(version, variant));
  Status status;
  {
    EF_ASSIGN_OR_RETURN(const auto model, cache_.Acquire(source));
    status = CompareWithReference(model);
  }
  if (!status.ok()) static_cast<void>(cache_.Evict(source.sha256));  // refused for a last good version, which stays
  return status;
}

Status InferenceEngine::CompareWithReference(const std::shared_ptr<runtime::LoadedModel>& model) const {
  EF_ASSIGN_OR_RETURN(const auto lease, model->Borrow());
  EF_ASSIGN_OR_RETURN(const auto output, Probe(lease.session()));
  // For this moment only, and so not counted; it shares the weights.
  EF_ASSIGN_OR_RETURN(const auto reference,
                      runtime::Session::Create(std::shared_ptr<const runtime::Graph>(model, &model->graph()),
                                               {.delegate = "reference", .memory_bytes_max = options_.memory_bytes_max}));
  EF_ASSIGN_OR_RETURN(const auto expected, Probe(*reference));
  if (!std::all_of(output.begin(), output.end(), [](float value) { return std::isfinite(value); })) {
    return FailedPrecondition("SELF_TEST_FAILED", "the model yields NaN or infinity");
  }
  const double distance = RelativeDistance(output, expected);
  if (distance > kProbeDistanceMax) {
    return FailedPrecondition("SELF_TEST_FAILED", "delegate " + options_.delegate + " is off the reference by " +
                                                      std::to_string(distance) + " (relative L2)");
  }
  return OkStatus();
}

Status InferenceEngine::Load(const update::InstalledVersion& version, const std::string& variant, runtime::Former former) {
  EF_ASSIGN_OR_RETURN(auto source, SourceOf(version, variant));
  return slot_.Swap({version.model, version.version, std::move(source)}, former);
}

Result<std::vector<float>> InferenceEngine::Infer(std::span<const float> input) {
  auto lease = slot_.Borrow();
  if (!lease) {
    if (lease.error().reason() != "NO_MODEL") return MakeError(std::move(lease).error());
    return FailedPrecondition("NO_MODEL", "no model is installed yet; call Update first");
  }
  runtime::Session& session = lease->session();
  if (input.size() != static_cast<std::size_t>(session.input_size())) {
    return InvalidArgument("BAD_INPUT_SIZE", "the model takes " + std::to_string(session.input_size()) + " values, not " +
                                                 std::to_string(input.size()));
  }
  std::vector<float> output(static_cast<std::size_t>(session.output_size()));
  const auto start = std::chrono::steady_clock::now();
  Status status = session.Run(input, output);
  Count(lease->version(), status.ok(), std::chrono::steady_clock::now() - start);
  if (!status.ok()) {
    lease->Discard();
    return MakeError(std::move(status));
  }
  return output;
}

void InferenceEngine::Count(const runtime::ModelVersion& version, bool ok, std::chrono::nanoseconds latency) {
  std::lock_guard lock(mutex_);
  counts_.model = version.model;
  counts_.version = version.version;
  ++counts_.inferences;
  if (!ok) ++counts_.failures;
  const double latency_ms = std::chrono::duration<double, std::milli>(latency).count();
  if (latencies_ms_.size() < kLatenciesMax) {
    latencies_ms_.push_back(latency_ms);
  } else {
    latencies_ms_[counts_.inferences % kLatenciesMax] = latency_ms;
  }
}

std::optional<InferenceSummary> InferenceEngine::TakeSummary() {
  std::lock_guard lock(mutex_);
  if (counts_.inferences == 0) return std::nullopt;
  InferenceSummary summary = std::exchange(counts_, {});
  summary.delegate = options_.delegate;
  summary.latency_ms_p50 = Percentile(latencies_ms_, 0.5);
  summary.latency_ms_p99 = Percentile(std::exchange(latencies_ms_, {}), 0.99);
  return summary;
}

}  // namespace edgefleet::device
