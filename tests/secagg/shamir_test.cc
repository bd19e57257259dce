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

bool Same(const Secret& a, const Secret& b) { return a == b; }

TEST(Field, IsAFieldOf65536Elements) {
  // x generates the multiplicative group, so the polynomial is primitive and every element but 0 has an inverse.
  std::uint16_t power = 1;
  for (int i = 1; i < 65535; ++i) {
    power = FieldMultiply(power, 2);
    ASSERT_NE(power, 1) << "order " << i;
  }
  EXPECT_EQ(FieldMultiply(power, 2), 1);
  EXPECT_EQ(FieldMultiply(0x8000, 2), 0x100B);
  EXPECT_EQ(FieldInverse(0), 0);
  for (std::uint32_t a = 1; a < 65536; a += 7) {
    ASSERT_EQ(FieldMultiply(static_cast<std::uint16_t>(a), FieldInverse(static_cast<std::uint16_t>(a))), 1);
  }
}

TEST(Field, MultiplicationIsThatOfPolynomials) {
  SeededRandom random(1);
  for (int i = 0; i < 2000; ++i) {
    const auto a = static_cast<std::uint16_t>(random()), b = static_cast<std::uint16_t>(random());
    std::uint32_t product = 0;  // schoolbook, then long division by x^16 + x^12 + x^3 + x + 1
    for (int bit = 0; bit < 16; ++bit) product ^= ((b >> bit) & 1) ? static_cast<std::uint32_t>(a) << bit : 0;
    for (int bit = 31; bit >= 16; --bit) product ^= ((product >> bit) & 1) ? 0x1100BU << (bit - 16) : 0;
    ASSERT_EQ(FieldMultiply(a, b), product);
  }
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
      EXPECT_TRUE(Same(Recover(shares, {order.begin(), order.begin() + threshold}), secret));
      if (threshold > 1) {
        EXPECT_FALSE(Same(Recover(shares, {order.begin(), order.begin() + threshold - 1}), secret));
      }
    }
  }
}

TEST(Shamir, WorksAtTheLargestIndex) {
  SeededRandom random(3);
  const Secret secret = Secret::Random(random);
  const auto shares = SplitSecret(secret, 3, kMembersMax, random);
  EXPECT_TRUE(Same(Recover(shares, {kMembersMax, 257, kMembersMax - 1}), secret));
}

TEST(Shamir, OneWrongShareGivesAnotherSecret) {
  SeededRandom random(4);
  const Secret secret = Secret::Random(random);
  auto shares = SplitSecret(secret, 3, 4, random);
  shares[1].mutable_bytes()[0] ^= std::byte{1};
  EXPECT_FALSE(Same(Recover(shares, {1, 2, 3}), secret));
  EXPECT_TRUE(Same(Recover(shares, {1, 3, 4}), secret));
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

}  // namespace
}  // namespace edgefleet::secagg
