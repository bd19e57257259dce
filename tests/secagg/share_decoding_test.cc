#include "secagg/share_decoding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <tuple>

#include "secagg/field.h"
#include "secagg/shamir.h"

namespace edgefleet::secagg {
namespace {

// A shared secret whose holders `slots` have answered, some of them wrongly.
class Answers {
 public:
  Answers(std::uint32_t threshold, std::vector<std::uint32_t> answering, std::uint32_t holders, SeededRandom& random)
      : secret(Secret::Random(random)), slots(std::move(answering)), threshold_(threshold) {
    const auto all = SplitSecret(secret, threshold, holders, random);
    for (const std::uint32_t slot : slots) shares.emplace_back(all[slot - 1].bytes());
  }
  Answers(std::uint32_t threshold, std::uint32_t holders, SeededRandom& random)
      : Answers(threshold, FirstSlots(holders), holders, random) {}

  static std::vector<std::uint32_t> FirstSlots(std::uint32_t holders) {
    std::vector<std::uint32_t> slots(holders);
    std::iota(slots.begin(), slots.end(), 1);
    return slots;
  }

  void Spoil(std::size_t position, SeededRandom& random) {
    switch (random.Below(4)) {
      case 0:
        return Replace(position, Secret::Random(random));
      case 1:
        shares[position].mutable_bytes()[random.Below(kKeySize)] ^= static_cast<std::byte>(1U << random.Below(8));
        return;
      case 2:
        return Replace(position, Secret());
      default:
        return Replace(position, Secret(shares[(position + 1) % shares.size()].bytes()));
    }
  }
  void Replace(std::size_t position, Secret share) { shares[position] = std::move(share); }

  Result<DecodedSecret> Recover() {
    std::vector<const Secret*> views;
    for (const Secret& share : shares) views.push_back(&share);
    questions = 0;
    return RecoverSecret(slots, views, threshold_, [this](const Secret& candidate) {
      ++questions;
      return candidate == secret;
    });
  }

  // The slots at these positions, ascending.
  std::vector<std::uint32_t> SlotsOf(const std::vector<std::size_t>& positions) const {
    std::vector<std::uint32_t> named;
    for (const std::size_t position : positions) named.push_back(slots[position]);
    std::ranges::sort(named);
    return named;
  }

  Secret secret;
  std::vector<std::uint32_t> slots;
  std::vector<Secret> shares;
  int questions = 0;

