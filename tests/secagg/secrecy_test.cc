// What the server holds says nothing about one update. Its inputs are the public keys, the sealed shares (opaque to it), the
// commitments, the masked updates and the revealed shares.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <numeric>

#include "secagg/mask/mask.h"
#include "secagg/packing.h"
#include "secagg/server_states.h"
#include "secagg/session.h"
#include "secagg/shamir.h"
#include "tests/secagg/fleet.h"

namespace edgefleet::secagg {
namespace {

using testing::BitmapOf;
using testing::Fleet;
using testing::FleetOptions;
using testing::LeavingOut;
using testing::Words;

constexpr std::uint32_t kMembers = 5, kThreshold = 3;
constexpr std::uint64_t kManyElements = 1 << 16;

FleetOptions Options(std::uint64_t vector_length, std::uint32_t element_bits = 32, MaskCipher cipher = MaskCipher::kAes256Ctr) {
  return {.members = kMembers,
          .graph = {kMembers - 1, kThreshold},
          .vector_length = vector_length,
          .element_bits = element_bits,
          .cipher = cipher,
          .seed = 21};
}

// Pearson's statistic of the packed elements' bytes against the uniform distribution: 255 degrees of freedom, mean 255,
// deviation 22.6.
double ChiSquare(const Words& words, std::uint32_t element_bits) {
  Bytes packed(PackedSize(words.size(), element_bits));
  Pack(words, element_bits, packed);
  std::array<double, 256> counts{};
  for (const std::byte b : packed) ++counts[std::to_integer<std::size_t>(b)];
  const double expected = static_cast<double>(packed.size()) / 256;
  double statistic = 0;
  for (const double count : counts) statistic += (count - expected) * (count - expected) / expected;
  return statistic;
}
constexpr double kUniformMax = 255 + 5 * 22.6;

struct Form {
  std::uint32_t element_bits;
  MaskCipher cipher;
};
class EachForm : public ::testing::TestWithParam<Form> {
 protected:
  FleetOptions Many() const { return Options(kManyElements, GetParam().element_bits, GetParam().cipher); }
};
INSTANTIATE_TEST_SUITE_P(Forms, EachForm,
                         ::testing::Values(Form{32, MaskCipher::kAes256Ctr}, Form{24, MaskCipher::kAes256Ctr},
                                           Form{11, MaskCipher::kAes256Ctr}, Form{1, MaskCipher::kAes256Ctr},
                                           Form{32, MaskCipher::kAes128Ctr}, Form{17, MaskCipher::kAes128Ctr}),
                         [](const auto& test) {
                           return (test.param.cipher == MaskCipher::kAes256Ctr ? "Aes256Bits" : "Aes128Bits") +
                                  std::to_string(test.param.element_bits);
                         });

// One kind of share of one owner's secret, by slot.
using Shares = std::map<std::uint32_t, Secret>;

Secret Recover(const Shares& shares) {
  std::vector<std::uint32_t> slots;
  std::vector<const Secret*> values;
  for (const auto& [slot, share] : shares) {
    slots.push_back(slot);
    values.push_back(&share);
  }
  return SecretRecovery(slots).Combine(values);
}

// Adds what the answer of `holder` reveals, by owner.
void Collect(const Ledger& ledger, std::uint32_t holder, const UnmaskAnswer& answer,
             std::map<std::uint32_t, Shares>& revealed) {
  std::span<const std::byte> shares = answer.shares;
  std::size_t sender = 0;
  for (const std::uint32_t owner : ledger.Senders(holder)) {
    if (!TestBit(answer.held, sender++)) continue;
    const auto slot = static_cast<std::uint32_t>(ledger.PlaceOf(owner, holder) + 1);
    revealed[owner].insert_or_assign(slot, Secret(shares.first<kShareSize>()));
    shares = shares.subspan(kShareSize);
  }
}

// The shares that these members reveal when asked for the sum of all survivors.
std::map<std::uint32_t, Shares> RevealedBy(Fleet& fleet, const std::vector<std::uint32_t>& holders) {
  std::map<std::uint32_t, Shares> revealed;
  for (const std::uint32_t holder : holders) {
    UnmaskRequest request{.survivors = fleet.server.ledger().survivor_bitmap};
    Collect(fleet.server.ledger(), holder, fleet.client(holder).Unmask(request).value(), revealed);
  }
  return revealed;
}

void SubtractSelfMask(const Fleet& fleet, const Secret& seed, std::uint32_t owner, Words& words) {
  const MaskTerm term{SelfMaskKey(seed, fleet.server.ledger().session, owner), MaskSign::kSubtract};
  MaskSet(std::span(&term, 1), fleet.options.cipher).Apply(0, words);
  TruncateWords(words, fleet.options.element_bits);
}

void PlayToUploads(Fleet& fleet) {
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  ASSERT_TRUE(fleet.ShareAndClose().ok());
  ASSERT_TRUE(fleet.UploadAndClose().ok());
}

TEST_P(EachForm, MaskedUpdatesLookUniformWhateverTheUpdateIs) {
  const std::uint32_t bits = GetParam().element_bits;
  for (const std::uint32_t pattern : {0U, 0xFFFFFFFFU, 0x01010101U}) {
    Fleet fleet(Many());
    for (Words& update : fleet.updates) {
      update.assign(kManyElements, pattern);
      TruncateWords(update, bits);
    }
    EXPECT_GT(ChiSquare(fleet.updates[0], bits), 1e5);
    PlayToUploads(fleet);
    for (const Words& masked : fleet.masked) EXPECT_LT(ChiSquare(masked, bits), kUniformMax);
    EXPECT_LT(ChiSquare(fleet.sum, bits), kUniformMax);
  }
}

// The server ends up knowing every survivor's self mask; the masks between survivors still hide each update.
TEST_P(EachForm, SingleUpdatesStayHiddenAfterUnmasking) {
  Fleet fleet(Many());
  for (Words& update : fleet.updates) update.assign(kManyElements, 0);
  PlayToUploads(fleet);
  const auto revealed = RevealedBy(fleet, {1, 2, 3, 4, 5});
  for (std::uint32_t owner = 1; owner <= kMembers; ++owner) {
    Words residue = fleet.masked[owner - 1];
    SubtractSelfMask(fleet, Recover(revealed.at(owner)), owner, residue);
    EXPECT_LT(ChiSquare(residue, GetParam().element_bits), kUniformMax) << owner;
  }
  ASSERT_TRUE(fleet.AnswerAndUnmask().ok());
  EXPECT_EQ(fleet.sum, Words(kManyElements));
}

// Without dropouts, what is left of the sum once the self masks are gone is the plain sum: each pairwise mask is in it once
// with either sign.
TEST_P(EachForm, PairwiseMasksCancelExactly) {
  FleetOptions complete = Options(100, GetParam().element_bits, GetParam().cipher), sparse = complete;
  sparse.members = 12;
  sparse.graph = {6, 4};
  sparse.survivors_min = 12;
  for (const FleetOptions& options : {complete, sparse}) {
    Fleet fleet(options);
    PlayToUploads(fleet);
    std::vector<std::uint32_t> all(options.members);
    std::iota(all.begin(), all.end(), 1U);
    Words left = fleet.sum;
    for (const auto& [owner, shares] : RevealedBy(fleet, all)) SubtractSelfMask(fleet, Recover(shares), owner, left);
    EXPECT_EQ(left, fleet.PlainSum(all));
  }
}

// Two of three shares fit every seed: the third one that makes it so exists. Under each of the seeds the same upload carries
// another update.
TEST(Secrecy, BelowTheThresholdAnotherSeedExplainsTheSameShares) {
  constexpr std::uint32_t kVictim = 4;
  Fleet fleet(Options(64));
  PlayToUploads(fleet);
  const auto revealed = RevealedBy(fleet, {1, 2, 3, 5});
  const Shares& shares = revealed.at(kVictim);
  SeededRandom random(24);
  std::set<Words> explained_updates;
  constexpr int kAlternatives = 20;
  for (int alternative = 0; alternative < kAlternatives; ++alternative) {
    // The polynomial of degree 2 with (0, seed), (1, share), (2, share). Adding 3 to all abscissas, which is exclusive or,
    // moves the secret to slot 3 and the third share to 0, where it can be recovered.
    const Secret seed = Secret::Random(random);
    Shares moved;
    moved.emplace(3, Secret(seed.bytes()));
    moved.emplace(2, Secret(shares.at(1).bytes()));
    moved.emplace(1, Secret(shares.at(2).bytes()));
    Shares completed;
    completed.emplace(1, Secret(shares.at(1).bytes()));
    completed.emplace(2, Secret(shares.at(2).bytes()));
    completed.emplace(3, Recover(moved));
    ASSERT_EQ(Recover(completed), seed);
    ASSERT_NE(completed.at(3), shares.at(3));

    Words explained = fleet.masked[kVictim - 1];
    SubtractSelfMask(fleet, seed, kVictim, explained);
    explained_updates.insert(explained);
  }
  EXPECT_EQ(explained_updates.size(), kAlternatives);
}

TEST(Secrecy, BelowTheThresholdTheServerCannotUnmask) {
  Fleet fleet(Options(64));
  PlayToUploads(fleet);
  EXPECT_EQ(fleet.AnswerAndUnmask({3, 4, 5}).reason(), "BELOW_THRESHOLD");
  EXPECT_NE(fleet.sum, fleet.PlainSum({1, 2, 3, 4, 5}));
}

// A server that tells some holders that the victim survived and the others that it dropped, with one corrupt member that
// helps it: 2 t = 8 > k + c = 6.
class LyingServer : public ::testing::TestWithParam<Adversary> {
 protected:
  static constexpr std::uint32_t kVictim = 1, kOutsider = 5, kCorrupt = 6, kAll = 6, kSafeThreshold = 4;
  bool active() const { return GetParam() == Adversary::kActive; }

