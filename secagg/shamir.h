// Shamir's t-of-n secret sharing (1979) of 32-byte secrets, over GF(2^16) (field.h): a secret is 16 little-endian field
// elements (lanes), each shared by a polynomial of its own, whose value at 0 it is; holder number `slot` of an owner's secret,
// counted from 1, holds the values at abscissa `slot`. Slots are local to an owner, so all owners use the same abscissas. What
// depends on secrets runs in constant time; slots are public.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "secagg/keys.h"

namespace edgefleet::secagg {

inline constexpr std::size_t kLanes = kKeySize / sizeof(std::uint16_t);

// The shares of slots 1 to `holders`; any `threshold` recover the secret, fewer say nothing. 1 <= threshold <= holders < 65536.
// Costs O(holders log holders): the additive Fourier transform of Lin, Chung and Han (FOCS 2014, "Novel Polynomial Basis
// and Its Application to Reed-Solomon Erasure Codes").
std::vector<Secret> SplitSecret(const Secret& secret, std::uint32_t threshold, std::uint32_t holders, RandomSource& random);

// Lane by lane, the sum of weights[k] * shares[k]. Same sizes.
Secret LinearCombination(std::span<const std::uint16_t> weights, std::span<const Secret* const> shares);

// Recovers secrets from shares at `slots`: distinct, 1 to 65535, in any order, as many as the threshold or more. Setting up
// costs O(s log s) additions for a largest slot s, for all weights at once: their logarithms are a convolution over exclusive
// or, which the Walsh-Hadamard transform gives (Didier 2009, "Efficient erasure decoding of Reed-Solomon codes"). Thread-safe
// after construction.
class SecretRecovery {
 public:
  explicit SecretRecovery(std::span<const std::uint32_t> slots);
  // shares[k] belongs to slots[k]. Wrong shares, or too few, give a wrong secret.
  Secret Combine(std::span<const Secret* const> shares) const { return ShareAt(0, shares); }
  // The share that a slot outside of `slots` should have; 0 is that of the secret itself.
  Secret ShareAt(std::uint32_t slot, std::span<const Secret* const> shares) const {
    return LinearCombination(Weights(slot), shares);
  }
  // The Lagrange coefficients of the slots' shares in that value; O(slots).
  std::vector<std::uint16_t> Weights(std::uint32_t slot) const;

 private:
  std::vector<std::uint16_t> slots_;
  std::vector<std::uint32_t> log_products_;  // by slot: log of the product of its differences to the others
};

}  // namespace edgefleet::secagg
