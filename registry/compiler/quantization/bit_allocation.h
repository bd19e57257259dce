// Which precision each layer gets, under a budget.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace edgefleet::compiler {

// One way to store a layer: what it weighs, and the noise that it alone adds to the network's output (above or equal 0,
// additive over layers: errors of different layers are taken as uncorrelated, as in Zhou et al. 2018, "Adaptive quantization
// for deep neural networks").
struct PrecisionOption {
  std::uint64_t bytes = 0;
  double noise = 0;
};

struct Allocation {
  std::vector<std::size_t> choices;  // one option for each layer
  std::uint64_t bytes = 0;
  double noise = 0;
  bool within_budget = false;
};

// A multiple-choice knapsack, solved greedily over the lower convex hull of each layer's options (Sinha and Zoltners 1979):
// every layer starts at its smallest option, and the step that removes most noise a byte is taken next. Exact for its own size,
// and at any other budget no worse than the best by more than the one step that did not fit. Layers without options are not
// allowed.
//
// The least noise within `bytes_max`; if even the smallest options are too large, those, and `within_budget` is false.
Allocation AllocateForSize(std::span<const std::vector<PrecisionOption>> layers, std::uint64_t bytes_max);
// The fewest bytes with at most `noise_max`; if even the best options are too noisy, those, and `within_budget` is false.
Allocation AllocateForNoise(std::span<const std::vector<PrecisionOption>> layers, double noise_max);

}  // namespace edgefleet::compiler
