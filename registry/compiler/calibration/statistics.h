// What calibration remembers of one activation tensor: enough for every way of choosing a scale, in bounded memory.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace edgefleet::compiler {

// Counts of values in bins of equal width that cover zero and every value. The width is a power of two and bin i holds
// [(first + i) * width, (first + i + 1) * width), so zero is always an edge. When a value falls outside, the width doubles as
// often as needed and pairs of bins merge: nothing is lost, and the bins depend on the values alone, not on their order or on
// how they were split into batches. The width is the smallest that does, so at least half of the bins are in use.
class Histogram {
 public:
  static constexpr std::size_t kBins = 4'096;

  // `low` and `high` bound the finite ones of `values`; zeros and what is not finite are left out.
  void Add(std::span<const float> values, float low, float high);

  // Before the first value that is not 0 there are no bins.
  std::span<const std::uint64_t> counts() const { return counts_; }
  double width() const;
  // Lower edge of a bin; Edge(i + 1) is its upper edge.
  double Edge(std::size_t bin) const { return static_cast<double>(first_ + static_cast<std::int64_t>(bin)) * width(); }

 private:
  void Cover(float low, float high);

  float low_ = 0;
  float high_ = 0;
  int exponent_ = 0;  // of the width
  std::int64_t first_ = 0;
  std::vector<std::uint64_t> counts_;
};

// Statistics of all values seen so far. Belongs to one thread.
class TensorStatistics {
 public:
  void Add(std::span<const float> values);

  std::uint64_t count() const { return count_; }  // all values, finite or not
  std::uint64_t nan_count() const { return nan_count_; }
  std::uint64_t infinity_count() const { return infinity_count_; }
  std::uint64_t zero_count() const { return zero_count_; }
  // Of the finite values; 0 if there are none.
  float min() const { return finite_count() == 0 ? 0 : min_; }
  float max() const { return finite_count() == 0 ? 0 : max_; }
  double mean() const { return mean_; }
  double variance() const { return finite_count() == 0 ? 0 : squares_ / static_cast<double>(finite_count()); }
  const Histogram& histogram() const { return histogram_; }  // of the finite values that are not 0

 private:
  std::uint64_t finite_count() const { return count_ - nan_count_ - infinity_count_; }

  std::uint64_t count_ = 0;
  std::uint64_t nan_count_ = 0;
  std::uint64_t infinity_count_ = 0;
  std::uint64_t zero_count_ = 0;
  float min_ = std::numeric_limits<float>::infinity();
  float max_ = -std::numeric_limits<float>::infinity();
  double mean_ = 0;
  double squares_ = 0;  // sum of squared distances from the mean
  Histogram histogram_;
};

// INVALID_ARGUMENT [BAD_CALIBRATION], naming `tensor`, if a NaN or an infinity was seen.
Status CheckFinite(std::string_view tensor, const TensorStatistics& statistics);

}  // namespace edgefleet::compiler
