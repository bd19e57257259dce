#include "secagg/shamir.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "secagg/field.h"

namespace edgefleet::secagg {
namespace {

constexpr unsigned kFieldBits = 16;

// kVanishing[j][i] = s_j(x^i) / s_j(x^j), where s_j is the polynomial whose roots are the abscissas below 2^j. It is linear
// over GF(2), so its value at any abscissa is a sum of these; s_(j+1)(a) = s_j(a) * (s_j(a) + s_j(x^j)).
constexpr auto kVanishing = [] {
  std::array<std::array<std::uint16_t, kFieldBits>, kFieldBits> table{};
  for (unsigned i = 0; i < kFieldBits; ++i) table[0][i] = static_cast<std::uint16_t>(1U << i);
  for (unsigned j = 0; j + 1 < kFieldBits; ++j) {
    const auto next = [&](unsigned i) { return FieldMultiply(table[j][i], table[j][i] ^ 1); };
    const std::uint16_t scale = FieldInverse(next(j + 1));
    for (unsigned i = 0; i < kFieldBits; ++i) table[j + 1][i] = FieldMultiply(next(i), scale);
  }
  return table;
}();

std::uint16_t Vanishing(unsigned level, std::size_t abscissa) {
  std::uint16_t value = 0;
  for (; abscissa != 0; abscissa &= abscissa - 1) value ^= kVanishing[level][static_cast<unsigned>(std::countr_zero(abscissa))];
  return value;
}

// From coefficients to values at the abscissas 0 to `last`; lanes.size() is kLanes times a power of two above `last`.
// Coefficient i belongs to the product of the normalized s_j over the bits j of i, a polynomial of degree i which for i > 0 is
// 0 at 0. On 2^j abscissas from a multiple of 2^j the factor s_j is constant.
void Evaluate(std::span<std::uint16_t> lanes, std::size_t last) {
  for (auto level = static_cast<unsigned>(std::countr_zero(lanes.size() / kLanes)); level-- > 0;) {
    const std::size_t half = kLanes << level;
    for (std::size_t begin = 0; begin <= last; begin += std::size_t{2} << level) {
      const auto low = lanes.subspan(begin * kLanes, half);
      const auto high = lanes.subspan(begin * kLanes + half, half);
      if (begin != 0) AddScaled(low, high, Vanishing(level, begin));
      for (std::size_t i = 0; i < half; ++i) high[i] ^= low[i];
    }
  }
}

// values[a] becomes the sum of values[b] * (-1)^popcount(a & b); a power of two of them.
void WalshHadamard(std::span<std::int64_t> values) {
  for (std::size_t half = 1; half < values.size(); half *= 2) {
    for (std::size_t begin = 0; begin < values.size(); begin += 2 * half) {
      for (std::size_t i = begin; i < begin + half; ++i) {
        const std::int64_t low = values[i], high = values[i + half];
        values[i] = low + high;
        values[i + half] = low - high;
      }
    }
  }
}

}  // namespace

std::vector<Secret> SplitSecret(const Secret& secret, std::uint32_t threshold, std::uint32_t holders, RandomSource& random) {
  std::vector<std::uint16_t> lanes(std::bit_ceil(std::size_t{holders} + 1) * kLanes);
  const auto bytes = std::as_writable_bytes(std::span(lanes));
  std::ranges::copy(secret.bytes(), bytes.begin());
  random.Fill(bytes.subspan(kKeySize, (threshold - 1) * kKeySize));
  Evaluate(lanes, holders);
  std::vector<Secret> shares;
  shares.reserve(holders);
  for (std::size_t slot = 1; slot <= holders; ++slot) shares.emplace_back(bytes.subspan(slot * kKeySize).first<kKeySize>());
  Wipe(bytes);
  return shares;
}

SecretRecovery::SecretRecovery(std::span<const std::uint32_t> slots) : slots_(slots.begin(), slots.end()) {
  const std::size_t size = std::bit_ceil(std::size_t{std::ranges::max(slots)} + 1);
  std::vector<std::int64_t> sums(size), logs(size);  // the log of 0 stays 0: a slot has no part in its own product
  for (const std::uint32_t slot : slots) sums[slot] = 1;
  for (std::size_t a = 1; a < size; ++a) logs[a] = PublicLog(static_cast<std::uint16_t>(a));
  WalshHadamard(sums);
  WalshHadamard(logs);
  for (std::size_t a = 0; a < size; ++a) sums[a] *= logs[a];
  WalshHadamard(sums);
  for (const std::uint32_t slot : slots) {
    log_products_.push_back(static_cast<std::uint32_t>(sums[slot] / static_cast<std::int64_t>(size) % kFieldOrder));
  }
}

std::vector<std::uint16_t> SecretRecovery::Weights(std::uint32_t slot) const {
  // weight_k = prod_{j != k} (x_j - slot) / (x_j - x_k), and subtraction is exclusive or.
  std::uint64_t log_all = 0;
  for (const std::uint16_t own : slots_) log_all += PublicLog(own ^ static_cast<std::uint16_t>(slot));
  std::vector<std::uint16_t> weights(slots_.size());
  for (std::size_t k = 0; k < weights.size(); ++k) {
    const std::uint32_t log_own = PublicLog(slots_[k] ^ static_cast<std::uint16_t>(slot));
    weights[k] = PublicPower(log_all - log_own + kFieldOrder - log_products_[k]);
  }
  return weights;
}

Secret LinearCombination(std::span<const std::uint16_t> weights, std::span<const Secret* const> shares) {
  std::array<std::uint16_t, kLanes> sum{}, share;
  for (std::size_t k = 0; k < weights.size(); ++k) {
    std::memcpy(share.data(), shares[k]->bytes().data(), kKeySize);
    AddScaled(sum, share, weights[k]);
  }
  Secret value(std::as_bytes(std::span(sum)));
  Wipe(std::as_writable_bytes(std::span(sum)));
  Wipe(std::as_writable_bytes(std::span(share)));
  return value;
}

}  // namespace edgefleet::secagg
