// A simulated fleet: virtual devices in one process, each the real device library with a state directory, a shard of the data
// and a thread of its own. They update, infer and take part in rounds until they are stopped.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "device_client/device/device.h"
#include "device_client/federated/grpc_gateway.h"
#include "device_client/runtime/dataset.h"

namespace edgefleet::fleetsim {

struct FleetOptions {
  std::size_t devices = 100;
  std::filesystem::path state_dir;  // one folder a device below it
  std::string origin_url;
  std::string fleet_address;
  crypto::Ed25519PublicKey trusted_key{};
  std::string model;
  std::string alias = "stable";
  std::vector<std::string> classes = {"phone", "camera", "gateway"};
  std::vector<std::string> regions = {"eu", "us", "ap"};
  double dropout_rate = 0;
  device::RoundStep dropout_after = device::RoundStep::kSharedKeys;
  std::optional<crypto::Ed25519SecretKey> enrolment_authority;  // enrols every device; without it no active rounds
  std::uint64_t seed = 1;
  std::ptrdiff_t train_threads = 2;  // devices that train at once
  Millis update_interval{2'000};
  std::size_t inferences_per_update = 20;
};

// Counts over the whole fleet since the start.
struct FleetTotals {
  std::map<std::uint64_t, std::size_t> devices_by_version;  // active; 0: none
  std::uint64_t installs = 0;
  std::uint64_t installs_by_delta = 0;
  std::uint64_t bytes_by_delta = 0;  // of installs by delta
  std::uint64_t bytes_in_full = 0;   // of the others
  std::uint64_t update_failures = 0;
  std::uint64_t inferences = 0;
  std::uint64_t inferences_right = 0;  // top-1, on the device's own examples
  std::uint64_t rounds_contributed = 0;
  std::uint64_t rounds_not_counted = 0;
  std::uint64_t dropouts_injected = 0;
  std::map<std::string, std::uint64_t> errors_by_reason;
};

class Fleet {
 public:
  // `shards`: one a device. The data must outlive the fleet.
  Fleet(FleetOptions options, std::vector<std::unique_ptr<runtime::Dataset>> shards);
  ~Fleet();

  // Opens every device and starts its thread.
  Status Start();
  // Asks all devices to stop and waits for them.
  void Stop();
  FleetTotals Totals() const;

 private:
  Result<std::unique_ptr<device::Device>> OpenDevice(std::size_t index);
  Status Enrol(device::Device& device, const std::filesystem::path& certificate) const;
  void RunDevice(std::size_t index);
  void TryUpdate(std::size_t index);
  void InferSome(std::size_t index);
  Millis TakePart(std::size_t index, const device::Control& control);
  void CountError(const Status& status);

  const FleetOptions options_;
  const std::vector<std::unique_ptr<runtime::Dataset>> shards_;
  std::shared_ptr<device::GrpcChannels> channels_;
  std::vector<std::unique_ptr<device::Device>> devices_;
  std::counting_semaphore<1024> training_;
  std::stop_source stop_;
  std::vector<std::thread> threads_;
  mutable std::mutex mutex_;
  FleetTotals totals_;
};

}  // namespace edgefleet::fleetsim
