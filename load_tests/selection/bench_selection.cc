// How long selection takes: drawing 10,000 of 1,000,000 devices in 50 strata, and check-ins against each presence store.
//
//   bench_selection [--json]
//
// Prints a line per metric, with --json as one object a line.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "aggregator/selection/memory_presence_store.h"
#include "aggregator/selection/redis_presence_store.h"
#include "aggregator/selection/selector.h"
#include "aggregator/selection/stratified_sampler.h"
#include "base/crypto/crypto.h"
#include "tests/support/private_redis.h"

namespace edgefleet::selection {
namespace {

using Stopwatch = std::chrono::steady_clock;

double MillisSince(Stopwatch::time_point start) {
  return std::chrono::duration<double, std::milli>(Stopwatch::now() - start).count();
}

class Report {
 public:
  explicit Report(bool json) : json_(json) {}
  void Add(const char* name, const char* metric, double value, const char* unit, double limit = 0) const {
    if (!json_) {
      std::printf("%-28s %-12s %12.3f %s\n", name, metric, value, unit);
      return;
    }
    std::printf(R"({"bench":"selection","case":"%s","metric":"%s","value":%.6g,"unit":"%s")", name, metric, value, unit);
    if (limit > 0) std::printf(R"(,"limit":%.6g,"share_of_limit":%.4g)", limit, value / limit);
    std::printf("}\n");
  }

 private:
  bool json_;
};

bool BenchDraw(const Report& report) {
  constexpr std::size_t kDevices = 1'000'000;
  constexpr std::size_t kStrata = 50;
  constexpr std::size_t kDrawn = 10'000;
  constexpr int kRuns = 7;
  constexpr double kLimitMs = 1'000;  // a round gathers for minutes; a draw may hold up one handler for a second
  std::vector<std::string> ids;
  std::vector<std::string> strata;
  for (std::size_t i = 0; i < kDevices; ++i) ids.push_back("device-" + std::to_string(i * 7919 % 10'000'000));
  for (std::size_t s = 0; s < kStrata; ++s)
    strata.push_back("class=c" + std::to_string(s % 5) + ",region=r" + std::to_string(s / 5));
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < kDevices; ++i) candidates.push_back({ids[i], strata[(i * i + i / 3) % kStrata]});
  std::vector<double> times;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = Stopwatch::now();
    const auto sample = DrawSample(candidates, {.size = kDrawn, .stratum_min = 10, .seed = static_cast<std::uint64_t>(run)});
    times.push_back(MillisSince(start));
    if (!sample || sample->picks.size() != kDrawn) return false;
  }
  std::sort(times.begin(), times.end());
  report.Add("draw_10k_of_1m_in_50", "median", times[kRuns / 2], "ms", kLimitMs);
  report.Add("draw_10k_of_1m_in_50", "max", times.back(), "ms", kLimitMs);
  return true;
}

// One caller after another, as a single handler thread sees it, with a selection open that nobody completes.
bool BenchCheckIns(const Report& report, const char* name, PresenceStore& store) {
  constexpr int kDevices = 10'000;
  const SystemClock clock;
  crypto::SecureRandom random;
  NullLogger logger;
  NullMetrics metrics;
  Selector selector(store, clock, random, logger, metrics, {});
  SelectionRequest request{.task_id = "task", .round_id = "round", .aggregator_address = "host:1"};
  request.spec.cohort_size = 100'000;
  request.deadline = clock.Now() + std::chrono::hours(1);
  if (!selector.OpenSelection(request)) return false;
  const DeviceProfile profile{.device_class = "phone", .region = "eu", .os = "android", .example_count = 600};
  const auto start = Stopwatch::now();
  for (int i = 0; i < kDevices; ++i) {
    if (!selector.CheckIn("device-" + std::to_string(i), profile)) return false;
  }
  const double elapsed_ms = MillisSince(start);
  report.Add(name, "check_ins", kDevices / elapsed_ms * 1000, "1/s");
  report.Add(name, "check_in", elapsed_ms / kDevices, "ms");
  return true;
}

int Main(bool json) {
  const Report report(json);
  if (!BenchDraw(report)) return 1;
  const auto memory = MakeMemoryPresenceStore();
  if (!BenchCheckIns(report, "check_in_memory", *memory)) return 1;
  const auto redis = test::PrivateRedis::Start();
  if (!redis) {
    std::fprintf(stderr, "%s\n", redis.error().ToString().c_str());
    return 1;
  }
  const auto store = MakeRedisPresenceStore({.url = (*redis)->Url()});
  return store && BenchCheckIns(report, "check_in_redis", **store) ? 0 : 1;
}

}  // namespace
}  // namespace edgefleet::selection

int main(int argc, char** argv) {
  const bool json = argc == 2 && std::strcmp(argv[1], "--json") == 0;
  if (argc > 1 && !json) {
    std::fprintf(stderr, "usage: %s [--json]\n", argv[0]);
    return 2;
  }
  return edgefleet::selection::Main(json);
}
