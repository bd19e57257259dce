#include "load_tests/runtime/agreement.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

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

Result<double> LargestError(const std::vector<arrays::Array>& reference, const std::vector<Bytes>& outputs) {
  if (reference.size() != outputs.size()) {
    return FailedPrecondition("OUTPUTS_DIFFER",
                              std::to_string(outputs.size()) + " outputs instead of " + std::to_string(reference.size()));
  }
  double largest = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const std::string output = "output " + std::to_string(i);
    if (reference[i].data.size() != outputs[i].size()) {
      return FailedPrecondition("OUTPUTS_DIFFER", output + " has " + std::to_string(outputs[i].size()) +
                                                      " bytes instead of those of " + reference[i].info().ToString());
    }
    if (reference[i].type == arrays::ElementType::kFloat32) {
      largest = std::max(largest, MaxRelativeError(reference[i].values<float>(), FloatsOf(outputs[i])));
    } else if (reference[i].data != outputs[i]) {
      return FailedPrecondition("OUTPUTS_DIFFER", output + " has other values");
    }
  }
  return largest;
}

}  // namespace edgefleet::load_tests
