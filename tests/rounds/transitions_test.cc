#include "aggregator/rounds/transitions.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

namespace edgefleet::rounds {
namespace {

constexpr Phase kPhases[] = {Phase::kSelecting,   Phase::kTraining,   Phase::kCollecting, Phase::kConfirming, Phase::kUnmasking,
                             Phase::kAggregating, Phase::kValidating, Phase::kCommitted,  Phase::kFailed};
constexpr Event kEvents[] = {Event::kRosterComplete, Event::kKeysShared,       Event::kUpdatesCollected,
                             Event::kSharesRevealed, Event::kSumUnmasked,      Event::kVersionCommitted,
                             Event::kFailure,        Event::kUpdatesToConfirm, Event::kSurvivorsConfirmed};

TEST(Transitions, EveryPhaseThatIsNotFinalAdvancesAndCanFail) {
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
      std::set<Phase> expected{static_cast<Phase>(static_cast<int>(phase) + 1), Phase::kFailed};
      if (phase == Phase::kCollecting) expected.insert(Phase::kUnmasking);  // semi-honest: nothing to confirm
      EXPECT_EQ(events, static_cast<int>(expected.size())) << PhaseName(phase);
      EXPECT_EQ(targets, expected) << PhaseName(phase);
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
  EXPECT_EQ(pairs.size(), 15U);
}

TEST(Transitions, EveryPathEnds) {
  const std::vector<Event> begin = {Event::kRosterComplete, Event::kKeysShared};
  const std::vector<Event> end = {Event::kSharesRevealed, Event::kSumUnmasked, Event::kVersionCommitted};
  for (const std::vector<Event>& middle :
       {std::vector{Event::kUpdatesCollected}, std::vector{Event::kUpdatesToConfirm, Event::kSurvivorsConfirmed}}) {
    Phase phase = Phase::kSelecting;
    for (const auto* part : {&begin, &middle, &end}) {
      for (const Event event : *part) {
        ASSERT_TRUE(Next(phase, event)) << PhaseName(phase) << " " << EventName(event);
        phase = *Next(phase, event);
      }
    }
    EXPECT_EQ(phase, Phase::kCommitted);
  }
}

}  // namespace
}  // namespace edgefleet::rounds
