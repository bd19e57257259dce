// The discrete Fourier transform, in double precision.
#pragma once

#include <complex>
#include <cstddef>
#include <vector>

namespace edgefleet::privacy {

// The least size of at least `size` that is transformed quickly.
std::size_t FftSize(std::size_t size);

// The error of one transform, either way, relative to the 2-norm of its exact result (Higham 2002, theorem 24.2): log2 of the
// size times mu + gamma_4 (sqrt 2 + mu), where the factors' own error mu is at most 13 units in the last place.
double FftError(std::size_t size);

// Replaces `values` by sum_k values[k] exp(-2 pi i j k / n), or with +, divided by n. Sizes are those of FftSize.
enum class FftDirection { kForward, kInverse };
void Transform(std::vector<std::complex<double>>& values, FftDirection direction);

}  // namespace edgefleet::privacy
