// Model updates as vectors of words modulo 2^32, and back.
//
// With d parameters, clip norm C, N = example_count_max, b = value_bits and S = 2^(b-1) - 1, device k with n_k examples has the
// weight m_k = min(n_k, N), w_k = m_k / N, and sends
//
//   word_i = stochastic_round(delta_i * w_k * min(1, R / (||delta|| * S/C)) * S / C)  modulo 2^32,   i < d,   R = S - sqrt(d)
//   word_d = m_k
//
// Rounding moves each coordinate by less than 1, so the encoded vector's L2 norm is at most R + sqrt(d) = S: what arrives is a
// contribution of norm at most C, rounding included. That is the sensitivity which the Gaussian mechanism relies on. Stochastic
// rounding is unbiased (Gupta et al. 2015, "Deep Learning with Limited Numerical Precision", section 3.1).
//
// The sum of p participants decodes to sum_i = int32(word_i) * C / S = sum_k w_k * clipped_i, weight = word_d / N = sum_k w_k,
// and the average sum_i / weight. It cannot overflow when p * S < 2^31 and p * N < 2^32: CheckEncoding refuses anything else.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"
#include "base/status.h"

namespace edgefleet::secagg {

struct Encoding {
  double clip_norm = 0;                 // C > 0, finite
  std::uint32_t example_count_max = 0;  // N >= 1
  std::uint32_t participants_max = 0;   // p: 1 to kMembersMax
  std::uint32_t value_bits = 0;         // b: 8 to 24
};

// The encoding with the most value bits that p participants allow. Errors of CheckEncoding.
Result<Encoding> MakeEncoding(double clip_norm, std::uint32_t example_count_max, std::uint32_t participants_max);

// INVALID_ARGUMENT [BAD_ENCODING] for values out of range; [ENCODING_OVERFLOW] if a sum of participants_max updates could pass
// 2^31 or a sum of weights 2^32; [ENCODING_TOO_COARSE] if `parameters` are so many that rounding could use up half of the clip
// norm (2 sqrt(d) > S).
Status CheckEncoding(const Encoding& encoding, std::uint64_t parameters);

// Clips, weights and rounds. The result has update.size() + 1 words. INVALID_ARGUMENT [UPDATE_NOT_FINITE] for NaN or infinity,
// [NO_EXAMPLES] for example_count 0, and those of CheckEncoding.
Result<std::vector<std::uint32_t>> EncodeUpdate(std::span<const float> update, std::uint64_t example_count,
                                                const Encoding& encoding, RandomSource& random);

struct WeightedSum {
  std::vector<float> sum;      // sum_k w_k * clipped update_k: noise is added here, before dividing
  double weight = 0;           // sum_k w_k
  std::uint64_t examples = 0;  // sum_k min(n_k, N)
};

// Reads the unmasked sum of `participants` updates. DATA_LOSS [BAD_SUM] when a word or the weight is outside of what that many
// updates can add up to (a participant sent rubbish), INVALID_ARGUMENT [BAD_SUM] for fewer than two words or bad participants.
Result<WeightedSum> DecodeSum(std::span<const std::uint32_t> words, std::uint32_t participants, const Encoding& encoding);

// Divides in place: the weighted average of the updates.
std::vector<float> Average(WeightedSum sum);

}  // namespace edgefleet::secagg
