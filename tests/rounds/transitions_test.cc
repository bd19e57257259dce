#include "aggregator/rounds/transitions.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace edgefleet::rounds {
namespace {

constexpr Phase kPhases[] = {Phase::kSelecting,   Phase::kTraining,   Phase::kCollecting, Phase::kUnmasking,
                             Phase::kAggregating, Phase::kValidating, Phase::kCommitted,  Phase::kFailed};
constexpr Event kEvents[] = {Event::kRosterComplete, Event::kKeysShared,       Event::kUpdatesCollected, Event::kSharesRevealed,
                             Event::kSumUnmasked,    Event::kVersionCommitted, Event::kFailure};

TEST(Transitions, EveryPhaseThatIsNotFinalAdvancesByOneEventAndCanFail) {
  for (const Phase phase : kPhases) {
    std::set<Phase> targets;
    int events = 0;
    for (const Event event : kEvents) {
      if (const auto target = Next(phase, event)) {
        targets.insert(*target);
        ++events;
      }
    }
    if (IsFinal(phase)) {
      EXPECT_EQ(events, 0) << PhaseName(phase);
    } else {
      const auto successor = static_cast<Phase>(static_cast<int>(phase) + 1);
      EXPECT_EQ(events, 2) << PhaseName(phase);
      EXPECT_EQ(targets, (std::set{successor, Phase::kFailed})) << PhaseName(phase);
    }
  }
}

TEST(Transitions, TheTableHoldsNoPairTwiceAndOnlyKnownNames) {
  std::set<std::pair<Phase, Event>> pairs;
  for (const Transition& transition : Transitions()) {
    EXPECT_TRUE(pairs.emplace(transition.source, transition.event).second);
    EXPECT_NE(PhaseName(transition.source), "UNKNOWN");
    EXPECT_NE(PhaseName(transition.target), "UNKNOWN");
    EXPECT_NE(EventName(transition.event), "UNKNOWN");
  }
  EXPECT_EQ(pairs.size(), 12U);
}

TEST(Transitions, EveryPathEndsAfterAtMostSixSteps) {
  Phase phase = Phase::kSelecting;
  int steps = 0;
  for (const Event event : kEvents) {
    if (event == Event::kFailure) continue;
    phase = *Next(phase, event);
    ++steps;
  }
  EXPECT_EQ(phase, Phase::kCommitted);
  EXPECT_EQ(steps, 6);
}

}  // namespace
}  // namespace edgefleet::rounds
