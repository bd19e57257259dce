#include "secagg/share_decoding.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <optional>

#include "base/crypto/crypto.h"
#include "secagg/field.h"
#include "secagg/shamir.h"

namespace edgefleet::secagg {
namespace {

constexpr int kChecks = 2;
constexpr int kDecodings = 8;  // one is enough unless a random combination hides a wrong share, with probability 2^-16 each
constexpr int kSubsets = 64;

std::uint16_t RandomNonzero(RandomSource& random) { return static_cast<std::uint16_t>(1 + random.Below(kFieldOrder)); }

// The shortest recurrence that `sequence` satisfies: connection coefficients c_0 = 1, ... c_L (Massey 1969).
std::vector<std::uint16_t> ShortestRecurrence(std::span<const std::uint16_t> sequence) {
  const std::size_t size = sequence.size();
  const std::vector<std::uint16_t> reversed(sequence.rbegin(), sequence.rend());
  std::vector<std::uint16_t> current(size + 1), last(size + 1), spare;  // last: before the length last changed
  current[0] = last[0] = 1;
  std::uint16_t last_discrepancy = 1;
  std::size_t length = 0, shift = 1;
  for (std::size_t n = 0; n < size; ++n, ++shift) {
    const std::uint16_t discrepancy =
        DotProduct(std::span(current).first(length + 1), std::span(reversed).subspan(size - 1 - n, length + 1));
    if (discrepancy == 0) continue;
    const bool longer = 2 * length <= n;
    if (longer) spare = current;
    AddScaled(std::span(current).subspan(shift), std::span(last).first(size + 1 - shift),
              FieldMultiply(discrepancy, FieldInverse(last_discrepancy)));
    if (!longer) continue;
    std::swap(last, spare);
    last_discrepancy = discrepancy;
    length = n + 1 - length;
    shift = 0;
  }
  current.resize(length + 1);
  return current;
}

class Decoder {
 public:
  Decoder(std::span<const std::uint32_t> slots, std::span<const Secret* const> shares, std::uint32_t threshold)
      : slots_(slots),
        shares_(shares),
        threshold_(threshold),
        recovery_(slots),
        points_(slots.begin(), slots.end()),
        dual_(recovery_.Weights(0)) {
    MultiplyElements(dual_, points_);
  }

  Secret FromAll() const { return recovery_.Combine(shares_); }

  // Whether all shares lie on polynomials of degree below the threshold, as far as kChecks random words of the dual code tell:
  // sum dual_k h(x_k) share_k = 0 for every polynomial h of degree below the redundancy r. Here h(x) = sum_{j < r} (c x)^j.
  bool LooksConsistent() const {
    std::vector<std::uint16_t> weights(slots_.size());
    for (int check = 0; check < kChecks && redundancy() > 0; ++check) {
      const std::uint32_t log_c = PublicLog(RandomNonzero(random_));
      for (std::size_t k = 0; k < weights.size(); ++k) weights[k] = FieldMultiply(dual_[k], GeometricSum(log_c, points_[k]));
      if (!(LinearCombination(weights, shares_) == Secret())) return false;
    }
    return true;
  }

  // The positions of wrong shares, seen through one random combination of the lanes; none if there are too many.
  std::optional<std::vector<bool>> LocateErrors() const {
    if (redundancy() < 2) return std::nullopt;
    const std::vector<std::uint16_t> locator = ShortestRecurrence(Syndromes());
    const std::size_t errors = locator.size() - 1;
    if (2 * errors > redundancy()) return std::nullopt;
    std::vector<std::uint16_t> values(points_.size(), locator[0]);  // of the locator, reversed: its roots are the bad slots
    for (std::size_t i = 1; i <= errors; ++i) {
      MultiplyElements(values, points_);
      for (std::uint16_t& value : values) value ^= locator[i];
    }
    std::vector<bool> bad(points_.size());
    for (std::size_t k = 0; k < bad.size(); ++k) bad[k] = errors > 0 && values[k] == 0;
    if (static_cast<std::size_t>(std::ranges::count(bad, true)) != errors) return std::nullopt;
    return bad;
  }

  // The first `threshold` shares not in `bad`.
  std::vector<std::size_t> ChooseClean(const std::vector<bool>& bad) const {
    std::vector<std::size_t> chosen;
    for (std::size_t k = 0; k < bad.size() && chosen.size() < threshold_; ++k) {
      if (!bad[k]) chosen.push_back(k);
    }
    return chosen;
  }

  std::vector<std::size_t> ChooseRandom() const {
    std::vector<std::size_t> order(slots_.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = 0; i < threshold_; ++i) std::swap(order[i], order[i + random_.Below(order.size() - i)]);
    order.resize(threshold_);
    return order;
  }

