#include "device_client/runtime/ops/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/random.h"

namespace edgefleet::runtime {
namespace {

TEST(Half, Float16KeepsEveryValue) {
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const Float16 half{static_cast<std::uint16_t>(bits)};
    const float value = ToFloat(half);
    if (std::isnan(value)) {
      EXPECT_EQ(ToFloat16(value).bits, bits | 0x200) << bits;
    } else {
      EXPECT_EQ(ToFloat16(value).bits, bits) << bits;
    }
  }
}

TEST(Half, Float16AgreesWithTheCompiler) {
  const auto check = [](float value) {
    const auto expected = static_cast<_Float16>(value);
    EXPECT_EQ(ToFloat16(value).bits, std::bit_cast<std::uint16_t>(expected)) << value;
    EXPECT_EQ(ToFloat(Float16{std::bit_cast<std::uint16_t>(expected)}), static_cast<float>(expected)) << value;
  };
  for (const float value : {0.0F,
                            -0.0F,
                            1.0F,
                            -2.5F,
                            65504.0F,
                            65519.996F,
                            65520.0F,
                            1e9F,
                            0x1p-14F,
                            0x1p-24F,
                            0x1p-25F,
                            0x1.8p-25F,
                            0x1.000002p-25F,
                            0x1p-149F,
                            0x1.ffcp-15F,
                            0x1.ffep-15F,
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            1.0009765625F,
                            1.00048828125F,
                            1.00146484375F}) {
    check(value);
  }
  SeededRandom random(1);
  for (int i = 0; i < 200'000; ++i) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!std::isnan(value)) check(value);
  }
}

TEST(Half, BFloat16RoundsHalfToEven) {
  struct Case {
    std::uint32_t from;
    std::uint16_t to;
  };
  for (const Case& c : {Case{0x3F80'0000, 0x3F80},
                        {0x3F80'8000, 0x3F80},
                        {0x3F80'8001, 0x3F81},
                        {0x3F81'8000, 0x3F82},
                        {0x3F80'7FFF, 0x3F80},
                        {0x7F7F'FFFF, 0x7F80},
                        {0x7F80'0000, 0x7F80},
                        {0xFF80'0000, 0xFF80},
                        {0x0000'0001, 0x0000},
                        {0x0000'8001, 0x0001},
                        {0x8000'0000, 0x8000}}) {
    EXPECT_EQ(ToBFloat16(std::bit_cast<float>(c.from)).bits, c.to) << std::hex << c.from;
  }
  EXPECT_TRUE(std::isnan(ToFloat(ToBFloat16(std::bit_cast<float>(0x7F80'0001U)))));
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const float value = ToFloat(BFloat16{static_cast<std::uint16_t>(bits)});
    if (!std::isnan(value)) {
      EXPECT_EQ(ToBFloat16(value).bits, bits);
    }
  }
}

}  // namespace
}  // namespace edgefleet::runtime
