// A hostile server, alone, that would part the ring: it wants the sum of an arc of members, far below survivors_min. It tells
// the arc that the members beyond its ends have not shared keys, everybody else that all have, and does not ask those to
// confirm that would notice. Then those beside the borders that upload are survivors to both sides, and unless the sides'
// shares of their seeds were bound to what each side was told, they would add up to t.
#include <gtest/gtest.h>

#include <algorithm>
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
  void SetUp() override {
    for (std::uint32_t i = 1; i <= kMembers; ++i) {
      ClientOptions options = fleet_.OptionsOf(i);
      options.policy.corrupt_fraction = kCorrupt;
      fleet_.clients[i - 1] = Client(options, fleet_.guards[i - 1], fleet_.random);
    }
    ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
    ASSERT_TRUE(fleet_.ShareAndClose().ok());
    graph_.emplace(GraphSeed(fleet_.server.ledger().session), kMembers, kDegree);
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
    without_border_ = {BitmapOf(near, kMembers), BitmapOf(survivors_of_near, kMembers)};
  }

  // What the server says to a member about who takes part.
  struct View {
    Bytes sharers, survivors;
  };

  // Ring places from the arc's first member on.
  std::uint32_t MemberAt(std::uint32_t place) const { return graph_->ring()[place % kMembers]; }
  static std::uint32_t Beyond(std::uint32_t place) { return std::min(place - kArc + 1, kMembers - place); }
  bool InArc(std::uint32_t member) const { return arc_.contains(member); }
  const View& ViewOf(std::uint32_t member) const { return InArc(member) ? without_border_ : everybody_; }

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
      const auto proof = fleet_.client(member).Mask(InboxOf(member, ViewOf(member).sharers), words);
      ASSERT_TRUE(proof.has_value()) << proof.error().ToString();
      proofs_[member] = proof->signature;
    }
  }
  void Confirm() {
    for (std::uint32_t place = 0; place < kMembers; ++place) {
      const bool silent = place < kArc && (place < kSilent || place >= kArc - kSilent);
      const std::uint32_t member = MemberAt(place);
      if (gone_.contains(member) || silent) continue;
      const auto said = fleet_.client(member).Confirm(ViewOf(member).survivors);
      ASSERT_TRUE(said.has_value()) << said.error().ToString();
      confirmed_[member] = said->signature;
    }
  }
  // With every signature that speaks for the member's view.
  UnmaskRequest RequestOf(std::uint32_t member) const {
    const auto neighbours = graph_->Neighbours(member);
    UnmaskRequest request{.survivors = ViewOf(member).survivors, .signers = Bytes(BitmapSize(neighbours.size()))};
    for (std::size_t place = 0; place < neighbours.size(); ++place) {
      const auto signed_by = confirmed_.find(neighbours[place]);
      if (signed_by != confirmed_.end() && InArc(neighbours[place]) == InArc(member)) {
        SetBit(request.signers, place);
        request.signatures.insert(request.signatures.end(), signed_by->second.begin(), signed_by->second.end());
      }
      if (!TestBit(request.survivors, neighbours[place] - 1)) continue;
      const Bytes& upload = proofs_.at(neighbours[place]);
      request.uploads.insert(request.uploads.end(), upload.begin(), upload.end());
    }
    return request;
  }

  Fleet fleet_{{.members = kMembers,
                .graph = {kDegree, kThreshold},
                .survivors_min = kSurvivorsMin,
                .vector_length = 4,
                .adversary = Adversary::kActive}};
  std::optional<Graph> graph_;
  std::set<std::uint32_t> arc_, gone_;
  View everybody_, without_border_;
  std::map<std::uint32_t, Bytes> proofs_, confirmed_;
};

