// Shamir's t-of-n secret sharing (1979) of 32-byte secrets, over GF(2^16) = GF(2)[x] / (x^16 + x^12 + x^3 + x + 1): a secret is
// 16 little-endian field elements, each shared by a polynomial of its own; member i holds the values at abscissa i. The field
// has 65,535 usable abscissas, where kMembersMax are needed. What depends on secrets runs in constant time; abscissas are
// public.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "secagg/keys.h"

namespace edgefleet::secagg {

// Product and inverse in GF(2^16); the inverse of 0 is 0.
std::uint16_t FieldMultiply(std::uint16_t a, std::uint16_t b);
std::uint16_t FieldInverse(std::uint16_t a);

// The shares of members 1 to `members`; any `threshold` recover the secret, fewer say nothing. 1 <= threshold <= members <
// 65536.
std::vector<Secret> SplitSecret(const Secret& secret, std::uint32_t threshold, std::uint32_t members, RandomSource& random);

// Recovers secrets that were shared with the members `indices` (distinct, 1 to 65535, as many as the threshold). Setting up
// costs O(t^2) field operations, once for all secrets that the same members answer for.
class SecretRecovery {
 public:
  explicit SecretRecovery(std::span<const std::uint32_t> indices);
  // shares[k] belongs to indices[k].
  Secret Combine(std::span<const Secret* const> shares) const;

 private:
  std::vector<std::uint16_t> weights_;  // Lagrange coefficients at 0
};

}  // namespace edgefleet::secagg
