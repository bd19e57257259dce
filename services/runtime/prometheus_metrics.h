// The metrics port on prometheus-cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/status.h"

namespace edgefleet::services {

// Thread-safe. A name or label that Prometheus does not allow, or a name used for two kinds of instrument, yields an instrument
// that counts nothing: measuring never fails its caller.
class PrometheusMetrics final : public Metrics {
 public:
  PrometheusMetrics();
  ~PrometheusMetrics() override;

  Counter& GetCounter(const std::string& name, const std::string& help, const MetricLabels& labels) override;
  Gauge& GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels) override;
  Histogram& GetHistogram(const std::string& name, const std::string& help, const std::vector<double>& buckets,
                          const MetricLabels& labels) override;

  // Serves http://host:port/metrics until destruction and returns the bound port. UNAVAILABLE [CANNOT_LISTEN].
  Result<std::uint16_t> Listen(const std::string& host, std::uint16_t port);
  // The text exposition, as /metrics shows it.
  std::string Expose() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace edgefleet::services
