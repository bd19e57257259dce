// The metrics port. Names follow Prometheus: `edgefleet_<area>_<what>_<unit>[_total]`; services/runtime exports them.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace edgefleet {

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

// Instruments are thread-safe and cheap to update; they live as long as the Metrics that made them.
class Counter {
 public:
  virtual ~Counter() = default;
  virtual void Add(double amount) = 0;
  void Increment() { Add(1); }
};
class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void Set(double value) = 0;
};
class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void Observe(double value) = 0;
};

// Asking twice for the same name and labels yields the same instrument. Labels must have few values: never a device id.
class Metrics {
 public:
  virtual ~Metrics() = default;
  virtual Counter& GetCounter(const std::string& name, const std::string& help, const MetricLabels& labels = {}) = 0;
  virtual Gauge& GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels = {}) = 0;
  virtual Histogram& GetHistogram(const std::string& name, const std::string& help, const std::vector<double>& buckets,
                                  const MetricLabels& labels = {}) = 0;
};

// Discards everything; for tests and for hosts that do not measure.
class NullMetrics final : public Metrics {
 public:
  Counter& GetCounter(const std::string&, const std::string&, const MetricLabels&) override { return counter_; }
  Gauge& GetGauge(const std::string&, const std::string&, const MetricLabels&) override { return gauge_; }
  Histogram& GetHistogram(const std::string&, const std::string&, const std::vector<double>&, const MetricLabels&) override {
    return histogram_;
  }

 private:
  struct NullCounter final : Counter {
    void Add(double) override {}
  } counter_;
  struct NullGauge final : Gauge {
    void Set(double) override {}
  } gauge_;
  struct NullHistogram final : Histogram {
    void Observe(double) override {}
  } histogram_;
};

}  // namespace edgefleet
