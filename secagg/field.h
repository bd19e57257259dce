// Arithmetic in GF(2^16) = GF(2)[x] / (x^16 + x^12 + x^3 + x + 1); x generates the multiplicative group, addition is exclusive
// or. Everything here but the logarithms runs in time that depends on no operand, only on the sizes.
#pragma once

#include <cstdint>
#include <span>

namespace edgefleet::secagg {

constexpr std::uint16_t FieldTimesX(std::uint16_t a) {
  constexpr std::uint16_t kReduction = 0x100B;  // x^12 + x^3 + x + 1: what x^16 reduces to
  const auto carry = static_cast<std::uint16_t>(-(a >> 15));
  return static_cast<std::uint16_t>(static_cast<std::uint16_t>(a << 1) ^ (carry & kReduction));
}

constexpr std::uint16_t FieldMultiply(std::uint16_t a, std::uint16_t b) {
  std::uint16_t product = 0;
  for (int bit = 0; bit < 16; ++bit) {
    product ^= static_cast<std::uint16_t>(-((b >> bit) & 1)) & a;
    a = FieldTimesX(a);
  }
  return product;
}

// The inverse of 0 is 0.
constexpr std::uint16_t FieldInverse(std::uint16_t a) {
  // a^(2^16 - 2) = a^2 * a^4 * ... * a^(2^15)
  std::uint16_t inverse = 1;
  for (int bit = 1; bit < 16; ++bit) {
    a = FieldMultiply(a, a);
    inverse = FieldMultiply(inverse, a);
  }
  return inverse;
}

// into[i] += from[i] * scalar. Same sizes, no overlap.
void AddScaled(std::span<std::uint16_t> into, std::span<const std::uint16_t> from, std::uint16_t scalar);
// into[i] *= by[i]. Same sizes, no overlap.
void MultiplyElements(std::span<std::uint16_t> into, std::span<const std::uint16_t> by);
// The sum of a[i] * b[i]. Same sizes.
std::uint16_t DotProduct(std::span<const std::uint16_t> a, std::span<const std::uint16_t> b);

// Logarithms to the base x look tables up: for PUBLIC values only (abscissas and what follows from them).
inline constexpr std::uint32_t kFieldOrder = 65535;  // of the multiplicative group
std::uint16_t PublicLog(std::uint16_t a);            // a != 0; below kFieldOrder
std::uint16_t PublicPower(std::uint64_t exponent);   // x^exponent

}  // namespace edgefleet::secagg
