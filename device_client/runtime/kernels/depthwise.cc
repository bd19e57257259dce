#include "device_client/runtime/kernels/depthwise.h"

#include <cstring>

#include "device_client/runtime/kernels/tiles.h"

namespace edgefleet::runtime::kernels {
namespace {

int WidthIndex(std::int64_t width) { return width == 64 ? 0 : width == 32 ? 1 : 2; }

struct Image {
  const Convolution& shape;
  const Int8Tiles& tiles;
  const std::uint8_t* source;
  std::uint8_t* target;
  const std::uint8_t* padding;  // a row of the zero point

  // Null for rows of padding.
  const std::uint8_t* Row(std::int64_t y, std::int64_t channel) const {
    if (y < 0 || y >= shape.height) return nullptr;
    return source + y * shape.width * shape.channels + channel;
  }
  std::uint8_t* Out(std::int64_t y, std::int64_t channel) const {
    return y < shape.out_height ? target + y * shape.out_width * shape.channels + channel : nullptr;
  }

  void RunPairs(const DepthwiseBlock& block, std::int64_t channel, int width) const {
    for (std::int64_t y = 0; y < shape.out_height; y += 2) {
      DepthwiseRows rows{};
      for (std::int64_t i = 0; i < 4; ++i) {
        const std::uint8_t* row = Row(y - shape.pad_top + i, channel);
        rows.rows[i] = row != nullptr ? row : padding;
      }
      tiles.depthwise_pair[width](block, rows, Out(y, channel), Out(y + 1, channel));
    }
  }
  void RunRows(const DepthwiseBlock& block, std::int64_t channel, int width, const std::uint8_t** rows) const {
    for (std::int64_t y = 0; y < shape.out_height; ++y) {
      for (std::int64_t i = 0; i < shape.kernel_height; ++i) {
        rows[i] = Row(y * shape.stride_y - shape.pad_top + i * shape.dilation_y, channel);
      }
      tiles.depthwise_row[width](block, rows, Out(y, channel));
    }
  }
};

}  // namespace

// A row of padding for pairs, a list of rows otherwise.
std::size_t DepthwiseScratchBytes(const Convolution& shape) {
  if (IsDepthwisePairs(shape)) return static_cast<std::size_t>(shape.width * shape.channels) + kReadSlackBytes;
  return static_cast<std::size_t>(shape.kernel_height) * sizeof(std::uint8_t*);
}

void RunDepthwise(const Convolution& shape, const std::byte* packed, std::int64_t batch, const std::uint8_t* source,
                  std::uint8_t* target, std::byte* scratch) {
  PackedHeader header;
  std::memcpy(&header, packed, sizeof(header));
  const bool pairs = header.flavor == Flavor::kDepthwisePairs;
  if (pairs) std::memset(scratch, header.source_zero, DepthwiseScratchBytes(shape));
  const std::int64_t sets = header.group_weights / (DepthwisePadded(shape.channels) * 4);
  for (std::int64_t n = 0; n < batch; ++n) {
    const Image image{shape, *VnniTiles(), source + n * shape.height * shape.width * shape.channels,
                      target + n * shape.out_height * shape.out_width * shape.channels,
                      reinterpret_cast<const std::uint8_t*>(scratch)};
    for (std::int64_t channel = 0; channel < shape.channels; channel += kBlock) {
      const std::int64_t left = std::min(kBlock, shape.channels - channel);
      const DepthwiseBlock block{
          &shape,
          reinterpret_cast<const std::int8_t*>(packed + header.weights) + sets * channel * 4,
          {reinterpret_cast<const std::int32_t*>(packed + header.starts) + channel,
           reinterpret_cast<const float*>(packed + header.multipliers) + channel, header.target_zero, header.low, header.high},
          left,
          header.source_zero};
      const int width = WidthIndex(DepthwiseWidth(left));
      pairs ? image.RunPairs(block, channel, width)
            : image.RunRows(block, channel, width, reinterpret_cast<const std::uint8_t**>(scratch));
    }
  }
}

}  // namespace edgefleet::runtime::kernels
