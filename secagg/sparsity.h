// Shared-seed random sparsity: all participants of a round send the same pseudo-random coordinates, so their updates still add
// up under masks and no positions travel (the "random mask" of Konecny et al. 2016, "Federated Learning: Strategies for
// Improving Communication Efficiency", section 2, with the seed shared by the cohort).
#pragma once

#include <cstdint>
#include <vector>

#include "secagg/seed_stream.h"

namespace edgefleet::secagg {

// How many of d coordinates are sent: ceil(keep_fraction * d), so at least one. keep_fraction in (0, 1].
std::uint64_t KeptCount(double keep_fraction, std::uint64_t parameters);

// `count` of the positions 0 to parameters - 1, in order; every subset of that size is equally likely, and a seed gives the
// same one on every platform. 1 <= count <= parameters < 2^32. Selection sampling (Knuth, "The Art of Computer Programming"
// volume 2, section 3.4.2, algorithm S) on integers without bias (Lemire 2019, "Fast Random Integer Generation in an
// Interval"): O(d) time and no memory but the result.
std::vector<std::uint32_t> KeptPositions(const Seed& seed, std::uint64_t parameters, std::uint64_t count);

}  // namespace edgefleet::secagg
