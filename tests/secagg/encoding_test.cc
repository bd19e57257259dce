#include "secagg/encoding.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "secagg/messages.h"
#include "secagg/sparsity.h"

namespace edgefleet::secagg {
namespace {

const Seed kSeed = [] {
  Seed seed;
  for (std::size_t i = 0; i < seed.size(); ++i) seed[i] = static_cast<std::byte>(i + 1);
  return seed;
}();

double Scale(const Encoding& encoding) { return std::ldexp(1.0, static_cast<int>(encoding.value_bits) - 1) - 1; }

// What a device's elements stand for, in steps.
double NormOf(const Encoding& encoding, const std::vector<std::uint32_t>& elements, std::uint64_t values) {
  double squares = 0;
  for (std::size_t i = 0; i < values; ++i) squares += std::pow(elements[i] - Scale(encoding), 2);
  return std::sqrt(squares);
}

double Norm(std::span<const float> values) {
  double squares = 0;
  for (const float value : values) squares += double{value} * value;
  return std::sqrt(squares);
}

std::string ReasonFor(const Encoding& encoding, std::uint64_t parameters) {
  return CheckEncoding(encoding, parameters).reason();
}

TEST(Encoding, TakesTheMostBitsThatCannotOverflow) {
  for (std::uint32_t participants = 1; participants <= kMembersMax; participants = participants * 5 / 3 + 1) {
    Encoding encoding = MakeEncoding(1.0, 1000, participants).value();
    EXPECT_TRUE(CheckEncoding(encoding, 100).ok()) << participants;
    EXPECT_LT(participants * 2 * Scale(encoding), std::ldexp(1.0, 32));
    if (encoding.value_bits < 24) {
      ++encoding.value_bits;
      EXPECT_EQ(ReasonFor(encoding, 100), "ENCODING_OVERFLOW");
    }
  }
}

// The overflow proof, by exhaustion: the largest sum fits the width, and the width is the least that it fits.
TEST(Encoding, TheLargestSumJustFits) {
  for (std::uint32_t bits = 2; bits <= 24; ++bits) {
    const std::uint64_t element_max = (1ULL << bits) - 2;
    for (std::uint32_t participants = 1; participants <= kMembersMax; participants += participants < 300 ? 1 : 97) {
      const Encoding encoding{1, 1, participants, bits, 1, true, kSeed};
      const auto shape = ShapeOf(encoding, 1);
      if (participants * element_max >= 1ULL << 32) {
        EXPECT_EQ(shape.error().reason(), "ENCODING_OVERFLOW") << participants << " " << bits;
        continue;
      }
      if (!shape) {  // S of one step is too coarse for any clip norm
        EXPECT_EQ(shape.error().reason(), "ENCODING_TOO_COARSE");
        EXPECT_LT(bits, 4U);
        continue;
      }
      const std::uint64_t sum = participants * element_max;
      EXPECT_LT(sum, 1ULL << shape->element_bits) << participants << " " << bits;
      EXPECT_GE(sum, 1ULL << (shape->element_bits - 1)) << participants << " " << bits;
    }
  }
}

// Every element of every participant at its limits, values and weight's digits, all participants there.
TEST(Encoding, SumsOfExtremesDoNotWrap) {
  for (const std::uint32_t participants : {1U, 2U, 3U, 7U, 26U, 1000U, kMembersMax}) {
    for (const std::uint32_t bits : {3U, 4U, 5U, 8U, 12U, 16U, 20U}) {
      for (const std::uint32_t examples : {1U, 6U, 7U, 254U, 255U, 256U, 65'535U, 0xFFFFFFFFU}) {
        const Encoding encoding{1, examples, participants, bits};
        const auto shape = ShapeOf(encoding, 2);
        if (!shape) {
          const bool overflows = std::uint64_t{participants} << bits > 1ULL << 32;
          EXPECT_EQ(shape.error().reason(), overflows ? "ENCODING_OVERFLOW" : "ENCODING_TOO_COARSE");
          continue;
        }
        const std::uint64_t base = 2 * static_cast<std::uint64_t>(Scale(encoding)) + 1;
        std::vector<std::uint64_t> exact(shape->elements);
        exact[0] = participants * (base - 1);  // exact[1]: all at the lower end
        std::uint64_t rest = examples;
        for (std::size_t i = 2; i < exact.size(); ++i, rest /= base) exact[i] = participants * (rest % base);
        EXPECT_EQ(rest, 0U);
        std::vector<std::uint32_t> words;
        for (const std::uint64_t sum : exact) {
          ASSERT_LT(sum, 1ULL << shape->element_bits);
          words.push_back(static_cast<std::uint32_t>(sum));
        }
        const WeightedSum sum = DecodeSum(words, participants, 2, encoding).value();
        EXPECT_FLOAT_EQ(sum.sum[0], static_cast<float>(participants));
        EXPECT_FLOAT_EQ(sum.sum[1], -static_cast<float>(participants));
        EXPECT_EQ(sum.examples, std::uint64_t{participants} * examples);
        EXPECT_DOUBLE_EQ(sum.weight, participants);
      }
    }
  }
}

TEST(Encoding, RefusesWhatCouldOverflowOrMakesNoSense) {
  EXPECT_EQ(ReasonFor({1, 100, 4096, 24}, 10), "ENCODING_OVERFLOW");
  EXPECT_EQ(ReasonFor({1, 100, 257, 24}, 10), "ENCODING_OVERFLOW");
  EXPECT_EQ(ReasonFor({1, 100, 256, 24}, 10), "");
  EXPECT_EQ(ReasonFor({1, 0xFFFFFFFFU, 4096, 20}, 10), "");  // the weight takes two digits
  EXPECT_NE(CheckEncoding({1, 100, 4096, 24}, 10).message().find("at most 20 value_bits"), std::string::npos);
  for (const double norm : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity(), 1e300, 1e-300}) {
    EXPECT_EQ(ReasonFor({norm, 100, 10, 16}, 10), "BAD_ENCODING") << norm;
    EXPECT_EQ(MakeEncoding(norm, 100, 10).error().reason(), "BAD_ENCODING");
  }
  for (const Encoding& bad : {Encoding{1, 0, 10, 16},
                              {1, 100, 0, 16},
                              {1, 100, kMembersMax + 1, 16},
                              {1, 100, 10, 1},
                              {1, 100, 10, 25},
                              {1, 100, 10, 16, 0, false, kSeed},
                              {1, 100, 10, 16, -0.5, false, kSeed},
                              {1, 100, 10, 16, 1.1, false, kSeed},
                              {1, 100, 10, 16, std::nan(""), false, kSeed},
                              {1, 100, 10, 16, 0.5, false},
                              {1, 100, 10, 16, 1, true}}) {
    EXPECT_EQ(ReasonFor(bad, 10), "BAD_ENCODING");
  }
  EXPECT_EQ(MakeEncoding(1, 100, 0).error().reason(), "BAD_ENCODING");
  EXPECT_EQ(ReasonFor({1, 100, 10, 16}, 0), "BAD_ENCODING");
  EXPECT_EQ(ReasonFor({1, 100, 10, 16}, kVectorLengthMax), "BAD_ENCODING");
}

TEST(Encoding, RefusesTooFewBitsAndSaysHowManyWouldDo) {
  for (const bool rotate : {false, true}) {
    for (const std::uint64_t parameters : {100ULL, 100'000ULL, 25'000'000ULL, (1ULL << 32) - 100}) {
      Encoding encoding{1, 100, 10, 2, 1, rotate, kSeed};
      const Status refused = CheckEncoding(encoding, parameters);
      EXPECT_EQ(refused.reason(), "ENCODING_TOO_COARSE");
      std::uint32_t enough = 2;
      while (!CheckEncoding(encoding, parameters).ok()) encoding.value_bits = ++enough;
      EXPECT_NE(refused.message().find("use at least " + std::to_string(enough)), std::string::npos) << refused.message();
      EXPECT_LE(enough, rotate ? 4U : 18U) << parameters;
    }
  }
}

TEST(Encoding, CountsElementsOfTheSizesThatItPromises) {
  const auto shape = [](Encoding encoding) { return ShapeOf(encoding, 100'000).value(); };
  EXPECT_EQ(shape({1, 1000, 26, 24}).elements, 100'001U);
  EXPECT_EQ(shape({1, 1000, 26, 24}).element_bits, 29U);
  EXPECT_EQ(shape({1, 1000, 26, 16}).element_bits, 21U);
  EXPECT_EQ(shape({1, 1000, 26, 8, 1, true, kSeed}).elements, 100'002U);
  EXPECT_EQ(shape({1, 1000, 26, 8, 1, true, kSeed}).element_bits, 13U);
  EXPECT_EQ(shape({1, 1000, 26, 8, 0.25, true, kSeed}).elements, 25'002U);
  EXPECT_EQ(shape({1, 254, 26, 8, 0.25, true, kSeed}).elements, 25'001U);
}

TEST(Encoding, RefusesUpdatesThatAreNotFinite) {
  SeededRandom random(1);
  const Encoding plain = MakeEncoding(1.0, 100, 10).value();
  const Encoding compressed{1.0, 100, 10, 8, 0.01, true, kSeed};
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    for (const std::size_t place : {0U, 4096U, 9999U}) {
      std::vector<float> update(10'000, 0.001F);
      update[place] = bad;
      EXPECT_EQ(EncodeUpdate(update, 5, plain, random).error().reason(), "UPDATE_NOT_FINITE");
      EXPECT_EQ(EncodeUpdate(update, 5, compressed, random).error().reason(), "UPDATE_NOT_FINITE");
    }
  }
  const std::vector<float> update(10, 0.1F);
  EXPECT_EQ(EncodeUpdate(update, 0, plain, random).error().reason(), "NO_EXAMPLES");
  EXPECT_EQ(EncodeUpdate({}, 5, plain, random).error().reason(), "BAD_ENCODING");
}

// The sensitivity argument: whatever the update, what is sent has a norm of at most clip_norm, rounding included.
TEST(Encoding, NormNeverExceedsTheClipNorm) {
  SeededRandom random(2);
  constexpr double kClip = 0.7;
  const auto spike = [](std::size_t size, std::size_t place) {
    std::vector<float> update(size);
    update[place] = 1;
    return update;
  };
  const auto noise = [&](std::size_t size) {
    std::vector<float> update(size);
    for (float& value : update) value = static_cast<float>(random.Unit() - 0.5);
    return update;
  };
  for (const std::size_t size : {1U, 2U, 3U, 7U, 1000U, 4096U, 20'000U}) {
    for (const auto& shape : {spike(size, 0), spike(size, size - 1), std::vector<float>(size, 1.0F), noise(size)}) {
      for (const double magnitude : {1e-6, 0.7 / std::sqrt(static_cast<double>(size)), 0.7, 1e3, 1e30}) {
        std::vector<float> update = shape;
        for (float& value : update) value = static_cast<float>(value * magnitude);
        for (const Encoding& encoding : {MakeEncoding(kClip, 100, 1).value(),
                                         MakeEncoding(kClip, 100, kMembersMax).value(),
                                         Encoding{kClip, 1, 3, 9},
                                         {kClip, 1, 3, 4, 1, true, kSeed},
                                         {kClip, 1, 3, 5, 1, true, kSeed},
                                         {kClip, 1, 3, 8, 1, true, kSeed},
                                         {kClip, 1, 3, 12, 0.3, true, kSeed},
                                         {kClip, 1, 3, 10, 0.3, false, kSeed},
                                         {kClip, 1, 3, 24, 1, true, kSeed}}) {
          if (!CheckEncoding(encoding, size).ok()) {
            EXPECT_EQ(ReasonFor(encoding, size), "ENCODING_TOO_COARSE");
            continue;
          }
          const auto words = EncodeUpdate(update, 1000, encoding, random).value();
          ASSERT_EQ(words.size(), ShapeOf(encoding, size)->elements);
          for (const std::uint32_t word : words) ASSERT_LE(word, 2 * Scale(encoding));
          const WeightedSum sum = DecodeSum(words, 1, size, encoding).value();
          // A float holds what was decoded, and what was rotated back, only to some 2^-24.
          ASSERT_LE(Norm(sum.sum), kClip * (1 + (encoding.rotate ? 1e-5 : 1e-7)))
              << size << " " << magnitude << " " << encoding.value_bits << " " << encoding.rotate;
          if (!encoding.rotate) {
            ASSERT_LE(NormOf(encoding, words, sum.sum.size()), Scale(encoding));
          }
        }
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
    EXPECT_NEAR(words[0], (1 + 0.25 * weight / 100) * Scale(encoding), 1.0);
    EXPECT_NEAR(words[1], (1 - 0.5 * weight / 100) * Scale(encoding), 1.0);
  }
}

TEST(Encoding, SplitsTheWeightIntoDigits) {
  SeededRandom random(3);
  const Encoding encoding{1.0, 0xFFFFFFFFU, 2, 8};
  const auto words = EncodeUpdate(std::vector<float>{0.0F}, 3 + 255 * (7 + 255 * 11), encoding, random).value();
  EXPECT_EQ(words, (std::vector<std::uint32_t>{127, 3, 7, 11, 0, 0}));
}

TEST(Encoding, RoundingIsUnbiased) {
  SeededRandom random(4);
  const Encoding encoding{1.0, 1, 1, 8};         // coarse: S = 127
  const std::vector<float> update(2000, 0.01F);  // norm 0.447; 1.27 steps each
  double total = 0;
  for (int trial = 0; trial < 50; ++trial) {
    const auto words = EncodeUpdate(update, 1, encoding, random).value();
    for (std::size_t i = 0; i < update.size(); ++i) {
      ASSERT_TRUE(words[i] == 128 || words[i] == 129);
      total += words[i] - 127;
    }
  }
  EXPECT_NEAR(total / (50 * 2000), 1.27, 0.01);  // five deviations: 5 * sqrt(0.27 * 0.73 / 100,000) = 0.007
}

// Over seeds and rounding, the average is the update.
TEST(Encoding, CompressionIsUnbiased) {
  SeededRandom random(6);
  constexpr std::size_t kParameters = 100;
  constexpr int kTrials = 4000;
  std::vector<float> update(kParameters);
  for (std::size_t i = 0; i < kParameters; ++i) update[i] = 0.001F * static_cast<float>(i);  // norm 0.57
  for (const bool rotate : {false, true}) {
    std::vector<double> mean(kParameters);
    std::vector<double> square(kParameters);
    for (int trial = 0; trial < kTrials; ++trial) {
      Encoding encoding{1.0, 1, 1, 8, 0.4, rotate, kSeed};
      random.Fill(encoding.seed);
      const auto words = EncodeUpdate(update, 1, encoding, random).value();
      const auto average = Average(DecodeSum(words, 1, kParameters, encoding).value());
      ASSERT_EQ(average.size(), kParameters);
      for (std::size_t i = 0; i < kParameters; ++i) {
        mean[i] += average[i] / kTrials;
        square[i] += double{average[i]} * average[i] / kTrials;
      }
    }
    for (std::size_t i = 0; i < kParameters; ++i) {
      const double deviation = std::sqrt((square[i] - mean[i] * mean[i]) / kTrials);
      EXPECT_NEAR(mean[i], update[i], 5 * deviation + 1e-9) << i << " " << rotate;
    }
  }
}

// Sums of words are sums of updates, within what rounding moves.
TEST(Decoding, GivesTheWeightedSumAndTheAverage) {
  SeededRandom random(5);
  constexpr double kClip = 2.0;
  for (const std::uint32_t participants : {1U, 2U, 26U}) {
    for (const std::uint32_t bits : {8U, 12U, 16U, 24U}) {
      for (const double keep : {1.0, 0.25}) {
        for (const bool rotate : {false, true}) {
          for (const std::size_t size : {1U, 5U, 1024U, 1500U}) {
            const Encoding encoding{kClip, 10, participants, bits, keep, rotate, kSeed};
            const auto shape = ShapeOf(encoding, size).value();
            std::vector<std::uint32_t> words(shape.elements);
            std::vector<double> expected(size);
            double weights = 0;
            for (std::uint32_t k = 0; k < participants; ++k) {
              std::vector<float> update(size);  // well inside the clip norm
              for (float& value : update)
                value = static_cast<float>((random.Unit() - 0.5) / std::sqrt(static_cast<double>(size)));
              const std::uint64_t examples = 1 + k % 12;
              const double weight = std::min(1.0, static_cast<double>(examples) / 10);
              const auto encoded = EncodeUpdate(update, examples, encoding, random).value();
              for (std::size_t i = 0; i < words.size(); ++i) words[i] += encoded[i];
              for (std::size_t i = 0; i < size; ++i) expected[i] += weight * update[i];
              weights += weight;
            }
            const std::uint32_t mask = shape.element_bits == 32 ? ~0U : (1U << shape.element_bits) - 1;
            for (std::uint32_t& word : words) word &= mask;
            const WeightedSum sum = DecodeSum(words, participants, size, encoding).value();
            EXPECT_NEAR(sum.weight, weights, 1e-12);
            const std::size_t kept = sum.sum.size();
            EXPECT_EQ(kept, static_cast<std::size_t>(std::ceil(keep * static_cast<double>(size))));
            // Each coordinate of each participant moves by less than a step; rotation passes on the norm of that.
            const double bound = rotate ? std::min(1.0, std::sqrt(2 * std::log(2048.0 * static_cast<double>(kept)) /
                                                                  static_cast<double>(std::bit_floor(kept))))
                                        : 1.0;
            const double step = kClip * bound / Scale(encoding);
            double error = 0;
            for (std::size_t i = 0; i < kept; ++i) {
              const std::size_t place = sum.kept.empty() ? i : sum.kept[i];
              const double miss = sum.sum[i] - expected[place];
              error += miss * miss;
              if (!rotate) {
                EXPECT_LE(std::abs(miss), participants * step + 1e-6);
              }
            }
            EXPECT_LE(std::sqrt(error), participants * step * std::sqrt(static_cast<double>(kept)) + 1e-5);
            const auto average = Average(sum);
            ASSERT_EQ(average.size(), size);
            std::size_t zeros = 0;
            for (const float value : average) zeros += value == 0 ? 1 : 0;
            EXPECT_GE(zeros, size - kept);
            const std::size_t place = sum.kept.empty() ? 0 : sum.kept[0];
            EXPECT_NEAR(average[place], sum.sum[0] / weights * static_cast<double>(size) / static_cast<double>(kept), 1e-5);
          }
        }
      }
    }
  }
}

TEST(Decoding, RefusesSumsThatClippedUpdatesCannotGive) {
  const Encoding encoding = MakeEncoding(1.0, 10, 4).value();
  const auto reason = [](const Encoding& with, const std::vector<std::uint32_t>& words, std::uint32_t participants) {
    const auto sum = DecodeSum(words, participants, 1, with);
    return sum ? std::string() : sum.error().reason();
  };
  const auto limit = static_cast<std::uint32_t>(2 * Scale(encoding));
  EXPECT_EQ(reason(encoding, {2 * limit, 5}, 2), "");
  EXPECT_EQ(reason(encoding, {0, 5}, 2), "");
  EXPECT_EQ(reason(encoding, {2 * limit + 1, 5}, 2), "BAD_SUM");
  EXPECT_EQ(reason(encoding, {0xFFFFFFFFU, 5}, 2), "BAD_SUM");
  EXPECT_EQ(reason(encoding, {0, 1}, 2), "BAD_SUM");   // less weight than participants
  EXPECT_EQ(reason(encoding, {0, 21}, 2), "BAD_SUM");  // more than they may have
  EXPECT_EQ(reason(encoding, {0, 20}, 2), "");
  EXPECT_EQ(reason(encoding, {5}, 2), "BAD_SUM");
  EXPECT_EQ(reason(encoding, {0, 0, 5}, 2), "BAD_SUM");
  EXPECT_EQ(reason(encoding, {0, 5}, 0), "BAD_SUM");
  EXPECT_EQ(reason(encoding, {0, 5}, 5), "BAD_SUM");
  const Encoding digits{1.0, 1000, 4, 8};  // 1000 = 3 * 255 + 235
  EXPECT_EQ(reason(digits, {0, 2 * 235, 2 * 3}, 2), "");
  EXPECT_EQ(reason(digits, {0, 2 * 235 + 1, 2 * 3}, 2), "BAD_SUM");
  EXPECT_EQ(reason(digits, {0, 0, 2 * 3 + 1}, 2), "BAD_SUM");
  EXPECT_EQ(reason(digits, {0, 1, 0}, 2), "BAD_SUM");
  EXPECT_EQ(reason(digits, {0, 2 * 254, 0}, 2), "");
  EXPECT_EQ(reason(digits, {0, 2 * 254 + 1, 0}, 2), "BAD_SUM");
  Encoding wide{1.0, 0xFFFFFFFFU, 4, 8};
  EXPECT_EQ(reason(wide, {0, 508, 508, 508, 508, 508}, 2), "BAD_SUM");
  wide.keep_fraction = 0.5;
  EXPECT_EQ(reason(wide, {0, 5, 0, 0, 0, 0}, 2), "BAD_ENCODING");
}

}  // namespace
}  // namespace edgefleet::secagg
