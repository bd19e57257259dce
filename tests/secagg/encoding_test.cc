#include "secagg/encoding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "secagg/messages.h"

namespace edgefleet::secagg {
namespace {

double Scale(const Encoding& encoding) { return std::ldexp(1.0, static_cast<int>(encoding.value_bits) - 1) - 1; }

double NormOfWords(const std::vector<std::uint32_t>& words) {
  double squares = 0;
  for (std::size_t i = 0; i + 1 < words.size(); ++i) squares += std::pow(static_cast<std::int32_t>(words[i]), 2);
  return std::sqrt(squares);
}

TEST(Encoding, TakesTheMostBitsThatCannotOverflow) {
  for (std::uint32_t participants = 1; participants <= kMembersMax; participants = participants * 5 / 3 + 1) {
    Encoding encoding = MakeEncoding(1.0, 1000, participants).value();
    EXPECT_TRUE(CheckEncoding(encoding, 100).ok()) << participants;
    EXPECT_LT(participants * Scale(encoding), std::ldexp(1.0, 31));
    if (encoding.value_bits < 24) {
      ++encoding.value_bits;
      const bool one_more_fits = participants * Scale(encoding) < std::ldexp(1.0, 31);
      EXPECT_EQ(CheckEncoding(encoding, 100).ok(), one_more_fits);
    }
  }
}

TEST(Encoding, RefusesWhatCouldOverflowOrMakesNoSense) {
  const auto reason = [](Encoding encoding, std::uint64_t parameters) { return CheckEncoding(encoding, parameters).reason(); };
  EXPECT_EQ(reason({1, 100, 4096, 24}, 10), "ENCODING_OVERFLOW");
  EXPECT_EQ(reason({1, 1 << 20, 4096, 20}, 10), "ENCODING_OVERFLOW");  // the weights
  EXPECT_EQ(reason({1, (1 << 20) - 1, 4096, 20}, 10), "");
  EXPECT_EQ(reason({1, 100, 10, 8}, 5000), "ENCODING_TOO_COARSE");
  EXPECT_EQ(reason({1, 100, 10, 8}, 4000), "");
  for (const double norm : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity(), 1e300, 1e-300}) {
    EXPECT_EQ(reason({norm, 100, 10, 16}, 10), "BAD_ENCODING") << norm;
    EXPECT_EQ(MakeEncoding(norm, 100, 10).error().reason(), "BAD_ENCODING");
  }
  for (const Encoding& bad : {Encoding{1, 0, 10, 16}, {1, 100, 0, 16}, {1, 100, 4097, 16}, {1, 100, 10, 7}, {1, 100, 10, 25}}) {
    EXPECT_EQ(reason(bad, 10), "BAD_ENCODING");
  }
  EXPECT_EQ(reason({1, 100, 10, 16}, 0), "BAD_ENCODING");
  EXPECT_EQ(reason({1, 100, 10, 16}, kVectorLengthMax), "BAD_ENCODING");
}

TEST(Encoding, RefusesUpdatesThatAreNotFinite) {
  SeededRandom random(1);
  const Encoding encoding = MakeEncoding(1.0, 100, 10).value();
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t place : {0U, 4096U, 9999U}) {
      std::vector<float> update(10'000, 0.001F);
      update[place] = bad;
      EXPECT_EQ(EncodeUpdate(update, 5, encoding, random).error().reason(), "UPDATE_NOT_FINITE");
    }
  }
  const std::vector<float> update(10, 0.1F);
  EXPECT_EQ(EncodeUpdate(update, 0, encoding, random).error().reason(), "NO_EXAMPLES");
  EXPECT_EQ(EncodeUpdate({}, 5, encoding, random).error().reason(), "BAD_ENCODING");
}

