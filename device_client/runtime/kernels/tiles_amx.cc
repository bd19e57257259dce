// The int8 tiles with AMX (Intel SDM volume 1, chapter 18). Internal linkage throughout: see tiles_vnni.cc.
#include "device_client/runtime/kernels/cpu.h"
#include "device_client/runtime/kernels/tiles.h"

#if defined(__AMX_INT8__)

#include <immintrin.h>

namespace edgefleet::runtime::kernels {
namespace {

constexpr std::int64_t kTileRows16 = 16;

// Tiles 0 to 3 hold sums: two of pixels by two of channels. Tiles 4 and 5 are pixels, 6 and 7 weights.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

void Configure(std::int64_t rows) {
  const auto first = static_cast<std::uint8_t>(rows < kTileRows16 ? rows : kTileRows16);
  // Unused tiles keep a row: one of no rows would be a fault to touch, and is never touched.
  const auto second = static_cast<std::uint8_t>(rows > kTileRows16 ? rows - kTileRows16 : 1);
  TileConfig config;
  const std::uint8_t tile_rows[8] = {first, first, second, second, first, second, kTileRows16, kTileRows16};
  for (int i = 0; i < 8; ++i) config.rows[i] = tile_rows[i];
  // GCC 12's intrinsic says that it reads 8 bytes only: this makes it write all of them before.
  asm volatile("" ::"r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// One or two tiles of pixels by one or two vectors of channels, over the whole run.
template <bool kTwoPixels, bool kTwoVectors>
void SumPair(const DenseBlock& block, std::int64_t vectors, std::int64_t v, const std::uint8_t* source, std::int64_t step,
             std::int32_t* sums) {
  const std::int32_t* starts = block.finish.starts + v * kLanes;
  _tile_loadd(0, starts, 0);  // every row begins alike
  if constexpr (kTwoVectors) _tile_loadd(1, starts + kLanes, 0);
  if constexpr (kTwoPixels) _tile_loadd(2, starts, 0);
  if constexpr (kTwoPixels && kTwoVectors) _tile_loadd(3, starts + kLanes, 0);
  const std::int64_t weight_step = vectors * kTileBytes;
  const std::int8_t* weights = block.weights + v * kTileBytes;
  for (std::int64_t k = 0; k < block.run; k += kTileBytes, weights += kTileRows16 * weight_step) {
    _tile_loadd(4, source + k, step);
    _tile_loadd(6, weights, weight_step);
    _tile_dpbusd(0, 4, 6);
    if constexpr (kTwoPixels) {
      _tile_loadd(5, source + kTileRows16 * step + k, step);
      _tile_dpbusd(2, 5, 6);
    }
    if constexpr (kTwoVectors) {
      _tile_loadd(7, weights + kTileBytes, weight_step);
      _tile_dpbusd(1, 4, 7);
    }
    if constexpr (kTwoPixels && kTwoVectors) _tile_dpbusd(3, 5, 7);
  }
  constexpr std::int64_t kRowBytes = kBlock * static_cast<std::int64_t>(sizeof(std::int32_t));
  std::int32_t* to = sums + v * kLanes;
  _tile_stored(0, to, kRowBytes);
  if constexpr (kTwoVectors) _tile_stored(1, to + kLanes, kRowBytes);
  if constexpr (kTwoPixels) _tile_stored(2, to + kTileRows16 * kBlock, kRowBytes);
  if constexpr (kTwoPixels && kTwoVectors) _tile_stored(3, to + kTileRows16 * kBlock + kLanes, kRowBytes);
}

void Sum(const DenseBlock& block, const std::uint8_t* source, std::int64_t step, std::int64_t rows, std::int32_t* sums) {
  const std::int64_t vectors = (block.outputs + kLanes - 1) / kLanes;
  const bool two_pixels = rows > kTileRows16;
  for (std::int64_t v = 0; v < vectors; v += 2) {
    const bool two_vectors = v + 1 < vectors;
    if (two_pixels) {
      two_vectors ? SumPair<true, true>(block, vectors, v, source, step, sums)
                  : SumPair<true, false>(block, vectors, v, source, step, sums);
    } else {
      two_vectors ? SumPair<false, true>(block, vectors, v, source, step, sums)
                  : SumPair<false, false>(block, vectors, v, source, step, sums);
    }
  }
}

void Release() { _tile_release(); }

constexpr AmxTiles kTiles{Configure, Sum, Release};

}  // namespace

const AmxTiles* Int8AmxTiles() { return Cpu().amx_int8 ? &kTiles : nullptr; }

}  // namespace edgefleet::runtime::kernels

#else

namespace edgefleet::runtime::kernels {
const AmxTiles* Int8AmxTiles() { return nullptr; }
}  // namespace edgefleet::runtime::kernels

#endif
