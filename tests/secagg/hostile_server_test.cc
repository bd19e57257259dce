// What a hostile server may tell a device: each is refused with its reason, changes nothing, and the honest message still works
// after.
#include <gtest/gtest.h>

#include <functional>
#include <map>

#include "secagg/server_states.h"
#include "secagg/session.h"
#include "tests/secagg/fleet.h"

namespace edgefleet::secagg {
namespace {

using testing::BitmapOf;
using testing::Fleet;
using testing::FleetOptions;
using testing::kRound;
using testing::LeavingOut;
using testing::Words;

constexpr std::uint64_t kLength = 6;

FleetOptions Options(Adversary adversary, std::uint32_t members, GraphParameters graph, std::uint32_t survivors_min) {
  return {.members = members, .graph = graph, .survivors_min = survivors_min, .vector_length = kLength, .adversary = adversary};
}

FleetOptions Complete(Adversary adversary) { return Options(adversary, 5, {4, 3}, 3); }

template <typename T>
std::string Reason(const Result<T>& result) {
  return result ? "" : result.error().reason();
}

class HostileServer : public ::testing::TestWithParam<Adversary> {
 protected:
  bool active() const { return GetParam() == Adversary::kActive; }
  Fleet fleet_{Complete(GetParam())};
};
INSTANTIATE_TEST_SUITE_P(Variants, HostileServer, ::testing::Values(Adversary::kSemiHonest, Adversary::kActive));

// One altered field of the setup of member 2.
struct SetupCase {
  const char* what;
  std::function<void(RoundSetup&)> alter;
  const char* reason;
};

Bytes LowOrderPoint() { return Bytes(kKeySize); }

const SetupCase kSetupCases[] = {
    {"another round", [](RoundSetup& s) { s.config.round_id = "round-8"; }, "BAD_SETUP"},
    {"no such variant", [](RoundSetup& s) { s.config.adversary = static_cast<Adversary>(9); }, "BAD_SETUP"},
    {"the other variant",
     [](RoundSetup& s) {
       s.config.adversary = s.config.adversary == Adversary::kActive ? Adversary::kSemiHonest : Adversary::kActive;
     },
     "BAD_SETUP"},
    {"no such cipher", [](RoundSetup& s) { s.config.cipher = static_cast<MaskCipher>(9); }, "BAD_SETUP"},
    {"no elements", [](RoundSetup& s) { s.config.vector_length = 0; }, "BAD_SETUP"},
    {"absurdly many elements", [](RoundSetup& s) { s.config.vector_length = ~0ULL; }, "BAD_SETUP"},
    {"elements of no bits", [](RoundSetup& s) { s.config.element_bits = 0; }, "BAD_SETUP"},
    {"elements of 33 bits", [](RoundSetup& s) { s.config.element_bits = 33; }, "BAD_SETUP"},
    {"no members", [](RoundSetup& s) { s.members = 0; }, "BAD_SETUP"},
    {"absurdly many members", [](RoundSetup& s) { s.members = ~0U; }, "BAD_SETUP"},
    {"a degree that makes no graph", [](RoundSetup& s) { s.graph.degree = 3; }, "BAD_SETUP"},
    {"degree 0", [](RoundSetup& s) { s.graph.degree = 0; }, "BAD_SETUP"},
    {"threshold 1", [](RoundSetup& s) { s.graph.threshold = 1; }, "BAD_SETUP"},
    {"a threshold above the degree", [](RoundSetup& s) { s.graph.threshold = 5; }, "BAD_SETUP"},
    {"sums of one", [](RoundSetup& s) { s.survivors_min = 1; }, "BAD_SETUP"},
    {"sums of more than all", [](RoundSetup& s) { s.survivors_min = 6; }, "BAD_SETUP"},
    {"a short nonce", [](RoundSetup& s) { s.server_nonce.pop_back(); }, "BAD_SETUP"},
    {"a long digest", [](RoundSetup& s) { s.roster_digest.push_back(std::byte{0}); }, "BAD_SETUP"},
    {"another roster's digest", [](RoundSetup& s) { s.roster_digest[0] ^= std::byte{1}; }, "BAD_SETUP"},
    {"no path to the digest", [](RoundSetup& s) { s.roster_path.clear(); }, "BAD_SETUP"},
    {"a short path", [](RoundSetup& s) { s.roster_path.pop_back(); }, "BAD_SETUP"},
    {"an absurdly long path", [](RoundSetup& s) { s.roster_path.resize(1 << 20); }, "BAD_SETUP"},
    {"another path", [](RoundSetup& s) { s.roster_path[40] ^= std::byte{1}; }, "BAD_SETUP"},
    {"index 0", [](RoundSetup& s) { s.index = 0; }, "BAD_SETUP"},
    {"an index beyond the roster", [](RoundSetup& s) { s.index = 6; }, "BAD_SETUP"},
    {"a neighbour missing", [](RoundSetup& s) { s.neighbours.pop_back(); }, "BAD_ROSTER"},
    {"a neighbour too many", [](RoundSetup& s) { s.neighbours.push_back(s.neighbours[0]); }, "BAD_ROSTER"},
    {"a neighbour twice", [](RoundSetup& s) { s.neighbours[0] = s.neighbours[1]; }, "BAD_ROSTER"},
    {"one key for both purposes", [](RoundSetup& s) { s.neighbours[0].mask_public_key = s.neighbours[0].cipher_public_key; },
     "BAD_ROSTER"},
    {"a short key", [](RoundSetup& s) { s.neighbours[0].mask_public_key.pop_back(); }, "BAD_ROSTER"},
    {"an absurdly long key", [](RoundSetup& s) { s.neighbours[0].cipher_public_key.resize(1 << 20); }, "BAD_ROSTER"},
    {"a low-order cipher key", [](RoundSetup& s) { s.neighbours[0].cipher_public_key = LowOrderPoint(); }, ""},
    {"a low-order mask key", [](RoundSetup& s) { s.neighbours[0].mask_public_key = LowOrderPoint(); }, ""},
    {"a substituted key", [](RoundSetup& s) { s.neighbours[2].mask_public_key[5] ^= std::byte{1}; }, ""},
};

TEST_P(HostileServer, AlteredSetups) {
  ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
  const RoundSetup setup = fleet_.server.Setup(2).value();
  for (const SetupCase& c : kSetupCases) {
    SCOPED_TRACE(c.what);
    RoundSetup altered = setup;
    c.alter(altered);
    const std::string reason = Reason(fleet_.client(2).ShareKeys(altered));
    EXPECT_NE(reason, "");
    if (*c.reason != '\0') {
      EXPECT_EQ(reason, c.reason);
    }
    EXPECT_EQ(fleet_.client(2).state(), "advertised");
  }
  EXPECT_TRUE(fleet_.client(2).ShareKeys(setup).has_value());
}

// In a sparse graph a semi-honest server's word is taken for members that are no neighbours; low-order points never pass.
TEST(HostileServerSparse, LowOrderPointsAmongTheNeighbours) {
  Fleet fleet(Options(Adversary::kSemiHonest, 40, {16, 9}, 33));
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  for (const bool mask : {false, true}) {
    RoundSetup setup = fleet.server.Setup(7).value();
    (mask ? setup.neighbours[3].mask_public_key : setup.neighbours[3].cipher_public_key) = LowOrderPoint();
    EXPECT_EQ(Reason(fleet.client(7).ShareKeys(setup)), "BAD_KEY");
  }
}

// A digest that the server chose before anybody advertised keys: then nothing in the session would be a device's contribution,
// and the server could look for a session, and so for a ring, for as long as it likes.
TEST(HostileServerSparse, RosterDigestsWithoutThisDevicesKeys) {
  for (const Adversary adversary : {Adversary::kSemiHonest, Adversary::kActive}) {
    Fleet fleet(Options(adversary, 40, {16, 9}, 33));
    ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
    RoundSetup setup = fleet.server.Setup(7).value();
    const auto refused = [&](const char* what) {
      const Graph graph(GraphSeed(SessionIdOf(setup)), 40, 16);
      setup.neighbours.clear();
      for (const std::uint32_t neighbour : graph.Neighbours(7)) {
        setup.neighbours.push_back(fleet.server.ledger().adverts[neighbour - 1]);
        setup.neighbours.back().identity_key.clear();
      }
      EXPECT_EQ(Reason(fleet.client(7).ShareKeys(setup)), "BAD_SETUP") << what;
    };
    setup.roster_digest = Bytes(kDigestSize);  // known years ahead
    refused("a digest of nothing");
    std::vector<KeyAdvert> others = fleet.server.ledger().adverts;
    others[6].cipher_public_key[0] ^= std::byte{1};
    const RosterTree tree(others);
    setup.roster_digest = ToBytes(tree.root());
    setup.roster_path = tree.Path(7);
    refused("a roster with another key in this device's place");
    EXPECT_TRUE(fleet.client(7).ShareKeys(fleet.server.Setup(7).value()).has_value());
  }
}

TEST(HostileServerActive, IdentitiesThatAreNotWhatTheySeem) {
  Fleet fleet(Options(Adversary::kActive, 40, {16, 9}, 33));
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  const RoundSetup setup = fleet.server.Setup(7).value();
  const auto refused = [&](const char* what, const std::function<void(RoundSetup&)>& alter, const char* expected) {
    RoundSetup altered = setup;
    alter(altered);
    EXPECT_EQ(Reason(fleet.client(7).ShareKeys(altered)), expected) << what;
    EXPECT_EQ(fleet.client(7).state(), "advertised");
  };
  const auto fingerprint = [](RoundSetup& s, std::uint32_t index) {
    return std::span(s.fingerprints).subspan((index - 1) * kFingerprintSize, kFingerprintSize);
  };
  // A changed fingerprint changes the session and so the graph: the adverts then belong to other neighbours.
  refused(
      "another identity", [&](RoundSetup& s) { fingerprint(s, 20)[0] ^= std::byte{1}; }, "BAD_ROSTER");
  refused(
      "an identity twice", [&](RoundSetup& s) { std::ranges::copy(fingerprint(s, 20), fingerprint(s, 21).begin()); },
      "BAD_SIGNATURE");
  refused(
      "own identity elsewhere",
      [&](RoundSetup& s) { std::swap_ranges(fingerprint(s, 7).begin(), fingerprint(s, 7).end(), fingerprint(s, 8).begin()); },
      "BAD_ROSTER");
  refused(
      "an index that is not its own", [](RoundSetup& s) { s.index = 8; }, "BAD_SETUP");
  refused(
      "too few fingerprints", [](RoundSetup& s) { s.fingerprints.resize(39 * kFingerprintSize); }, "BAD_ROSTER");
  refused(
      "another neighbour's advert", [](RoundSetup& s) { s.neighbours[0] = s.neighbours[1]; }, "BAD_ROSTER");
  refused(
      "neighbours swapped", [](RoundSetup& s) { std::swap(s.neighbours[0], s.neighbours[1]); }, "BAD_ROSTER");
  refused(
      "a substituted key", [](RoundSetup& s) { s.neighbours[0].cipher_public_key[3] ^= std::byte{1}; }, "BAD_SIGNATURE");
  refused(
      "a forged signature", [](RoundSetup& s) { s.neighbours[0].signature[3] ^= std::byte{1}; }, "BAD_SIGNATURE");
  refused(
      "a forged certificate", [](RoundSetup& s) { s.neighbours[0].certificate[3] ^= std::byte{1}; }, "BAD_SIGNATURE");
  refused(
      "no signature", [](RoundSetup& s) { s.neighbours[0].signature.clear(); }, "BAD_SIGNATURE");
  refused(
      "another nonce, and so another graph", [](RoundSetup& s) { s.server_nonce[0] ^= std::byte{1}; }, "BAD_ROSTER");
  EXPECT_TRUE(fleet.client(7).ShareKeys(setup).has_value());
}

// Those who speak for all: a server that could put its own in their place could have two sets of survivors confirmed.
TEST(HostileServerActive, CommitteesThatAreNotTheRings) {
  Fleet fleet(Options(Adversary::kActive, 40, {16, 9}, 33));
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  const RoundSetup setup = fleet.server.Setup(7).value();
  ASSERT_GE(setup.committee.size(), 2U);
  const auto refused = [&](const char* what, const std::function<void(RoundSetup&)>& alter, const char* expected) {
    RoundSetup altered = setup;
    alter(altered);
    EXPECT_EQ(Reason(fleet.client(7).ShareKeys(altered)), expected) << what;
    EXPECT_EQ(fleet.client(7).state(), "advertised");
  };
  const auto stranger = crypto::Ed25519SecretKey::FromSeed(Bytes(32, std::byte{9})).value();
  refused(
      "none", [](RoundSetup& s) { s.committee.clear(); }, "BAD_ROSTER");
  refused(
      "one too few", [](RoundSetup& s) { s.committee.pop_back(); }, "BAD_ROSTER");
  refused(
      "one too many", [](RoundSetup& s) { s.committee.push_back(s.committee[0]); }, "BAD_ROSTER");
  refused(
      "two swapped", [](RoundSetup& s) { std::swap(s.committee[0], s.committee[1]); }, "BAD_ROSTER");
  refused(
      "one twice", [](RoundSetup& s) { s.committee[1] = s.committee[0]; }, "BAD_ROSTER");
  refused(
      "an enrolled stranger",
      [&](RoundSetup& s) {
        s.committee[0] = {ToBytes(stranger.public_key()), ToBytes(EnrolIdentity(fleet.authority, stranger.public_key()))};
      },
      "BAD_ROSTER");
  refused(
      "a neighbour",
      [](RoundSetup& s) {
        s.committee[0] = {s.neighbours[0].identity_key, s.neighbours[0].certificate};
      },
      "BAD_ROSTER");
  refused(
      "a forged certificate", [](RoundSetup& s) { s.committee[0].certificate[3] ^= std::byte{1}; }, "BAD_SIGNATURE");
  refused(
      "no certificate", [](RoundSetup& s) { s.committee[0].certificate.clear(); }, "BAD_SIGNATURE");
  refused(
      "a short identity", [](RoundSetup& s) { s.committee[0].identity_key.pop_back(); }, "BAD_ROSTER");
  EXPECT_TRUE(fleet.client(7).ShareKeys(setup).has_value());
}

// The advert of a member in an earlier round, which the server replays in this one.
TEST(HostileServerActive, AdvertsOfAnotherRound) {
  Fleet fleet(Complete(Adversary::kActive));
  ClientOptions options = fleet.OptionsOf(1);
  options.round_id = "round-6";
  MemoryGuard guard;
  const KeyAdvert replayed = Client(options, guard, fleet.random).AdvertiseKeys().value();
  EXPECT_EQ(Reason(fleet.server.AddAdvert(replayed)), "BAD_SIGNATURE");
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  RoundSetup setup = fleet.server.Setup(2).value();
  setup.neighbours[0] = replayed;
  EXPECT_NE(Reason(fleet.client(2).ShareKeys(setup)), "");
}

TEST_P(HostileServer, ParametersThatDoNotProtect) {
  const auto reason = [&](FleetOptions options, double corrupt, std::uint32_t members_min, std::uint32_t survivors_min) {
    Fleet fleet(options);
    EXPECT_TRUE(fleet.AdvertiseAndClose().ok());
    ClientOptions picky = fleet.OptionsOf(1);
    picky.policy.corrupt_fraction = corrupt;
    picky.policy.members_min = members_min;
    picky.policy.survivors_min = survivors_min;
    // The same random source again makes the same keys.
    SeededRandom random(5);
    Fleet probe(options);
    MemoryGuard guard;
    Client client(picky, guard, probe.random);
    EXPECT_TRUE(probe.server.AddAdvert(client.AdvertiseKeys().value()).has_value());
    for (std::uint32_t i = 2; i <= options.members; ++i) {
      EXPECT_TRUE(probe.server.AddAdvert(probe.client(i).AdvertiseKeys().value()).has_value());
    }
    EXPECT_TRUE(probe.server.CloseRoster(options.graph, options.survivors_min).ok());
    return Reason(client.ShareKeys(probe.server.Setup(1).value()));
  };
  const FleetOptions small = Complete(GetParam());
  EXPECT_EQ(reason(small, 0.1, 3, 2), "");
  EXPECT_EQ(reason(small, 0.1, 6, 2), "POLICY_REFUSES");
  EXPECT_EQ(reason(small, 0.1, 3, 4), "POLICY_REFUSES");
  EXPECT_EQ(reason(small, 0.7, 3, 2), "UNSAFE_PARAMETERS");
  const FleetOptions ring = Options(GetParam(), 40, {8, 6}, 20);
  EXPECT_EQ(reason(ring, 0.2, 3, 2), "UNSAFE_PARAMETERS") << "20 of 40 may drop: eight in two runs are no wonder";
}

TEST(HostileServerPolicy, SemiHonestRoundsForDevicesThatDemandMore) {
  Fleet fleet(Complete(Adversary::kSemiHonest));
  ClientOptions options = fleet.OptionsOf(1);
  options.policy.adversary = Adversary::kActive;
  MemoryGuard guard;
  EXPECT_EQ(Reason(Client(options, guard, fleet.random).AdvertiseKeys()), "POLICY_REFUSES");
}

TEST(HostileServerPolicy, ActiveRoundsNeedAnIdentityAndAnAuthority) {
  Fleet fleet(Complete(Adversary::kActive));
  MemoryGuard guard;
  ClientOptions options = fleet.OptionsOf(1);
  options.identity.reset();
  EXPECT_EQ(Reason(Client(options, guard, fleet.random).AdvertiseKeys()), "NO_IDENTITY");
  options = fleet.OptionsOf(1);
  options.policy.authorities.clear();
  EXPECT_EQ(Reason(Client(options, guard, fleet.random).AdvertiseKeys()), "NO_IDENTITY");
}

TEST_P(HostileServer, Inboxes) {
  ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
  ASSERT_TRUE(fleet_.ShareAndClose().ok());
  const Inbox inbox = fleet_.server.InboxOf(1).value();
  const auto refused = [&](const char* what, const std::function<void(Inbox&)>& alter, const char* expected) {
    Inbox altered = inbox;
    alter(altered);
    Words words(kLength);
    EXPECT_EQ(Reason(fleet_.client(1).Mask(altered, words)), expected) << what;
    EXPECT_EQ(words, Words(kLength)) << what;
    EXPECT_EQ(fleet_.client(1).state(), "shared");
  };
  refused(
      "nothing", [](Inbox& i) { i = {}; }, "BAD_INBOX");
  refused(
      "a byte missing", [](Inbox& i) { i.sealed.pop_back(); }, "BAD_INBOX");
  refused(
      "absurdly long", [](Inbox& i) { i.sealed.resize(1 << 20); }, "BAD_INBOX");
  refused(
      "more senders than neighbours", [](Inbox& i) { i.senders[0] |= std::byte{0x10}; }, "BAD_INBOX");
  refused(
      "a long bitmap", [](Inbox& i) { i.senders.push_back(std::byte{0}); }, "BAD_INBOX");
  refused(
      "no sharers", [](Inbox& i) { i.sharers.clear(); }, "BAD_INBOX");
  refused(
      "sharers beyond the roster", [](Inbox& i) { i.sharers[0] |= std::byte{0x20}; }, "BAD_INBOX");
  refused(
      "absurdly many sharers", [](Inbox& i) { i.sharers.resize(1 << 20); }, "BAD_INBOX");
  refused(
      "sharers without this device",
      [](Inbox& i) {
        i.sharers = BitmapOf({2, 3, 4, 5}, 5);
      },
      "BAD_INBOX");
  refused(
      "a sender that is no sharer",
      [](Inbox& i) {
        i.sharers = BitmapOf({1, 2, 3, 4}, 5);
      },
      "BAD_INBOX");
  refused(
      "a sharer that is no sender", [](Inbox& i) { i.senders[0] = std::byte{7}, i.sealed.resize(3 * kSealedSize); },
      "BAD_INBOX");
  refused(
      "too few senders",
      [](Inbox& i) {
        i.senders[0] = std::byte{3};
        i.sealed.resize(2 * kSealedSize);
      },
      "BELOW_THRESHOLD");
  refused(
      "two swapped messages, so two that do not open",
      [](Inbox& i) {
        const auto first = i.sealed.begin();
        std::swap_ranges(first, first + kSealedSize, first + kSealedSize);
      },
      "BELOW_THRESHOLD");
  Words words(kLength);
  words[2] = 7;
  Words wrong(kLength + 1);
  EXPECT_EQ(Reason(fleet_.client(1).Mask(inbox, wrong)), "BAD_UPDATE");
  EXPECT_TRUE(fleet_.client(1).Mask(inbox, words).has_value());
}

TEST_P(HostileServer, InboxesOfFewerThanTheSumNeeds) {
  Fleet fleet(Options(GetParam(), 5, {4, 3}, 5));
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  ASSERT_TRUE(fleet.ShareAndClose().ok());
  Inbox inbox = fleet.server.InboxOf(1).value();
  inbox.sharers = BitmapOf({1, 2, 3, 4}, 5);
  inbox.senders = BitmapOf({1, 2, 3}, 4);
  inbox.sealed.resize(3 * kSealedSize);
  Words words(kLength);
  EXPECT_EQ(Reason(fleet.client(1).Mask(inbox, words)), "BAD_INBOX");
  EXPECT_EQ(words, Words(kLength));
}

// Members that were told different rosters have different sessions: nothing that one sealed opens for the other.
TEST(HostileServerSparse, MembersThatWereToldDifferentThings) {
  Fleet fleet(Options(Adversary::kSemiHonest, 40, {16, 9}, 33));
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  RoundSetup other = fleet.server.Setup(1).value();
  const Graph graph(GraphSeed(SessionIdOf(other)), 40, 16);
  const std::uint32_t victim = graph.Neighbours(1)[0];
  other.server_nonce[0] ^= std::byte{1};  // and so another graph, with the same adverts in it
  ASSERT_TRUE(fleet.client(1).ShareKeys(other).has_value());
  SharedKeys sent = fleet.client(victim).ShareKeys(fleet.server.Setup(victim).value()).value();
  Inbox inbox{.sharers = Bytes(5, std::byte{0xFF}), .senders = Bytes(2, std::byte{0xFF}), .sealed = std::move(sent.sealed)};
  Words words(kLength);
  EXPECT_EQ(Reason(fleet.client(1).Mask(inbox, words)), "BELOW_THRESHOLD");
  EXPECT_EQ(words, Words(kLength));
}

// Six members: 6 does not share keys, 5 drops before its upload.
class HostileSurvivors : public HostileServer {
 protected:
  void SetUp() override { PlayToUploads(fleet_); }
  static void PlayToUploads(Fleet& fleet) {
    ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
    ASSERT_TRUE(fleet.ShareAndClose({6}).ok());
    ASSERT_TRUE(fleet.UploadAndClose({5}).ok());
  }
  Fleet fleet_{Options(GetParam(), 6, {5, 3}, 3)};
  // What the client says to these survivors, by whichever message comes first in the variant.
  std::string Say(std::uint32_t index, const Bytes& survivors) {
    return active() ? Reason(fleet_.client(index).Confirm(survivors))
                    : Reason(fleet_.client(index).Unmask({.survivors = survivors}));
  }
};
INSTANTIATE_TEST_SUITE_P(Variants, HostileSurvivors, ::testing::Values(Adversary::kSemiHonest, Adversary::kActive));

TEST_P(HostileSurvivors, SetsThatCannotBe) {
  EXPECT_EQ(Say(1, {}), "BAD_SURVIVORS");
  EXPECT_EQ(Say(1, Bytes(1 << 20)), "BAD_SURVIVORS");
  EXPECT_EQ(Say(1, Bytes{std::byte{0xFF}}), "BAD_SURVIVORS") << "members beyond the roster";
  EXPECT_EQ(Say(1, BitmapOf({1, 2, 3, 4, 6}, 6)), "BAD_SURVIVORS") << "6 has not shared keys";
  EXPECT_EQ(Say(1, BitmapOf({2, 3, 4}, 6)), "NOT_A_SURVIVOR");
  EXPECT_EQ(Say(1, BitmapOf({1}, 6)), "TOO_FEW_SURVIVORS");
  EXPECT_EQ(Say(1, BitmapOf({1, 2, 3}, 6)), "TOO_FEW_SURVIVORS");
  EXPECT_EQ(Say(1, BitmapOf({1, 2, 3, 4}, 6)), "");
}

// Split survivor sets, and so both kinds of share of member 4.
TEST_P(HostileSurvivors, TwoSetsForOneDevice) {
  ASSERT_EQ(Say(1, BitmapOf({1, 2, 3, 4, 5}, 6)), "");
  EXPECT_EQ(Say(1, BitmapOf({1, 2, 3, 4}, 6)), "ALREADY_SAID");
  EXPECT_EQ(Reason(fleet_.client(1).Unmask({.survivors = BitmapOf({1, 2, 3, 4}, 6)})), "ALREADY_SAID");
}

// The guard outlives the client: even one that had its secrets back would not speak for other survivors.
TEST_P(HostileSurvivors, TwoSetsAcrossARestart) {
  ASSERT_EQ(Say(1, BitmapOf({1, 2, 3, 4, 5}, 6)), "");
  Fleet twin(fleet_.options);  // the same seed: the same secrets
  PlayToUploads(twin);
  twin.guards[0] = fleet_.guards[0];
  const Bytes survivors = BitmapOf({1, 2, 3, 4}, 6);
  const std::string reason =
      active() ? Reason(twin.client(1).Confirm(survivors)) : Reason(twin.client(1).Unmask({.survivors = survivors}));
  EXPECT_EQ(reason, "ALREADY_SAID");
}

// A device that lost its secrets cannot come back into the round under new keys.
TEST_P(HostileServer, ReplayedRounds) {
  ASSERT_TRUE(fleet_.client(1).AdvertiseKeys().has_value());
  Client restarted(fleet_.OptionsOf(1), fleet_.guards[0], fleet_.random);
  EXPECT_EQ(Reason(restarted.AdvertiseKeys()), "ALREADY_SAID");
  EXPECT_EQ(restarted.state(), "start");
}

class HostileConfirmations : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(fleet_.AdvertiseAndClose().ok());
    ASSERT_TRUE(fleet_.ShareAndClose().ok());
    ASSERT_TRUE(fleet_.UploadAndClose().ok());
    ASSERT_TRUE(fleet_.ConfirmAndClose().ok());
  }
  void Refused(const char* what, const std::function<void(UnmaskRequest&)>& alter, const char* expected) {
    UnmaskRequest altered = fleet_.server.Request(1).value();
    alter(altered);
    EXPECT_EQ(Reason(fleet_.client(1).Unmask(altered)), expected) << what;
    EXPECT_EQ(fleet_.client(1).state(), "confirmed");
  }
  Fleet fleet_{LeavingOut(Complete(Adversary::kActive), 5)};
};

