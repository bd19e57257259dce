// What the sections of bench_secagg share: rows, and timing that neither noise nor a changing clock frequency decides.
#pragma once

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace edgefleet::load_tests {

struct BenchSize {
  bool small = false;  // does everything once on little data; rows then carry no bars
};

// A section measures one part of secure aggregation and returns an array of rows.
using Section = nlohmann::json (*)(const BenchSize& size);

nlohmann::json MaskSection(const BenchSize& size);
nlohmann::json ClientSection(const BenchSize& size);
nlohmann::json NoiseSection(const BenchSize& size);
nlohmann::json SessionsSection(const BenchSize& size);
nlohmann::json TrafficSection(const BenchSize& size);
nlohmann::json UnmaskSection(const BenchSize& size);

// Rows: {"name", "value", "unit"}, and where there is a bar {"bar", "sense": "at_least" or "at_most", "ok"}.
inline nlohmann::json Row(const std::string& name, double value, const char* unit) {
  return {{"name", name}, {"value", value}, {"unit", unit}};
}
inline nlohmann::json RowAtLeast(const BenchSize& size, const std::string& name, double value, const char* unit, double bar) {
  nlohmann::json row = Row(name, value, unit);
  if (!size.small) row.update({{"bar", bar}, {"sense", "at_least"}, {"ok", value >= bar}});
  return row;
}
inline nlohmann::json RowAtMost(const BenchSize& size, const std::string& name, double value, const char* unit, double bar) {
  nlohmann::json row = Row(name, value, unit);
  if (!size.small) row.update({{"bar", bar}, {"sense", "at_most"}, {"ok", value <= bar}});
  return row;
}

// The shortest time of each task, in seconds. The tasks take turns, so that what slows the machine down for a while slows all
// of them down.
inline std::vector<double> BestSeconds(const BenchSize& size, int turns, const std::vector<std::function<void()>>& tasks) {
  std::vector<double> best(tasks.size(), 1e9);
  for (int turn = 0; turn < (size.small ? 1 : turns); ++turn) {
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      tasks[i]();
      best[i] = std::min(best[i], std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
  }
  return best;
}

}  // namespace edgefleet::load_tests
