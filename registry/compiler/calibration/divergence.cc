#include "registry/compiler/calibration/divergence.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace edgefleet::compiler {
namespace {

constexpr std::size_t kLevels = 256;
constexpr std::size_t kCandidates = 128;  // a side
constexpr int kRoundsMax = 8;
constexpr double kUniformShare = 1e-4;

// Sums over the bins before each one, which make a range's divergence a matter of its levels rather than of its bins.
class Sums {
 public:
  explicit Sums(const Histogram& histogram) : count_(1, 0), filled_(1, 0), entropy_(1, 0) {
    const auto counts = histogram.counts();
    for (std::size_t i = 0; i < counts.size(); ++i) {
      if (histogram.Edge(i) < 0) zero_ = i + 1;
      const auto c = static_cast<double>(counts[i]);
      count_.push_back(count_.back() + c);
      filled_.push_back(filled_.back() + (c > 0 ? 1 : 0));
      entropy_.push_back(entropy_.back() + (c > 0 ? c * std::log(c) : 0));
    }
  }

  std::size_t zero() const { return zero_; }  // the bin that begins at zero
  double Divergence(std::size_t below, std::size_t above) const;

 private:
  // The first bin, from `begin` to `end`, that rounds to level `level` of 0 to 255 or to a higher one.
  static std::size_t Border(std::size_t begin, std::size_t end, double step, std::size_t level) {
    const double border = std::ceil(static_cast<double>(begin) + (static_cast<double>(level) - 0.5) * step - 0.5);
    return static_cast<std::size_t>(std::clamp(border, static_cast<double>(begin), static_cast<double>(end)));
  }

  std::vector<double> count_;
  std::vector<double> filled_;
  std::vector<double> entropy_;  // sum of c log c
  std::size_t zero_ = 0;
};

double XLogX(double x) { return x > 0 ? x * std::log(x) : 0; }

double Sums::Divergence(std::size_t below, std::size_t above) const {
  const std::size_t begin = zero_ - below;
  const std::size_t end = zero_ + above;
  const double inside = count_[end] - count_[begin];
  const double total = count_.back();
  const double uniform = kUniformShare / static_cast<double>(end - begin);
  // With nothing inside Q is uniform.
  const auto q = [&](double mass) {
    return inside > 0 ? (1 - kUniformShare) * mass / inside + uniform : uniform / kUniformShare;
  };
  // The counts that Q gives each filled bin of the outermost levels, for the outliers below.
  double first_share = 0;
  double last_share = 0;
  double cross = 0;  // sum over the bins inside of c log q
  const double step = static_cast<double>(end - begin) / (kLevels - 1);
  std::size_t from = begin;
  for (std::size_t level = 0; level < kLevels; ++level) {
    const std::size_t to = level + 1 == kLevels ? end : Border(begin, end, step, level + 1);
    const double mass = count_[to] - count_[from];
    const double share = mass > 0 ? mass / (filled_[to] - filled_[from]) : 0;
    if (mass > 0) cross += mass * std::log(q(share));
    if (from == begin && to > from) first_share = share;
    if (to > from) last_share = share;
    from = to;
  }
  double entropy = entropy_[end] - entropy_[begin];
  const auto add_outliers = [&](std::size_t bin, double share, double outliers) {
    const double own = count_[bin + 1] - count_[bin];
    entropy += XLogX(own + outliers) - XLogX(own);
    if (outliers > 0) cross += outliers * std::log(q(own > 0 ? share : 0));
  };
  if (end - begin == 1) {
    add_outliers(begin, first_share, total - inside);
  } else {
    add_outliers(begin, first_share, count_[begin]);
    add_outliers(end - 1, last_share, total - count_[end]);
  }
  // sum of (c / total) log((c / total) / q)
  return (entropy - cross) / total - std::log(total);
}

// The candidate with the smallest divergence; among equals the widest.
template <typename DivergenceOf>
std::size_t Best(std::size_t bins, std::size_t least, const DivergenceOf& divergence) {
  std::size_t best = bins;
  double smallest = divergence(bins);
  for (std::size_t k = kCandidates - 1; k > 0; --k) {
    const std::size_t candidate = bins * k / kCandidates;
    if (candidate < least || candidate == 0) break;
    const double value = divergence(candidate);
    if (value < smallest) {
      smallest = value;
      best = candidate;
    }
  }
  return best;
}

}  // namespace

double Divergence(const Histogram& histogram, std::size_t below, std::size_t above) {
  return Sums(histogram).Divergence(below, above);
}

ActivationRange LeastDivergentRange(const Histogram& histogram, ActivationRange all) {
  const Sums sums(histogram);
  const double width = histogram.width();
  const auto bins_below = static_cast<std::size_t>(std::ceil(-double{all.min} / width));
  const auto bins_above = static_cast<std::size_t>(std::ceil(double{all.max} / width));
  std::size_t below = bins_below;
  std::size_t above = bins_above;
  for (int round = 0; round < kRoundsMax; ++round) {
    const std::size_t last_below = below;
    const std::size_t last_above = above;
    const auto least = [](std::size_t other) { return other >= kLevels ? 0 : kLevels - other; };
    above = Best(bins_above, least(below), [&](std::size_t b) { return sums.Divergence(below, b); });
    below = Best(bins_below, least(above), [&](std::size_t b) { return sums.Divergence(b, above); });
    if (below == last_below && above == last_above) break;
  }
  return {std::max(all.min, static_cast<float>(-static_cast<double>(below) * width)),
          std::min(all.max, static_cast<float>(static_cast<double>(above) * width))};
}

}  // namespace edgefleet::compiler