TEST_F(HostileConfirmations, FewerThanTheThresholdOrNotOfTheCommittee) {
  Refused(
      "none", [](UnmaskRequest& r) { r.signers = Bytes(1), r.signatures.clear(); }, "UNCONFIRMED");
  Refused(
      "no bitmap", [](UnmaskRequest& r) { r.signers.clear(); }, "UNCONFIRMED");
  Refused(
      "bits beyond the committee", [](UnmaskRequest& r) { r.signers[0] |= std::byte{0x80}; }, "UNCONFIRMED");
  Refused(
      "one too few", [](UnmaskRequest& r) { r.signers[0] = std::byte{3}, r.signatures.resize(2 * 64); }, "UNCONFIRMED");
  Refused(
      "one forged", [](UnmaskRequest& r) { r.signatures[70] ^= std::byte{1}; }, "UNCONFIRMED");
  Refused(
      "one signature for all",
      [](UnmaskRequest& r) {
        for (std::size_t i = 64; i < r.signatures.size(); ++i) r.signatures[i] = r.signatures[i - 64];
      },
      "UNCONFIRMED");
  Refused(
      "the signers swapped",
      [](UnmaskRequest& r) { std::swap_ranges(r.signatures.begin(), r.signatures.begin() + 64, r.signatures.begin() + 64); },
      "UNCONFIRMED");
  Refused(
      "other survivors",
      [](UnmaskRequest& r) {
        r.survivors = BitmapOf({1, 2, 3, 4}, 5);
      },
      "ALREADY_SAID");
  EXPECT_TRUE(fleet_.client(1).Unmask(fleet_.server.Request(1).value()).has_value());
}

