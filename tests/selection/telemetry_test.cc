#include "services/selector/telemetry.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <memory>

namespace edgefleet::services {
namespace {

// Keeps what is counted, by name and labels.
class RecordingMetrics final : public Metrics {
 public:
  Counter& GetCounter(const std::string& name, const std::string&, const MetricLabels& labels) override {
    auto& counter = counters_[Key(name, labels)];
    if (!counter) counter = std::make_unique<Sum>();
    return *counter;
  }
  Gauge& GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels) override {
    return null_.GetGauge(name, help, labels);
  }
  Histogram& GetHistogram(const std::string& name, const std::string& help, const std::vector<double>& buckets,
                          const MetricLabels& labels) override {
    return null_.GetHistogram(name, help, buckets, labels);
  }

  double Value(const std::string& key) const {
    const auto found = counters_.find(key);
    return found == counters_.end() ? 0 : found->second->value;
  }
  std::size_t CountOf(const std::string& name) const {
    std::size_t count = 0;
    for (const auto& [key, counter] : counters_) count += key.starts_with(name + "{") ? 1 : 0;
    return count;
  }

 private:
  struct Sum final : Counter {
    void Add(double amount) override { value += amount; }
    double value = 0;
  };
  static std::string Key(const std::string& name, const MetricLabels& labels) {
    std::string key = name + "{";
    for (const auto& [label, value] : labels) key += label + "=" + value + ",";
    return key + "}";
  }

  std::map<std::string, std::unique_ptr<Sum>> counters_;
  NullMetrics null_;
};

DeviceReport Report(const std::string& request_id) {
  return {.request_id = request_id,
          .device_id = "device-1",
          .device_class = "phone",
          .updates = {{.model = "fashion", .outcome = UpdateOutcome::kInstalled, .by_delta = true, .bytes_transferred = 5'000}},
          .inferences = {{.model = "fashion",
                          .delegate = "onednn",
                          .inferences = 100,
                          .failures = 2,
                          .latency_ms_p50 = 1,
                          .latency_ms_p99 = 4}}};
}

constexpr char kInstalled[] = "edgefleet_device_updates_total{model=fashion,class=phone,outcome=installed,by=delta,}";

TEST(Telemetry, CountsAReportOnce) {
  RecordingMetrics metrics;
  Telemetry telemetry(metrics);
  for (int time = 0; time < 3; ++time) EXPECT_TRUE(telemetry.Record(Report("r1")).ok());
  EXPECT_EQ(metrics.Value(kInstalled), 1);
  EXPECT_EQ(metrics.Value("edgefleet_device_update_bytes_total{model=fashion,by=delta,}"), 5'000);
  EXPECT_EQ(metrics.Value("edgefleet_device_inferences_total{model=fashion,class=phone,delegate=onednn,}"), 100);
  EXPECT_EQ(metrics.Value("edgefleet_device_inference_failures_total{model=fashion,class=phone,delegate=onednn,}"), 2);
  EXPECT_TRUE(telemetry.Record(Report("r2")).ok());
  DeviceReport other = Report("r1");
  other.device_id = "device-2";
  EXPECT_TRUE(telemetry.Record(other).ok());
  EXPECT_EQ(metrics.Value(kInstalled), 3) << "another id and another device's same id are other reports";
}

TEST(Telemetry, RemembersABoundedNumberOfReports) {
  RecordingMetrics metrics;
  Telemetry telemetry(metrics, 2);
  for (const char* id : {"a", "b", "c", "c", "b", "a"}) EXPECT_TRUE(telemetry.Record(Report(id)).ok());
  EXPECT_EQ(metrics.Value(kInstalled), 4) << "only 'a' was forgotten, and counted again";
}

TEST(Telemetry, FailuresHaveTheirReason) {
  RecordingMetrics metrics;
  Telemetry telemetry(metrics);
  DeviceReport report = Report("r1");
  report.updates[0].outcome = UpdateOutcome::kRolledBack;
  report.updates[0].reason = "SELF_TEST_FAILED";
  EXPECT_TRUE(telemetry.Record(report).ok());
  EXPECT_EQ(metrics.Value("edgefleet_device_update_failures_total{model=fashion,reason=SELF_TEST_FAILED,}"), 1);
}

TEST(Telemetry, DevicesCannotMakeSeriesWithoutEnd) {
  RecordingMetrics metrics;
  Telemetry telemetry(metrics);
  for (int i = 0; i < 2'000; ++i) {
    DeviceReport report = Report("r" + std::to_string(i));
    report.device_class = "class-" + std::to_string(i);
    report.updates[0].model = "model-" + std::to_string(i);
    report.inferences.clear();
    ASSERT_TRUE(telemetry.Record(report).ok());
  }
  EXPECT_LT(metrics.CountOf("edgefleet_device_updates_total"), 100U);
  EXPECT_EQ(metrics.Value("edgefleet_device_updates_total{model=other,class=other,outcome=installed,by=delta,}"), 2'000 - 32);
}

TEST(Telemetry, RefusesBadReportsWhole) {
  const std::vector<std::pair<std::string, std::function<void(DeviceReport&)>>> cases{
      {"BAD_REQUEST_ID", [](auto& r) { r.request_id.clear(); }},
      {"BAD_REQUEST_ID", [](auto& r) { r.request_id.assign(65, 'x'); }},
      {"BAD_DEVICE_ID", [](auto& r) { r.device_id = "a/b"; }},
      {"BAD_REPORT", [](auto& r) { r.device_class = "Phone"; }},
      {"BAD_REPORT", [](auto& r) { r.updates.resize(65, r.updates[0]); }},
      {"BAD_REPORT", [](auto& r) { r.inferences.resize(65, r.inferences[0]); }},
      {"BAD_REPORT", [](auto& r) { r.updates[0].model.clear(); }},
      {"BAD_REPORT", [](auto& r) { r.updates[0].outcome = static_cast<UpdateOutcome>(0); }},
      {"BAD_REPORT", [](auto& r) { r.updates[0].reason.assign(65, 'X'); }},
      {"BAD_REPORT", [](auto& r) { r.updates[0].reason = "free text"; }},
      {"BAD_REPORT", [](auto& r) { r.updates[0].bytes_transferred = ~std::uint64_t{0}; }},
      {"BAD_REPORT", [](auto& r) { r.inferences[0].delegate = "x y"; }},
      {"BAD_REPORT", [](auto& r) { r.inferences[0].failures = 101; }},
      {"BAD_REPORT", [](auto& r) { r.inferences[0].latency_ms_p99 = std::numeric_limits<double>::infinity(); }},
      {"BAD_REPORT", [](auto& r) { r.inferences[0].latency_ms_p50 = -1; }}};
  RecordingMetrics metrics;
  Telemetry telemetry(metrics);
  for (const auto& [reason, change] : cases) {
    DeviceReport report = Report("r");
    change(report);
    EXPECT_EQ(telemetry.Record(report).reason(), reason);
  }
  EXPECT_EQ(metrics.Value(kInstalled), 0);
  EXPECT_TRUE(telemetry.Record(Report("r")).ok()) << "a refused report does not use up its id";
  EXPECT_EQ(metrics.Value(kInstalled), 1);
}

}  // namespace
}  // namespace edgefleet::services
