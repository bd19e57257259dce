#include "registry/compiler/quantization/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "device_client/runtime/ops/half.h"

namespace edgefleet::compiler {
namespace {

// Scales tried for a group, as shares of the one that puts its largest weight at level 7.
constexpr int kScales = 96;
constexpr double kWidest = 1.15;
constexpr double kNarrowest = 0.35;
constexpr int kRefinements = 4;
constexpr float kFloat16Max = 65'504;
constexpr float kFloat16Min = 0x1p-24F;  // the smallest above 0, a subnormal
constexpr float kBFloat16Max = 0x1.FEp127F;

constexpr float kLow = -8;
constexpr float kHigh = 7;

float LargestMagnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

// Half to even by the current rounding mode, without a call: |value| is below 2^22 after clamping.
float Rounded(float value) { return value + 0x1.8p23F - 0x1.8p23F; }

int Quantized(float value, float scale) { return static_cast<int>(Rounded(std::clamp(value / scale, kLow, kHigh))); }

// The levels q that a scale gives a group, summed up: what its error is at this scale, and which scale suits these levels best.
struct Fit {
  double squared_error(double scale) const { return weights - 2 * scale * product + scale * scale * levels; }
  double best_scale() const { return product / levels; }

  double weights = 0;  // sum of w^2
  double product = 0;  // sum of w q
  double levels = 0;   // sum of q^2
};

Fit FitOf(std::span<const float> values, float scale) {
  Fit fit;
  const float inverse = 1 / scale;
  for (const float value : values) {
    const float q = Rounded(std::clamp(value * inverse, kLow, kHigh));
    fit.weights += double{value} * value;
    fit.product += double{value} * q;
    fit.levels += double{q} * q;
  }
  return fit;
}

// The nearest scale that fp16 has, finite and above 0.
float StoredScale(double scale) {
  const double finite = std::clamp(scale, double{kFloat16Min}, double{kFloat16Max});
  return runtime::ToFloat(runtime::ToFloat16(static_cast<float>(finite)));
}

// Searches the scale's whole course, then refines the best: levels and scale fit each other in turn.
float GroupScale(std::span<const float> values) {
  const float largest = LargestMagnitude(values);
  const double widest = double{largest} / double{kHigh};
  double best = std::max(widest, double{kFloat16Min});
  double least = std::numeric_limits<double>::infinity();
  for (int step = 0; step < kScales; ++step) {
    const float scale = StoredScale(widest * (kWidest - step * (kWidest - kNarrowest) / kScales));
    const Fit fit = FitOf(values, scale);
    if (fit.levels == 0) continue;
    const double error = fit.squared_error(fit.best_scale());
    if (error < least) {
      least = error;
      best = fit.best_scale();
    }
  }
  float scale = StoredScale(best);
  for (int refinement = 0; refinement < kRefinements; ++refinement) {
    const Fit fit = FitOf(values, scale);
    if (fit.levels == 0) break;
    const float next = StoredScale(fit.best_scale());
    if (FitOf(values, next).squared_error(next) >= fit.squared_error(scale)) break;
    scale = next;
  }
  return scale;
}

// Where things lie in packed int4 (runtime::Tensor).
struct Int4Layout {
  Int4Layout(std::size_t rows, std::size_t columns, std::size_t group)
      : row_bytes((columns + 1) / 2), groups((columns + group - 1) / group), scales_at((rows * row_bytes + 1) / 2 * 2) {}
  std::size_t row_bytes;
  std::size_t groups;  // a row
  std::size_t scales_at;
};

float ReadScale(ByteView packed, std::size_t at) {
  const auto low = std::to_integer<std::uint16_t>(packed[at]);
  const auto high = std::to_integer<std::uint16_t>(packed[at + 1]);
  return runtime::ToFloat(runtime::Float16{static_cast<std::uint16_t>(low | high << 8)});
}

// `scale_of(part, at)` is the scale of one group, which fp16 has, and is stored at byte `at`.
template <typename ScaleOf>
Bytes Pack(std::span<const float> values, std::size_t rows, std::size_t group, const ScaleOf& scale_of) {
  const std::size_t columns = values.size() / rows;
  const Int4Layout layout(rows, columns, group);
  Bytes packed(layout.scales_at + rows * layout.groups * 2, std::byte{0});
  std::size_t scale_at = layout.scales_at;
  for (std::size_t row = 0; row < rows; ++row) {
    std::byte* const bytes = packed.data() + row * layout.row_bytes;
    for (std::size_t begin = 0; begin < columns; begin += group) {
      const auto part = values.subspan(row * columns + begin, std::min(group, columns - begin));
      const float scale = scale_of(part, scale_at);
      const std::uint16_t stored = runtime::ToFloat16(scale).bits;
      packed[scale_at++] = static_cast<std::byte>(stored & 0xFF);
      packed[scale_at++] = static_cast<std::byte>(stored >> 8);
      for (std::size_t i = 0; i < part.size(); ++i) {
        const int nibble = Quantized(part[i], scale) & 0xF;
        const std::size_t column = begin + i;
        bytes[column / 2] |= static_cast<std::byte>(column % 2 == 0 ? nibble : nibble << 4);
      }
    }
  }
  return packed;
}

}  // namespace

float Int8Scale(std::span<const float> values) {
  const float largest = LargestMagnitude(values);
  // The smallest normal number keeps quotients finite.
  return largest == 0 ? 1 : std::max(static_cast<float>(double{largest} / 127), std::numeric_limits<float>::min());
}

std::vector<std::int8_t> QuantizeInt8(std::span<const float> values, std::span<const float> scales, std::size_t slice) {
  std::vector<std::int8_t> out(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double q = std::nearbyint(double{values[i]} / scales[i / slice % scales.size()]);
    out[i] = static_cast<std::int8_t>(std::clamp(q, -127.0, 127.0));
  }
  return out;
}

Bytes QuantizeInt4(std::span<const float> values, std::size_t rows, std::size_t group) {
  return Pack(values, rows, group, [](std::span<const float> part, std::size_t) { return GroupScale(part); });
}

Bytes QuantizeInt4Like(ByteView packed, std::span<const float> values, std::size_t rows, std::size_t group) {
  return Pack(values, rows, group, [&](std::span<const float>, std::size_t at) { return ReadScale(packed, at); });
}

std::vector<std::uint16_t> QuantizeFloat16(std::span<const float> values) {
  std::vector<std::uint16_t> out;
  out.reserve(values.size());
  for (const float value : values) {
    out.push_back(runtime::ToFloat16(std::clamp(value, -kFloat16Max, kFloat16Max)).bits);
  }
  return out;
}

std::vector<std::uint16_t> QuantizeBFloat16(std::span<const float> values) {
  std::vector<std::uint16_t> out;
  out.reserve(values.size());
  for (const float value : values) {
    out.push_back(runtime::ToBFloat16(std::clamp(value, -kBFloat16Max, kBFloat16Max)).bits);
  }
  return out;
}

void ErrorMeter::Add(std::span<const float> exact, std::span<const float> approximate) {
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double e = exact[i];
    const double a = approximate[i];
    exact_ += e * e;
    approximate_ += a * a;
    product_ += e * a;
    noise_ += (e - a) * (e - a);
    largest_ = std::max(largest_, std::abs(e - a));
  }
  count_ += static_cast<double>(exact.size());
}

ErrorMeasures ErrorMeter::Measures() const {
  ErrorMeasures out;
  out.snr_db = noise_ == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(exact_ / noise_);
  out.mse = count_ == 0 ? 0 : noise_ / count_;
  out.largest = largest_;
  if (exact_ > 0 || approximate_ > 0) {
    out.cosine = exact_ > 0 && approximate_ > 0 ? product_ / std::sqrt(exact_) / std::sqrt(approximate_) : 0;
  }
  return out;
}

ErrorMeasures MeasureError(std::span<const float> exact, std::span<const float> approximate) {
  ErrorMeter meter;
  meter.Add(exact, approximate);
  return meter.Measures();
}

}  // namespace edgefleet::compiler
