// Device telemetry as metrics: every report counted once, labels with few values.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/metrics.h"
#include "base/status.h"

namespace edgefleet::services {

enum class UpdateOutcome : std::uint8_t { kInstalled = 1, kRolledBack = 2, kFailed = 3 };

struct UpdateReport {
  std::string model;
  UpdateOutcome outcome = UpdateOutcome::kFailed;
  std::string reason;  // a stable reason, empty where installed
  bool by_delta = false;
  std::uint64_t bytes_transferred = 0;
};

struct InferenceReport {
  std::string model;
  std::string delegate;
  std::uint64_t inferences = 0;
  std::uint64_t failures = 0;
  double latency_ms_p50 = 0;
  double latency_ms_p99 = 0;
};

struct DeviceReport {
  std::string request_id;
  std::string device_id;
  std::string device_class;
  std::vector<UpdateReport> updates;        // at most kReportItemsMax
  std::vector<InferenceReport> inferences;  // at most kReportItemsMax
};

inline constexpr std::size_t kReportItemsMax = 64;

// INVALID_ARGUMENT [BAD_REQUEST_ID, BAD_DEVICE_ID, BAD_REPORT].
Status CheckReport(const DeviceReport& report);

// The first `max` values that come, and "other" for all that come later: devices choose these values, and every one is a time
// series. Not thread-safe.
class LabelLimit {
 public:
  explicit LabelLimit(std::size_t max) : max_(max) {}
  const std::string& Admit(const std::string& value);

 private:
  const std::size_t max_;
  std::unordered_set<std::string> known_;
};

// Thread-safe.
class Telemetry {
 public:
  // Remembers the last `reports_max` reports; a repetition among them is not counted again.
  explicit Telemetry(Metrics& metrics, std::size_t reports_max = 65'536);

  // As CheckReport.
  Status Record(const DeviceReport& report);

 private:
  bool IsNew(const DeviceReport& report);
  void Count(const UpdateReport& update, const std::string& device_class);
  void Count(const InferenceReport& inference, const std::string& device_class);

  Metrics& metrics_;
  const std::size_t reports_max_;
  std::mutex mutex_;  // guards everything below
  std::unordered_set<std::string> seen_;
  std::deque<std::string> order_;  // of `seen_`, oldest first
  LabelLimit models_;
  LabelLimit classes_;
  LabelLimit delegates_;
  LabelLimit reasons_;
};

}  // namespace edgefleet::services
