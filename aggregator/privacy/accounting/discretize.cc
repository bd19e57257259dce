#include "aggregator/privacy/accounting/discretize.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace edgefleet::privacy {
namespace {

// What one cell between two grid points holds.
struct Cell {
  long double p_left = 0;   // of its probability under P, the part that goes to its left point,
  long double p_right = 0;  // and to its right one
  long double gap = 0;      // how far the line over the cell lies above the tangents at its ends, where they meet:
  long double meet = 0;     // at left + meet * (right - left), in exp(epsilon)
};

// Both differences are taken where the numbers are small.
long double Between(long double above_low, long double above_high, long double below_low, long double below_high) {
  return std::max(0.0L, above_low < 0.5L ? above_low - above_high : below_high - below_low);
}

// `loss` and `width` of the cell's left end.
Cell MakeCell(const LossSplit& left, const LossSplit& right, long double loss, long double width) {
  Cell cell;
  const long double p = Between(left.p_above, right.p_above, left.p_below, right.p_below);
  const long double q = Between(left.q_above, right.q_above, left.q_below, right.q_below) * std::exp(loss);
  if (p == 0) return cell;
  cell.p_right = std::clamp((p - q) / -std::expm1(-width), 0.0L, p);
  cell.p_left = p - cell.p_right;
  // Tangents meet at exp(epsilon) = p/q; the line has p_left * exp(-loss) less slope before than the curve at the left end.
  if (q > cell.p_left && cell.p_left > 0) {
    cell.gap = cell.p_left * cell.p_right * -std::expm1(-width) / q;
    cell.meet = 1 - cell.p_left / q;
  }
  return cell;
}

// Weights on grid points, as probabilities under P, of a curve that need not be convex; makes its largest convex minorant (up
// to the right end, see Finish). A point of weight w bends the curve's slope in exp(epsilon) by w / exp(loss).
class ConvexMinorant {
 public:
  explicit ConvexMinorant(long double width) : width_(width) {}

  void Add(std::int64_t index, long double weight) {
    points_.push_back({index, weight});
    while (points_.size() >= 2 && points_[points_.size() - 2].weight < 0) RemoveLastButOne();
  }

  // The curve is 0 from the right end on, and nowhere below: weights at the end that would take it there are merged to the
  // left.
  std::vector<double> Finish(std::size_t size) {
    std::vector<double> result(size);
    if (!points_.empty() && points_.back().weight < 0) MergeEnd();
    for (const Point& point : points_) result[static_cast<std::size_t>(point.index)] += static_cast<double>(point.weight);
    return result;
  }

 private:
  struct Point {
    std::int64_t index;
    long double weight;
  };

  // A concave bend goes: its weight moves to its neighbours so that the curve beyond them stays. Left of the first point is
  // exp(epsilon) = 0, where weight counts for nothing.
  void RemoveLastButOne() {
    Point& next = points_.back();
    const Point gone = points_[points_.size() - 2];
    const long double right = static_cast<long double>(next.index - gone.index) * width_;
    if (points_.size() == 2) {
      next.weight += gone.weight;
    } else {
      Point& previous = points_[points_.size() - 3];
      const long double left = static_cast<long double>(gone.index - previous.index) * width_;
      const long double whole = std::expm1(right) - std::expm1(-left);
      previous.weight += gone.weight * std::exp(-left) * std::expm1(right) / whole;
      next.weight += gone.weight * std::exp(right) * -std::expm1(-left) / whole;
    }
    points_.erase(points_.end() - 2);
  }

  void MergeEnd() {
    long double p = 0;
    long double q = 0;  // times exp(loss) of point `at`
    std::int64_t at = points_.back().index;
    while (!points_.empty()) {
      const Point last = points_.back();
      q = q * std::exp(static_cast<long double>(last.index - at) * width_) + last.weight;
      p += last.weight;
      at = last.index;
      points_.pop_back();
      if (!(p > 0 && q > 0)) continue;
      const auto zero =
          at + static_cast<std::int64_t>(std::floor(std::log(p / q) / width_));  // where what was merged reaches 0
      if (!points_.empty() && zero <= points_.back().index) continue;
      if (zero < 0) return;
      points_.push_back({zero, q * std::exp(static_cast<long double>(zero - at) * width_)});
      return;
    }
  }

