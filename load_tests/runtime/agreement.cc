#include "load_tests/runtime/agreement.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace edgefleet::load_tests {

std::vector<float> FloatsOf(ByteView bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

double SnrDecibels(std::span<const float> reference, std::span<const float> values) {
  double signal = 0, noise = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double difference = double{reference[i]} - values[i];
    signal += double{reference[i]} * reference[i];
    noise += difference * difference;
  }
  return noise == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / noise);
}

double MaxRelativeError(std::span<const float> reference, std::span<const float> values) {
  double largest = 0, difference = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    if (reference[i] == values[i] || (std::isnan(reference[i]) && std::isnan(values[i]))) {
      if (std::isfinite(reference[i])) largest = std::max(largest, std::abs(double{reference[i]}));
      continue;
    }
    if (!std::isfinite(reference[i]) || !std::isfinite(values[i])) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, std::abs(double{reference[i]}));
    difference = std::max(difference, std::abs(double{reference[i]} - values[i]));
  }
  if (difference == 0) return 0;
  return largest == 0 ? std::numeric_limits<double>::infinity() : difference / largest;
}

}  // namespace edgefleet::load_tests
