// What the server holds says nothing about one update. Its inputs are the public keys, the sealed shares (opaque to it), the
// masked updates and the revealed shares.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>

#include "secagg/mask/mask.h"
#include "secagg/shamir.h"
#include "secagg/words.h"
#include "tests/secagg/fleet.h"

namespace edgefleet::secagg {
namespace {

using testing::Fleet;
using testing::Words;

constexpr std::uint32_t kMembers = 5, kThreshold = 3;

// Pearson's statistic of the bytes against the uniform distribution: 255 degrees of freedom, mean 255, deviation 22.6.
double ChiSquare(const Words& words) {
  std::array<double, 256> counts{};
  for (const std::byte b : std::as_bytes(std::span(words))) ++counts[std::to_integer<std::size_t>(b)];
  const double expected = static_cast<double>(words.size()) * 4 / 256;
  double statistic = 0;
  for (const double count : counts) statistic += (count - expected) * (count - expected) / expected;
  return statistic;
}
constexpr double kUniformMax = 255 + 5 * 22.6;

SessionId SessionOf(const Fleet& fleet) {
  const RoundSetup setup = fleet.server.Setup(1).value();
  return MakeSessionId("round-7", setup.threshold, setup.vector_length, setup.roster);
}

Secret AsSecret(const Bytes& bytes) { return Secret(std::span(bytes).first<kKeySize>()); }

// Member `owner`'s secret from revealed shares of the given members.
Secret Recover(const std::map<std::uint32_t, Secret>& shares) {
  std::vector<std::uint32_t> indices;
  std::vector<const Secret*> values;
  for (const auto& [index, share] : shares) {
    indices.push_back(index);
    values.push_back(&share);
  }
  return SecretRecovery(indices).Combine(values);
}

// The shares of `owner`'s self-mask seed that the members `from` reveal.
std::map<std::uint32_t, Secret> SeedShares(Fleet& fleet, std::uint32_t owner, const std::vector<std::uint32_t>& from) {
  std::map<std::uint32_t, Secret> shares;
  for (const std::uint32_t index : from) {
    const UnmaskAnswer answer = fleet.client(index).Unmask(fleet.server.survivors()).value();
    const auto share = std::ranges::find(answer.self_mask_shares, owner, &RevealedShare::owner);
    shares.emplace(index, AsSecret(share->share));
  }
  return shares;
}

void SubtractSelfMask(const Fleet& fleet, const Secret& seed, std::uint32_t owner, Words& words) {
  const MaskTerm term{SelfMaskKey(seed, SessionOf(fleet), owner), MaskSign::kSubtract};
  MaskSet(std::span(&term, 1), MaskCipher::kAes256Ctr).Apply(0, words);
}

TEST(Secrecy, MaskedUpdatesLookUniformWhateverTheUpdateIs) {
  constexpr std::uint64_t kLength = 1 << 16;
  for (const std::uint32_t pattern : {0U, 0xFFFFFFFFU, 0x01010101U}) {
    Fleet fleet(kMembers, kThreshold, kLength, 21);
    for (Words& update : fleet.updates) update.assign(kLength, pattern);
    EXPECT_GT(ChiSquare(fleet.updates[0]), 1e6);
    ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
    ASSERT_TRUE(fleet.ShareAndClose().ok());
    ASSERT_TRUE(fleet.UploadAndClose().ok());
    for (const Words& masked : fleet.masked) EXPECT_LT(ChiSquare(masked), kUniformMax);
    EXPECT_LT(ChiSquare(fleet.sum), kUniformMax);
  }
}

// After the round has ended well the server knows every survivor's self mask; the masks between survivors still hide each
// update.
TEST(Secrecy, SingleUpdatesStayHiddenAfterUnmasking) {
  constexpr std::uint64_t kLength = 1 << 16;
  Fleet fleet(kMembers, kThreshold, kLength, 22);
  for (Words& update : fleet.updates) update.assign(kLength, 0);
  ASSERT_TRUE(fleet.Play().ok());
  ASSERT_EQ(fleet.sum, Words(kLength));  // the sum is known to be zero
  for (std::uint32_t owner = 1; owner <= kMembers; ++owner) {
    const Secret seed = Recover(SeedShares(fleet, owner, {1, 2, 3}));
    Words residue = fleet.masked[owner - 1];
    SubtractSelfMask(fleet, seed, owner, residue);
    EXPECT_LT(ChiSquare(residue), kUniformMax) << owner;
  }
}

// With threshold - 1 answers, what the server holds about a member fits another seed, and with it another update, just as well.
TEST(Secrecy, BelowTheThresholdAnotherSeedExplainsTheSameView) {
  constexpr std::uint64_t kLength = 64;
  constexpr std::uint32_t kVictim = 4;
  Fleet fleet(kMembers, kThreshold, kLength, 23);
  ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
  ASSERT_TRUE(fleet.ShareAndClose().ok());
  ASSERT_TRUE(fleet.UploadAndClose().ok());
  std::map<std::uint32_t, Secret> view = SeedShares(fleet, kVictim, {1, 2});
  const Secret true_seed = Recover(SeedShares(fleet, kVictim, {1, 2, 3}));

  SeededRandom random(24);
  std::set<Words> explained_updates;
  for (int alternative = 0; alternative < 20; ++alternative) {
    // A polynomial of degree threshold - 1 through the two revealed shares and this seed exists: abscissa 0 takes the part of a
    // share when the third one is computed. Field elements of the three points: (0, seed), (1, share), (2, share) -> value
    // at 3.
    const Secret seed = Secret::Random(random);
    // Moving the abscissas by exclusive or with 3 turns "value at 3" into "value at 0": 0 -> 3, 1 -> 2, 2 -> 1.
    const std::vector<std::uint32_t> moved{3, 2, 1};
    const std::vector<const Secret*> points{&seed, &view.at(1), &view.at(2)};
    const Secret third = SecretRecovery(moved).Combine(points);
    std::map<std::uint32_t, Secret> completed;
    completed.emplace(1, Secret(view.at(1).bytes()));
    completed.emplace(2, Secret(view.at(2).bytes()));
    completed.emplace(3, Secret(third.bytes()));
    ASSERT_TRUE(std::ranges::equal(Recover(completed).bytes(), seed.bytes()));

    // Under that seed the same upload carries another update.
    Words explained = fleet.masked[kVictim - 1];
    SubtractSelfMask(fleet, seed, kVictim, explained);
    Words with_true_seed = fleet.masked[kVictim - 1];
    SubtractSelfMask(fleet, true_seed, kVictim, with_true_seed);
    EXPECT_NE(explained, with_true_seed);
    explained_updates.insert(explained);
  }
  EXPECT_EQ(explained_updates.size(), 20U);
  EXPECT_EQ(fleet.server.Unmask(fleet.sum, nullptr).reason(), "BELOW_THRESHOLD");
}

// A server that tells devices different survivors still cannot get the threshold of both kinds of share for any member.
TEST(Secrecy, NoMemberLosesBothSecretsToAServerThatLiesAboutSurvivors) {
  SeededRandom random(25);
  for (int trial = 0; trial < 50; ++trial) {
    Fleet fleet(kMembers, kThreshold, 4, 26);
    ASSERT_TRUE(fleet.AdvertiseAndClose().ok());
    ASSERT_TRUE(fleet.ShareAndClose().ok());
    ASSERT_TRUE(fleet.UploadAndClose().ok());
    std::map<std::uint32_t, std::uint32_t> seeds, keys;
    for (std::uint32_t index = 1; index <= kMembers; ++index) {
      for (int request = 0; request < 5; ++request) {  // the device answers one of them at most
        std::vector<std::uint32_t> survivors{index};
        for (std::uint32_t other = 1; other <= kMembers; ++other) {
          if (other != index && random.Below(2) == 0) survivors.push_back(other);
        }
        const auto state = fleet.client(index).state();
        const auto answer = fleet.client(index).Unmask(survivors);
        if (!answer || state == "answered") continue;
        for (const RevealedShare& share : answer->self_mask_shares) ++seeds[share.owner];
        for (const RevealedShare& share : answer->mask_key_shares) ++keys[share.owner];
      }
    }
    for (std::uint32_t owner = 1; owner <= kMembers; ++owner) {
      EXPECT_FALSE(seeds[owner] >= kThreshold && keys[owner] >= kThreshold) << owner;
    }
  }
}

}  // namespace
}  // namespace edgefleet::secagg
