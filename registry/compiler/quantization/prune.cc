#include "registry/compiler/quantization/prune.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace edgefleet::compiler {

void PruneSmallest(std::span<const std::span<float>> layers, double share) {
  std::vector<float*> values;
  for (const std::span<float> layer : layers) {
    for (float& value : layer) values.push_back(&value);
  }
  const auto pruned = static_cast<std::size_t>(std::floor(std::clamp(share, 0.0, 1.0) * static_cast<double>(values.size())));
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::nth_element(order, order.begin() + static_cast<std::ptrdiff_t>(pruned), [&](std::size_t a, std::size_t b) {
    const float left = std::abs(*values[a]);
    const float right = std::abs(*values[b]);
    return left < right || (left == right && a < b);
  });
  for (std::size_t i = 0; i < pruned; ++i) *values[order[i]] = 0;
}

std::vector<std::size_t> RowsToPrune(std::span<const float> weights, std::size_t rows, double share, RowNorm norm) {
  const std::size_t columns = weights.size() / rows;
  std::vector<double> norms(rows, 0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double w = weights[i];
    norms[i / columns] += norm == RowNorm::kL1 ? std::abs(w) : w * w;
  }
  std::vector<std::size_t> order(rows);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t row) { return norms[row]; });
  order.resize(
      std::min(rows - 1, static_cast<std::size_t>(std::floor(std::clamp(share, 0.0, 1.0) * static_cast<double>(rows)))));
  std::ranges::sort(order);
  return order;
}

}  // namespace edgefleet::compiler