  // What `holder` reveals for these survivors, with every signature over them that the server has.
  Result<UnmaskAnswer> Ask(Fleet& fleet, std::uint32_t holder, const Bytes& survivors,
                           const std::map<std::uint32_t, Bytes>& signatures) const {
    UnmaskRequest request{.survivors = survivors};
    if (active()) {
      request.signers.resize(1);
      const auto& committee = fleet.server.ledger().committee;
      for (std::size_t place = 0; place < committee.size(); ++place) {
        const auto signature = signatures.find(committee[place]);
        if (signature == signatures.end()) continue;
        SetBit(request.signers, place);
        request.signatures.insert(request.signatures.end(), signature->second.begin(), signature->second.end());
      }
      for (const std::uint32_t neighbour : fleet.server.ledger().NeighboursOf(holder)) {
        const Bytes& upload = fleet.proofs[neighbour - 1].signature;
        if (TestBit(survivors, neighbour - 1)) request.uploads.insert(request.uploads.end(), upload.begin(), upload.end());
      }
    }
    return fleet.client(holder).Unmask(request);
  }
};
INSTANTIATE_TEST_SUITE_P(Variants, LyingServer, ::testing::Values(Adversary::kSemiHonest, Adversary::kActive));

TEST_P(LyingServer, NeverGathersBothSecretsOfAMember) {
  const Bytes with = BitmapOf({1, 2, 3, 4, 5, 6}, kAll), without = BitmapOf({2, 3, 4, 5, 6}, kAll);
  std::size_t seeds_gathered = 0, keys_gathered = 0;
  for (std::uint32_t split = 0; split < 16; ++split) {  // bit i: holder i + 2 is told that the victim dropped
    SCOPED_TRACE(split);
    Fleet fleet(LeavingOut(
        {.members = kAll, .graph = {5, kSafeThreshold}, .survivors_min = 4, .adversary = GetParam(), .seed = 26}, kOutsider));
    PlayToUploads(fleet);
    const auto told = [&](std::uint32_t holder) -> const Bytes& {
      return holder != kVictim && ((split >> (holder - 2)) & 1) != 0 ? without : with;
    };
    std::map<Bytes, std::map<std::uint32_t, Bytes>> signatures;  // by survivors
    for (std::uint32_t holder = 1; active() && holder < kOutsider; ++holder) {
      signatures[told(holder)][holder] = fleet.client(holder).Confirm(told(holder)).value().signature;
    }
    for (const Bytes& survivors : {with, without}) {
      const Ledger& ledger = fleet.server.ledger();
      signatures[survivors][kCorrupt] = ToBytes(
          SignSurvivors(fleet.identities[kCorrupt - 1], ledger.session, SharersDigest(ledger.sharer_bitmap), survivors));
    }
    std::map<std::uint32_t, Shares> seeds, keys;
    for (std::uint32_t holder = 1; holder < kCorrupt; ++holder) {
      int answers = 0;
      for (const Bytes& survivors : {told(holder), told(holder) == with ? without : with}) {
        const auto answer = Ask(fleet, holder, survivors, signatures[survivors]);
        if (!answer) continue;
        ++answers;
        std::map<std::uint32_t, Shares> revealed;
        Collect(fleet.server.ledger(), holder, *answer, revealed);
        for (auto& [owner, shares] : revealed) (TestBit(survivors, owner - 1) ? seeds : keys)[owner].merge(shares);
      }
      EXPECT_LE(answers, 1) << holder;
    }
    for (std::uint32_t owner = 1; owner < kCorrupt; ++owner) {
      // The corrupt member adds one share of each kind.
      const bool seed = seeds[owner].size() + 1 >= kSafeThreshold, key = keys[owner].size() + 1 >= kSafeThreshold;
      EXPECT_FALSE(seed && key) << owner;
      if (owner == kVictim) seeds_gathered += seed ? 1 : 0, keys_gathered += key ? 1 : 0;
    }
  }
  // It does gather one of them. Semi-honest: that of which at least three of the four holders hear first. Active: that of which
  // four of the committee (1 to 4 and 6) hear, and the victim itself does not sign that it dropped; holder 5, which signs
  // nothing, answers for that one.
  EXPECT_EQ(seeds_gathered, active() ? 8U : 5U);
  EXPECT_EQ(keys_gathered, active() ? 2U : 5U);
}

int DifferingBits(const Secret& one, const Secret& other) {
  int bits = 0;
  for (std::size_t i = 0; i < kKeySize; ++i)
    bits += std::popcount(std::to_integer<unsigned>(one.bytes()[i] ^ other.bytes()[i]));
  return bits;
}

// Every key that comes from one agreed secret or seed is as far from the others as random keys are: 128 bits, deviation 8.
TEST(Secrecy, KeysOfSessionsDirectionsAndPurposesAreUnrelated) {
  SeededRandom random(27);
  const KeyPair one = KeyPair::Generate(random), other = KeyPair::Generate(random);
  const Secret agreed = Agree(one.secret, other.public_key).value();
  std::vector<Secret> keys;
  for (const char* name : {"round-1", "round-2"}) {
    const RoundDigest round = DigestOfRound(name);
    for (const SessionId& session : {SessionId{}, SessionId{std::byte{1}}}) {
      const MemberPair out{round, session, 1, 2, one.public_key, other.public_key};
      const MemberPair in{round, session, 2, 1, other.public_key, one.public_key};
      keys.push_back(SealKey(agreed, out));
      keys.push_back(SealKey(agreed, in));
      keys.push_back(PairwiseMaskKey(agreed, out));
    }
  }
  for (const SessionId& session : {SessionId{}, SessionId{std::byte{1}}}) {
    for (const std::uint32_t index : {1U, 2U}) keys.push_back(SelfMaskKey(agreed, session, index));
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NEAR(DifferingBits(keys[i], keys[j]), 128, 48) << i << " " << j;
  }
}

// The same devices with the same secrets and updates in two sessions: the uploads' difference is as good as random.
TEST(Secrecy, UploadsOfTwoSessionsAreUnrelated) {
  FleetOptions options = Options(kManyElements);
  Fleet first(options);
  options.survivors_min = kMembers;  // another session
  Fleet second(options);
  PlayToUploads(first);
  PlayToUploads(second);
  ASSERT_EQ(first.updates, second.updates);
  for (std::uint32_t index = 1; index <= kMembers; ++index) {
    ASSERT_EQ(first.client(index).state(), second.client(index).state());
    Words difference = first.masked[index - 1];
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= second.masked[index - 1][i];
    EXPECT_LT(ChiSquare(difference, 32), kUniformMax) << index;
  }
}

// What a transcript or a later look into the server's memory can hold.
TEST(Secrecy, TheServerKeepsNoShareWhenItIsDone) {
  Fleet fleet(Options(8));
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  ASSERT_TRUE(fleet.ShareAndClose().ok());
  ASSERT_TRUE(fleet.UploadAndClose({2}).ok());
  for (const SharedKeys& shared : fleet.server.ledger().shared) EXPECT_TRUE(shared.sealed.empty());
  ASSERT_TRUE(fleet.AnswerAndUnmask().ok());
  ASSERT_EQ(fleet.server.state(), "done");
  int answers = 0;
  for (const auto& answer : fleet.server.ledger().answers) {
    if (!answer) continue;
    ++answers;
    EXPECT_TRUE(answer->shares.empty());
  }
  EXPECT_EQ(answers, 4);
}

}  // namespace
}  // namespace edgefleet::secagg
