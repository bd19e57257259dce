// A privacy loss distribution on the grid origin + k * width, from above and from below.
//
// Above: each outcome is split onto the two grid points around its loss so that its probability is kept under both P and Q; the
// resulting curve delta(epsilon) connects the points of the true one on the grid by lines in exp(epsilon), and the true one is
// convex there (Doroshenko, Ghazi, Kamath, Kumar and Manurangsi 2022, "Connect the dots"). Outcomes cut off on the left move to
// the first point; those on the right become infinite losses.
//
// Below: the same lines lowered at the grid points until no line is above the tangents of the true curve at its ends, and made
// convex again where that bent them. Outcomes cut off are left out.
//
// Both errors are of order width^2 in each step, against order width for rounding losses up or down.
//
// Rounding: probabilities are right to 1e-13 of each, losses to kPositionSlack / width; the composition adds both.
#pragma once

#include <cstdint>
#include <vector>

#include "aggregator/privacy/accounting/loss_pair.h"

namespace edgefleet::privacy {

struct LossRange {
  double low = 0;
  double high = 0;
};

// Losses outside have probability at most `tail` under P on either side.
LossRange FindRange(const LossPair& pair, double tail);

// Where half of the losses are above, under P: a good origin, as much of the probability may lie within one cell.
double MedianLoss(const LossPair& pair);

struct Grid {
  double origin = 0;
  double width = 0;
};

struct DiscreteLoss {
  Grid grid;
  std::int64_t first = 0;     // index of the first point: its loss is origin + first * width
  std::vector<double> above;  // probability under P of each point
  std::vector<double> below;  // of the lower curve; sums to less than 1
  double infinite = 0;        // probability of an infinite loss, from above

  double LossAt(std::size_t point) const {
    return grid.origin + static_cast<double>(first + static_cast<std::int64_t>(point)) * grid.width;
  }
};

inline constexpr double kPositionSlack = 1e-17;

// `range` holds at most some millions of cells.
DiscreteLoss Discretize(const LossPair& pair, const LossRange& range, const Grid& grid);

}  // namespace edgefleet::privacy