  const long double width_;
  std::vector<Point> points_;
};

std::vector<double> Above(const std::vector<Cell>& cells, long double cut_left) {
  std::vector<double> masses(cells.size() + 1);
  masses[0] = static_cast<double>(cut_left + cells[0].p_left);
  for (std::size_t k = 1; k < cells.size(); ++k) masses[k] = static_cast<double>(cells[k - 1].p_right + cells[k].p_left);
  masses[cells.size()] = static_cast<double>(cells.back().p_right);
  return masses;
}

std::vector<double> Below(const std::vector<Cell>& cells, long double width) {
  const std::size_t n = cells.size();
  // How far the curve is lowered at each point, from the right end on, where it is 0 already: so far that within each cell the
  // line is nowhere above the tangents. Where these meet, `meet` of the way to the right, it is lowered by the mean of both
  // ends. Both ends share the task, unless the cell's probability is all near one of them.
  constexpr long double kNear = 0.2L;
  std::vector<long double> lowered(n + 2);
  for (std::size_t k = n; k-- > 0;) {
    const Cell& cell = cells[k];
    if (cell.gap > 0) {
      const bool shared = cell.meet > kNear && cell.meet < 1 - kNear;
      lowered[k] = std::max(shared ? cell.gap : 0.0L, (cell.gap - cell.meet * lowered[k + 1]) / (1 - cell.meet));
    }
    if (k > 0 && cells[k - 1].meet >= 1 - kNear) lowered[k] = std::max(lowered[k], cells[k - 1].gap / cells[k - 1].meet);
  }
  ConvexMinorant minorant(width);
  for (std::size_t k = 0; k <= n; ++k) {
    const long double previous = lowered[k == 0 ? 0 : k - 1];
    const long double current = lowered[k];
    const long double next = lowered[k + 1];
    long double weight = (k < n ? cells[k].p_left : 0) + (k > 0 ? cells[k - 1].p_right : 0);
    weight += (current - next) / std::expm1(width) + (current - previous) / -std::expm1(-width);
    if (weight != 0) minorant.Add(static_cast<std::int64_t>(k), weight);
  }
  return minorant.Finish(n + 1);
}

}  // namespace

LossRange FindRange(const LossPair& pair, double tail) {
  constexpr long double kStep = 1e-9L;
  constexpr long double kFar = 1e9L;
  // The least loss on the way out from 0, on one side, beyond which at most `tail` is left; to a hundredth.
  const auto reach = [&](long double sign) {
    const auto left = [&](long double loss) {
      const LossSplit split = pair.At(sign * loss);
      return sign > 0 ? split.p_above : split.p_below;
    };
    long double high = kStep;
    while (left(high) > tail && high < kFar) high *= 2;
    long double low = high / 2;
    while (high - low > high / 100) {
      const long double middle = (low + high) / 2;
      (left(middle) > tail ? low : high) = middle;
    }
    return sign * high;
  };
  return {static_cast<double>(reach(-1)), static_cast<double>(reach(1))};
}

double MedianLoss(const LossPair& pair) {
  long double low = -1;
  long double high = 1;
  while (pair.At(low).p_above < 0.5L) low *= 2;
  while (pair.At(high).p_above > 0.5L) high *= 2;
  for (int step = 0; step < 100; ++step) {
    const long double middle = (low + high) / 2;
    (pair.At(middle).p_above > 0.5L ? low : high) = middle;
  }
  return static_cast<double>(high);
}

DiscreteLoss Discretize(const LossPair& pair, const LossRange& range, const Grid& grid) {
  DiscreteLoss result;
  result.grid = grid;
  result.first = static_cast<std::int64_t>(std::floor((range.low - grid.origin) / grid.width));
  const auto last = std::max(result.first + 1, static_cast<std::int64_t>(std::ceil((range.high - grid.origin) / grid.width)));
  const auto loss_at = [&](std::int64_t k) {
    return static_cast<long double>(grid.origin) + static_cast<long double>(k) * grid.width;
  };
  std::vector<Cell> cells(static_cast<std::size_t>(last - result.first));
  LossSplit left = pair.At(loss_at(result.first));
  const long double cut_left = left.p_below;
  for (std::int64_t k = result.first; k < last; ++k) {
    const LossSplit right = pair.At(loss_at(k + 1));
    cells[static_cast<std::size_t>(k - result.first)] = MakeCell(left, right, loss_at(k), grid.width);
    left = right;
  }
  result.infinite = static_cast<double>(left.p_above);
  result.above = Above(cells, cut_left);
  result.below = Below(cells, grid.width);
  return result;
}

}  // namespace edgefleet::privacy
