// How packed int8 weights lie in memory; shared by the packing and the kernels of this folder.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "device_client/runtime/kernels/int8_conv.h"

namespace edgefleet::runtime::kernels {

// A block is up to 64 output channels: as many vectors of 16 channels as it needs. Within a block, vector v and element i hold
// the channel that lets saturating packs, which work within 128-bit lanes, restore the order of the channels.
inline constexpr std::int64_t kLanes = 16;
inline constexpr std::int64_t kBlockVectors = 4;
inline constexpr std::int64_t kBlock = kLanes * kBlockVectors;

inline std::int64_t RoundUp(std::int64_t value, std::int64_t unit) { return (value + unit - 1) / unit * unit; }
inline std::int64_t VectorsOf(std::int64_t outputs) { return (outputs + kLanes - 1) / kLanes; }

// The channel, within a block of `vectors`, of element i of vector v.
inline std::int64_t ChannelOf(std::int64_t vectors, std::int64_t v, std::int64_t i) {
  if (vectors == 4) return i / 4 * 16 + v * 4 + i % 4;
  if (vectors >= 2 && v < 2) return i / 4 * 8 + v * 4 + i % 4;
  return v * kLanes + i;
}

// Depthwise blocks are as wide as a vector register of 64, 32 or 16 bytes; each has four vectors of a quarter of the channels.
inline std::int64_t DepthwiseWidth(std::int64_t channels_left) {
  return channels_left > 32 ? 64 : channels_left > 16 ? 32 : 16;
}
inline std::int64_t DepthwisePadded(std::int64_t channels) {
  const std::int64_t tail = channels % kBlock;
  return channels - tail + (tail == 0 ? 0 : DepthwiseWidth(tail));
}
inline std::int64_t DepthwiseChannelOf(std::int64_t v, std::int64_t i) { return i / 4 * 16 + v * 4 + i % 4; }

enum class Flavor : std::uint32_t { kDense = 1, kDepthwise = 2, kDepthwisePairs = 3, kTiles = 4 };
inline constexpr std::int64_t kTileBytes = 64;  // of a row of an AMX tile

// The taps of the dense kernels: the weights of one output are `taps` runs of `run` bytes, each run contiguous in the source
// and padded with zero weights to `padded_run`, a multiple of 4, or of a tile's row.
struct Runs {
  std::int64_t taps = 1;
  std::int64_t run = 1;
  std::int64_t padded_run = 4;
  bool whole_rows = false;  // a run covers a row of the window, not one position
};
// In front of every packed block. Offsets are in bytes from the header.
struct PackedHeader {
  std::uint32_t version;
  Flavor flavor;
  std::int32_t source_zero;  // offset byte of the input's zero point: what padding holds
  std::int32_t target_zero;  // likewise of the output's; bounds likewise
  std::int32_t low;
  std::int32_t high;
  std::int64_t starts;       // int32 per padded channel: what sums start from
  std::int64_t multipliers;  // float per padded channel
  std::int64_t weights;
  std::int64_t group_weights;  // bytes of one group's weights
};
static_assert(sizeof(PackedHeader) <= 64);

inline bool IsDepthwise(const Convolution& s) { return s.groups == s.channels && s.outputs == s.channels && s.groups > 1; }
// Two rows of outputs share the interleaved rows of inputs.
inline bool IsDepthwisePairs(const Convolution& s) {
  return IsDepthwise(s) && s.kernel_height == 3 && s.kernel_width == 3 && s.stride_y == 1 && s.stride_x == 1 &&
         s.dilation_y == 1 && s.dilation_x == 1;
}
inline bool IsPointwise(const Convolution& s) {
  return s.kernel_height == 1 && s.kernel_width == 1 && s.stride_y == 1 && s.stride_x == 1 && s.pad_top == 0 &&
         s.pad_left == 0 && s.out_height == s.height && s.out_width == s.width;
}

// Small layers merge the positions of a window's row, which are neighbours in the source, into one run.
inline Runs RunsOf(const Convolution& s, Flavor flavor) {
  Runs runs;
  runs.whole_rows = s.groups == 1 && s.dilation_x == 1;
  runs.taps = runs.whole_rows ? s.kernel_height : s.kernel_height * s.kernel_width;
  runs.run = s.channels / s.groups * (runs.whole_rows ? s.kernel_width : 1);
  runs.padded_run = RoundUp(runs.run, flavor == Flavor::kTiles ? kTileBytes : 4);
  return runs;
}

}  // namespace edgefleet::runtime::kernels