 private:
  std::uint32_t threshold_;
};

void ExpectRecovered(Answers& answers, const std::vector<std::size_t>& bad, std::string_view what) {
  const auto decoded = answers.Recover();
  ASSERT_TRUE(decoded.has_value()) << what << ": " << decoded.error().ToString();
  EXPECT_TRUE(decoded->secret == answers.secret) << what;
  EXPECT_EQ(decoded->bad_slots, answers.SlotsOf(bad)) << what;
}

std::vector<std::size_t> SomePositions(std::size_t count, std::size_t size, SeededRandom& random) {
  std::vector<std::size_t> positions(size);
  std::iota(positions.begin(), positions.end(), std::size_t{0});
  std::shuffle(positions.begin(), positions.end(), random);
  positions.resize(count);
  return positions;
}

TEST(ShareDecoding, EveryErrorPatternOfSmallCasesIsNamed) {
  SeededRandom random(1);
  for (std::uint32_t answering = 1; answering <= 9; ++answering) {
    for (std::uint32_t threshold = 1; threshold <= answering; ++threshold) {
      for (std::uint32_t pattern = 0; pattern < 1U << answering; ++pattern) {
        if (2 * static_cast<std::uint32_t>(std::popcount(pattern)) > answering - threshold) continue;
        Answers answers(threshold, answering, random);
        std::vector<std::size_t> bad;
        for (std::size_t position = 0; position < answering; ++position) {
          if (pattern >> position & 1) bad.push_back(position);
        }
        for (const std::size_t position : bad) answers.Replace(position, Secret::Random(random));
        ExpectRecovered(answers, bad, std::to_string(threshold) + " of " + std::to_string(answering));
      }
    }
  }
}

TEST(ShareDecoding, NamesUpToTheRadiusAtAnySlots) {
  SeededRandom random(2);
  for (int trial = 0; trial < 300; ++trial) {
    const auto holders = static_cast<std::uint32_t>(2 + random.Below(150));
    const auto answering = 1 + random.Below(holders);
    const auto threshold = static_cast<std::uint32_t>(1 + random.Below(answering));
    std::vector<std::uint32_t> slots = Answers::FirstSlots(holders);
    std::shuffle(slots.begin(), slots.end(), random);
    slots.resize(answering);
    Answers answers(threshold, slots, holders, random);
    if (threshold == 1) continue;  // all shares are the same, so another's is no wrong one
    const std::size_t radius = (answering - threshold) / 2;
    const auto bad = SomePositions(random.Below(2) == 0 ? radius : random.Below(radius + 1), answering, random);
    for (const std::size_t position : bad) answers.Spoil(position, random);
    ExpectRecovered(answers, bad, std::to_string(bad.size()) + " errors");
  }
}

TEST(ShareDecoding, AskedOnceWhenNothingIsWrong) {
  SeededRandom random(3);
  Answers answers(67, 100, random);
  ExpectRecovered(answers, {}, "no errors");
  EXPECT_EQ(answers.questions, 1);
}

TEST(ShareDecoding, OneFlippedBitAnywhereIsNamed) {
  SeededRandom random(4);
  Answers answers(3, 5, random);
  for (std::size_t bit = 0; bit < 8 * kKeySize; ++bit) {
    const std::size_t position = bit % 5;
    const auto flip = [&] { answers.shares[position].mutable_bytes()[bit / 8] ^= static_cast<std::byte>(1U << bit % 8); };
    flip();
    ExpectRecovered(answers, {position}, "bit " + std::to_string(bit));
    flip();
  }
}

TEST(ShareDecoding, ManyHoldersManyErrors) {
  SeededRandom random(5);
  Answers answers(400, 700, random);
  const auto bad = SomePositions(150, 700, random);
  for (const std::size_t position : bad) answers.Spoil(position, random);
  ExpectRecovered(answers, bad, "150 errors");
}

// Colluders who answer with consistent shares of another secret, and with one error each for all.
TEST(ShareDecoding, CoordinatedErrorsAreNamed) {
  SeededRandom random(6);
  for (int trial = 0; trial < 50; ++trial) {
    Answers answers(10, 30, random);
    const auto other = SplitSecret(Secret::Random(random), 10, 30, random);
    const auto bad = SomePositions(10, 30, random);
    for (const std::size_t position : bad) answers.Replace(position, Secret(other[position].bytes()));
    ExpectRecovered(answers, bad, "shares of another secret");

    Answers shifted(10, 30, random);
    const Secret error = Secret::Random(random);
    for (const std::size_t position : bad) {
      for (std::size_t i = 0; i < kKeySize; ++i) shifted.shares[position].mutable_bytes()[i] ^= error.bytes()[i];
    }
    ExpectRecovered(shifted, bad, "one error for all");
  }
}

// Errors in the shares of the first two positions that cancel in the secret recovered from these slots.
void CancelInFirstTwo(Answers& answers, const std::vector<std::uint32_t>& slots, SeededRandom& random) {
  const SecretRecovery recovery(slots);
  const Secret error = Secret::Random(random);
  // e_0 = w_1 e and e_1 = w_0 e: w_0 e_0 + w_1 e_1 = 0
  for (const std::size_t position : {0, 1}) {
    const std::vector<std::uint16_t> weights{1, recovery.Weights(0)[1 - position]};
    const std::vector<const Secret*> parts{&answers.shares[position], &error};
    answers.Replace(position, LinearCombination(weights, parts));
  }
}

// In the secret recovered from all: with redundancy they are named, and without they do no harm.
TEST(ShareDecoding, ErrorsThatCancel) {
  SeededRandom random(7);
  for (const std::uint32_t answering : {10U, 6U}) {
    Answers answers(5, answering, random);
    CancelInFirstTwo(answers, answers.slots, random);
    ExpectRecovered(answers, answering == 10 ? std::vector<std::size_t>{0, 1} : std::vector<std::size_t>{}, "cancelling");
  }
}

TEST(ShareDecoding, BeyondTheRadiusOtherSetsAreTried) {
  SeededRandom random(8);
  for (int trial = 0; trial < 50; ++trial) {
    Answers answers(2, 8, random);  // radius 3; a pair without errors is found all but surely
    const auto bad = SomePositions(5, 8, random);
    for (const std::size_t position : bad) answers.Replace(position, Secret::Random(random));
    const auto decoded = answers.Recover();
    if (!decoded) {
      EXPECT_EQ(decoded.error().reason(), "SHARES_BEYOND_REPAIR");
      continue;
    }
    EXPECT_TRUE(decoded->secret == answers.secret);
    EXPECT_TRUE(decoded->bad_slots.empty());
  }
}

// With one share more than needed, two colluders make their errors cancel wherever one certain right share is left out: the
// secret that the others give is right, and the share that it contradicts is too.
TEST(ShareDecoding, BeyondTheRadiusNobodyIsFramed) {
  SeededRandom random(11);
  for (std::size_t framed = 2; framed < 4; ++framed) {
    Answers answers(3, 4, random);
    std::vector<std::uint32_t> others = answers.slots;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(framed));
    CancelInFirstTwo(answers, others, random);
    ExpectRecovered(answers, {}, "framed " + std::to_string(framed));
    EXPECT_GT(answers.questions, 1);
  }
}

TEST(ShareDecoding, GivesUpInBoundedTime) {
  SeededRandom random(9);
  for (const auto& [threshold, answering, errors] : std::vector<std::tuple<std::uint32_t, std::uint32_t, std::size_t>>{
           {1, 1, 1}, {5, 5, 1}, {5, 5, 5}, {5, 6, 6}, {20, 30, 11}, {20, 30, 30}, {67, 100, 90}}) {
    Answers answers(threshold, answering, random);
    for (const std::size_t position : SomePositions(errors, answering, random)) answers.Spoil(position, random);
    if (threshold == 1) answers.Replace(0, Secret());
    const auto decoded = answers.Recover();
    if (errors == 11) continue;  // one set in many is spared
    ASSERT_FALSE(decoded.has_value()) << threshold << " of " << answering;
    EXPECT_EQ(decoded.error().reason(), "SHARES_BEYOND_REPAIR");
    EXPECT_EQ(decoded.error().code(), StatusCode::kDataLoss);
    EXPECT_LE(answers.questions, 73);
  }
}

TEST(ShareDecoding, TooFewShares) {
  SeededRandom random(10);
  Answers answers(5, {1, 2, 3, 4}, 8, random);
  EXPECT_EQ(answers.Recover().error().reason(), "SHARES_BEYOND_REPAIR");
  Answers nobody(5, std::vector<std::uint32_t>{}, 8, random);
  EXPECT_EQ(nobody.Recover().error().reason(), "SHARES_BEYOND_REPAIR");
  EXPECT_EQ(nobody.questions, 0);
}

}  // namespace
}  // namespace edgefleet::secagg
