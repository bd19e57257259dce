#include "aggregator/privacy/accounting/composition.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "aggregator/privacy/accounting/discretize.h"
#include "aggregator/privacy/accounting/tilted_sum.h"

namespace edgefleet::privacy {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kCellsFirst = 1 << 10;
constexpr std::size_t kPointsTight = 1 << 19;
constexpr std::size_t kPointsMax = 1 << 23;
constexpr double kTightTolerance = 1e-6;
constexpr double kCutShare = 1e-7;  // of delta may be cut off the ends of the steps' losses
constexpr int kLevelsMax = 16;

struct Tolerance {
  double tight = 0;
  double loose = 0;
};

Tolerance ToleranceOf(const TailQuery& query, const Bracket& found) {
  if (query.kind == TailQuery::Kind::kEpsilonAtDelta) {
    return {.tight = kTightTolerance, .loose = 5e-4 * found.lower + 5e-5};
  }
  return {.tight = kTightTolerance * found.lower, .loose = 1e-3 * found.lower};
}

// The composition of one direction, on finer and finer grids.
class Refinement {
 public:
  Refinement(std::span<const LossTerm> terms, const TailQuery& query, double cut) : terms_(terms), query_(query) {
    for (const LossTerm& term : terms) steps_ += static_cast<double>(term.count);
    for (const LossTerm& term : terms) {
      ranges_.push_back(FindRange(*term.pair, cut / steps_));
      origins_.push_back(MedianLoss(*term.pair));
      widest_ = std::max(widest_, ranges_.back().high - ranges_.back().low);
    }
    if (const auto lattice = CommonLattice()) {
      origins_[0] = lattice->origin;
      next_width_ = lattice->width;
      exact_ = true;
    } else {
      next_width_ = widest_ / kCellsFirst;
    }
  }

  const Bracket& best() const { return best_; }
  bool done() const { return !next_width_; }

  void Refine() {
    const double width = *next_width_;
    const Bracket found = Evaluate(width);
    const Bracket before = best_;
    best_ = {std::max(best_.lower, found.lower), std::min(best_.upper, found.upper)};
    next_width_ = exact_ ? std::nullopt : NextWidth(width, before);
    last_width_ = width;
  }

 private:
  // Steps of one pair whose losses lie on a lattice need no other grid.
  std::optional<LossLattice> CommonLattice() const {
    if (terms_.size() != 1) return std::nullopt;
    const auto lattice = terms_[0].pair->Lattice();
    return lattice && widest_ / lattice->width < kPointsMax ? lattice : std::nullopt;
  }

  Bracket Evaluate(double width) {
    std::vector<DiscreteLoss> losses;
    std::vector<double> counts;
    for (std::size_t i = 0; i < terms_.size(); ++i) {
      losses.push_back(Discretize(*terms_[i].pair, ranges_[i], {.origin = origins_[i], .width = width}));
      counts.push_back(static_cast<double>(terms_[i].count));
    }
    const TiltedSum sum(losses, counts, query_, tilt_, kPointsMax);
    tilt_ = sum.tilt();
    window_ = sum.window();
    return sum.Answer();
  }

  // Nothing if what is reached must do. Errors fall with the square of the width, but for the lower end's where a step's losses
  // crowd at their edge: so the upper end also does when it would do with errors that fall with the width alone.
  std::optional<double> NextWidth(double width, const Bracket& before) const {
    const double gap = best_.upper - best_.lower;
    const Tolerance tolerance = ToleranceOf(query_, best_);
    const double error_left = (before.upper - best_.upper) * width / (last_width_ - width);
    const bool settled = gap <= tolerance.loose || error_left <= tolerance.loose;
    if (gap <= tolerance.tight) return std::nullopt;
    const auto points = [&](double factor) { return std::max(window_, 2 * widest_) / (width * factor); };
    double factor = std::isfinite(gap) ? std::clamp(0.8 * std::sqrt(tolerance.tight / gap), 1.0 / 64, 0.5) : 1.0 / 16;
    factor = std::max(factor, points(1) / kPointsTight);
    if (factor <= 0.5) return width * factor;
    if (settled || points(0.5) > kPointsMax) return std::nullopt;
    return width / 2;
  }

