// Magnitude pruning: what is smallest matters least.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace edgefleet::compiler {

// Unstructured (Han et al. 2015, "Learning both weights and connections"): sets the `share` (in [0, 1]) of the values with the
// smallest magnitudes to zero, floor(share * values) of them; among equals the first. Over all `layers` together, or pass one.
void PruneSmallest(std::span<const std::span<float>> layers, double share);

enum class RowNorm { kL1, kL2 };

// Structured (Li et al. 2017, "Pruning filters for efficient ConvNets", section 3.1): the floor(share * rows) rows of the
// smallest norm, ascending row numbers; at least one row always remains.
std::vector<std::size_t> RowsToPrune(std::span<const float> weights, std::size_t rows, double share, RowNorm norm);

}  // namespace edgefleet::compiler
