// Session ids bind everything that the parties must agree on.
#include "secagg/session.h"

#include <gtest/gtest.h>

#include <bit>
#include <functional>
#include <set>

#include "base/random.h"
#include "secagg/field_digest.h"
#include "secagg/roster.h"

namespace edgefleet::secagg {
namespace {

RoundSetup SampleSetup() {
  return {.config = {.round_id = "round", .vector_length = 10, .element_bits = 20},
          .members = 5,
          .graph = {4, 3},
          .survivors_min = 4,
          .server_nonce = Bytes(kDigestSize),
          .roster_digest = Bytes(kDigestSize)};
}

TEST(SessionIds, DifferInEveryField) {
  const std::vector<std::function<void(RoundSetup&)>> changes{
      [](RoundSetup&) {},
      [](RoundSetup& s) { s.config.round_id = "rounc"; },
      [](RoundSetup& s) { s.config.adversary = Adversary::kActive; },
      [](RoundSetup& s) { s.config.cipher = MaskCipher::kAes128Ctr; },
      [](RoundSetup& s) { s.config.vector_length = 11; },
      [](RoundSetup& s) { s.config.element_bits = 21; },
      [](RoundSetup& s) { s.members = 6; },
      [](RoundSetup& s) { s.graph.degree = 2; },
      [](RoundSetup& s) { s.graph.threshold = 4; },
      [](RoundSetup& s) { s.survivors_min = 5; },
      [](RoundSetup& s) { s.server_nonce[31] = std::byte{1}; },
      [](RoundSetup& s) { s.roster_digest[0] = std::byte{1}; },
      [](RoundSetup& s) { s.fingerprints = Bytes(5 * kFingerprintSize); },
      [](RoundSetup& s) { s.fingerprints = Bytes(4 * kFingerprintSize); },
  };
  std::set<SessionId> ids;
  for (const auto& change : changes) {
    RoundSetup setup = SampleSetup();
    change(setup);
    EXPECT_TRUE(ids.insert(SessionIdOf(setup)).second) << ids.size();
  }
}

TEST(SessionIds, AreTheSameForAllMembers) {
  RoundSetup other = SampleSetup();
  other.index = 3;
  other.roster_path = Bytes(3 * kDigestSize);
  other.neighbours.resize(4);
  other.committee.resize(1);
  EXPECT_EQ(SessionIdOf(SampleSetup()), SessionIdOf(other));
}

TEST(RosterDigests, DifferInEveryFieldAndInOrder) {
  const KeyAdvert advert{Bytes(32, std::byte{1}), Bytes(32, std::byte{2})};
  const KeyAdvert other{Bytes(32, std::byte{3}), Bytes(32, std::byte{4})};
  KeyAdvert signed_advert = advert;
  signed_advert.signature = Bytes(64);
  KeyAdvert swapped{advert.mask_public_key, advert.cipher_public_key};
  const std::vector<std::vector<KeyAdvert>> rosters{{advert}, {advert, other}, {other, advert},
                                                    {other},  {signed_advert}, {swapped}};
  std::set<crypto::Sha256Digest> digests;
  for (const auto& roster : rosters) EXPECT_TRUE(digests.insert(RosterDigest(roster)).second) << digests.size();
}

std::vector<KeyAdvert> Adverts(std::uint32_t count) {
  std::vector<KeyAdvert> adverts;
  for (std::uint32_t i = 0; i < count; ++i) {
    KeyAdvert advert{Bytes(32, static_cast<std::byte>(i)), Bytes(32, static_cast<std::byte>(i >> 8))};
    adverts.push_back(std::move(advert));
  }
  return adverts;
}

// RFC 6962, section 2.1, as it is written there: recursive, divided at the largest power of two below n.
crypto::Sha256Digest Reference(std::span<const KeyAdvert> adverts) {
  if (adverts.size() == 1) return RosterDigest(adverts);
  const std::size_t left = std::bit_floor(adverts.size() - 1);
  const auto one = Reference(adverts.first(left)), other = Reference(adverts.subspan(left));
  return FieldDigest("edgefleet/secagg/v1/roster-node").Add(one).Add(other).Finish();
}

TEST(RosterTrees, PathsLeadEachMemberToTheRoot) {
  for (const std::uint32_t n : {1U, 2U, 3U, 4U, 5U, 7U, 8U, 13U, 64U, 65U, 300U}) {
    const auto adverts = Adverts(n);
    const RosterTree tree(adverts);
    EXPECT_EQ(tree.root(), Reference(adverts)) << n;
    for (std::uint32_t index = 1; index <= n; ++index) {
      const Bytes path = tree.Path(index);
      EXPECT_LE(path.size(), std::bit_width(n - 1) * kDigestSize);
      EXPECT_EQ(RosterDigestOf(adverts[index - 1], index, n, path), tree.root()) << index << " of " << n;
    }
  }
  const auto most = Adverts(kMembersMax);
  EXPECT_EQ(RosterTree(most).Path(kMembersMax).size(), kRosterLevelsMax * kDigestSize);
}

TEST(RosterTrees, OtherKeysPlacesAndPathsDoNot) {
  for (const std::uint32_t n : {2U, 5U, 8U, 13U}) {
    const auto adverts = Adverts(n);
    const RosterTree tree(adverts);
    for (std::uint32_t index = 1; index <= n; ++index) {
      const KeyAdvert& own = adverts[index - 1];
      const Bytes path = tree.Path(index);
      const auto leads = [&](const KeyAdvert& advert, std::uint32_t at, std::uint32_t of, const Bytes& by) {
        const auto digest = RosterDigestOf(advert, at, of, by);
        return digest && *digest == tree.root();
      };
      ASSERT_TRUE(leads(own, index, n, path));
      EXPECT_FALSE(leads(adverts[index % n], index, n, path));
      for (std::uint32_t other = 0; other <= n + 1; ++other) {
        EXPECT_EQ(leads(own, other, n, path), other == index) << other << " for " << index << " of " << n;
      }
      Bytes altered = path;
      altered.back() ^= std::byte{1};
      EXPECT_FALSE(leads(own, index, n, altered));
      altered = path;
      altered.pop_back();
      EXPECT_FALSE(leads(own, index, n, altered));
      altered = path;
      altered.resize(path.size() + kDigestSize);
      EXPECT_FALSE(leads(own, index, n, altered));
      altered.resize(std::size_t{1} << 20);
      EXPECT_FALSE(leads(own, index, n, altered));
      EXPECT_FALSE(leads(own, index, n, {}));
    }
  }
}

// Dropouts that chance spreads over the ring pass; as many of them in one place, where a server that knows the ring would have
// put them, do not.
TEST(Connected, RefusesDropoutsThatLieTogetherOnTheRing) {
  constexpr std::uint32_t kMembers = 1000, kDropouts = 100;
  const Graph graph(SessionIdOf(SampleSetup()), kMembers, 120);
  SeededRandom random(3);
  const auto check = [&](const std::function<std::size_t(std::size_t)>& place_of) {
    Bytes survivors(BitmapSize(kMembers), std::byte{0xFF});
    for (std::size_t i = 0; i < kDropouts; ++i) {
      const std::uint32_t member = graph.ring()[place_of(i) % kMembers];
      survivors[(member - 1) / 8] &= ~(std::byte{1} << ((member - 1) % 8));
    }
    return CheckConnected(graph, 87, survivors, 0.1).reason();
  };
  for (int i = 0; i < 50; ++i) EXPECT_EQ(check([&](std::size_t) { return random.Below(kMembers); }), "");
  EXPECT_EQ(check([](std::size_t i) { return 10 * i; }), "");
  EXPECT_EQ(check([](std::size_t i) { return 980 + i; }), "DISCONNECTED");  // also across the ring's seam
  EXPECT_EQ(check([](std::size_t i) { return i % 2 == 0 ? i / 2 : 500 + i / 2; }), "DISCONNECTED");  // two runs
}

TEST(Committees, AreTheFirstPlacesOfTheRing) {
  for (const std::uint32_t degree : {4U, 7U, 8U}) {
    const Graph graph(SessionIdOf(SampleSetup()), degree == 7 ? 8 : 9, degree);
    const auto committee = CommitteeOf(graph);
    EXPECT_EQ(std::vector(committee.begin(), committee.end()),
              std::vector(graph.ring().begin(), graph.ring().begin() + degree));
  }
}

TEST(Connected, ACompleteGraphCannotBeParted) {
  const Graph graph(SessionIdOf(SampleSetup()), 9, 8);
  EXPECT_TRUE(CheckConnected(graph, 5, Bytes{std::byte{0x03}, std::byte{0}}, 0.4).ok());
}

TEST(Bitmaps, AreCheckedToTheLastBit) {
  EXPECT_TRUE(IsBitmapOf(Bytes{std::byte{0xFF}}, 8));
  EXPECT_TRUE(IsBitmapOf(Bytes{std::byte{0x7F}}, 7));
  EXPECT_FALSE(IsBitmapOf(Bytes{std::byte{0x80}}, 7));
  EXPECT_FALSE(IsBitmapOf(Bytes{}, 1));
  EXPECT_FALSE(IsBitmapOf(Bytes(2), 8));
  EXPECT_TRUE(IsBitmapOf(Bytes{}, 0));
  Bytes bitmap(2);
  SetBit(bitmap, 0);
  SetBit(bitmap, 9);
  EXPECT_EQ(CountBits(bitmap), 2U);
  EXPECT_TRUE(TestBit(bitmap, 9));
  EXPECT_FALSE(TestBit(bitmap, 8));
}

}  // namespace
}  // namespace edgefleet::secagg
