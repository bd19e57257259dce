#include "secagg/shamir.h"

#include <array>
#include <cstring>

#include "secagg/words.h"

namespace edgefleet::secagg {
namespace {

constexpr std::uint16_t kReduction = 0x100B;  // x^12 + x^3 + x + 1: what x^16 reduces to
constexpr std::size_t kLanes = kKeySize / sizeof(std::uint16_t);
using Lanes = std::array<std::uint16_t, kLanes>;

constexpr std::uint16_t TimesX(std::uint16_t a) {
  const auto carry = static_cast<std::uint16_t>(-(a >> 15));
  return static_cast<std::uint16_t>(static_cast<std::uint16_t>(a << 1) ^ (carry & kReduction));
}

// All lanes times a public scalar: it decides the path, the lanes do not.
Lanes Multiply(Lanes lanes, std::uint16_t scalar) {
  Lanes product{};
  for (; scalar != 0; scalar >>= 1) {
    if (scalar & 1) {
      for (std::size_t i = 0; i < kLanes; ++i) product[i] ^= lanes[i];
    }
    for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = TimesX(lanes[i]);
  }
  return product;
}

Lanes Load(const Secret& secret) {
  Lanes lanes;
  std::memcpy(lanes.data(), secret.bytes().data(), kKeySize);
  return lanes;
}

Secret Store(Lanes& lanes) {
  Secret secret;
  std::memcpy(secret.mutable_bytes().data(), lanes.data(), kKeySize);
  Wipe(std::as_writable_bytes(std::span(lanes)));
  return secret;
}

}  // namespace

std::uint16_t FieldMultiply(std::uint16_t a, std::uint16_t b) {
  std::uint16_t product = 0;
  for (int bit = 0; bit < 16; ++bit) {
    product ^= static_cast<std::uint16_t>(-((b >> bit) & 1)) & a;
    a = TimesX(a);
  }
  return product;
}

std::uint16_t FieldInverse(std::uint16_t a) {
  // a^(2^16 - 2) = a^2 * a^4 * ... * a^(2^15)
  std::uint16_t inverse = 1;
  for (int bit = 1; bit < 16; ++bit) {
    a = FieldMultiply(a, a);
    inverse = FieldMultiply(inverse, a);
  }
  return inverse;
}

std::vector<Secret> SplitSecret(const Secret& secret, std::uint32_t threshold, std::uint32_t members, RandomSource& random) {
  std::vector<Lanes> coefficients(threshold);
  coefficients[0] = Load(secret);
  random.Fill(std::as_writable_bytes(std::span(coefficients).subspan(1)));
  std::vector<Secret> shares;
  shares.reserve(members);
  for (std::uint32_t member = 1; member <= members; ++member) {
    Lanes value{};  // Horner's rule
    for (auto coefficient = coefficients.rbegin(); coefficient != coefficients.rend(); ++coefficient) {
      value = Multiply(value, static_cast<std::uint16_t>(member));
      for (std::size_t i = 0; i < kLanes; ++i) value[i] ^= (*coefficient)[i];
    }
    shares.push_back(Store(value));
  }
  Wipe(std::as_writable_bytes(std::span(coefficients)));
  return shares;
}

SecretRecovery::SecretRecovery(std::span<const std::uint32_t> indices) {
  // weight_k = prod_{j != k} x_j / (x_j - x_k), and subtraction is exclusive or.
  std::uint16_t all = 1;
  for (const std::uint32_t index : indices) all = FieldMultiply(all, static_cast<std::uint16_t>(index));
  for (const std::uint32_t own : indices) {
    auto divisor = static_cast<std::uint16_t>(own);
    for (const std::uint32_t other : indices) {
      if (other != own) divisor = FieldMultiply(divisor, static_cast<std::uint16_t>(own ^ other));
    }
    weights_.push_back(FieldMultiply(all, FieldInverse(divisor)));
  }
}

Secret SecretRecovery::Combine(std::span<const Secret* const> shares) const {
  Lanes sum{};
  for (std::size_t k = 0; k < weights_.size(); ++k) {
    const Lanes term = Multiply(Load(*shares[k]), weights_[k]);
    for (std::size_t i = 0; i < kLanes; ++i) sum[i] ^= term[i];
  }
  return Store(sum);
}

}  // namespace edgefleet::secagg
