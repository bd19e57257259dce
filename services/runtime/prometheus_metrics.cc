#include "services/runtime/prometheus_metrics.h"

#include <netdb.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <mutex>
#include <thread>

namespace edgefleet::services {
namespace {

class PromCounter final : public Counter {
 public:
  explicit PromCounter(prometheus::Counter& counter) : counter_(counter) {}
  void Add(double amount) override { counter_.Increment(amount); }

 private:
  prometheus::Counter& counter_;
};

class PromGauge final : public Gauge {
 public:
  explicit PromGauge(prometheus::Gauge& gauge) : gauge_(gauge) {}
  void Set(double value) override { gauge_.Set(value); }

 private:
  prometheus::Gauge& gauge_;
};

class PromHistogram final : public Histogram {
 public:
  explicit PromHistogram(prometheus::Histogram& histogram) : histogram_(histogram) {}
  void Observe(double value) override { histogram_.Observe(value); }

 private:
  prometheus::Histogram& histogram_;
};

// Connects to a listening address and hangs up.
void Knock(const std::string& host, std::uint16_t port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return;
  if (const int fd = ::socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); fd >= 0) {
    static_cast<void>(::connect(fd, found->ai_addr, found->ai_addrlen));  // that it is asked for is enough
    ::close(fd);
  }
  ::freeaddrinfo(found);
}

using Key = std::pair<std::string, MetricLabels>;
template <typename Instrument>
using Instruments = std::map<Key, std::unique_ptr<Instrument>>;

}  // namespace

struct PrometheusMetrics::State {
  mutable std::mutex mutex;
  std::shared_ptr<prometheus::Registry> registry = std::make_shared<prometheus::Registry>();
  std::map<std::string, std::string> help_of;  // the first help of a name counts: one family a name
  Instruments<Counter> counters;
  Instruments<Gauge> gauges;
  Instruments<Histogram> histograms;
  NullMetrics null;
  std::string host;
  std::uint16_t port = 0;
  std::unique_ptr<prometheus::Exposer> exposer;  // first to go: it reads the registry

  // The instrument of that key; `make(help, labels)` makes it when it is asked for first. Null when prometheus-cpp refuses.
  template <typename Instrument, typename Make>
  Instrument* FindOrMake(Instruments<Instrument>& known, const std::string& name, const std::string& help,
                         const MetricLabels& labels, Make make) {
    std::lock_guard lock(mutex);
    auto& slot = known[Key{name, labels}];
    if (slot) return slot.get();
    try {
      slot = make(help_of.try_emplace(name, help).first->second, prometheus::Labels(labels.begin(), labels.end()));
    } catch (const std::exception&) {
      return nullptr;
    }
    return slot.get();
  }
};

PrometheusMetrics::PrometheusMetrics() : state_(std::make_unique<State>()) {}

// The exposer's acceptor looks up every 2 s, and whenever somebody comes: somebody does, until it has gone.
PrometheusMetrics::~PrometheusMetrics() {
  if (!state_->exposer) return;
  const std::jthread visitor([this](const std::stop_token& gone) {
    for (; !gone.stop_requested(); std::this_thread::sleep_for(std::chrono::milliseconds(10)))
      Knock(state_->host, state_->port);
  });
  state_->exposer.reset();
}

Counter& PrometheusMetrics::GetCounter(const std::string& name, const std::string& help, const MetricLabels& labels) {
  auto* counter = state_->FindOrMake(state_->counters, name, help, labels, [&](const auto& text, const auto& set) {
    auto& family = prometheus::BuildCounter().Name(name).Help(text).Register(*state_->registry);
    return std::make_unique<PromCounter>(family.Add(set));
  });
  return counter != nullptr ? *counter : state_->null.GetCounter(name, help, labels);
}

Gauge& PrometheusMetrics::GetGauge(const std::string& name, const std::string& help, const MetricLabels& labels) {
  auto* gauge = state_->FindOrMake(state_->gauges, name, help, labels, [&](const auto& text, const auto& set) {
    auto& family = prometheus::BuildGauge().Name(name).Help(text).Register(*state_->registry);
    return std::make_unique<PromGauge>(family.Add(set));
  });
  return gauge != nullptr ? *gauge : state_->null.GetGauge(name, help, labels);
}

Histogram& PrometheusMetrics::GetHistogram(const std::string& name, const std::string& help, const std::vector<double>& buckets,
                                           const MetricLabels& labels) {
  auto* histogram = state_->FindOrMake(state_->histograms, name, help, labels, [&](const auto& text, const auto& set) {
    auto& family = prometheus::BuildHistogram().Name(name).Help(text).Register(*state_->registry);
    return std::make_unique<PromHistogram>(family.Add(set, buckets));
  });
  return histogram != nullptr ? *histogram : state_->null.GetHistogram(name, help, buckets, labels);
}

Result<std::uint16_t> PrometheusMetrics::Listen(const std::string& host, std::uint16_t port) {
  const bool v6 = host.find(':') != std::string::npos;
  const std::string address = (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(address);
    exposer->RegisterCollectable(state_->registry);
    const std::vector<int> ports = exposer->GetListeningPorts();
    if (ports.empty()) return Unavailable("CANNOT_LISTEN", "metrics: no port bound at " + address);
    state_->exposer = std::move(exposer);
    state_->host = host;
    state_->port = static_cast<std::uint16_t>(ports.front());
    return state_->port;
  } catch (const std::exception& error) {
    return Unavailable("CANNOT_LISTEN", "cannot serve metrics at " + address + " (" + error.what() +
                                            "); is the port taken? choose another with listen.metrics");
  }
}

std::string PrometheusMetrics::Expose() const { return prometheus::TextSerializer().Serialize(state_->registry->Collect()); }

}  // namespace edgefleet::services
