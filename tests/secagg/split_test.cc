// A hostile server, alone, that would part the ring: it wants the sum of an arc of members, far below survivors_min. It tells
// the arc that members beyond its ends have dropped out, and everybody else that others have, so that to either side the other
// one begins only after k/2 places without survivors, though no side misses as many as the check of one ring position allows.
// What stops it is that one committee speaks for both: no two views get the signatures that members ask for.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "secagg/server_states.h"
#include "secagg/session.h"
#include "tests/secagg/fleet.h"

namespace edgefleet::secagg {
namespace {

using testing::BitmapOf;
using testing::Fleet;
using testing::Words;

constexpr std::uint32_t kMembers = 200, kDegree = 50, kThreshold = 28, kArc = 41, kSilent = 3, kGone = 3, kSurvivorsMin = 156;
constexpr double kCorrupt = 0.02;

class SplitRing : public ::testing::Test {
 protected:
  // What the server says to a member about who takes part.
  struct View {
    Bytes sharers, survivors;
  };

  void SetUp() override {
    for (std::uint32_t i = 1; i <= kMembers; ++i) {
      ClientOptions options = fleet_.OptionsOf(i);
      options.policy.corrupt_fraction = kCorrupt;
      fleet_.clients[i - 1] = Client(options, fleet_.guards[i - 1], fleet_.random);
    }
    ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
    ASSERT_TRUE(fleet_.ShareAndClose().ok());
    graph_.emplace(GraphSeed(ledger().session), kMembers, kDegree);
  }

  // The arc begins at ring place `start`; the committee has the places from 0 to k - 1. The members right beyond its ends have
  // uploaded nothing, the next ones are said to have shared nothing (to the arc), or to have sent nothing when they have
  // shared.
  void Part(std::uint32_t start, bool by_sharers) {
    start_ = start;
    std::vector<std::uint32_t> all, near, survivors_of_all, survivors_of_near;
    for (std::uint32_t place = 0; place < kMembers; ++place) {
      const std::uint32_t member = MemberAt(place);
      const bool in_arc = place < kArc, gone = !in_arc && Beyond(place) <= kGone;
      const bool hidden = !in_arc && !gone && Beyond(place) <= kDegree / 2 - kSilent;
      if (in_arc) arc_.insert(member);
      if (gone) gone_.insert(member);
      all.push_back(member);
      if (!gone) survivors_of_all.push_back(member);
      if (!hidden) near.push_back(member);
      if (!hidden && !gone) survivors_of_near.push_back(member);
    }
    everybody_ = {BitmapOf(all, kMembers), BitmapOf(survivors_of_all, kMembers)};
    without_border_ = {BitmapOf(by_sharers ? near : all, kMembers), BitmapOf(survivors_of_near, kMembers)};
  }

  const Ledger& ledger() const { return fleet_.server.ledger(); }
  // Ring places from the arc's first member on.
  std::uint32_t MemberAt(std::uint32_t place) const { return graph_->ring()[(start_ + place) % kMembers]; }
  static std::uint32_t Beyond(std::uint32_t place) { return std::min(place - kArc + 1, kMembers - place); }
  bool InArc(std::uint32_t member) const { return arc_.contains(member); }
  const View& ViewOf(bool arc) const { return arc ? without_border_ : everybody_; }

  // The true sealed shares of those neighbours that `shown` names as sharers.
  Inbox InboxOf(std::uint32_t member, const Bytes& shown) const {
    const auto neighbours = graph_->Neighbours(member);
    Inbox inbox{.sharers = shown, .senders = Bytes(BitmapSize(neighbours.size()))};
    for (std::size_t place = 0; place < neighbours.size(); ++place) {
      const std::uint32_t sender = neighbours[place];
      if (!TestBit(shown, sender - 1)) continue;
      SetBit(inbox.senders, place);
      const std::size_t at = (graph_->Slot(sender, member) - 1) * kSealedSize;
      const auto piece = std::span(fleet_.sent[sender - 1]->sealed).subspan(at, kSealedSize);
      inbox.sealed.insert(inbox.sealed.end(), piece.begin(), piece.end());
    }
    return inbox;
  }

  // Everybody that is not made to look gone masks for what it is told.
  void Upload() {
    for (std::uint32_t member = 1; member <= kMembers; ++member) {
      if (gone_.contains(member)) continue;
      Words words(fleet_.options.vector_length);
      const auto proof = fleet_.client(member).Mask(InboxOf(member, ViewOf(InArc(member)).sharers), words);
      ASSERT_TRUE(proof.has_value()) << proof.error().ToString();
      proofs_[member] = proof->signature;
    }
  }

