#include "aggregator/privacy/gaussian.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace edgefleet::privacy {
namespace {

constexpr std::size_t kBlock = 4096;  // even: samples come in pairs
constexpr int kLatticeBits = 20;

// (0, 1], so that its logarithm is finite.
double UnitAboveZero(std::uint64_t bits) { return static_cast<double>((bits >> 11) + 1) * 0x1.0p-53; }

// Two independent standard normal values from two uniform ones (Box and Muller 1958), in place of 64 random bits each.
void BoxMuller(std::uint64_t first, std::uint64_t second, double& one, double& other) {
  const double radius = std::sqrt(-2 * std::log(UnitAboveZero(first)));
  const double angle = 2 * std::numbers::pi * UnitAboveZero(second);
  one = radius * std::cos(angle);
  other = radius * std::sin(angle);
}

}  // namespace

Result<double> NoiseDeviation(double noise_multiplier, double clip_norm) {
  const double deviation = noise_multiplier * clip_norm;
  if (!(noise_multiplier >= 0) || !(clip_norm > 0) || !std::isfinite(deviation)) {
    return InvalidArgument("BAD_NOISE", "noise needs a multiplier >= 0 and a clip norm > 0, both finite");
  }
  return deviation;
}

Status AddGaussianNoise(std::span<float> values, double stddev, RandomSource& random) {
  if (!(stddev >= 0) || !std::isfinite(stddev))
    return InvalidArgument("BAD_NOISE", "the noise's deviation is a finite number >= 0");
  if (stddev == 0) return OkStatus();
  const double lattice = std::ldexp(1.0, std::ilogb(stddev) - kLatticeBits);
  std::array<std::uint64_t, kBlock> bits;
  std::array<double, kBlock> normal;
  for (std::size_t begin = 0; begin < values.size(); begin += kBlock) {
    const auto block = values.subspan(begin, std::min(kBlock, values.size() - begin));
    random.Fill(std::as_writable_bytes(std::span(bits)));
    for (std::size_t i = 0; i < block.size(); i += 2) BoxMuller(bits[i], bits[i + 1], normal[i], normal[i + 1]);
    for (std::size_t i = 0; i < block.size(); ++i) {
      block[i] = static_cast<float>(std::nearbyint((block[i] + stddev * normal[i]) / lattice) * lattice);
    }
  }
  return OkStatus();
}

}  // namespace edgefleet::privacy
