#include "device_client/runtime/kernels/int8_conv.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

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

// What one output channel contributes.
struct Channel {
  const std::int8_t* weights;  // [channels / groups, kernel_height, kernel_width]
  std::int32_t start;          // the bias with the input's zero point and the offset of the bytes folded in; wraps like sums
  float multiplier;
};

Result<std::vector<Channel>> ChannelsOf(const Convolution& s, const ConvolutionValues& values) {
  const std::int64_t size = s.channels / s.groups * s.kernel_height * s.kernel_width;
  const double limit = std::numeric_limits<std::int32_t>::max() - 1024;
  std::vector<Channel> channels;
  for (std::int64_t o = 0; o < s.outputs; ++o) {
    const auto index = static_cast<std::size_t>(o);
    const std::int8_t* weights = values.weights.data() + o * size;
    const std::int64_t bias = values.bias.empty() ? 0 : values.bias[index];
    const double multiplier = values.multipliers[values.multipliers.size() == 1 ? 0 : index];
    std::int32_t sum = 0;  // neither overflows with fewer than 2^24 weights
    std::int32_t size_sum = 0;
    if (size >= 1 << 24) return Unimplemented("INT8_RANGE", "this int8 operator sums too many products");
    for (std::int64_t i = 0; i < size; ++i) {
      sum += weights[i];
      size_sum += std::abs(std::int32_t{weights[i]});
    }
    const double most = std::abs(static_cast<double>(bias)) + 255.0 * size_sum;
    if (!(most < limit && most * std::abs(multiplier) < limit)) {
      return Unimplemented("INT8_RANGE", "sums of this int8 operator could leave int32; use the reference delegate");
    }
    const std::int64_t start = bias - std::int64_t{values.input_zero_point + kOffset} * sum;
    channels.push_back({weights, static_cast<std::int32_t>(static_cast<std::uint32_t>(start)), static_cast<float>(multiplier)});
  }
  return channels;
}

struct Target {
  std::int32_t* starts;
  float* multipliers;
  std::int8_t* weights;
};

// Part [begin, end) of a run of one output, four bytes at a time, `step` bytes from one four to the next.
void PackRun(const Convolution& s, const Runs& runs, std::int64_t tap, std::int64_t begin, std::int64_t end,
             const std::int8_t* weights, std::int64_t step, std::int8_t* to) {
  const std::int64_t channels = s.channels / s.groups;
  const std::int64_t window = s.kernel_height * s.kernel_width;
  std::int64_t k = begin;
  if (window == 1) {
    for (; k + 4 <= end; k += 4) std::memcpy(to + k / 4 * step, weights + k, 4);
  }
  std::int64_t position = (runs.whole_rows ? tap * s.kernel_width : tap) + k / channels;
  std::int64_t c = k % channels;
  for (; k < end; ++k) {
    to[k / 4 * step + k % 4] = weights[c * window + position];
    if (++c == channels) {
      c = 0;
      ++position;
    }
  }
}

// A block of outputs, part by part, so that what is written stays in the first cache.
void PackBlock(const Convolution& s, const Runs& runs, const Channel* channels, std::int64_t count, Target to) {
  constexpr std::int64_t kPart = 256;
  const std::int64_t vectors = std::min(kBlockVectors, VectorsOf(count));
  for (std::int64_t tap = 0; tap < runs.taps; ++tap, to.weights += runs.padded_run * vectors * kLanes) {
    for (std::int64_t begin = 0; begin < runs.run; begin += kPart) {
      for (std::int64_t lane = 0; lane < vectors * kLanes; ++lane) {
        const std::int64_t o = ChannelOf(vectors, lane / kLanes, lane % kLanes);
        if (o >= count) continue;
        to.starts[lane] = channels[o].start;
        to.multipliers[lane] = channels[o].multiplier;
        PackRun(s, runs, tap, begin, std::min(runs.run, begin + kPart), channels[o].weights, vectors * kBlock,
                to.weights + lane * 4);
      }
    }
  }
}

void PackDense(const Convolution& s, Flavor flavor, const std::vector<Channel>& from, Target to) {
  const Runs runs = RunsOf(s, flavor);
  const std::int64_t outputs = s.outputs / s.groups;
  for (std::int64_t g = 0; g < s.groups; ++g) {
    for (std::int64_t first = 0; first < outputs; first += kBlock) {
      const std::int64_t count = std::min(kBlock, outputs - first);
      PackBlock(s, runs, from.data() + g * outputs + first, count, to);
      const std::int64_t lanes = VectorsOf(count) * kLanes;
      to.starts += lanes;
      to.multipliers += lanes;
      to.weights += lanes * runs.taps * runs.padded_run;
    }
  }
}

void PackDepthwise(const Convolution& s, const std::vector<Channel>& from, Target to) {
  const bool pairs = IsDepthwisePairs(s);
  const std::int64_t row_groups = pairs ? 2 : (s.kernel_height + 3) / 4;
  for (std::int64_t first = 0; first < s.channels;) {
    const std::int64_t width = DepthwiseWidth(s.channels - first);
    for (std::int64_t v = 0; v < 4; ++v) {
      for (std::int64_t i = 0; i < width / 4; ++i) {
        const std::int64_t o = first + DepthwiseChannelOf(v, i);
        if (o >= s.channels) continue;
        const Channel& channel = from[static_cast<std::size_t>(o)];
        to.starts[v * (width / 4) + i] = channel.start;
        to.multipliers[v * (width / 4) + i] = channel.multiplier;
        for (std::int64_t set = 0; set < s.kernel_width * row_groups; ++set) {
          const std::int64_t column = set / row_groups;
          for (std::int64_t row = 0; row < 4; ++row) {
            // Of a pair, the second row of outputs sees the window one row further down.
            const std::int64_t y = pairs ? row - set % 2 : set % row_groups * 4 + row;
            if (y < 0 || y >= s.kernel_height) continue;
            to.weights[(set * 4 + v) * width + i * 4 + row] = channel.weights[y * s.kernel_width + column];
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
  EF_ASSIGN_OR_RETURN(const std::vector<Channel> channels, ChannelsOf(shape, values));
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
