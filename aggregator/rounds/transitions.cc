#include "aggregator/rounds/transitions.h"

#include <algorithm>

namespace edgefleet::rounds {
namespace {

constexpr Transition kTransitions[] = {
    {Phase::kSelecting, Event::kRosterComplete, Phase::kTraining},
    {Phase::kTraining, Event::kKeysShared, Phase::kCollecting},
    {Phase::kCollecting, Event::kUpdatesCollected, Phase::kUnmasking},
    {Phase::kCollecting, Event::kUpdatesToConfirm, Phase::kConfirming},
    {Phase::kConfirming, Event::kSurvivorsConfirmed, Phase::kUnmasking},
    {Phase::kUnmasking, Event::kSharesRevealed, Phase::kAggregating},
    {Phase::kAggregating, Event::kSumUnmasked, Phase::kValidating},
    {Phase::kValidating, Event::kVersionCommitted, Phase::kCommitted},
    {Phase::kSelecting, Event::kFailure, Phase::kFailed},
    {Phase::kTraining, Event::kFailure, Phase::kFailed},
    {Phase::kCollecting, Event::kFailure, Phase::kFailed},
    {Phase::kConfirming, Event::kFailure, Phase::kFailed},
    {Phase::kUnmasking, Event::kFailure, Phase::kFailed},
    {Phase::kAggregating, Event::kFailure, Phase::kFailed},
    {Phase::kValidating, Event::kFailure, Phase::kFailed},
};

}  // namespace

std::string_view EventName(Event event) {
  switch (event) {
    case Event::kRosterComplete:
      return "ROSTER_COMPLETE";
    case Event::kKeysShared:
      return "KEYS_SHARED";
    case Event::kUpdatesCollected:
      return "UPDATES_COLLECTED";
    case Event::kSharesRevealed:
      return "SHARES_REVEALED";
    case Event::kSumUnmasked:
      return "SUM_UNMASKED";
    case Event::kVersionCommitted:
      return "VERSION_COMMITTED";
    case Event::kFailure:
      return "FAILURE";
    case Event::kUpdatesToConfirm:
      return "UPDATES_TO_CONFIRM";
    case Event::kSurvivorsConfirmed:
      return "SURVIVORS_CONFIRMED";
  }
  return "UNKNOWN";
}

std::span<const Transition> Transitions() { return kTransitions; }

std::optional<Phase> Next(Phase source, Event event) {
  const auto* found =
      std::ranges::find_if(kTransitions, [&](const Transition& t) { return t.source == source && t.event == event; });
  if (found == std::ranges::end(kTransitions)) return std::nullopt;
  return found->target;
}

}  // namespace edgefleet::rounds
