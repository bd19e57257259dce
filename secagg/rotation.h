// A shared-seed random rotation that spreads an update's energy evenly over its coordinates, so that few bits per coordinate
// suffice (Suresh et al. 2017, "Distributed Mean Estimation with Limited Communication", section 3): signs, then a
// Walsh-Hadamard transform.
//
// The transform needs a power of two, and padding to one would cost up to twice the bytes. Instead nothing is padded: with L
// the largest power of two that is at most m, x -> H D_1 x is applied to the first L coordinates and then, if L < m, x -> H D_2
// x to the last L. H is the orthonormal Walsh-Hadamard matrix of size L, D_1 and D_2 are diagonal with random signs from the
// seed. The two blocks overlap because L > m/2, so every coordinate is reached.
//
// A product of orthonormal maps is orthonormal: norms and the distribution of Gaussian noise stay as they are, and RotateBack
// is the inverse. Every coordinate of the result is a sum of L terms +-y_i / sqrt(L), where the signs are independent of y and
// ||y|| <= ||x||. So by Hoeffding's inequality P(|result_i| > t ||x||) <= 2 exp(-t^2 L / 2).
#pragma once

#include <cstdint>
#include <span>

#include "secagg/seed_stream.h"

namespace edgefleet::secagg {

// L: the largest power of two that is at most `size`; size >= 1.
std::uint64_t RotationBlock(std::uint64_t size);

// Q and its inverse, in place, in O(size log size). Rounding errors change norms by less than 1e-5 relative (one unit of 2^-24
// for each of at most 2 * 32 + 2 steps). Empty spans are left alone.
void Rotate(std::span<float> values, const Seed& seed);
void RotateBack(std::span<float> values, const Seed& seed);

// The Walsh-Hadamard transform in natural order without normalization: its square is size times the identity. The size is a
// power of two.
void WalshHadamard(std::span<float> values);

}  // namespace edgefleet::secagg