// The sensitivity argument: whatever the update, what is sent has a norm of at most clip_norm, rounding included.
TEST(Encoding, NormNeverExceedsTheClipNorm) {
  SeededRandom random(2);
  for (const std::uint32_t participants : {1U, 20U, 4096U}) {
    const Encoding encoding = MakeEncoding(0.7, 100, participants).value();
    for (const std::size_t size : {1U, 3U, 1000U, 20'000U}) {
      for (const double magnitude : {1e-6, 0.7, 1e3, 1e30}) {
        std::vector<float> update(size);
        for (float& value : update) value = static_cast<float>(magnitude * (random.Unit() - 0.5));
        const auto words = EncodeUpdate(update, 1000, encoding, random).value();
        EXPECT_LE(NormOfWords(words), Scale(encoding)) << participants << " " << size << " " << magnitude;
        EXPECT_EQ(words.size(), size + 1);
      }
    }
  }
}

TEST(Encoding, ScalesByTheWeightAndCapsIt) {
  SeededRandom random(3);
  const Encoding encoding = MakeEncoding(1.0, 100, 2).value();
  const std::vector<float> update{0.25F, -0.5F};
  for (const auto& [examples, weight] :
       std::vector<std::pair<std::uint64_t, std::uint32_t>>{{1, 1}, {50, 50}, {100, 100}, {1ULL << 40, 100}}) {
    const auto words = EncodeUpdate(update, examples, encoding, random).value();
    EXPECT_EQ(words[2], weight);
    EXPECT_NEAR(static_cast<std::int32_t>(words[0]), 0.25 * weight / 100 * Scale(encoding), 1.0);
    EXPECT_NEAR(static_cast<std::int32_t>(words[1]), -0.5 * weight / 100 * Scale(encoding), 1.0);
  }
}

TEST(Encoding, RoundingIsUnbiased) {
  SeededRandom random(4);
  const Encoding encoding{1.0, 1, 1, 8};         // coarse: S = 127
  const std::vector<float> update(2000, 0.01F);  // norm 0.447; 1.27 steps each
  double total = 0;
  for (int trial = 0; trial < 50; ++trial) {
    const auto words = EncodeUpdate(update, 1, encoding, random).value();
    for (std::size_t i = 0; i < update.size(); ++i) {
      const auto value = static_cast<std::int32_t>(words[i]);
      ASSERT_TRUE(value == 1 || value == 2);
      total += value;
    }
  }
  EXPECT_NEAR(total / (50 * 2000), 1.27, 0.01);  // five deviations: 5 * sqrt(0.27 * 0.73 / 100,000) = 0.007
}

TEST(Decoding, GivesTheWeightedSumAndTheAverage) {
  SeededRandom random(5);
  const Encoding encoding = MakeEncoding(2.0, 10, 2).value();
  const auto one = EncodeUpdate(std::vector<float>{1.0F, 0.0F}, 10, encoding, random).value();
  const auto other = EncodeUpdate(std::vector<float>{-0.5F, 0.25F}, 5, encoding, random).value();
  std::vector<std::uint32_t> words(3);
  for (std::size_t i = 0; i < 3; ++i) words[i] = one[i] + other[i];
  const WeightedSum sum = DecodeSum(words, 2, encoding).value();
  EXPECT_NEAR(sum.sum[0], 1.0 - 0.25, 1e-5);
  EXPECT_NEAR(sum.sum[1], 0.125, 1e-5);
  EXPECT_DOUBLE_EQ(sum.weight, 1.5);
  EXPECT_EQ(sum.examples, 15U);
  const auto average = Average(sum);
  EXPECT_NEAR(average[0], 0.5, 1e-5);
  EXPECT_NEAR(average[1], 0.125 / 1.5, 1e-5);
}

TEST(Decoding, SurvivesTheLargestSums) {
  const Encoding encoding = MakeEncoding(1.0, 1 << 19, kMembersMax).value();
  const auto limit = static_cast<std::int32_t>(Scale(encoding)) * static_cast<std::int32_t>(kMembersMax);
  const std::vector<std::uint32_t> words{static_cast<std::uint32_t>(limit), static_cast<std::uint32_t>(-limit),
                                         kMembersMax << 19};
  const WeightedSum sum = DecodeSum(words, kMembersMax, encoding).value();
  EXPECT_FLOAT_EQ(sum.sum[0], 4096.0F);
  EXPECT_FLOAT_EQ(sum.sum[1], -4096.0F);
  EXPECT_DOUBLE_EQ(sum.weight, 4096.0);
}

TEST(Decoding, RefusesSumsThatClippedUpdatesCannotGive) {
  const Encoding encoding = MakeEncoding(1.0, 10, 4).value();
  const auto reason = [&](std::vector<std::uint32_t> words, std::uint32_t participants) {
    const auto sum = DecodeSum(words, participants, encoding);
    return sum ? std::string() : sum.error().reason();
  };
  const auto limit = static_cast<std::uint32_t>(Scale(encoding));
  EXPECT_EQ(reason({2 * limit, 5}, 2), "");
  EXPECT_EQ(reason({2 * limit + 1, 5}, 2), "BAD_SUM");
  EXPECT_EQ(reason({-(2 * limit + 1), 5}, 2), "BAD_SUM");
  EXPECT_EQ(reason({0x80000000U, 5}, 2), "BAD_SUM");
  EXPECT_EQ(reason({0, 1}, 2), "BAD_SUM");   // less weight than participants
  EXPECT_EQ(reason({0, 21}, 2), "BAD_SUM");  // more than they may have
  EXPECT_EQ(reason({5}, 2), "BAD_SUM");
  EXPECT_EQ(reason({0, 5}, 0), "BAD_SUM");
  EXPECT_EQ(reason({0, 5}, 5), "BAD_SUM");
}

}  // namespace
}  // namespace edgefleet::secagg