  const std::span<const LossTerm> terms_;
  const TailQuery query_;
  double steps_ = 0;
  std::vector<LossRange> ranges_;
  std::vector<double> origins_;
  double widest_ = 0;
  double window_ = 0;
  bool exact_ = false;
  std::optional<double> next_width_;
  double last_width_ = kInfinity;
  std::optional<Tilt> tilt_;
  Bracket best_{0, kInfinity};
};

// The larger answer of all directions; one that another has overtaken is not refined further.
Bracket Largest(std::span<const LossTerms> directions, const TailQuery& query, double cut, int levels = kLevelsMax) {
  std::vector<Refinement> refinements;
  for (const LossTerms& terms : directions) refinements.emplace_back(terms, query, cut);
  Bracket largest;
  bool changed = true;
  for (int level = 0; level < levels && changed; ++level) {
    changed = false;
    for (Refinement& refinement : refinements) {
      if (refinement.done() || refinement.best().upper <= largest.lower) continue;
      refinement.Refine();
      largest.lower = std::max(largest.lower, refinement.best().lower);
      changed = true;
    }
  }
  for (const Refinement& refinement : refinements) largest.upper = std::max(largest.upper, refinement.best().upper);
  return largest;
}

Status CheckSteps(std::span<const LossTerms> directions) {
  for (const LossTerms& terms : directions) {
    std::uint64_t steps = 0;
    for (const LossTerm& term : terms) {
      steps += std::min(term.count, kComposedStepsMax + 1);
      if (steps > kComposedStepsMax) {
        return InvalidArgument("TOO_MANY_STEPS", "at most 1e9 steps are composed; merge equal ones into fewer with less noise");
      }
    }
  }
  return OkStatus();
}

// Steps of no count add nothing, and directions without steps are private.
std::vector<LossTerms> Counted(std::span<const LossTerms> directions) {
  std::vector<LossTerms> result;
  for (LossTerms terms : directions) {
    std::erase_if(terms, [](const LossTerm& term) { return term.count == 0; });
    if (!terms.empty()) result.push_back(std::move(terms));
  }
  return result;
}

}  // namespace

Result<Bracket> ComposedEpsilon(std::span<const LossTerms> directions, double delta) {
  if (!(delta >= kComposedDeltaMin && delta < 1)) return InvalidArgument("BAD_DELTA", "delta lies between 1e-200 and 1");
  EF_RETURN_IF_ERROR(CheckSteps(directions));
  return Largest(Counted(directions), {.kind = TailQuery::Kind::kEpsilonAtDelta, .value = delta}, delta * kCutShare);
}

Result<Bracket> ComposedDelta(std::span<const LossTerms> directions, double epsilon) {
  if (!(epsilon >= 0 && std::isfinite(epsilon))) return InvalidArgument("BAD_EPSILON", "epsilon is a finite number >= 0");
  EF_RETURN_IF_ERROR(CheckSteps(directions));
  const std::vector<LossTerms> counted = Counted(directions);
  // How much may be cut off depends on the answer: found roughly first.
  constexpr double kCutFirst = 1e-20;
  const TailQuery query{.kind = TailQuery::Kind::kDeltaAtEpsilon, .value = epsilon};
  Bracket delta = Largest(counted, query, kCutFirst);
  if (delta.lower * kCutShare < kCutFirst)
    delta = Largest(counted, query, std::max(kComposedDeltaMin, delta.lower) * kCutShare);
  return Bracket{delta.lower, std::min(1.0, delta.upper)};
}

}  // namespace edgefleet::privacy
