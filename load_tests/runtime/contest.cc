#include "load_tests/runtime/contest.h"

#include <algorithm>
#include <chrono>

namespace edgefleet::load_tests {
namespace {

constexpr double kBlockSeconds = 0.005;
constexpr int kTurns = 101;

double MedianOf(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

double SecondsOf(const std::function<void()>& task, int calls) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) task();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls;
}

}  // namespace

Contest::Contest(const BenchSize& size, const std::vector<std::function<void()>>& tasks) : seconds_(tasks.size()) {
  std::vector<int> calls;
  for (const auto& task : tasks) {
    task();  // brings weights into the caches and lets memory be allocated
    calls.push_back(size.small ? 1 : std::max(1, static_cast<int>(kBlockSeconds / SecondsOf(task, 1))));
  }
  for (int turn = 0; turn < (size.small ? 1 : kTurns); ++turn) {
    for (std::size_t i = 0; i < tasks.size(); ++i) seconds_[i].push_back(SecondsOf(tasks[i], calls[i]));
  }
}

double Contest::Median(std::size_t task) const { return MedianOf(seconds_[task]); }

double Contest::Best(std::size_t task) const { return *std::ranges::min_element(seconds_[task]); }

double Contest::Ratio(std::size_t task, std::size_t other) const {
  std::vector<double> ratios;
  for (std::size_t turn = 0; turn < seconds_[task].size(); ++turn) {
    ratios.push_back(seconds_[task][turn] / seconds_[other][turn]);
  }
  return MedianOf(std::move(ratios));
}

}  // namespace edgefleet::load_tests