// All that one member alone can check is in order, so the sides do confirm. But nobody whose surviving neighbours masked for
// other sharers reveals a share, and without theirs the seeds at the arc's ends stay secret.
TEST_F(SplitRing, SharesOfOneSeedComeFromOneSideOnly) {
  ASSERT_NO_FATAL_FAILURE(Upload());
  ASSERT_NO_FATAL_FAILURE(Confirm());
  std::map<std::uint32_t, std::uint32_t> seed_shares;  // by owner
  std::uint32_t refused = 0, answered[2] = {0, 0};
  for (const auto& [member, own] : confirmed_) {
    const UnmaskRequest request = RequestOf(member);
    const auto neighbours = graph_->Neighbours(member);
    const auto of_other_side = [&](std::uint32_t n) { return TestBit(request.survivors, n - 1) && InArc(n) != InArc(member); };
    const bool at_border = std::ranges::any_of(neighbours, of_other_side);
    const auto answer = fleet_.client(member).Unmask(request);
    if (at_border) {
      ASSERT_FALSE(answer.has_value()) << member;
      EXPECT_EQ(answer.error().reason(), "UNCONFIRMED");
      ++refused;
    }
    if (!answer) continue;
    ++answered[InArc(member)];
    for (const std::uint32_t n : neighbours) seed_shares[n] += TestBit(request.survivors, n - 1) ? 1 : 0;
  }
  EXPECT_EQ(refused, 2 * (kDegree / 2 - kGone)) << "those beyond the arc's ends, as far as they have neighbours in it";
  EXPECT_GT(answered[true], 0U);
  EXPECT_GT(answered[false], 0U);
  std::uint32_t hidden = 0;
  for (const std::uint32_t member : arc_) hidden += seed_shares[member] < kThreshold ? 1 : 0;
  EXPECT_GE(hidden, 2 * kSilent) << "the sum of the arc needs the seeds of all its members";
}

// The sides' confirmations do not serve each other either: they name the sharers.
TEST_F(SplitRing, ConfirmationsOfOtherSharersDoNotCount) {
  ASSERT_NO_FATAL_FAILURE(Upload());
  const std::uint32_t member = MemberAt(kArc / 2);
  ASSERT_TRUE(fleet_.client(member).Confirm(without_border_.survivors).has_value());
  UnmaskRequest request = RequestOf(member);
  const auto neighbours = graph_->Neighbours(member);
  for (std::size_t place = 0; place < neighbours.size(); ++place) {
    if (!InArc(neighbours[place])) continue;
    SetBit(request.signers, place);
    const auto signature = SignSurvivors(fleet_.identities[neighbours[place] - 1], fleet_.server.ledger().session,
                                         SharersDigest(everybody_.sharers), request.survivors);
    request.signatures.insert(request.signatures.end(), signature.begin(), signature.end());
  }
  const auto answer = fleet_.client(member).Unmask(request);
  ASSERT_FALSE(answer.has_value());
  EXPECT_EQ(answer.error().reason(), "UNCONFIRMED");
}

// One set of sharers for all, but inboxes that leave some of them out: refused before anything is masked.
TEST_F(SplitRing, InboxesThatDoNotFitTheSharers) {
  for (std::uint32_t place = 0; place < kArc; ++place) {
    Inbox inbox = InboxOf(MemberAt(place), without_border_.sharers);
    inbox.sharers = everybody_.sharers;
    Words words(fleet_.options.vector_length);
    const auto masked = fleet_.client(MemberAt(place)).Mask(inbox, words);
    ASSERT_FALSE(masked.has_value()) << place;
    EXPECT_EQ(masked.error().reason(), "BAD_INBOX");
  }
}

// A whole run of k/2 places without sharers on one side of the arc: too many together to be chance, however few they are in
// all.
TEST_F(SplitRing, SharersWithoutAWholeRunOfTheRing) {
  const std::uint32_t member = MemberAt(kArc / 2);
  const auto mask = [&](std::uint32_t hidden) {
    Bytes sharers = everybody_.sharers;
    for (std::uint32_t place = kArc; place < kArc + hidden; ++place) {
      const std::uint32_t at = MemberAt(place) - 1;
      sharers[at / 8] &= ~(std::byte{1} << (at % 8));
    }
    Words words(fleet_.options.vector_length);
    const auto masked = fleet_.client(member).Mask(InboxOf(member, sharers), words);
    return masked ? std::string() : masked.error().reason();
  };
  ASSERT_EQ(TolerableCut(kMembers, kDegree, kCorrupt), 45U);
  EXPECT_EQ(mask(kDegree / 2), "DISCONNECTED");
  EXPECT_EQ(mask(23), "DISCONNECTED");
  EXPECT_EQ(mask(22), "");
}

}  // namespace
}  // namespace edgefleet::secagg