  // What the shares at these positions give, and which other shares it contradicts; none unless it is right.
  std::optional<DecodedSecret> Try(const std::vector<std::size_t>& chosen,
                                   const std::function<bool(const Secret&)>& is_right) const {
    std::vector<std::uint32_t> slots;
    std::vector<const Secret*> shares;
    std::vector<bool> is_chosen(slots_.size());
    for (const std::size_t k : chosen) {
      slots.push_back(slots_[k]);
      shares.push_back(shares_[k]);
      is_chosen[k] = true;
    }
    const SecretRecovery recovery(slots);
    DecodedSecret decoded{recovery.Combine(shares), {}};
    if (!is_right(decoded.secret)) return std::nullopt;
    for (std::size_t k = 0; k < slots_.size(); ++k) {
      if (!is_chosen[k] && !(recovery.ShareAt(slots_[k], shares) == *shares_[k])) decoded.bad_slots.push_back(slots_[k]);
    }
    std::ranges::sort(decoded.bad_slots);
    return decoded;
  }

 private:
  std::size_t redundancy() const { return slots_.size() - threshold_; }

  // sum_{j < r} (c x)^j
  std::uint16_t GeometricSum(std::uint32_t log_c, std::uint16_t point) const {
    const std::uint32_t log = (log_c + PublicLog(point)) % kFieldOrder;
    if (log == 0) return redundancy() % 2;
    const std::uint16_t numerator = PublicPower(log * std::uint64_t{redundancy()}) ^ 1;
    if (numerator == 0) return 0;
    return PublicPower(PublicLog(numerator) + kFieldOrder - PublicLog(PublicPower(log) ^ 1));
  }

  // sum dual_k x_k^j y_k for j below the redundancy, where y is the combination of lanes.
  std::vector<std::uint16_t> Syndromes() const {
    std::array<std::uint16_t, kLanes> coefficients, lanes;
    for (std::uint16_t& coefficient : coefficients) coefficient = RandomNonzero(random_);
    std::vector<std::uint16_t> terms(slots_.size());
    for (std::size_t k = 0; k < terms.size(); ++k) {
      std::memcpy(lanes.data(), shares_[k]->bytes().data(), kKeySize);
      terms[k] = DotProduct(coefficients, lanes);
    }
    MultiplyElements(terms, dual_);
    std::vector<std::uint16_t> syndromes(redundancy());
    for (std::uint16_t& syndrome : syndromes) {
      for (const std::uint16_t term : terms) syndrome ^= term;
      MultiplyElements(terms, points_);
    }
    Wipe(std::as_writable_bytes(std::span(terms)));
    Wipe(std::as_writable_bytes(std::span(lanes)));
    return syndromes;
  }

  std::span<const std::uint32_t> slots_;
  std::span<const Secret* const> shares_;
  std::uint32_t threshold_;
  SecretRecovery recovery_;
  std::vector<std::uint16_t> points_;    // the slots as field elements
  std::vector<std::uint16_t> dual_;      // but for one common factor, the inverses of prod_{j != k} (x_k - x_j)
  mutable crypto::SecureRandom random_;  // nobody can prepare errors for these choices
};

}  // namespace

Result<DecodedSecret> RecoverSecret(std::span<const std::uint32_t> slots, std::span<const Secret* const> shares,
                                    std::uint32_t threshold, const std::function<bool(const Secret&)>& is_right) {
  if (threshold == 0 || slots.size() < threshold) {
    return DataLoss("SHARES_BEYOND_REPAIR", "a secret that takes " + std::to_string(threshold) + " shares has " +
                                                std::to_string(slots.size()) + "; the round cannot be unmasked");
  }
  const Decoder decoder(slots, shares, threshold);
  Secret from_all = decoder.FromAll();
  const bool all_is_right = is_right(from_all);
  if (all_is_right && decoder.LooksConsistent()) return DecodedSecret{std::move(from_all), {}};
  for (int attempt = 0; attempt < kDecodings; ++attempt) {
    const auto bad = decoder.LocateErrors();
    if (!bad) break;
    auto decoded = decoder.Try(decoder.ChooseClean(*bad), is_right);
    // Within the radius there is only one such polynomial, so nobody is blamed for errors that others made cancel.
    if (decoded && 2 * decoded->bad_slots.size() <= slots.size() - threshold) return std::move(*decoded);
  }
  for (int attempt = 0; attempt < kSubsets && slots.size() > threshold; ++attempt) {
    auto decoded = decoder.Try(decoder.ChooseRandom(), is_right);
    if (decoded) return DecodedSecret{std::move(decoded->secret), {}};  // what it contradicts may be right
  }
  if (all_is_right) return DecodedSecret{std::move(from_all), {}};  // errors that cancel, and too many to be named
  return DataLoss("SHARES_BEYOND_REPAIR", "no candidate among " + std::to_string(slots.size()) + " shares, of which " +
                                              std::to_string(threshold) +
                                              " are needed, is the secret: too many are wrong; the round cannot be unmasked");
}

}  // namespace edgefleet::secagg
