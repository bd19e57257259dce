// The round's state machine: one table, a line each for phase, event, target.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "aggregator/rounds/task.h"

namespace edgefleet::rounds {

enum class Event : std::uint8_t {
  kRosterComplete = 1,      // enough assigned devices have sent keys
  kKeysShared = 2,          // enough of the roster have sent shares
  kUpdatesCollected = 3,    // enough masked updates have arrived; semi-honest secure aggregation
  kSharesRevealed = 4,      // enough survivors have revealed shares; the privacy ledger was charged before they were asked
  kSumUnmasked = 5,         // the candidate parameters exist
  kVersionCommitted = 6,    // the registry holds the new version
  kFailure = 7,             // with a reason of `failure`
  kUpdatesToConfirm = 8,    // as kUpdatesCollected, and the survivors shall sign who they are; active variant
  kSurvivorsConfirmed = 9,  // enough survivors have signed
};
std::string_view EventName(Event event);

struct Transition {
  Phase source;
  Event event;
  Phase target;
};

std::span<const Transition> Transitions();
// Nothing for a pair that the table does not hold.
std::optional<Phase> Next(Phase source, Event event);

}  // namespace edgefleet::rounds
