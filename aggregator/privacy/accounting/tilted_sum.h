// The sum of independent discrete privacy losses, around one point of its tail. Internal to composition.h, which describes it.
#pragma once

#include <complex>
#include <optional>
#include <span>
#include <vector>

#include "aggregator/privacy/accounting/bracket.h"
#include "aggregator/privacy/accounting/discretize.h"

namespace edgefleet::privacy {

struct TailQuery {
  enum class Kind { kEpsilonAtDelta, kDeltaAtEpsilon };
  Kind kind = Kind::kEpsilonAtDelta;
  double value = 0;  // the delta, or the epsilon
};

// exp(lambda * loss) multiplies probabilities; the sum's two tails are then bounded with lambda + right and lambda - left.
struct Tilt {
  double lambda = 0;
  double right = 0;
  double left = 0;
};

class TiltedSum {
 public:
  // `counts[i]` losses are distributed as losses[i], all of one grid width. `tilt` from a grid almost as fine saves the search
  // for it. A window of more than `points_max` grid points is not transformed: the answer is then [0, infinity) or [0, 1].
  TiltedSum(std::span<const DiscreteLoss> losses, std::span<const double> counts, const TailQuery& query,
            std::optional<Tilt> tilt, std::size_t points_max);

  const Tilt& tilt() const { return tilt_; }
  double window() const { return window_; }  // in units of loss
  Bracket Answer() const;

 private:
  enum class Side { kAbove, kBelow };
  // log E[exp(lambda L)] of the sum, and its first two derivatives.
  struct Cumulant {
    double value = 0;
    double slope = 0;
    double curvature = 0;
  };
  struct Tail;

  Cumulant CumulantAt(double lambda, Side side) const;
  double FindLambda() const;
  Tilt FindTilt() const;
  // False if the sum may be anywhere, or in more than `points_max` points.
  bool PlaceWindow(std::size_t points_max);
  std::vector<std::complex<double>> TiltedMasses(std::size_t term);
  void Convolve();
  Tail TailOf(Side side) const;
  double EpsilonAt(double delta, Side side, double least) const;  // not less than `least`
  double DeltaAt(double epsilon, Side side) const;

  const std::span<const DiscreteLoss> losses_;
  const std::span<const double> counts_;
  const TailQuery query_;
  double width_ = 0;
  double origin_ = 0;  // of the sum
  double steps_ = 0;
  double largest_ = 0;  // loss of a step, either sign
  bool empty_below_ = false;
  Tilt tilt_;
  std::vector<std::vector<double>> logs_[2];  // of the losses' probabilities, by Side and term
  double log_total_[2] = {0, 0};              // of the tilted probabilities, by Side
  double window_ = 0;
  std::int64_t first_ = 0;                  // index of the window's first point
  std::vector<std::complex<double>> sums_;  // tilted probabilities of the sum: real from above, imaginary from below; empty if
                                            // there is no window
  double rounding_ = 0;                     // bound of its error in the 2-norm
};

}  // namespace edgefleet::privacy
