#include "registry/compiler/calibration/statistics.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace edgefleet::compiler {
namespace {

// The bin of a value, counted from zero, when 2^-exponent is `per_unit`.
std::int64_t BinOf(double value, double per_unit) { return static_cast<std::int64_t>(std::floor(value * per_unit)); }

std::int64_t BinsFor(float low, float high, int exponent) {
  const double per_unit = std::ldexp(1.0, -exponent);
  return BinOf(high, per_unit) - BinOf(low, per_unit) + 1;
}

}  // namespace

double Histogram::width() const { return std::ldexp(1.0, exponent_); }

void Histogram::Cover(float low, float high) {
  if (low >= low_ && high <= high_) return;
  low_ = std::min(low_, low);
  high_ = std::max(high_, high);
  const int before = exponent_;
  // 13 bits below the largest value there are more than kBins bins, so the loop ends at the smallest width that does.
  if (counts_.empty()) exponent_ = std::ilogb(std::max(-low_, high_)) - 13;
  while (BinsFor(low_, high_, exponent_) > static_cast<std::int64_t>(kBins)) ++exponent_;
  const std::int64_t first = BinOf(low_, std::ldexp(1.0, -exponent_));
  std::vector<std::uint64_t> merged(kBins, 0);
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    // An arithmetic shift rounds down, as the edges want it.
    if (counts_[i] != 0) {
      const std::int64_t bin = (first_ + static_cast<std::int64_t>(i)) >> (exponent_ - before);
      merged[static_cast<std::size_t>(bin - first)] += counts_[i];
    }
  }
  first_ = first;
  counts_ = std::move(merged);
}

void Histogram::Add(std::span<const float> values, float low, float high) {
  Cover(low, high);
  if (counts_.empty()) return;
  const double per_unit = std::ldexp(1.0, -exponent_);
  for (const float value : values) {
    if (value == 0 || !std::isfinite(value)) continue;
    ++counts_[static_cast<std::size_t>(BinOf(value, per_unit) - first_)];
  }
}

void TensorStatistics::Add(std::span<const float> values) {
  float low = std::numeric_limits<float>::infinity();
  float high = -low;
  const std::uint64_t before = finite_count();
  std::uint64_t finite = 0;
  double shift = 0;  // sums of distances from one of the values keep their digits
  double sum = 0;
  double squares = 0;
  for (const float value : values) {
    if (!std::isfinite(value)) {
      ++(std::isnan(value) ? nan_count_ : infinity_count_);
      continue;
    }
    if (finite++ == 0) shift = value;
    zero_count_ += value == 0 ? 1 : 0;
    low = std::min(low, value);
    high = std::max(high, value);
    sum += value - shift;
    squares += (value - shift) * (value - shift);
  }
  count_ += values.size();
  if (finite == 0) return;
  min_ = std::min(min_, low);
  max_ = std::max(max_, high);
  // Two samples' moments combined (Chan, Golub, LeVeque 1983, section 2).
  const auto n = static_cast<double>(finite);
  const auto all = static_cast<double>(before + finite);
  const double distance = shift + sum / n - mean_;
  squares_ += std::max(squares - sum * sum / n, 0.0) + distance * distance * static_cast<double>(before) * n / all;
  mean_ += distance * n / all;
  histogram_.Add(values, low, high);
}

Status CheckFinite(std::string_view tensor, const TensorStatistics& statistics) {
  if (statistics.nan_count() + statistics.infinity_count() == 0) return OkStatus();
  return InvalidArgument("BAD_CALIBRATION", "'" + std::string(tensor) + "' becomes NaN or infinite on the calibration data (" +
                                                std::to_string(statistics.nan_count()) + " NaN, " +
                                                std::to_string(statistics.infinity_count()) + " infinite of " +
                                                std::to_string(statistics.count()) +
                                                " values); check its scale and the weights");
}

}  // namespace edgefleet::compiler
