// The model in use: tried out, swapped as a whole under load, with counts of what it did.
#pragma once

#include <chrono>
#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "device_client/federated/fleet_gateway.h"
#include "device_client/runtime/cache/model_cache.h"
#include "device_client/runtime/cache/model_slot.h"
#include "device_client/update/model_store.h"

namespace edgefleet::device {

struct InferenceOptions {
  std::string delegate = "onednn";
  int threads = 1;
  std::size_t memory_bytes_max = std::size_t{512} << 20;  // see ModelCacheOptions; up to a quarter for the last good version
  runtime::LoadMode load_mode = runtime::LoadMode::kMapped;
};

// Thread-safe. The clock outlives it.
class InferenceEngine {
 public:
  InferenceEngine(InferenceOptions options, const Clock& clock);

  // Loads the version's `variant` and runs a probe on the delegate and on the reference: finite outputs that agree. What a new
  // version must pass before it becomes active; it stays loaded for Load(). FAILED_PRECONDITION [SELF_TEST_FAILED], or an error
  // of ModelCache::Acquire.
  Status SelfTest(const update::InstalledVersion& version, const std::string& variant);
  // Takes the version's `variant` into use; inferences that run keep what they began with. On failure the model stays.
  Status Load(const update::InstalledVersion& version, const std::string& variant, runtime::Former former);
  // Frees versions that were replaced and are out of use. Load() does so too.
  void Collect() { slot_.Collect(); }

  // See Device::Infer.
  Result<std::vector<float>> Infer(std::span<const float> input);
  // Counts since the last call, by model version; nothing when there were none.
  std::optional<InferenceSummary> TakeSummary();

  runtime::ModelCacheStats memory() const { return cache_.stats(); }

 private:
  Status CompareWithReference(const std::shared_ptr<runtime::LoadedModel>& model) const;
  void Count(const runtime::ModelVersion& version, bool ok, std::chrono::nanoseconds latency);

  const InferenceOptions options_;
  runtime::ModelCache cache_;
  runtime::ModelSlot slot_;
  std::mutex mutex_;  // of the counts
  InferenceSummary counts_;
  std::vector<double> latencies_ms_;  // the latest kLatenciesMax
};

}  // namespace edgefleet::device
