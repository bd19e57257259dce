#include "device_client/device/inference.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/file.h"
#include "base/random.h"
#include "device_client/runtime/format/efm.h"

namespace edgefleet::device {
namespace {

constexpr std::size_t kLatenciesMax = 1024;
constexpr std::size_t kIdleSessionsMax = 16;
// Relative L2 distance from the reference that rounding of int8 activations can explain and a broken kernel does not stay
// below.
constexpr double kProbeDistanceMax = 0.1;

Result<std::shared_ptr<const runtime::Graph>> LoadGraph(const std::filesystem::path& file) {
  EF_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(file));
  EF_ASSIGN_OR_RETURN(auto graph, runtime::LoadEfm(mapped));
  return std::make_shared<const runtime::Graph>(std::move(graph));
}

Result<std::vector<float>> Probe(const std::shared_ptr<const runtime::Graph>& graph, const std::string& delegate, int threads) {
  EF_ASSIGN_OR_RETURN(auto session, runtime::Session::Create(graph, {.delegate = delegate, .threads = threads}));
  std::vector<float> input(static_cast<std::size_t>(session->input_size()));
  SeededRandom random(1);
  std::generate(input.begin(), input.end(), [&] { return static_cast<float>(random.Unit()); });
  std::vector<float> output(static_cast<std::size_t>(session->output_size()));
  EF_RETURN_IF_ERROR(session->Run(input, output));
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

Status SelfTest(const std::filesystem::path& file, const std::string& delegate, int threads) {
  EF_ASSIGN_OR_RETURN(const auto graph, LoadGraph(file));
  EF_ASSIGN_OR_RETURN(const auto expected, Probe(graph, "reference", 1));
  EF_ASSIGN_OR_RETURN(const auto output, Probe(graph, delegate, threads));
  if (!std::all_of(output.begin(), output.end(), [](float value) { return std::isfinite(value); })) {
    return FailedPrecondition("SELF_TEST_FAILED", "the model yields NaN or infinity");
  }
  const double distance = RelativeDistance(output, expected);
  if (distance > kProbeDistanceMax) {
    return FailedPrecondition(
        "SELF_TEST_FAILED", "delegate " + delegate + " is off the reference by " + std::to_string(distance) + " (relative L2)");
  }
  return OkStatus();
}

struct InferenceEngine::Model {
  std::string name;
  std::uint64_t version = 0;
  std::shared_ptr<const runtime::Graph> graph;
  std::mutex mutex;
  std::vector<std::unique_ptr<runtime::Session>> idle;
};

Status InferenceEngine::Load(const update::InstalledVersion& version, const std::string& variant) {
  const auto* installed = version.Find(variant);
  if (installed == nullptr) return NotFound("VARIANT_MISSING", "variant " + variant + " is not installed");
  auto model = std::make_shared<Model>();
  model->name = version.model;
  model->version = version.version;
  EF_ASSIGN_OR_RETURN(model->graph, LoadGraph(installed->file));
  EF_ASSIGN_OR_RETURN(auto session, Borrow(model));
  model->idle.push_back(std::move(session));
  std::lock_guard lock(mutex_);
  model_ = std::move(model);
  return OkStatus();
}

Result<std::unique_ptr<runtime::Session>> InferenceEngine::Borrow(const std::shared_ptr<Model>& model) const {
  {
    std::lock_guard lock(model->mutex);
    if (!model->idle.empty()) {
      auto session = std::move(model->idle.back());
      model->idle.pop_back();
      return session;
    }
  }
  return runtime::Session::Create(model->graph, {.delegate = delegate_, .threads = threads_});
}

Result<std::vector<float>> InferenceEngine::Infer(std::span<const float> input) {
  std::shared_ptr<Model> model;
  {
    std::lock_guard lock(mutex_);
    model = model_;
  }
  if (!model) return FailedPrecondition("NO_MODEL", "no model is installed yet; call Update first");
  EF_ASSIGN_OR_RETURN(auto session, Borrow(model));
  if (input.size() != static_cast<std::size_t>(session->input_size())) {
    return InvalidArgument("BAD_INPUT_SIZE", "the model takes " + std::to_string(session->input_size()) + " values, not " +
                                                 std::to_string(input.size()));
  }
  std::vector<float> output(static_cast<std::size_t>(session->output_size()));
  const auto start = std::chrono::steady_clock::now();
  Status status = session->Run(input, output);
  Count(*model, status.ok(), std::chrono::steady_clock::now() - start);
  if (!status.ok()) return MakeError(std::move(status));  // a session that failed is not used again
  std::lock_guard lock(model->mutex);
  if (model->idle.size() < kIdleSessionsMax) model->idle.push_back(std::move(session));
  return output;
}

void InferenceEngine::Count(const Model& model, bool ok, std::chrono::nanoseconds latency) {
  std::lock_guard lock(mutex_);
  counts_.model = model.name;
  counts_.version = model.version;
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
  summary.delegate = delegate_;
  summary.latency_ms_p50 = Percentile(latencies_ms_, 0.5);
  summary.latency_ms_p99 = Percentile(std::exchange(latencies_ms_, {}), 0.99);
  return summary;
}

}  // namespace edgefleet::device
