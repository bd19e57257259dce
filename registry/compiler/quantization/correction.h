// Data-light repairs of quantized networks (Nagel et al. 2019, "Data-free quantization through weight equalization and bias
// correction"), as math on weight matrices. Rows are output channels.
#pragma once

#include <span>
#include <vector>

namespace edgefleet::compiler {

// Bias correction, section 4.2: quantizing W to W + E shifts the mean of output o by sum_i E[o][i] * mean(x_i); this is that
// sum, to be subtracted from the bias. `means` has one element for each input channel that a row reads; every channel has
// columns / means.size() adjacent columns (the kernel's taps). For grouped convolutions `means` holds the channels of all
// groups, and rows are shared out to the groups in order.
std::vector<float> MeanShift(std::span<const float> exact, std::span<const float> quantized, std::size_t rows,
                             std::span<const float> means, std::size_t groups);

// Cross-layer equalization, section 4.1, equation 11: how much to divide output channel i of a layer by, and to multiply what
// reads it in the next by, so that both have the same range: s_i = sqrt(r1_i * r2_i) / r2_i. Valid where what lies between is
// positively homogeneous (ReLU, PReLU, nothing). `first` and `second` are the largest magnitudes of channel i's weights in the
// two layers. A channel that is zero in either keeps s_i = 1; s_i stays within [2^-10, 2^10].
std::vector<float> EqualizationScales(std::span<const float> first, std::span<const float> second);

// The largest magnitude in each row, and for each input channel over all rows (`channels` of them with adjacent columns).
std::vector<float> RowRanges(std::span<const float> weights, std::size_t rows);
std::vector<float> ColumnRanges(std::span<const float> weights, std::size_t rows, std::size_t channels);

}  // namespace edgefleet::compiler
