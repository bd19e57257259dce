#include "secagg/field.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/random.h"

namespace edgefleet::secagg {
namespace {

std::vector<std::uint16_t> Elements(std::size_t size, RandomSource& random) {
  std::vector<std::uint16_t> elements(size);
  random.Fill(std::as_writable_bytes(std::span(elements)));
  return elements;
}

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

TEST(Field, LogarithmsAndPowers) {
  for (std::uint32_t a = 1; a < 65536; ++a) {
    const auto element = static_cast<std::uint16_t>(a);
    ASSERT_LT(PublicLog(element), kFieldOrder);
    ASSERT_EQ(PublicPower(PublicLog(element)), element);
  }
  EXPECT_EQ(PublicLog(1), 0);
  EXPECT_EQ(PublicLog(2), 1);
  EXPECT_EQ(PublicPower(kFieldOrder), 1);
  EXPECT_EQ(PublicPower(16), 0x100B);
  EXPECT_EQ(PublicPower(std::uint64_t{kFieldOrder} * kFieldOrder + 1), 2);
}

// The kernels agree with the product of two elements at every length around the widths that they may be compiled for.
TEST(Field, Kernels) {
  SeededRandom random(2);
  for (std::size_t size = 0; size <= 70; ++size) {
    const auto a = Elements(size, random), b = Elements(size, random);
    const auto scalar = static_cast<std::uint16_t>(random());
    auto scaled = a, multiplied = a;
    AddScaled(scaled, b, scalar);
    MultiplyElements(multiplied, b);
    std::uint16_t dot = 0;
    for (std::size_t i = 0; i < size; ++i) {
      ASSERT_EQ(scaled[i], a[i] ^ FieldMultiply(b[i], scalar)) << size << " " << i;
      ASSERT_EQ(multiplied[i], FieldMultiply(a[i], b[i])) << size << " " << i;
      dot ^= FieldMultiply(a[i], b[i]);
    }
    ASSERT_EQ(DotProduct(a, b), dot) << size;
  }
}

}  // namespace
}  // namespace edgefleet::secagg
