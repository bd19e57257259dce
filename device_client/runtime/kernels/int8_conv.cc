#include "device_client/runtime/kernels/int8_conv.h"

#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "device_client/runtime/kernels/dense.h"
#include "device_client/runtime/kernels/depthwise.h"
#include "device_client/runtime/kernels/packed.h"

namespace edgefleet::runtime::kernels {
namespace {

constexpr std::int32_t kOffset = 128;  // from int8 to offset bytes

std::int64_t PaddedOutputs(const Convolution& s) {
  if (IsDepthwise(s)) return DepthwisePadded(s.channels);
  return s.groups * RoundUp(s.outputs / s.groups, kLanes);
}

Flavor FlavorOf(const Convolution& s, const CpuFeatures& cpu) {
  if (IsDepthwisePairs(s)) return Flavor::kDepthwisePairs;
  if (IsDepthwise(s)) return Flavor::kDepthwise;
  // Shorter reductions leave tiles half empty.
  return cpu.amx_int8 && IsPointwise(s) && s.groups == 1 && s.channels >= kTileBytes ? Flavor::kTiles : Flavor::kDense;
}

std::int64_t GroupWeightBytes(const Convolution& s, Flavor flavor) {
  if (IsDepthwise(s)) {
    const std::int64_t sets = IsDepthwisePairs(s) ? 2 * s.kernel_width : s.kernel_width * ((s.kernel_height + 3) / 4);
    return sets * DepthwisePadded(s.channels) * 4;
  }
  const Runs runs = RunsOf(s, flavor);
  return RoundUp(s.outputs / s.groups, kLanes) * runs.taps * runs.padded_run;
}

PackedHeader HeaderOf(const Convolution& s, const CpuFeatures& cpu) {
  PackedHeader header{};
  header.version = kPackingVersion;
  header.flavor = FlavorOf(s, cpu);
  header.starts = kAlignment;
  header.multipliers = RoundUp(header.starts + PaddedOutputs(s) * 4, kAlignment);
  header.weights = RoundUp(header.multipliers + PaddedOutputs(s) * 4, kAlignment);
  header.group_weights = GroupWeightBytes(s, header.flavor);
  return header;
}

// What one output channel contributes, looked up by its number.
class Channels {
 public:
  Channels(const Convolution& s, const ConvolutionValues& values)
      : values_(values), size_(s.channels / s.groups * s.kernel_height * s.kernel_width) {}
  const std::int8_t* weights(std::int64_t o) const { return values_.weights.data() + o * size_; }
  double multiplier(std::int64_t o) const { return values_.multipliers[values_.multipliers.size() == 1 ? 0 : Index(o)]; }
  std::int64_t bias(std::int64_t o) const { return values_.bias.empty() ? 0 : values_.bias[Index(o)]; }
  // The bias with the input's zero point and the offset of the bytes folded in; wraps like the sums.
  std::int32_t start(std::int64_t o) const {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < size_; ++i) sum += weights(o)[i];
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(bias(o) - (values_.input_zero_point + kOffset) * sum));
  }
  bool fits(std::int64_t o) const {
    std::int64_t most = std::abs(bias(o));
    for (std::int64_t i = 0; i < size_; ++i) most += 255 * std::abs(std::int64_t{weights(o)[i]});
    const double limit = std::numeric_limits<std::int32_t>::max() - 1024;
    return static_cast<double>(most) < limit && static_cast<double>(most) * std::abs(multiplier(o)) < limit;
  }

 private:
  static std::size_t Index(std::int64_t o) { return static_cast<std::size_t>(o); }
  const ConvolutionValues& values_;
  std::int64_t size_;
};

struct Target {
  std::int32_t* starts;
  float* multipliers;
  std::int8_t* weights;
};

// The position of weight (channel c, row y, column x) of an output, as its run and the place in the run.
void PackDense(const Convolution& s, Flavor flavor, const Channels& from, Target to) {
  const Runs runs = RunsOf(s, flavor);
  const std::int64_t outputs = s.outputs / s.groups;
  const std::int64_t channels = s.channels / s.groups;
  const std::int64_t window = s.kernel_height * s.kernel_width;
  for (std::int64_t g = 0; g < s.groups; ++g) {
    for (std::int64_t first = 0; first < outputs; first += kBlock) {
      const std::int64_t vectors = std::min(kBlockVectors, VectorsOf(outputs - first));
      for (std::int64_t v = 0; v < vectors; ++v) {
        for (std::int64_t i = 0; i < kLanes; ++i) {
          const std::int64_t o = first + ChannelOf(vectors, v, i);
          if (o >= outputs) continue;
          to.starts[v * kLanes + i] = from.start(g * outputs + o);
          to.multipliers[v * kLanes + i] = static_cast<float>(from.multiplier(g * outputs + o));
          const std::int8_t* w = from.weights(g * outputs + o);
          for (std::int64_t tap = 0; tap < runs.taps; ++tap) {
            for (std::int64_t k = 0; k < runs.run; ++k) {
              const std::int64_t position = runs.whole_rows ? tap * s.kernel_width + k / channels : tap;
              const std::int64_t at = (tap * runs.padded_run + k) / 4;
              to.weights[(at * vectors + v) * kBlock + i * 4 + k % 4] = w[k % channels * window + position];
            }
          }
        }
      }
      to.starts += vectors * kLanes;
      to.multipliers += vectors * kLanes;
      to.weights += vectors * kLanes * runs.taps * runs.padded_run;
    }
  }
}

