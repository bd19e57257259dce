// DP-FTRL: noise that is correlated over the steps and hides a device wherever it takes part, with no sampling to trust.
//
// Each mechanism is one Gaussian release of a device's whole history: its sensitivity, in clip norms, divided by the noise
// multiplier is the mu of Gaussian differential privacy (Kairouz, McMahan, Song, Thakkar, Thakurta and Xu 2021; Denisov,
// McMahan, Rush, Smith and Thakurta 2022 for adaptively chosen updates). Pure functions, thread-safe.
#pragma once

#include <cstdint>

#include "base/status.h"

namespace edgefleet::privacy {

// How often a device may take part in `steps` rounds: at most `participations` times (and no oftener than fits), any two at
// least `min_separation` rounds apart: in rounds t and t + min_separation, not nearer. Selection must enforce both.
struct Participation {
  std::uint64_t steps = 1;
  std::uint64_t participations = 1;
  std::uint64_t min_separation = 1;
};

// Binary tree aggregation, started again every `restart_every` steps (0: never); each complete node is released with noise of
// its own. An upper bound of the L2 norm of what one device changes over all nodes: with one participation exactly the square
// root of the number of levels, the bits of min(steps, restart_every); with more, level by level the worst packing (2^l steps
// hold at most ceil(2^l / min_separation) participations). INVALID_ARGUMENT [BAD_PARTICIPATION].
Result<double> TreeSensitivity(const Participation& participation, std::uint64_t restart_every);

// A banded factorization whose strategy matrix C has `bands` bands and columns of norm 1 (Choquette-Choo, Ganesh, McKenna,
// McMahan, Rush, Thakurta and Xu 2023, theorem 2): columns `bands` apart share no row, so the norm is the square root of the
// participations. INVALID_ARGUMENT [BAD_PARTICIPATION], also where min_separation is less than `bands`.
Result<double> BandedSensitivity(const Participation& participation, std::uint64_t bands);

// The same factorization behind cyclic Poisson sampling: the population is split into `bands` fixed parts, and step t samples
// part t mod bands at bands * rate, so `rate` of all. It is dominated by ceil(steps / bands) Poisson steps at bands * rate
// (ibid., theorem 4). INVALID_ARGUMENT [BAD_RATE] if bands * rate exceeds 1.
struct AmplifiedSteps {
  std::uint64_t steps = 0;
  double rate = 0;
};
Result<AmplifiedSteps> BandedAmplification(std::uint64_t steps, std::uint64_t bands, double rate);

}  // namespace edgefleet::privacy
