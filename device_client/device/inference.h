// The model in use: sessions on demand, swapped as a whole, with counts of what they did.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "device_client/federated/fleet_gateway.h"
#include "device_client/runtime/session.h"
#include "device_client/update/model_store.h"

namespace edgefleet::device {

// Loads the file, maps its weights, and runs a probe on `delegate` and on the reference: finite outputs that agree. What a new
// version must pass before it becomes active. FAILED_PRECONDITION [SELF_TEST_FAILED].
Status SelfTest(const std::filesystem::path& file, const std::string& delegate, int threads);

// Thread-safe.
class InferenceEngine {
 public:
  InferenceEngine(std::string delegate, int threads) : delegate_(std::move(delegate)), threads_(threads) {}

  // Takes the version's `variant` into use; inferences that run keep what they began with.
  Status Load(const update::InstalledVersion& version, const std::string& variant);
  Result<std::vector<float>> Infer(std::span<const float> input);
  // Counts since the last call, by model version; nothing when there were none.
  std::optional<InferenceSummary> TakeSummary();

 private:
  struct Model;

  Result<std::unique_ptr<runtime::Session>> Borrow(const std::shared_ptr<Model>& model) const;
  void Count(const Model& model, bool ok, std::chrono::nanoseconds latency);

  const std::string delegate_;
  const int threads_;
  mutable std::mutex mutex_;
  std::shared_ptr<Model> model_;
  InferenceSummary counts_;
  std::vector<double> latencies_ms_;  // the latest kLatenciesMax
};

}  // namespace edgefleet::device