  // What the committee signs, each for the side that it is told of.
  void Confirm(const std::function<bool(std::uint32_t)>& told_of_arc) {
    for (const std::uint32_t member : ledger().committee) {
      if (gone_.contains(member)) continue;
      const bool arc = told_of_arc(member);
      const auto said = fleet_.client(member).Confirm(ViewOf(arc).survivors);
      if (said) confirmed_[arc][member] = said->signature;
    }
  }

  // With every signature that speaks for the side's view.
  UnmaskRequest RequestOf(std::uint32_t member, bool arc) const {
    UnmaskRequest request{.survivors = ViewOf(arc).survivors, .signers = Bytes(BitmapSize(kDegree))};
    for (std::size_t place = 0; place < ledger().committee.size(); ++place) {
      const auto signed_by = confirmed_[arc].find(ledger().committee[place]);
      if (signed_by == confirmed_[arc].end()) continue;
      SetBit(request.signers, place);
      request.signatures.insert(request.signatures.end(), signed_by->second.begin(), signed_by->second.end());
    }
    for (const std::uint32_t neighbour : graph_->Neighbours(member)) {
      if (!TestBit(request.survivors, neighbour - 1)) continue;
      const Bytes& upload = proofs_.at(neighbour);
      request.uploads.insert(request.uploads.end(), upload.begin(), upload.end());
    }
    return request;
  }

  // Asks everybody for the view of its side, and counts who answers and whose seeds can be recovered.
  void AskAll() {
    std::map<std::uint32_t, std::uint32_t> seed_shares;  // by owner
    for (const auto& [member, proof] : proofs_) {
      const UnmaskRequest request = RequestOf(member, InArc(member));
      if (!fleet_.client(member).Unmask(request)) continue;
      ++answered_[InArc(member)];
      for (const std::uint32_t n : graph_->Neighbours(member)) seed_shares[n] += TestBit(request.survivors, n - 1) ? 1 : 0;
    }
    for (const std::uint32_t member : arc_) arc_seeds_ += seed_shares[member] >= kThreshold ? 1 : 0;
  }

