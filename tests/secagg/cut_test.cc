// The argument behind TolerableRun (docs/specs/secagg-parameters.md, "Cut"), held against every ring of ten places: whoever
// cuts a part of the honest survivors off and unmasks it needs as many corrupt members near the cuts as the bound counts.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "secagg/parameters.h"

namespace edgefleet::secagg {
namespace {

constexpr int kPlacesMax = 12;

// What the server makes of the member on a place of the ring.
enum Fate : std::uint8_t {
  kSurvivor,  // honest, and has masked for the sharers that all are told
  kCorrupt,   // answers whatever the server needs
  kGone,      // is said to have dropped out
  kPhantom,   // honest, and said to be a survivor, but takes part in another session: its neighbours refuse to answer
};

struct Ring {
  std::array<Fate, kPlacesMax> fates{};
  int places = 0, half = 0, threshold = 0;

  Fate at(int place) const { return fates[static_cast<std::size_t>((place % places + places) % places)]; }
  template <typename Predicate>
  int Count(int first, int count, Predicate predicate) const {
    int found = 0;
    for (int place = first; place < first + count; ++place) found += predicate(place) ? 1 : 0;
    return found;
  }
  int CorruptIn(int first, int count) const {
    return Count(first, count, [this](int p) { return at(p) == kCorrupt; });
  }
  bool Answers(int place) const {
    if (at(place) != kSurvivor) return at(place) == kCorrupt;
    return Count(place - half, 2 * half + 1, [this](int p) { return at(p) == kPhantom; }) == 0;
  }
  bool SeedIsRecovered(int place) const {
    return Count(place - half, 2 * half + 1, [&](int p) { return p != place && Answers(p); }) >= threshold;
  }
  int Missing() const {
    int most = 0;
    for (int place = 0; place < places; ++place) {
      most = std::max(most, Count(place, half, [this](int p) { return at(p) == kGone; }));
    }
    return most;
  }
  // The honest survivors from `first` on that are joined to it by steps of at most k/2; the last one's place.
  int LastJoined(int first) const {
    int last = first;
    for (int place = first + 1; place - last <= half && place < first + places; ++place) {
      if (at(place) == kSurvivor) last = place;
    }
    return last;
  }
};

// The part from `first` to `last` is cut off and unmasked: what the bound says about the corrupt members, for whatever number
// of places next to the runs. Where those are not separate, in so small a part, its members are exposed.
void ExpectEnoughCorrupt(const Ring& ring, int first, int last) {
  const int span = last - first + 1, degree = 2 * ring.half, missing = ring.Missing();
  for (int inner = 0; inner <= ring.half; ++inner) {
    if (inner == 0 || 2 * (inner + 1) <= span) {
      const int corrupt = ring.CorruptIn(last + 1, ring.half) + ring.CorruptIn(last - inner, inner) +
                          ring.CorruptIn(first - ring.half, ring.half) + ring.CorruptIn(first + 1, inner);
      EXPECT_GE(corrupt, 2 * std::min(ring.half - missing - inner, ring.threshold - ring.half + inner)) << inner;
    } else if (2 * inner <= degree - ring.threshold - missing) {
      EXPECT_GE(ring.CorruptIn(last - ring.half, degree + 1), 2 * ring.threshold - degree) << inner;
    }
  }
}

struct Case {
  int places;
  GraphParameters graph;
};
class Cut : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Rings, Cut, testing::Values(Case{10, {4, 3}}, Case{10, {4, 4}}, Case{10, {6, 5}}, Case{12, {6, 4}}),
                         [](const auto& test) {
                           return "K" + std::to_string(test.param.graph.degree) + "T" +
                                  std::to_string(test.param.graph.threshold);
                         });

TEST_P(Cut, NeedsAsManyCorruptMembersAsTheBoundCounts) {
  const auto& [places, graph] = GetParam();
  Ring ring{.places = places, .half = static_cast<int>(graph.degree / 2), .threshold = static_cast<int>(graph.threshold)};
  const auto survives = [&](int place) { return ring.at(place) == kSurvivor; };
  std::uint32_t cuts = 0;
  for (std::uint32_t all = 0; all < (1U << (2 * places)) && !HasFailure(); ++all) {
    for (int place = 0; place < places; ++place) ring.fates[place] = static_cast<Fate>((all >> (2 * place)) & 3);
    // A part that begins at place 0, after a run of k/2 places without honest survivors; rings come in all rotations.
    if (ring.at(0) != kSurvivor || ring.Count(-ring.half, ring.half, survives) > 0) continue;
    const int last = ring.LastJoined(0), beyond = places - last - 1;
    // All of them, and no room for two runs: nobody is cut off.
    if (ring.Count(last + 1, beyond, survives) == 0 && beyond < 2 * ring.half) continue;
    bool unmasked = true;
    for (int place = 0; place <= last; ++place) unmasked &= !survives(place) || ring.SeedIsRecovered(place);
    if (!unmasked) continue;
    ++cuts;
    SCOPED_TRACE(all);
    ExpectEnoughCorrupt(ring, 0, last);
  }
  EXPECT_GT(cuts, 0U);
}

TEST(TolerableRun, IsForTheThresholdAndTheCorruptMembers) {
  const auto run = [](std::uint64_t members, GraphParameters parameters, double corrupt, std::uint32_t bits) {
    return TolerableRun(members, parameters, {.corrupt_fraction = corrupt, .security_bits = bits});
  };
  EXPECT_EQ(run(1000, {96, 67}, .1, 40), 25);
  EXPECT_EQ(run(1000, {120, 87}, .1, 80), 29);
  EXPECT_EQ(run(10'000, {122, 85}, .1, 40), 31);
  EXPECT_EQ(run(100'000, {132, 91}, .05, 80), 35);
  EXPECT_EQ(run(1000, {414, 247}, .1, 40), 163);
  EXPECT_EQ(run(1000, {64, 51}, .1, 80), 5);
  EXPECT_EQ(run(1000, {50, 39}, .1, 40), 7);
  EXPECT_LT(run(1000, {96, 67}, .2, 40), 25);
  EXPECT_EQ(run(1000, {96, 67}, .5, 40), -1);
}

}  // namespace
}  // namespace edgefleet::secagg
