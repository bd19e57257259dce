// Times of tasks that take turns, so that what slows the machine down for a while slows all of them down.
#pragma once

#include <functional>
#include <vector>

#include "load_tests/bench/bench.h"

namespace edgefleet::load_tests {

class Contest {
 public:
  // Runs the tasks by turns: each for a block of calls that takes about 5 ms, then the next, many times over.
  Contest(const BenchSize& size, const std::vector<std::function<void()>>& tasks);

  // Seconds of one call: the median of the blocks, and the shortest block.
  double Median(std::size_t task) const;
  double Best(std::size_t task) const;
  // How much longer `task` takes than `other`: the median over the turns, each turn's blocks being neighbours in time.
  double Ratio(std::size_t task, std::size_t other) const;

 private:
  std::vector<std::vector<double>> seconds_;  // by task and turn
};

}  // namespace edgefleet::load_tests
