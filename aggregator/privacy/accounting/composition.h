// The composition of dominating pairs by fast Fourier transform, as a bracket of delta(epsilon) (Koskela, Jalko and Honkela
// 2020; Gopi, Lee and Wutschitz 2021).
//
// Each pair is discretized from above and from below (discretize.h), both are composed on one grid, and the grid is refined
// until the two answers agree; so the answer carries the proof of its own error. Before the transform all probabilities are
// multiplied by exp(tilt * loss) and normalized, with the tilt that moves the mean of the sum to the wanted epsilon: what then
// matters is the bulk of the distribution and not a tail below the transform's rounding, and deltas of 1e-30 are as accurate as
// of 1e-3.
//
// Into `upper` (and out of `lower`) also go: the probability that the sum leaves the transform's window or wraps around in it
// (Chernoff bounds, 1e-18 of the tilted distribution), losses cut off or infinite, the rounding of the transforms and of the
// power (their bounds in the 2-norm, times that of the sum's weights by Cauchy and Schwarz), and the rounding of discretized
// probabilities and losses, step by step.
//
// Pure functions, thread-safe. A query takes 0.1 to 0.5 s on one core.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "aggregator/privacy/accounting/bracket.h"
#include "aggregator/privacy/accounting/loss_pair.h"
#include "base/status.h"

namespace edgefleet::privacy {

struct LossTerm {
  std::shared_ptr<const LossPair> pair;
  std::uint64_t count = 1;
};

// Least delta that can be asked for, and most steps altogether.
inline constexpr double kComposedDeltaMin = 1e-200;
inline constexpr std::uint64_t kComposedStepsMax = 1'000'000'000;

// One direction of adjacency; its terms compose. Their order does not matter.
using LossTerms = std::vector<LossTerm>;

// The least epsilon >= 0 at which the compositions of all directions have at most `delta`. The bracket is 1e-6 wide if 2^19
// grid points do for that. Else `upper` is within 5e-4 epsilon + 5e-5 of the truth, as the bracket proves or, where a step's
// losses crowd at their edge and `lower` lags behind, as the last two grids' difference shows; if 2^23 points do not suffice
// for either, the bracket is as wide as it is, up to infinity. INVALID_ARGUMENT [BAD_DELTA] or [TOO_MANY_STEPS].
Result<Bracket> ComposedEpsilon(std::span<const LossTerms> directions, double delta);

// The largest delta of all directions at `epsilon` >= 0; likewise, but relative to itself 1e-6, else 1e-3. Deltas below 1e-20
// are bounded by less than 1e-15 and not resolved. INVALID_ARGUMENT [BAD_EPSILON] or [TOO_MANY_STEPS].
Result<Bracket> ComposedDelta(std::span<const LossTerms> directions, double epsilon);

}  // namespace edgefleet::privacy
