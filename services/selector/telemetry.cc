#include "services/selector/telemetry.h"

#include <algorithm>
#include <cmath>

#include "aggregator/selection/profile.h"

namespace edgefleet::services {
namespace {

constexpr std::size_t kModelsMax = 32;
constexpr std::size_t kClassesMax = 16;
constexpr std::size_t kDelegatesMax = 8;
constexpr std::size_t kReasonsMax = 32;
constexpr std::size_t kReasonMax = 64;
constexpr std::uint64_t kCountMax = std::uint64_t{1} << 40;  // of bytes or inferences in one report

const std::string kOther = "other";

Error BadReport(std::string message) { return InvalidArgument("BAD_REPORT", std::move(message)); }

bool IsReason(const std::string& text) {
  return text.size() <= kReasonMax && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
         });
}

Status CheckUpdate(const UpdateReport& update) {
  if (!selection::IsName(update.model)) return BadReport("an update's model must be a name of [a-z0-9._-]");
  if (update.outcome < UpdateOutcome::kInstalled || update.outcome > UpdateOutcome::kFailed) {
    return BadReport("an update's outcome is not one of the contract's values");
  }
  if (!IsReason(update.reason)) return BadReport("an update's reason must be at most 64 characters of [A-Z0-9_]");
  if (update.bytes_transferred > kCountMax) return BadReport("bytes_transferred is larger than 2^40");
  return OkStatus();
}

Status CheckInference(const InferenceReport& inference) {
  if (!selection::IsName(inference.model)) return BadReport("an inference summary's model must be a name of [a-z0-9._-]");
  if (!selection::IsName(inference.delegate)) return BadReport("an inference summary's delegate must be a name of [a-z0-9._-]");
  if (inference.inferences > kCountMax || inference.failures > inference.inferences) {
    return BadReport("failures must be at most inferences, and those at most 2^40");
  }
  for (const double latency : {inference.latency_ms_p50, inference.latency_ms_p99}) {
    if (!std::isfinite(latency) || latency < 0) return BadReport("latencies must be finite and not negative");
  }
  return OkStatus();
}

std::string OutcomeName(UpdateOutcome outcome) {
  switch (outcome) {
    case UpdateOutcome::kInstalled:
      return "installed";
    case UpdateOutcome::kRolledBack:
      return "rolled_back";
    case UpdateOutcome::kFailed:
      return "failed";
  }
  return kOther;
}

}  // namespace

Status CheckReport(const DeviceReport& report) {
  if (!selection::IsIdentifier(report.request_id)) {
    return InvalidArgument("BAD_REQUEST_ID", "request_id must be 1 to 64 characters of [A-Za-z0-9._-]");
  }
  EF_RETURN_IF_ERROR(selection::CheckDeviceId(report.device_id));
  if (!selection::IsName(report.device_class)) return BadReport("device_class must be a name of [a-z0-9._-]");
  if (report.updates.size() > kReportItemsMax || report.inferences.size() > kReportItemsMax) {
    return BadReport("a report holds at most 64 updates and 64 inference summaries; send several");
  }
  for (const UpdateReport& update : report.updates) EF_RETURN_IF_ERROR(CheckUpdate(update));
  for (const InferenceReport& inference : report.inferences) EF_RETURN_IF_ERROR(CheckInference(inference));
  return OkStatus();
}

const std::string& LabelLimit::Admit(const std::string& value) {
  if (known_.contains(value)) return value;
  if (known_.size() >= max_) return kOther;
  known_.insert(value);
  return value;
}

Telemetry::Telemetry(Metrics& metrics, std::size_t reports_max)
    : metrics_(metrics),
      reports_max_(reports_max),
      models_(kModelsMax),
      classes_(kClassesMax),
      delegates_(kDelegatesMax),
      reasons_(kReasonsMax) {}

Status Telemetry::Record(const DeviceReport& report) {
  EF_RETURN_IF_ERROR(CheckReport(report));
  std::lock_guard lock(mutex_);
  if (!IsNew(report)) return OkStatus();
  const std::string& device_class = classes_.Admit(report.device_class);
  for (const UpdateReport& update : report.updates) Count(update, device_class);
  for (const InferenceReport& inference : report.inferences) Count(inference, device_class);
  return OkStatus();
}

bool Telemetry::IsNew(const DeviceReport& report) {
  std::string key = report.device_id + '/' + report.request_id;
  if (!seen_.insert(key).second) return false;
  order_.push_back(std::move(key));
  if (order_.size() > reports_max_) {
    seen_.erase(order_.front());
    order_.pop_front();
  }
  return true;
}

void Telemetry::Count(const UpdateReport& update, const std::string& device_class) {
  const std::string model = models_.Admit(update.model);
  const std::string by = update.by_delta ? "delta" : "full";
  metrics_
      .GetCounter("edgefleet_device_updates_total", "Model updates that devices attempted, by outcome",
                  {{"model", model}, {"class", device_class}, {"outcome", OutcomeName(update.outcome)}, {"by", by}})
      .Increment();
  metrics_
      .GetCounter("edgefleet_device_update_bytes_total", "Bytes that devices downloaded for updates",
                  {{"model", model}, {"by", by}})
      .Add(static_cast<double>(update.bytes_transferred));
  if (update.outcome != UpdateOutcome::kInstalled) {
    metrics_
        .GetCounter("edgefleet_device_update_failures_total", "Model updates that were not installed, by reason",
                    {{"model", model}, {"reason", update.reason.empty() ? kOther : reasons_.Admit(update.reason)}})
        .Increment();
  }
}

void Telemetry::Count(const InferenceReport& inference, const std::string& device_class) {
  const MetricLabels labels{
      {"model", models_.Admit(inference.model)}, {"class", device_class}, {"delegate", delegates_.Admit(inference.delegate)}};
  metrics_.GetCounter("edgefleet_device_inferences_total", "Inferences that devices ran", labels)
      .Add(static_cast<double>(inference.inferences));
  metrics_.GetCounter("edgefleet_device_inference_failures_total", "Inferences that failed on devices", labels)
      .Add(static_cast<double>(inference.failures));
  if (inference.inferences == 0) return;
  static const std::vector<double> kBuckets{0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000};
  metrics_.GetHistogram("edgefleet_device_latency_p50_ms", "Median inference latency that each report states", kBuckets, labels)
      .Observe(inference.latency_ms_p50);
  metrics_
      .GetHistogram("edgefleet_device_latency_p99_ms", "99th percentile of inference latency that each report states", kBuckets,
                    labels)
      .Observe(inference.latency_ms_p99);
}

}  // namespace edgefleet::services
