// The 16-bit floating-point formats: IEEE 754 binary16 and bfloat16 (the upper half of a binary32). Conversions are exact where
// they can be, else round to nearest, ties to even; subnormals, infinities and NaN are kept.
#pragma once

#include <bit>
#include <cstdint>

namespace edgefleet::runtime {

struct Float16 {
  std::uint16_t bits = 0;
};
struct BFloat16 {
  std::uint16_t bits = 0;
};

constexpr float ToFloat(Float16 value) {
  const std::uint32_t sign = (value.bits & 0x8000U) << 16;
  const std::uint32_t exponent = value.bits >> 10 & 0x1FU;
  const std::uint32_t fraction = value.bits & 0x3FFU;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t widened = exponent == 0x1F ? 0xFFU : exponent + (127 - 15);
  return std::bit_cast<float>(sign | widened << 23 | fraction << 13);
}

constexpr float ToFloat(BFloat16 value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16); }

constexpr Float16 ToFloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000U;
  std::uint32_t magnitude = bits & 0x7FFF'FFFFU;
  if (magnitude > 0x7F80'0000U) {
    magnitude = 0x7E00U | (magnitude >> 13 & 0x1FFU);  // a quiet NaN
  } else if (magnitude >= 0x477F'F000U) {              // 65520: halfway between the largest finite value and 2^16
    magnitude = 0x7C00U;
  } else if (magnitude >= 0x3880'0000U) {  // 2^-14: normal
    magnitude = (magnitude + 0xFFFU + (magnitude >> 13 & 1U) - 0x3800'0000U) >> 13;
  } else {  // The sum's last place is 2^-24, the unit of subnormals, so that the addition rounds.
    magnitude = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - 0x3F00'0000U;
  }
  return {static_cast<std::uint16_t>(sign | magnitude)};
}

constexpr BFloat16 ToBFloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFF'FFFFU) > 0x7F80'0000U) return {static_cast<std::uint16_t>(bits >> 16 | 0x40U)};  // a quiet NaN
  return {static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16)};
}

}  // namespace edgefleet::runtime