  Fleet fleet_{{.members = kMembers,
                .graph = {kDegree, kThreshold},
                .survivors_min = kSurvivorsMin,
                .vector_length = 4,
                .adversary = Adversary::kActive}};
  std::optional<Graph> graph_;
  std::uint32_t start_ = 0;
  std::set<std::uint32_t> arc_, gone_;
  View everybody_, without_border_;
  std::map<std::uint32_t, Bytes> proofs_, confirmed_[2];  // by member; confirmations by whether they are of the arc's view
  std::uint32_t answered_[2] = {0, 0};                    // by whether they are in the arc
  std::uint32_t arc_seeds_ = 0;
};

struct Cut {
  const char* name;
  std::uint32_t start;
  bool by_sharers;
};
std::ostream& operator<<(std::ostream& out, const Cut& cut) { return out << cut.name; }

class SplitViews : public SplitRing, public ::testing::WithParamInterface<Cut> {};
INSTANTIATE_TEST_SUITE_P(Cuts, SplitViews,
                         ::testing::Values(Cut{"SharersArcInCommittee", 4, true}, Cut{"SharersArcAcross", 170, true},
                                           Cut{"SharersArcFarAway", 100, true}, Cut{"SurvivorsArcInCommittee", 4, false},
                                           Cut{"SurvivorsArcAcross", 170, false}, Cut{"SurvivorsArcFarAway", 100, false}),
                         [](const auto& test) { return test.param.name; });

// Each honest member of the committee says what it believes: at most one side hears enough of it.
TEST_P(SplitViews, OnlyOneSideRevealsAnything) {
  Part(GetParam().start, GetParam().by_sharers);
  ASSERT_NO_FATAL_FAILURE(Upload());
  Confirm([this](std::uint32_t member) { return InArc(member); });
  AskAll();
  EXPECT_TRUE(answered_[false] == 0 || answered_[true] == 0) << answered_[false] << " and " << answered_[true];
  EXPECT_LT(arc_seeds_, arc_.size()) << "the sum of the arc needs the seeds of all its members";
}

// Split as evenly as it goes, with 5 members that sign both: 2t = 56 > 50 + 5. A sixth would do: the bound is tight.
TEST_F(SplitRing, TwoViewsNeedAsManyCorruptInTheCommitteeAsTheBoundSays) {
  Part(100, /*by_sharers=*/true);
  ASSERT_NO_FATAL_FAILURE(Upload());
  const auto enough = [this](std::uint32_t corrupt) {
    for (auto& side : confirmed_) side.clear();
    std::uint32_t honest = 0;
    // The clients sign once only, so what they would say is made from their keys.
    for (const std::uint32_t member : ledger().committee) {
      const bool both = corrupt > 0;
      if (both) --corrupt;
      for (const bool arc : {false, true}) {
        if (!both && arc != (honest % 2 == 1)) continue;
        const View& view = ViewOf(arc);
        confirmed_[arc][member] = ToBytes(
            SignSurvivors(fleet_.identities[member - 1], ledger().session, SharersDigest(view.sharers), view.survivors));
      }
      honest += both ? 0 : 1;
    }
    return std::pair(confirmed_[false].size() >= kThreshold, confirmed_[true].size() >= kThreshold);
  };
  EXPECT_EQ(enough(6), std::pair(true, true));
  const auto [outside, inside] = enough(5);
  EXPECT_NE(outside, inside);
  const std::uint32_t in_arc = MemberAt(kArc / 2), far = MemberAt(kArc + 80);
  const auto one = fleet_.client(in_arc).Unmask(RequestOf(in_arc, true)),
             other = fleet_.client(far).Unmask(RequestOf(far, false));
  EXPECT_EQ(one.has_value(), inside) << one.error().ToString();
  EXPECT_EQ(other.has_value(), outside) << other.error().ToString();
}

// The side that has the committee does not answer for survivors that masked for other sharers.
TEST_F(SplitRing, UploadsForOtherSharersKeepTheirNeighboursFromAnswering) {
  Part(100, /*by_sharers=*/true);
  ASSERT_NO_FATAL_FAILURE(Upload());
  Confirm([](std::uint32_t) { return false; });
  std::uint32_t refused = 0;
  for (std::uint32_t place = kArc + kGone; place < kMembers - kGone; ++place) {
    const std::uint32_t member = MemberAt(place);
    const bool at_border = std::ranges::any_of(graph_->Neighbours(member), [&](std::uint32_t n) { return InArc(n); });
    const auto answer = fleet_.client(member).Unmask(RequestOf(member, false));
    EXPECT_EQ(answer.has_value(), !at_border) << member;
    EXPECT_EQ(answer ? "UNCONFIRMED" : answer.error().reason(), "UNCONFIRMED");
    refused += at_border ? 1 : 0;
  }
  EXPECT_EQ(refused, 2 * (kDegree / 2 - kGone)) << "those beyond the arc's ends, as far as they have neighbours in it";
}

// The sides' confirmations do not serve each other: they name the sharers.
TEST_F(SplitRing, ConfirmationsOfOtherSharersDoNotCount) {
  Part(100, /*by_sharers=*/true);
  ASSERT_NO_FATAL_FAILURE(Upload());
  for (const std::uint32_t member : ledger().committee) {
    confirmed_[true][member] = ToBytes(SignSurvivors(fleet_.identities[member - 1], ledger().session,
                                                     SharersDigest(everybody_.sharers), without_border_.survivors));
  }
  const std::uint32_t member = MemberAt(kArc / 2);
  const auto answer = fleet_.client(member).Unmask(RequestOf(member, true));
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().reason(), "UNCONFIRMED");
}

// One set of sharers for all, but inboxes that leave some of them out: refused before anything is masked.
TEST_F(SplitRing, InboxesThatDoNotFitTheSharers) {
  Part(100, /*by_sharers=*/true);
  for (std::uint32_t place = 0; place < kArc; ++place) {
    Inbox inbox = InboxOf(MemberAt(place), without_border_.sharers);
    inbox.sharers = everybody_.sharers;
    Words words(fleet_.options.vector_length);
    const auto masked = fleet_.client(MemberAt(place)).Mask(inbox, words);
    ASSERT_FALSE(masked.has_value()) << place;
    EXPECT_EQ(masked.error().reason(), "BAD_INBOX");
  }
}

// All are told the same, but with a run of k/2 places that is without survivors, or nearly: too many together to be chance,
// however few they are in all. Nobody says a word about such survivors.
TEST_F(SplitRing, SurvivorsThatLeaveHolesInTheRing) {
  const auto confirm = [&](std::uint32_t hidden) {
    std::vector<std::uint32_t> survivors;
    for (std::uint32_t place = 0; place < kMembers; ++place) {
      if (place < kDegree || place >= kDegree + hidden) survivors.push_back(MemberAt(place));
    }
    const auto said = fleet_.client(MemberAt(0)).Confirm(BitmapOf(survivors, kMembers));
    return said ? std::string() : said.error().reason();
  };
  Part(0, /*by_sharers=*/false);
  without_border_.sharers = everybody_.sharers;
  ASSERT_NO_FATAL_FAILURE(Upload());
  EXPECT_EQ(confirm(kDegree / 2), "DISCONNECTED");
  EXPECT_EQ(confirm(23), "DISCONNECTED");
  EXPECT_EQ(confirm(22), "");
}

}  // namespace
}  // namespace edgefleet::secagg
