// The inner loops of the int8 kernels, one set an instruction set. Only what runs on this processor is ever called.
#pragma once

#include <cstddef>
#include <cstdint>

#include "device_client/runtime/kernels/packed.h"

namespace edgefleet::runtime::kernels {

// How sums become bytes; pointers as in the packed block, for the channels at hand.
struct Finish {
  const std::int32_t* starts;
  const float* multipliers;
  std::int32_t target_zero;
  std::int32_t low;
  std::int32_t high;
};

// A block of up to 64 output channels of a dense convolution.
struct DenseBlock {
  std::int64_t taps_y;
  std::int64_t taps_x;
  std::int64_t step_y;  // bytes from one tap to the next in the source
  std::int64_t step_x;
  std::int64_t run;  // bytes a tap, padded to 4
  const std::int8_t* weights;
  Finish finish;
  std::int64_t outputs;      // channels of the block that exist
  std::int64_t target_step;  // bytes from one pixel of the target to the next
  // Sums of an earlier part of the taps to go on from, and of this part to be stored instead of bytes: kBlock a pixel, or null.
  const std::int32_t* sums_in;
  std::int32_t* sums_out;
};

// `rows[m]` is where the window of pixel m begins.
using DenseTile = void (*)(const DenseBlock& block, const std::uint8_t* const* rows, std::uint8_t* target);
inline constexpr std::int64_t kTileRowsMax = 8;
inline constexpr std::int64_t TileRows(std::int64_t vectors) { return vectors == 4 ? 6 : kTileRowsMax; }
inline constexpr std::int64_t kRowBlocks = 4;  // full blocks that a single row takes at a time

// A column of a depthwise row: see depthwise.cc.
struct DepthwiseRows {
  const std::uint8_t* rows[4];  // of the source, at the block's first channel; rows of padding point to bytes of the zero point
};
struct DepthwiseBlock {
  const Convolution* shape;
  const std::int8_t* weights;
  Finish finish;
  std::int64_t outputs;
  std::int32_t source_zero;
};

struct Int8Tiles {
  DenseTile dense[kBlockVectors][kTileRowsMax];  // [vectors - 1][rows - 1]
  DenseTile dense_row[kRowBlocks];               // one row, [full blocks - 1]
  // Two rows of outputs of a 3x3 window with stride 1; `second` may be null.
  void (*depthwise_pair[3])(const DepthwiseBlock& block, const DepthwiseRows& rows, std::uint8_t* first, std::uint8_t* second);
  // One row of outputs of any window; `rows` are kernel_height pointers, those of padding null.
  void (*depthwise_row[3])(const DepthwiseBlock& block, const std::uint8_t* const* rows, std::uint8_t* target);
};

// Sums of up to kPanelRows pixels of a block whose taps are one run, by AMX tiles.
inline constexpr std::int64_t kPanelRows = 32;
struct AmxTiles {
  // Shapes this thread's tiles for panels of so many pixels; until release(), other code of the thread must not use tiles.
  void (*configure)(std::int64_t rows);
  // Pixel m of the source is at source + m * step; its sums go to sums + m * kBlock, in the order of the packed channels.
  void (*sum)(const DenseBlock& block, const std::uint8_t* source, std::int64_t step, std::int64_t rows, std::int32_t* sums);
  void (*release)();
};

// Null if the build or the processor has none.
const Int8Tiles* VnniTiles();
const AmxTiles* Int8AmxTiles();

}  // namespace edgefleet::runtime::kernels