void PackDepthwise(const Convolution& s, const Channels& from, Target to) {
  const bool pairs = IsDepthwisePairs(s);
  const std::int64_t row_groups = pairs ? 2 : (s.kernel_height + 3) / 4;
  for (std::int64_t first = 0; first < s.channels;) {
    const std::int64_t width = DepthwiseWidth(s.channels - first);
    for (std::int64_t v = 0; v < 4; ++v) {
      for (std::int64_t i = 0; i < width / 4; ++i) {
        const std::int64_t o = first + DepthwiseChannelOf(v, i);
        if (o >= s.channels) continue;
        to.starts[v * (width / 4) + i] = from.start(o);
        to.multipliers[v * (width / 4) + i] = static_cast<float>(from.multiplier(o));
        for (std::int64_t set = 0; set < s.kernel_width * row_groups; ++set) {
          const std::int64_t column = set / row_groups;
          for (std::int64_t row = 0; row < 4; ++row) {
            // Of a pair, the second row of outputs sees the window one row further down.
            const std::int64_t y = pairs ? row - set % 2 : set % row_groups * 4 + row;
            if (y < 0 || y >= s.kernel_height) continue;
            to.weights[(set * 4 + v) * width + i * 4 + row] = from.weights(o)[y * s.kernel_width + column];
          }
        }
      }
    }
    to.starts += width;
    to.multipliers += width;
    to.weights += s.kernel_width * row_groups * 4 * width;
    first += width;
  }
}

}  // namespace

const char* PackingName(const CpuFeatures& cpu) {
  static_assert(kPackingVersion == 1, "the names end with the version");
  return cpu.amx_int8 ? "amx-int8.1" : cpu.avx512_vnni ? "avx512-vnni.1" : "";
}

std::size_t PackedConvolutionBytes(const Convolution& shape, const CpuFeatures& cpu) {
  const PackedHeader header = HeaderOf(shape, cpu);
  return static_cast<std::size_t>(RoundUp(header.weights + shape.groups * header.group_weights, kAlignment));
}

std::size_t ConvolutionScratchBytes(const Convolution& shape) {
  const std::size_t bytes = IsDepthwise(shape) ? DepthwiseScratchBytes(shape) : DenseScratchBytes(shape);
  return static_cast<std::size_t>(RoundUp(static_cast<std::int64_t>(bytes), kAlignment));
}

Status PackConvolution(const Convolution& shape, const ConvolutionValues& values, std::span<std::byte> packed,
                       const CpuFeatures& cpu) {
  const Channels channels(shape, values);
  for (std::int64_t o = 0; o < shape.outputs; ++o) {
    if (!channels.fits(o)) {
      return {StatusCode::kUnimplemented, "INT8_RANGE",
              "sums of this int8 operator could leave int32; use the reference delegate"};
    }
  }
  PackedHeader header = HeaderOf(shape, cpu);
  header.source_zero = values.input_zero_point + kOffset;
  header.target_zero = values.output_zero_point + kOffset;
  header.low = values.low + kOffset;
  header.high = values.high + kOffset;
  std::memset(packed.data(), 0, packed.size());
  std::memcpy(packed.data(), &header, sizeof(header));
  const Target target{reinterpret_cast<std::int32_t*>(packed.data() + header.starts),
                      reinterpret_cast<float*>(packed.data() + header.multipliers),
                      reinterpret_cast<std::int8_t*>(packed.data() + header.weights)};
  IsDepthwise(shape) ? PackDepthwise(shape, channels, target) : PackDense(shape, header.flavor, channels, target);
  return OkStatus();
}

void RunConvolution(const Convolution& shape, const std::byte* packed, std::int64_t batch, const std::uint8_t* source,
                    std::uint8_t* target, std::byte* scratch) {
  IsDepthwise(shape) ? RunDepthwise(shape, packed, batch, source, target, scratch)
                     : RunDense(shape, packed, batch, source, target, scratch);
}

}  // namespace edgefleet::runtime::kernels
