#include "aggregator/privacy/accounting/fft.h"

#include <bit>
#include <kissfft/kissfft.hh>
#include <limits>

namespace edgefleet::privacy {

std::size_t FftSize(std::size_t size) {
  const std::size_t power = std::bit_ceil(size < 4 ? std::size_t{4} : size);
  return power / 4 * 3 >= size ? power / 4 * 3 : power;
}

double FftError(std::size_t size) {
  constexpr double kUnit = std::numeric_limits<double>::epsilon() / 2;
  return 20 * kUnit * (std::bit_width(size) + 1);
}

void Transform(std::vector<std::complex<double>>& values, FftDirection direction) {
  const bool inverse = direction == FftDirection::kInverse;
  std::vector<std::complex<double>> result(values.size());
  kissfft<double>(values.size(), inverse).transform(values.data(), result.data());
  values = std::move(result);
  if (!inverse) return;
  const double share = 1.0 / static_cast<double>(values.size());
  for (std::complex<double>& value : values) value *= share;
}

}  // namespace edgefleet::privacy
