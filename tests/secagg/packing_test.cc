// The bit stream against one written bit by bit.
#include "secagg/packing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"

namespace edgefleet::secagg {
namespace {

using Words = std::vector<std::uint32_t>;

Bytes PackedBitByBit(const Words& elements, std::uint32_t bits) {
  Bytes packed((elements.size() * bits + 7) / 8);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    for (std::uint32_t bit = 0; bit < bits; ++bit) {
      const std::size_t place = i * bits + bit;
      packed[place / 8] |= static_cast<std::byte>(((elements[i] >> bit) & 1) << (place % 8));
    }
  }
  return packed;
}

Words RandomWords(std::size_t count, RandomSource& random) {
  Words words(count);
  random.Fill(std::as_writable_bytes(std::span(words)));
  return words;
}

Words Truncated(Words words, std::uint32_t bits) {
  for (std::uint32_t& word : words) word = static_cast<std::uint32_t>(word & ((std::uint64_t{1} << bits) - 1));
  return words;
}

constexpr std::size_t kLengths[] = {0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 255, 1000, 1027};

TEST(Packing, EveryWidthAndLengthIsTheBitStream) {
  SeededRandom random(31);
  for (std::uint32_t bits = 1; bits <= 32; ++bits) {
    for (const std::size_t length : kLengths) {
      const Words elements = RandomWords(length, random);  // bits above the width must not show
      Bytes packed(PackedSize(length, bits), std::byte{0xFF});
      Pack(elements, bits, packed);
      ASSERT_EQ(packed, PackedBitByBit(elements, bits)) << bits << " bits, " << length << " elements";
      EXPECT_TRUE(HasCleanTail(packed, length, bits));

      Words unpacked(length, 0xFFFFFFFF);
      Unpack(packed, bits, unpacked);
      ASSERT_EQ(unpacked, Truncated(elements, bits)) << bits << " bits, " << length << " elements";

      const Words before = RandomWords(length, random);
      Words sum = before;
      UnpackAdd(packed, bits, sum);
      for (std::size_t i = 0; i < length; ++i) ASSERT_EQ(sum[i], before[i] + unpacked[i]) << bits << " bits, element " << i;
    }
  }
}

TEST(Packing, PiecesOfEightElementsJoin) {
  SeededRandom random(32);
  for (std::uint32_t bits = 1; bits <= 32; ++bits) {
    const Words elements = RandomWords(1003, random);
    const Bytes whole = PackedBitByBit(elements, bits);
    Bytes joined;
    Words unpacked(elements.size());
    for (std::size_t begin = 0; begin < elements.size(); begin += 120) {
      const std::size_t count = std::min<std::size_t>(120, elements.size() - begin);
      Bytes piece(PackedSize(count, bits));
      Pack(std::span(elements).subspan(begin, count), bits, piece);
      Unpack(piece, bits, std::span(unpacked).subspan(begin, count));
      joined.insert(joined.end(), piece.begin(), piece.end());
    }
    ASSERT_EQ(joined, whole) << bits;
    ASSERT_EQ(unpacked, Truncated(elements, bits)) << bits;
  }
}

TEST(Packing, SumsOfTruncatedElementsAreRightModuloTheirWidth) {
  SeededRandom random(33);
  for (std::uint32_t bits = 1; bits <= 32; ++bits) {
    Words expected(100), sum(100);
    for (int update = 0; update < 9; ++update) {
      const Words elements = RandomWords(sum.size(), random);
      for (std::size_t i = 0; i < sum.size(); ++i) expected[i] += elements[i];
      Bytes packed(PackedSize(sum.size(), bits));
      Pack(elements, bits, packed);
      UnpackAdd(packed, bits, sum);
    }
    TruncateWords(sum, bits);
    EXPECT_EQ(sum, Truncated(expected, bits)) << bits;
  }
}

TEST(Packing, AnyUnusedBitOfTheLastByteShows) {
  for (std::uint32_t bits = 1; bits <= 32; ++bits) {
    for (std::size_t count = 0; count < 20; ++count) {
      Bytes packed(PackedSize(count, bits));
      for (std::size_t bit = count * bits; bit < packed.size() * 8; ++bit) {
        packed.back() = std::byte{1} << (bit % 8);
        EXPECT_FALSE(HasCleanTail(packed, count, bits)) << bits << " bits, " << count << " elements, bit " << bit;
      }
      if (packed.empty()) continue;
      packed.back() = std::byte{1} << ((count * bits - 1) % 8);
      EXPECT_TRUE(HasCleanTail(packed, count, bits));
    }
  }
}

TEST(Packing, RefusesOtherWidthsAndSizes) {
  Words elements(10);
  Bytes packed(10);
  EXPECT_DEATH(Pack(elements, 0, packed), "");
  EXPECT_DEATH(Unpack(packed, 33, elements), "");
  EXPECT_DEATH(UnpackAdd(packed, 9, elements), "");
  EXPECT_DEATH(TruncateWords(elements, 33), "");
}

TEST(ElementBits, IsTheCeilingOfTheLogarithm) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint64_t>::max();
  struct Case {
    std::uint64_t participants, values;
    std::uint32_t bits;  // 0: refused
  };
  const Case cases[] = {
      {1, 2, 1},           // 0 or 1
      {1, 3, 2},           // 0 to 2
      {2, 2, 2},           // 0 to 2
      {3, 2, 2},           // 0 to 3
      {4, 2, 3},           // 0 to 4
      {1, 256, 8},         //
      {1, 257, 9},         //
      {100, 1 << 16, 23},  // 6,553,500
      {101, 1 << 20, 27},
      {1, std::uint64_t{1} << 32, 32},                            // 2^32 - 1
      {1, (std::uint64_t{1} << 32) + 1, 0},                       // 2^32
      {2, (std::uint64_t{1} << 31) + 1, 0},                       // 2^32
      {2, std::uint64_t{1} << 31, 32},                            // 2^32 - 2
      {0xFFFFFFFF, 2, 32},                                        //
      {std::uint64_t{1} << 32, 2, 0},                             //
      {std::uint64_t{1} << 33, (std::uint64_t{1} << 31) + 1, 0},  // the product wraps to zero
      {0, 2, 0},
      {1, 0, 0},
      {1, 1, 0},
      {kMax, kMax, 0},
      {1, kMax, 0},
      {kMax, 2, 0},
  };
  for (const Case& c : cases) {
    const Result<std::uint32_t> bits = ElementBits(c.participants, c.values);
    if (c.bits == 0) {
      ASSERT_FALSE(bits.has_value()) << c.participants << " x " << c.values;
      EXPECT_EQ(bits.error().reason(), "BAD_ELEMENT_WIDTH");
    } else {
      ASSERT_TRUE(bits.has_value()) << c.participants << " x " << c.values;
      EXPECT_EQ(*bits, c.bits) << c.participants << " x " << c.values;
    }
  }
}

TEST(ElementBits, TheLargestSumJustFits) {
  for (std::uint64_t participants = 1; participants <= 300; ++participants) {
    for (const std::uint64_t values : {2, 3, 4, 5, 255, 256, 257, 65536, 1 << 20}) {
      const std::uint64_t largest = participants * (values - 1);
      const std::uint32_t bits = ElementBits(participants, values).value();
      EXPECT_LT(largest, std::uint64_t{1} << bits);
      EXPECT_GE(largest, std::uint64_t{1} << (bits - 1));
    }
  }
}

}  // namespace
}  // namespace edgefleet::secagg
