#include "secagg/shamir.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "secagg/field.h"

namespace edgefleet::secagg {
namespace {

Secret Recover(const std::vector<Secret>& shares, const std::vector<std::uint32_t>& indices) {
  std::vector<const Secret*> chosen;
  for (const std::uint32_t index : indices) chosen.push_back(&shares[index - 1]);
  return SecretRecovery(indices).Combine(chosen);
}

TEST(Shamir, KnownSharing) {
  // Threshold 2 with the linear coefficient 3 in every lane: share(i) = secret + 3 i.
  class Threes final : public RandomSource {
    void Fill(std::span<std::byte> out) override {
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(i % 2 == 0 ? 3 : 0);
    }
  } threes;
  Secret secret;
  for (std::size_t i = 0; i < kKeySize; ++i) secret.mutable_bytes()[i] = static_cast<std::byte>(i);
  const auto shares = SplitSecret(secret, 2, 3, threes);
  for (std::uint32_t index = 1; index <= 3; ++index) {
    const std::uint16_t term = FieldMultiply(3, static_cast<std::uint16_t>(index));
    for (std::size_t i = 0; i < kKeySize; i += 2) {
      EXPECT_EQ(shares[index - 1].bytes()[i], secret.bytes()[i] ^ static_cast<std::byte>(term));
      EXPECT_EQ(shares[index - 1].bytes()[i + 1], secret.bytes()[i + 1]);
    }
  }
}

TEST(Shamir, AnyThresholdSharesRecover) {
  SeededRandom random(2);
  for (const auto& [threshold, members] :
       std::vector<std::pair<std::uint32_t, std::uint32_t>>{{1, 1}, {2, 2}, {3, 5}, {7, 10}, {40, 60}}) {
    const Secret secret = Secret::Random(random);
    const auto shares = SplitSecret(secret, threshold, members, random);
    std::vector<std::uint32_t> order(members);
    std::iota(order.begin(), order.end(), 1);
    for (int trial = 0; trial < 10; ++trial) {
      std::shuffle(order.begin(), order.end(), random);
      EXPECT_TRUE(Recover(shares, {order.begin(), order.begin() + threshold}) == secret);
      if (threshold > 1) {
        EXPECT_FALSE(Recover(shares, {order.begin(), order.begin() + threshold - 1}) == secret);
      }
    }
  }
}

TEST(Shamir, WorksAtTheLargestSlots) {
  SeededRandom random(3);
  const Secret secret = Secret::Random(random);
  const auto shares = SplitSecret(secret, 3, kMembersMax, random);
  EXPECT_TRUE(Recover(shares, {kMembersMax, 257, kMembersMax - 1}) == secret);
  const auto all = SplitSecret(secret, 3, 65535, random);
  EXPECT_TRUE(Recover(all, {65535, 1, 32768}) == secret);
}

TEST(Shamir, MoreSharesThanTheThresholdRecoverToo) {
  SeededRandom random(3);
  const Secret secret = Secret::Random(random);
  const auto shares = SplitSecret(secret, 4, 9, random);
  EXPECT_TRUE(Recover(shares, {9, 2, 4, 6, 1}) == secret);
  EXPECT_TRUE(Recover(shares, {1, 2, 3, 4, 5, 6, 7, 8, 9}) == secret);
}

TEST(Shamir, SharesOfOthersFollowFromThresholdShares) {
  SeededRandom random(3);
  const auto shares = SplitSecret(Secret::Random(random), 4, 20, random);
  const std::vector<std::uint32_t> slots{3, 20, 8, 11};
  const std::vector<const Secret*> chosen{&shares[2], &shares[19], &shares[7], &shares[10]};
  const SecretRecovery recovery(slots);
  for (std::uint32_t slot = 1; slot <= 20; ++slot) {
    if (std::ranges::find(slots, slot) != slots.end()) continue;
    EXPECT_TRUE(recovery.ShareAt(slot, chosen) == shares[slot - 1]) << slot;
  }
}

// Against the product formula, at every value that slots 1 to 40 and the origin take.
TEST(Shamir, WeightsAreLagrangeCoefficients) {
  SeededRandom random(3);
  for (const std::size_t size : {1, 2, 3, 17, 40}) {
    std::vector<std::uint32_t> slots(40);
    std::iota(slots.begin(), slots.end(), 1);
    std::shuffle(slots.begin(), slots.end(), random);
    const std::vector<std::uint32_t> absent(slots.begin() + static_cast<std::ptrdiff_t>(size), slots.end());
    slots.resize(size);
    const SecretRecovery recovery(slots);
    for (std::size_t k = 0; k < size; ++k) {
      for (std::uint32_t at = 0; at <= 40; ++at) {
        if (at != 0 && std::ranges::find(absent, at) == absent.end()) continue;
        std::uint16_t weight = 1;
        for (const std::uint32_t other : slots) {
          if (other == slots[k]) continue;
          const std::uint16_t inverse = FieldInverse(static_cast<std::uint16_t>(other ^ slots[k]));
          weight = FieldMultiply(weight, FieldMultiply(static_cast<std::uint16_t>(other ^ at), inverse));
        }
        ASSERT_EQ(recovery.Weights(at)[k], weight) << size << " " << k << " " << at;
      }
    }
  }
}

TEST(Shamir, OneWrongShareGivesAnotherSecret) {
  SeededRandom random(4);
  const Secret secret = Secret::Random(random);
  auto shares = SplitSecret(secret, 3, 4, random);
  shares[1].mutable_bytes()[0] ^= std::byte{1};
  EXPECT_FALSE(Recover(shares, {1, 2, 3}) == secret);
  EXPECT_TRUE(Recover(shares, {1, 3, 4}) == secret);
}

// With one share less than the threshold every secret is as likely as every other: each of the 65,536 candidates for a lane
// goes with exactly one value of the missing share, and the missing share was drawn uniformly.
TEST(Shamir, FewerSharesThanTheThresholdFitEverySecretEqually) {
  SeededRandom random(5);
  constexpr std::uint32_t kThreshold = 4;
  const auto shares = SplitSecret(Secret::Random(random), kThreshold, kThreshold, random);
  const std::vector<std::uint32_t> indices{1, 2, 3, 4};
  // What each share adds to the recovered lane: its Lagrange coefficient times its value.
  const auto recovered_with = [&](std::uint16_t missing) {
    std::uint16_t sum = 0;
    for (const std::uint32_t own : indices) {
      std::uint16_t weight = 1;
      for (const std::uint32_t other : indices) {
        if (other == own) continue;
        const auto difference = static_cast<std::uint16_t>(own ^ other);
        weight = FieldMultiply(weight, FieldMultiply(static_cast<std::uint16_t>(other), FieldInverse(difference)));
      }
      std::uint16_t value = missing;
      if (own != 4) {
        value = static_cast<std::uint16_t>(std::to_integer<unsigned>(shares[own - 1].bytes()[0]) |
                                           std::to_integer<unsigned>(shares[own - 1].bytes()[1]) << 8);
      }
      sum ^= FieldMultiply(weight, value);
    }
    return sum;
  };
  std::vector<bool> reached(65536);
  for (std::uint32_t missing = 0; missing < 65536; ++missing) {
    const std::uint16_t secret = recovered_with(static_cast<std::uint16_t>(missing));
    ASSERT_FALSE(reached[secret]) << "two shares for one secret";
    reached[secret] = true;
  }
}

// Any threshold - 1 shares are a bijective function of the random coefficients, whatever the secret is: they are uniform and
// say nothing. The matrix of that linear function is read off by sharing 0 with one coefficient 1 and the others 0.
TEST(Shamir, FewerSharesThanTheThresholdAreUniform) {
  struct OneUnit final : RandomSource {
    std::size_t position = 0;
    void Fill(std::span<std::byte> out) override { out[position * kKeySize] = std::byte{1}; }
  } unit;
  for (const auto& [threshold, holders] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{{2, 6}, {4, 9}, {6, 12}}) {
    const std::size_t rank = threshold - 1;
    std::vector<std::vector<std::uint16_t>> columns;  // by coefficient: the first lane of every share
    for (unit.position = 0; unit.position < rank; ++unit.position) {
      std::vector<std::uint16_t>& column = columns.emplace_back();
      for (const Secret& share : SplitSecret(Secret(), threshold, holders, unit)) {
        column.push_back(static_cast<std::uint16_t>(std::to_integer<unsigned>(share.bytes()[0]) |
                                                    std::to_integer<unsigned>(share.bytes()[1]) << 8));
      }
    }
    std::vector<bool> chosen(holders);
    std::fill(chosen.begin(), chosen.begin() + static_cast<std::ptrdiff_t>(rank), true);
    do {  // every set of threshold - 1 slots
      std::vector<std::vector<std::uint16_t>> rows;
      for (std::uint32_t slot = 0; slot < holders; ++slot) {
        if (!chosen[slot]) continue;
        std::vector<std::uint16_t>& row = rows.emplace_back();
        for (const auto& column : columns) row.push_back(column[slot]);
      }
      for (std::size_t pivot = 0; pivot < rank; ++pivot) {  // Gaussian elimination
        const auto found = std::find_if(rows.begin() + static_cast<std::ptrdiff_t>(pivot), rows.end(),
                                        [&](const auto& row) { return row[pivot] != 0; });
        ASSERT_NE(found, rows.end()) << "singular";
        std::swap(rows[pivot], *found);
        for (std::size_t below = pivot + 1; below < rank; ++below) {
          const std::uint16_t factor = FieldMultiply(rows[below][pivot], FieldInverse(rows[pivot][pivot]));
          for (std::size_t i = 0; i < rank; ++i) rows[below][i] ^= FieldMultiply(factor, rows[pivot][i]);
        }
      }
    } while (std::prev_permutation(chosen.begin(), chosen.end()));
  }
}

}  // namespace
}  // namespace edgefleet::secagg
