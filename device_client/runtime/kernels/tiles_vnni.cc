// The int8 tiles with AVX-512 VNNI. Everything here has internal linkage, so that no code of this file's instruction set can
// replace code of another file's.
#include "device_client/runtime/kernels/tiles.h"

#if defined(__AVX512VNNI__)

#include <array>
#include <utility>

#include "device_client/runtime/kernels/vectors.h"

namespace edgefleet::runtime::kernels {
namespace {

// The tile of M pixels by N vectors of channels, B blocks of them (more than one only for a single pixel): sums stay in
// registers, each step multiplies four bytes of every pixel with N vectors of weights (vpdpbusd).
template <int M, int N, int B>
void Dense(const DenseBlock& given, const std::uint8_t* const* given_rows, std::uint8_t* target) {
  constexpr int kColumns = N * B;
  const DenseBlock block = given;  // a copy that stores of bytes cannot change
  const std::uint8_t* rows[M];
  __m512i sums[M][kColumns];
  Unroll<M>([&](auto m) EF_FLAT {
    rows[m] = given_rows[m];
    const std::int32_t* from = block.sums_in != nullptr ? block.sums_in + m * kBlock : block.finish.starts;
    Unroll<kColumns>([&](auto v) EF_FLAT { sums[m][v] = Zmm::Load(from + v * kLanes); });
  });
  const std::int8_t* weights = block.weights;
  const std::int64_t next_block = block.taps_y * block.taps_x * block.run * kBlock;
  for (std::int64_t ty = 0; ty < block.taps_y; ++ty) {
    for (std::int64_t tx = 0; tx < block.taps_x; ++tx) {
      const std::int64_t offset = ty * block.step_y + tx * block.step_x;
      const std::int64_t end = offset + block.run;
      for (std::int64_t k = offset; k < end; k += 4, weights += N * 64) {
        __m512i w[kColumns];
        Unroll<kColumns>([&](auto v) EF_FLAT { w[v] = Zmm::Load(weights + v / N * next_block + v % N * 64); });
        Unroll<M>([&](auto m) EF_FLAT {
          const __m512i x = Zmm::Broadcast4(rows[m] + k);
          Unroll<kColumns>([&](auto v) EF_FLAT { sums[m][v] = Zmm::Dot(sums[m][v], x, w[v]); });
        });
      }
    }
  }
  if (block.sums_out != nullptr) {
    Unroll<M>([&](auto m) EF_FLAT {
      Unroll<kColumns>([&](auto v) EF_FLAT { _mm512_storeu_si512(block.sums_out + m * kBlock + v * kLanes, sums[m][v]); });
    });
    return;
  }
  const Scaler scaler(block.finish);
  const float* by = block.finish.multipliers;
  Unroll<M>([&](auto m) EF_FLAT {
    std::uint8_t* out = target + m * block.target_step;
    if constexpr (N == 4) {
      Unroll<B>([&](auto b) EF_FLAT {
        const auto& four = sums[m];
        const __m512i bytes = scaler.Four<Zmm>(four[b * 4], four[b * 4 + 1], four[b * 4 + 2], four[b * 4 + 3], by + b * kBlock);
        StoreFirst(out + b * kBlock, bytes, B > 1 ? kBlock : block.outputs);
      });
    } else if constexpr (N >= 2) {
      StoreFirst(out, scaler.Two(sums[m][0], sums[m][1], by), block.outputs);
      if constexpr (N == 3) StoreFirst(out + 32, scaler.One(sums[m][2], by + 32), block.outputs - 32);
    } else {
      StoreFirst(out, scaler.One(sums[m][0], by), block.outputs);
    }
  });
}

// Four rows of bytes, interleaved so that each 32-bit element holds one channel of all four: four vectors of channels.
template <typename V>
struct Quads {
  typename V::Int v[4];
  static Quads Interleave(typename V::Int a, typename V::Int b, typename V::Int c, typename V::Int d) {
    const auto ab_low = V::UnpackLow8(a, b);
    const auto ab_high = V::UnpackHigh8(a, b);
    const auto cd_low = V::UnpackLow8(c, d);
    const auto cd_high = V::UnpackHigh8(c, d);
    return {{V::UnpackLow16(ab_low, cd_low), V::UnpackHigh16(ab_low, cd_low), V::UnpackLow16(ab_high, cd_high),
             V::UnpackHigh16(ab_high, cd_high)}};
  }
};

// The sums of a block's channels at one position.
template <typename V>
struct Sums {
  typename V::Int v[4];
  [[gnu::always_inline]] explicit inline Sums(const Finish& finish) {
    Unroll<4>([&](auto i) EF_FLAT { v[i] = V::Load(finish.starts + i * (V::kBytes / 4)); });
  }
  [[gnu::always_inline]] inline void Add(const Quads<V>& x, const std::int8_t* weights) {
    Unroll<4>([&](auto i) EF_FLAT { v[i] = V::Dot(v[i], x.v[i], V::Load(weights + i * V::kBytes)); });
  }
  [[gnu::always_inline]] inline typename V::Int Bytes(const Scaler& scaler, const float* multipliers) const {
    return scaler.template Four<V>(v[0], v[1], v[2], v[3], multipliers);
  }
};

// Each interleaved column of four input rows serves two rows and three columns of outputs.
template <typename V>
void DepthwisePair(const DepthwiseBlock& given, const DepthwiseRows& given_rows, std::uint8_t* first, std::uint8_t* second) {
  const DepthwiseBlock block = given;  // copies that stores of bytes cannot change
  const DepthwiseRows rows = given_rows;
  const Convolution s = *block.shape;
  const auto padding = V::Set8(block.source_zero);
  const auto column = [&](std::int64_t x) {
    if (x < 0 || x >= s.width) return Quads<V>{{padding, padding, padding, padding}};
    const std::int64_t at = x * s.channels;
    return Quads<V>::Interleave(V::Load(rows.rows[0] + at), V::Load(rows.rows[1] + at), V::Load(rows.rows[2] + at),
                                V::Load(rows.rows[3] + at));
  };
  const Scaler scaler(block.finish);
  constexpr int kSet = 4 * V::kBytes;
  Quads<V> left = column(-s.pad_left);
  Quads<V> middle = column(1 - s.pad_left);
  for (std::int64_t x = 0; x < s.out_width; ++x) {
    const Quads<V> right = column(x + 2 - s.pad_left);
    const auto row = [&](int index, std::uint8_t* target) EF_FLAT {
      Sums<V> sums(block.finish);
      sums.Add(left, block.weights + index * kSet);
      sums.Add(middle, block.weights + (2 + index) * kSet);
      sums.Add(right, block.weights + (4 + index) * kSet);
      StoreFirst(target + x * s.channels, sums.Bytes(scaler, block.finish.multipliers), block.outputs);
    };
    row(0, first);
    if (second != nullptr) row(1, second);
    left = middle;
    middle = right;
  }
}

template <typename V>
void DepthwiseRow(const DepthwiseBlock& given, const std::uint8_t* const* rows, std::uint8_t* target) {
  const DepthwiseBlock block = given;  // copies that stores of bytes cannot change
  const Convolution s = *block.shape;
  const auto padding = V::Set8(block.source_zero);
  const Scaler scaler(block.finish);
  for (std::int64_t out = 0; out < s.out_width; ++out) {
    Sums<V> sums(block.finish);
    const std::int8_t* weights = block.weights;
    for (std::int64_t tap = 0; tap < s.kernel_width; ++tap) {
      const std::int64_t x = out * s.stride_x - s.pad_left + tap * s.dilation_x;
      const bool inside = x >= 0 && x < s.width;
      const auto load = [&](std::int64_t y) {
        return inside && y < s.kernel_height && rows[y] != nullptr ? V::Load(rows[y] + x * s.channels) : padding;
      };
      for (std::int64_t y = 0; y < s.kernel_height; y += 4, weights += 4 * V::kBytes) {
        sums.Add(Quads<V>::Interleave(load(y), load(y + 1), load(y + 2), load(y + 3)), weights);
      }
    }
    StoreFirst(target + out * s.channels, sums.Bytes(scaler, block.finish.multipliers), block.outputs);
  }
}

template <int N, int... M>
void FillDense(Int8Tiles& tiles, std::integer_sequence<int, M...>) {
  ((tiles.dense[N - 1][M] = Dense<M + 1, N, 1>), ...);
}

template <int... B>
void FillRows(Int8Tiles& tiles, std::integer_sequence<int, B...>) {
  ((tiles.dense_row[B] = Dense<1, 4, B + 1>), ...);
}

Int8Tiles MakeTiles() {
  Int8Tiles tiles{};
  FillDense<1>(tiles, std::make_integer_sequence<int, TileRows(1)>());
  FillDense<2>(tiles, std::make_integer_sequence<int, TileRows(2)>());
  FillDense<3>(tiles, std::make_integer_sequence<int, TileRows(3)>());
  FillDense<4>(tiles, std::make_integer_sequence<int, TileRows(4)>());
  FillRows(tiles, std::make_integer_sequence<int, kRowBlocks>());
  tiles.depthwise_pair[0] = DepthwisePair<Zmm>;
  tiles.depthwise_pair[1] = DepthwisePair<Ymm>;
  tiles.depthwise_pair[2] = DepthwisePair<Xmm>;
  tiles.depthwise_row[0] = DepthwiseRow<Zmm>;
  tiles.depthwise_row[1] = DepthwiseRow<Ymm>;
  tiles.depthwise_row[2] = DepthwiseRow<Xmm>;
  return tiles;
}

}  // namespace

const Int8Tiles* VnniTiles() {
  static const Int8Tiles tiles = MakeTiles();
  return &tiles;
}

}  // namespace edgefleet::runtime::kernels

#else

namespace edgefleet::runtime::kernels {
const Int8Tiles* VnniTiles() { return nullptr; }
}  // namespace edgefleet::runtime::kernels

#endif
