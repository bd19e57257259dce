#include "registry/compiler/quantization/correction.h"

#include <algorithm>
#include <cmath>

namespace edgefleet::compiler {

std::vector<float> MeanShift(std::span<const float> exact, std::span<const float> quantized, std::size_t rows,
                             std::span<const float> means, std::size_t groups) {
  const std::size_t columns = exact.size() / rows;
  const std::size_t channels = means.size() / groups;  // that one row reads
  const std::size_t taps = columns / channels;
  std::vector<float> shift(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t first_channel = row / (rows / groups) * channels;
    double sum = 0;
    for (std::size_t column = 0; column < columns; ++column) {
      const std::size_t at = row * columns + column;
      sum += (double{quantized[at]} - exact[at]) * means[first_channel + column / taps];
    }
    shift[row] = static_cast<float>(sum);
  }
  return shift;
}

std::vector<float> EqualizationScales(std::span<const float> first, std::span<const float> second) {
  std::vector<float> scales(first.size(), 1);
  for (std::size_t i = 0; i < first.size(); ++i) {
    if (first[i] == 0 || second[i] == 0) continue;
    scales[i] = static_cast<float>(std::clamp(std::sqrt(double{first[i]} / second[i]), 0x1p-10, 0x1p10));
  }
  return scales;
}

std::vector<float> RowRanges(std::span<const float> weights, std::size_t rows) {
  const std::size_t columns = weights.size() / rows;
  std::vector<float> ranges(rows, 0);
  for (std::size_t i = 0; i < weights.size(); ++i) ranges[i / columns] = std::max(ranges[i / columns], std::abs(weights[i]));
  return ranges;
}

std::vector<float> ColumnRanges(std::span<const float> weights, std::size_t rows, std::size_t channels) {
  const std::size_t columns = weights.size() / rows;
  const std::size_t taps = columns / channels;
  std::vector<float> ranges(channels, 0);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    float& range = ranges[i % columns / taps];
    range = std::max(range, std::abs(weights[i]));
  }
  return ranges;
}

}  // namespace edgefleet::compiler