TEST_F(HostileConfirmations, UploadsThatWereNotMaskedForTheSameMembers) {
  Refused(
      "none", [](UnmaskRequest& r) { r.uploads.clear(); }, "UNCONFIRMED");
  Refused(
      "one too few", [](UnmaskRequest& r) { r.uploads.resize(3 * 64); }, "UNCONFIRMED");
  Refused(
      "a byte too few", [](UnmaskRequest& r) { r.uploads.pop_back(); }, "UNCONFIRMED");
  Refused(
      "one too many", [](UnmaskRequest& r) { r.uploads.resize(5 * 64); }, "UNCONFIRMED");
  Refused(
      "absurdly many", [](UnmaskRequest& r) { r.uploads.resize(1 << 20); }, "UNCONFIRMED");
  Refused(
      "one forged", [](UnmaskRequest& r) { r.uploads[200] ^= std::byte{1}; }, "UNCONFIRMED");
  Refused(
      "two swapped",
      [](UnmaskRequest& r) { std::swap_ranges(r.uploads.begin(), r.uploads.begin() + 64, r.uploads.begin() + 64); },
      "UNCONFIRMED");
  Refused(
      "confirmations in their place", [](UnmaskRequest& r) { std::ranges::copy(r.signatures, r.uploads.begin()); },
      "UNCONFIRMED");
  Refused(
      "one over other sharers",
      [&](UnmaskRequest& r) {
        const auto other = SharersDigest(BitmapOf({1, 2, 3, 4}, 5));
        const auto advert = AdvertDigest(fleet_.server.ledger().adverts[1]);
        std::ranges::copy(SignUpload(fleet_.identities[1], fleet_.server.ledger().session, advert, other), r.uploads.begin());
      },
      "UNCONFIRMED");
  Refused(
      "one of a member that was told the same, but under keys that it has advertised elsewhere",
      [&](UnmaskRequest& r) {
        const Ledger& ledger = fleet_.server.ledger();
        KeyAdvert elsewhere = ledger.adverts[1];
        elsewhere.mask_public_key[0] ^= std::byte{1};
        const auto upload =
            SignUpload(fleet_.identities[1], ledger.session, AdvertDigest(elsewhere), SharersDigest(ledger.sharer_bitmap));
        std::ranges::copy(upload, r.uploads.begin());
      },
      "UNCONFIRMED");
  EXPECT_TRUE(fleet_.client(1).Unmask(fleet_.server.Request(1).value()).has_value());
}

