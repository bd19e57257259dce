#include "secagg/encoding.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <string>

#include "secagg/messages.h"

namespace edgefleet::secagg {
namespace {

constexpr std::uint32_t kValueBitsMin = 8;
constexpr std::uint32_t kValueBitsMax = 24;  // the precision of a float
constexpr double kClipNormMin = 1e-12;
constexpr double kClipNormMax = 1e12;
constexpr std::size_t kBlock = 4096;
constexpr double kArithmeticSlack = 1.0 - 1e-9;  // more than the rounding errors of a norm summed in blocks

std::int64_t ScaleOf(const Encoding& encoding) { return (std::int64_t{1} << (encoding.value_bits - 1)) - 1; }

// Sums squares block by block, so that rounding errors stay far below kArithmeticSlack; NaN or infinite if any element is.
double Norm(std::span<const float> values) {
  double total = 0;
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
    double part = 0;
    for (const float value : values.subspan(begin, std::min(kBlock, values.size() - begin))) {
      part += static_cast<double>(value) * static_cast<double>(value);
    }
    total += part;
  }
  return std::sqrt(total);
}

// Rounds up with the probability of the fraction.
std::int32_t StochasticRound(double value, std::uint32_t random) {
  return static_cast<std::int32_t>(std::floor(value + static_cast<double>(random) * 0x1.0p-32));
}

}  // namespace

Result<Encoding> MakeEncoding(double clip_norm, std::uint32_t example_count_max, std::uint32_t participants_max) {
  Encoding encoding{clip_norm, example_count_max, participants_max, kValueBitsMin};
  EF_RETURN_IF_ERROR(CheckEncoding(encoding, 1));
  // p * (2^(b-1) - 1) < 2^31 whenever p <= 2^(32-b)
  const auto bits = static_cast<std::uint32_t>(std::bit_width(participants_max - 1));
  encoding.value_bits = std::min(kValueBitsMax, 32 - bits);
  return encoding;
}

Status CheckEncoding(const Encoding& encoding, std::uint64_t parameters) {
  if (!(encoding.clip_norm >= kClipNormMin && encoding.clip_norm <= kClipNormMax) || encoding.example_count_max < 1 ||
      encoding.participants_max < 1 || encoding.participants_max > kMembersMax || encoding.value_bits < kValueBitsMin ||
      encoding.value_bits > kValueBitsMax || parameters < 1 || parameters >= kVectorLengthMax) {
    return InvalidArgument("BAD_ENCODING",
                           "clip_norm must lie in [1e-12, 1e12], example_count_max be at least 1, participants_max 1 to " +
                               std::to_string(kMembersMax) + ", value_bits 8 to 24, parameters 1 to 2^32 - 1");
  }
  const std::uint64_t participants = encoding.participants_max;
  if (participants * static_cast<std::uint64_t>(ScaleOf(encoding)) >= (1ULL << 31) ||
      participants * encoding.example_count_max >= (1ULL << 32)) {
    return InvalidArgument("ENCODING_OVERFLOW",
                           std::to_string(participants) + " updates of " + std::to_string(encoding.value_bits) +
                               " bits and up to " + std::to_string(encoding.example_count_max) +
                               " examples can overflow 32 bits; lower participants, bits or example_count_max");
  }
  if (2 * std::sqrt(static_cast<double>(parameters)) > static_cast<double>(ScaleOf(encoding))) {
    return InvalidArgument("ENCODING_TOO_COARSE", std::to_string(encoding.value_bits) + " bits are too few for " +
                                                      std::to_string(parameters) + " parameters; use fewer participants");
  }
  return OkStatus();
}

Result<std::vector<std::uint32_t>> EncodeUpdate(std::span<const float> update, std::uint64_t example_count,
                                                const Encoding& encoding, RandomSource& random) {
  EF_RETURN_IF_ERROR(CheckEncoding(encoding, update.size()));
  if (example_count == 0)
    return InvalidArgument("NO_EXAMPLES", "a device without examples has nothing to add; leave the round");
  const double norm = Norm(update);
  if (!std::isfinite(norm)) {
    return InvalidArgument("UPDATE_NOT_FINITE", "the update holds NaN or infinity; training diverged, lower the learning rate");
  }
  const auto scale = static_cast<double>(ScaleOf(encoding));
  const double radius = (scale - std::sqrt(static_cast<double>(update.size()))) * kArithmeticSlack;
  const auto weight = static_cast<std::uint32_t>(std::min<std::uint64_t>(example_count, encoding.example_count_max));
  const double norm_in_steps = norm * scale / encoding.clip_norm;
  const double factor = scale / encoding.clip_norm * (weight / static_cast<double>(encoding.example_count_max)) *
                        (norm_in_steps > radius ? radius / norm_in_steps : 1.0);

  std::vector<std::uint32_t> words(update.size() + 1);
  std::array<std::uint32_t, kBlock> noise;
  for (std::size_t begin = 0; begin < update.size(); begin += kBlock) {
    const std::size_t size = std::min(kBlock, update.size() - begin);
    random.Fill(std::as_writable_bytes(std::span(noise).first(size)));
    for (std::size_t i = 0; i < size; ++i) {
      words[begin + i] = static_cast<std::uint32_t>(StochasticRound(update[begin + i] * factor, noise[i]));
    }
  }
  words.back() = weight;
  return words;
}

Result<WeightedSum> DecodeSum(std::span<const std::uint32_t> words, std::uint32_t participants, const Encoding& encoding) {
  if (words.size() < 2 || participants < 1 || participants > encoding.participants_max) {
    return InvalidArgument(
        "BAD_SUM", "a sum has at least two words and 1 to " + std::to_string(encoding.participants_max) + " participants");
  }
  EF_RETURN_IF_ERROR(CheckEncoding(encoding, words.size() - 1));
  const std::uint64_t examples = words.back();
  if (examples < participants || examples > std::uint64_t{participants} * encoding.example_count_max) {
    return DataLoss("BAD_SUM", "the summed weight " + std::to_string(examples) + " is not one that " +
                                   std::to_string(participants) +
                                   " updates add up to; one of them was rubbish, so the round must fail");
  }
  const std::int64_t bound = std::int64_t{participants} * ScaleOf(encoding);
  const double step = encoding.clip_norm / static_cast<double>(ScaleOf(encoding));
  WeightedSum sum;
  sum.sum.resize(words.size() - 1);
  std::int64_t largest = 0;
  for (std::size_t i = 0; i < sum.sum.size(); ++i) {
    const auto value = static_cast<std::int32_t>(words[i]);
    largest = std::max<std::int64_t>(largest, std::abs(std::int64_t{value}));
    sum.sum[i] = static_cast<float>(value * step);
  }
  if (largest > bound) {
    return DataLoss("BAD_SUM", "a summed value of " + std::to_string(largest) + " steps exceeds what " +
                                   std::to_string(participants) +
                                   " clipped updates add up to; one of them was rubbish, so the round must fail");
  }
  sum.examples = examples;
  sum.weight = static_cast<double>(examples) / encoding.example_count_max;
  return sum;
}

std::vector<float> Average(WeightedSum sum) {
  for (float& value : sum.sum) value = static_cast<float>(value / sum.weight);
  return std::move(sum.sum);
}

}  // namespace edgefleet::secagg
