#include "aggregator/privacy/accounting/correlated_noise.h"

#include <algorithm>
#include <cmath>

namespace edgefleet::privacy {
namespace {

constexpr double kRoundUp = 1 + 1e-14;

Result<std::uint64_t> LargestParticipations(const Participation& participation) {
  if (participation.steps == 0 || participation.participations == 0 || participation.min_separation == 0) {
    return InvalidArgument("BAD_PARTICIPATION", "steps, participations and their least separation are at least 1");
  }
  return std::min(participation.participations, (participation.steps - 1) / participation.min_separation + 1);
}

}  // namespace

Result<double> TreeSensitivity(const Participation& participation, std::uint64_t restart_every) {
  EF_ASSIGN_OR_RETURN(const std::uint64_t participations, LargestParticipations(participation));
  const std::uint64_t leaves = restart_every == 0 ? participation.steps : std::min(participation.steps, restart_every);
  double squares = 0;
  for (std::uint64_t node = 1; node <= leaves && node != 0; node *= 2) {
    const std::uint64_t span = (node - 1) / participation.min_separation + 1;
    const std::uint64_t in_node = std::min(participations, span);
    const auto full = static_cast<double>(participations / in_node);
    const auto rest = static_cast<double>(participations % in_node);
    squares += full * std::pow(static_cast<double>(in_node), 2) + rest * rest;
  }
  return std::sqrt(squares) * kRoundUp;
}

Result<double> BandedSensitivity(const Participation& participation, std::uint64_t bands) {
  EF_ASSIGN_OR_RETURN(const std::uint64_t participations, LargestParticipations(participation));
  if (bands == 0 || (participations > 1 && participation.min_separation < bands)) {
    return InvalidArgument("BAD_PARTICIPATION", "a device that takes part more than once must stay away for at least as many " +
                                                    std::string("steps as there are bands (--min-separation >= --bands >= 1)"));
  }
  return std::sqrt(static_cast<double>(participations)) * kRoundUp;
}

Result<AmplifiedSteps> BandedAmplification(std::uint64_t steps, std::uint64_t bands, double rate) {
  if (steps == 0 || bands == 0) return InvalidArgument("BAD_PARTICIPATION", "steps and bands are at least 1");
  const double amplified = static_cast<double>(bands) * rate;
  if (!(amplified > 0 && amplified <= 1)) {
    return InvalidArgument("BAD_RATE",
                           "bands times the sampling rate lies above 0 and is at most 1: each step samples one part");
  }
  return AmplifiedSteps{.steps = (steps - 1) / bands + 1, .rate = amplified};
}

}  // namespace edgefleet::privacy