// The server told 1 to 4 that everybody survived, 5 to 9 that 1 and 2 did not. All in the committee have confirmed, but neither
// set has five signatures of it.
TEST(HostileServerActive, SplitSurvivorSetsReleaseNothing) {
  constexpr std::uint32_t kMembers = 9;
  Fleet fleet(LeavingOut(Options(Adversary::kActive, kMembers, {8, 5}, 5), 9));
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  ASSERT_TRUE(fleet.ShareAndClose().ok());
  ASSERT_TRUE(fleet.UploadAndClose().ok());
  const Ledger& ledger = fleet.server.ledger();
  const Bytes all = ledger.survivor_bitmap, some = BitmapOf({3, 4, 5, 6, 7, 8, 9}, kMembers);
  std::map<std::uint32_t, Bytes> signatures;
  for (const std::uint32_t i : ledger.committee) signatures[i] = fleet.client(i).Confirm(i <= 4 ? all : some).value().signature;
  for (std::uint32_t i = 1; i <= kMembers; ++i) {
    UnmaskRequest request{.survivors = i <= 4 ? all : some, .signers = Bytes{std::byte{0xFF}}};
    for (const std::uint32_t j : ledger.committee) {
      request.signatures.insert(request.signatures.end(), signatures[j].begin(), signatures[j].end());
    }
    for (const std::uint32_t j : ledger.NeighboursOf(i)) {
      const Bytes& upload = fleet.proofs[j - 1].signature;
      if (TestBit(request.survivors, j - 1)) request.uploads.insert(request.uploads.end(), upload.begin(), upload.end());
    }
    EXPECT_EQ(Reason(fleet.client(i).Unmask(request)), "UNCONFIRMED") << i;
  }
}

}  // namespace
}  // namespace edgefleet::secagg
