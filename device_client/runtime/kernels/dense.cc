#include "device_client/runtime/kernels/dense.h"

#include <cstring>

#include "device_client/runtime/kernels/tiles.h"

namespace edgefleet::runtime::kernels {
namespace {

// The part of the source that windows touch, counted from the first position of padding.
std::int64_t SpanOf(std::int64_t outputs, std::int64_t stride, std::int64_t kernel, std::int64_t dilation) {
  return (outputs - 1) * stride + (kernel - 1) * dilation + 1;
}

struct Frame {
  std::int64_t height;
  std::int64_t width;
  bool copied;  // windows leave the image: it is copied into a frame of the zero point
};
Frame FrameOf(const Convolution& s) {
  Frame frame{SpanOf(s.out_height, s.stride_y, s.kernel_height, s.dilation_y),
              SpanOf(s.out_width, s.stride_x, s.kernel_width, s.dilation_x), false};
  frame.copied = s.pad_top > 0 || s.pad_left > 0 || frame.height > s.height || frame.width > s.width;
  if (!frame.copied) frame.width = s.width;
  return frame;
}

void CopyIntoFrame(const Convolution& s, const Frame& frame, std::int32_t zero, const std::uint8_t* source, std::uint8_t* to) {
  const auto bytes = [&](std::int64_t pixels) { return static_cast<std::size_t>(pixels * s.channels); };
  const std::int64_t columns = std::max<std::int64_t>(0, std::min(s.width, frame.width - s.pad_left));
  for (std::int64_t y = 0; y < frame.height; ++y, to += frame.width * s.channels) {
    const std::int64_t from = y - s.pad_top;
    if (from < 0 || from >= s.height || columns == 0) {
      std::memset(to, zero, bytes(frame.width));
      continue;
    }
    std::memset(to, zero, bytes(s.pad_left));
    std::memcpy(to + s.pad_left * s.channels, source + from * s.width * s.channels, bytes(columns));
    const std::int64_t filled = s.pad_left + columns;
    std::memset(to + filled * s.channels, zero, bytes(frame.width - filled));
  }
}

// Where the windows of consecutive pixels of the target begin.
class Windows {
 public:
  Windows(const Convolution& s, std::int64_t frame_width, const std::uint8_t* source)
      : source_(source),
        pointwise_(IsPointwise(s)),
        width_(s.out_width),
        step_x_(s.stride_x * s.channels),
        step_y_(s.stride_y * frame_width * s.channels) {}
  std::int64_t step_x() const { return step_x_; }
  void Fill(std::int64_t pixel, std::int64_t count, std::int64_t offset, const std::uint8_t** rows) const {
    if (pointwise_) {
      const std::uint8_t* row = source_ + offset + pixel * step_x_;
      for (std::int64_t m = 0; m < count; ++m, row += step_x_) rows[m] = row;
      return;
    }
    std::int64_t y = pixel / width_;
    std::int64_t x = pixel % width_;
    for (std::int64_t m = 0; m < count; ++m) {
      rows[m] = source_ + offset + y * step_y_ + x * step_x_;
      if (++x == width_) {
        x = 0;
        ++y;
      }
    }
  }

 private:
  const std::uint8_t* source_;
  bool pointwise_;
  std::int64_t width_;
  std::int64_t step_x_;
  std::int64_t step_y_;
};

constexpr std::int64_t kPartBytes = 32 * 1024;  // of weights that stay in the first cache
constexpr std::int64_t kPanelPixels = 96;
constexpr std::int64_t kPanelPixelsMin = 24;

constexpr std::int64_t kAmxPixelsMin = 8;  // fewer are done sooner without configuring tiles

// All pixels and output channels of one group of one image.
class Product {
 public:
  Product(const Int8Tiles& tiles, const Windows& windows, std::int64_t pixels, std::int64_t outputs, const DenseBlock& first,
          std::uint8_t* target)
      : tiles_(tiles), windows_(windows), pixels_(pixels), outputs_(outputs), first_(first), target_(target) {}

  void Run() const {
    if (pixels_ == 1) return RunRow();
    // Weights that stay in the first cache are walked once a tile of pixels, so that a target's line is written once; others
    // are walked once in all.
    constexpr std::int64_t kNearBytes = 24 * 1024;
    constexpr std::int64_t kNearBlocks = 8;
    const std::int64_t blocks = (outputs_ + kBlock - 1) / kBlock;
    if (outputs_ * WeightBytes() <= kNearBytes && blocks <= kNearBlocks) {
      DenseBlock near[kNearBlocks];
      for (std::int64_t b = 0; b < blocks; ++b) near[b] = BlockAt(b);
      const std::int64_t rows = TileRows(VectorsOf(near[0].outputs));
      for (std::int64_t pixel = 0; pixel < pixels_; pixel += rows) {
        for (std::int64_t b = 0; b < blocks; ++b) RunTile(near[b], b, pixel, std::min(rows, pixels_ - pixel));
      }
      return;
    }
    for (std::int64_t b = 0; b < blocks; ++b) {
      const DenseBlock block = BlockAt(b);
      if (kBlock * WeightBytes() > kPartBytes && first_.taps_x == 1 && pixels_ >= kPanelPixelsMin) {
        for (std::int64_t pixel = 0; pixel < pixels_; pixel += kPanelPixels) {
          RunParts(block, b, pixel, std::min(pixels_, pixel + kPanelPixels));
        }
      } else {
        RunTiles(block, b, 0, pixels_, 0, 0);
      }
    }
  }

  // With AMX tiles: sums of a panel of pixels, which the vector tiles then finish. What is larger, pixels or weights, is walked
  // once.
  void RunPanels(const AmxTiles& amx) const {
    const std::int64_t panels = (pixels_ + kPanelRows - 1) / kPanelRows;
    const std::int64_t blocks = (outputs_ + kBlock - 1) / kBlock;
    const bool weights_once = (panels - 1) * outputs_ > (blocks - 1) * pixels_;
    std::int64_t configured = 0;
    for (std::int64_t i = 0; i < panels * blocks; ++i) {
      const std::int64_t panel = weights_once ? i % panels : i / blocks;
      const std::int64_t b = weights_once ? i / panels : i % blocks;
      const std::int64_t rows = std::min(kPanelRows, pixels_ - panel * kPanelRows);
      if (rows != configured) amx.configure(rows);
      configured = rows;
      RunPanel(amx, BlockAt(b), b, panel * kPanelRows, rows);
    }
    amx.release();
  }

 private:
  std::int64_t WeightBytes() const { return first_.taps_y * first_.taps_x * first_.run; }
  DenseBlock BlockAt(std::int64_t b) const {
    DenseBlock block = first_;
    block.outputs = std::min(kBlock, outputs_ - b * kBlock);
    block.weights += b * kBlock * WeightBytes();
    block.finish.starts += b * kBlock;
    block.finish.multipliers += b * kBlock;
    return block;
  }
  void RunPanel(const AmxTiles& amx, DenseBlock block, std::int64_t b, std::int64_t begin, std::int64_t rows) const {
    alignas(kAlignment) std::int32_t sums[kPanelRows * kBlock];
    const std::uint8_t* source = nullptr;
    windows_.Fill(begin, 1, 0, &source);
    amx.sum(block, source, windows_.step_x(), rows, sums);
    block.taps_y = 0;  // all sums are there
    block.sums_in = sums;
    RunTiles(block, b, begin, begin + rows, 0, begin);
  }
  // The weights of a block exceed the first cache: part by part, all pixels of a panel go on from the sums of the part before.
  void RunParts(const DenseBlock& block, std::int64_t b, std::int64_t begin, std::int64_t end) const {
    alignas(kAlignment) std::int32_t sums[kPanelPixels * kBlock];
    const std::int64_t vectors = VectorsOf(block.outputs);
    const std::int64_t pieces = (block.run * kBlock + kPartBytes - 1) / kPartBytes;
    const std::int64_t piece = RoundUp((block.run + pieces - 1) / pieces, 4);
    DenseBlock part = block;
    part.taps_y = 1;
    for (std::int64_t tap = 0; tap < block.taps_y; ++tap) {
      for (std::int64_t k = 0; k < block.run; k += piece) {
        const bool last = tap + 1 == block.taps_y && k + piece >= block.run;
        part.run = std::min(piece, block.run - k);
        part.sums_out = last ? nullptr : sums;
        RunTiles(part, b, begin, end, tap * block.step_y + k, begin);
        part.sums_in = sums;
        part.weights += part.run * vectors * kLanes;
      }
    }
  }
  // Windows begin `offset` bytes further; sums are those of the pixels from `panel` on.
  void RunTiles(DenseBlock block, std::int64_t b, std::int64_t begin, std::int64_t end, std::int64_t offset,
                std::int64_t panel) const {
    const std::int64_t rows = TileRows(VectorsOf(block.outputs));
    const DenseBlock whole = block;
    for (std::int64_t pixel = begin; pixel < end; pixel += rows) {
      if (whole.sums_in != nullptr) block.sums_in = whole.sums_in + (pixel - panel) * kBlock;
      if (whole.sums_out != nullptr) block.sums_out = whole.sums_out + (pixel - panel) * kBlock;
      RunTile(block, b, pixel, std::min(rows, end - pixel), offset);
    }
  }
  void RunTile(const DenseBlock& block, std::int64_t b, std::int64_t pixel, std::int64_t count, std::int64_t offset = 0) const {
    const std::uint8_t* rows[kTileRowsMax];
    windows_.Fill(pixel, count, offset, rows);
    tiles_.dense[VectorsOf(block.outputs) - 1][count - 1](block, rows, target_ + pixel * first_.target_step + b * kBlock);
  }
  void RunRow() const {
    const std::uint8_t* row = nullptr;
    windows_.Fill(0, 1, 0, &row);
    const std::int64_t full = outputs_ / kBlock;
    for (std::int64_t b = 0; b < full; b += kRowBlocks) {
      tiles_.dense_row[std::min(kRowBlocks, full - b) - 1](BlockAt(b), &row, target_ + b * kBlock);
    }
    if (full * kBlock < outputs_) RunTile(BlockAt(full), full, 0, 1);
  }

  const Int8Tiles& tiles_;
  const Windows& windows_;
  std::int64_t pixels_;
  std::int64_t outputs_;
  DenseBlock first_;
  std::uint8_t* target_;
};

}  // namespace

std::size_t DenseScratchBytes(const Convolution& shape) {
  const Frame frame = FrameOf(shape);
  if (!frame.copied) return 0;
  return static_cast<std::size_t>(frame.height * frame.width * shape.channels) + kReadSlackBytes;
}

void RunDense(const Convolution& shape, const std::byte* packed, std::int64_t batch, const std::uint8_t* source,
              std::uint8_t* target, std::byte* scratch) {
  PackedHeader header;
  std::memcpy(&header, packed, sizeof(header));
  const Frame frame = FrameOf(shape);
  const Runs runs = RunsOf(shape, header.flavor);
  const bool pointwise = IsPointwise(shape);
  const AmxTiles* amx = header.flavor == Flavor::kTiles ? Int8AmxTiles() : nullptr;
  const std::int64_t images = pointwise ? 1 : batch;
  const std::int64_t pixels = shape.out_height * shape.out_width * (pointwise ? batch : 1);
  const std::int64_t group_outputs = shape.outputs / shape.groups;
  const std::int64_t row_bytes = frame.width * shape.channels;
  for (std::int64_t n = 0; n < images; ++n) {
    const std::uint8_t* image = source + n * shape.height * shape.width * shape.channels;
    if (frame.copied) {
      CopyIntoFrame(shape, frame, header.source_zero, image, reinterpret_cast<std::uint8_t*>(scratch));
      image = reinterpret_cast<const std::uint8_t*>(scratch);
    }
    for (std::int64_t g = 0; g < shape.groups; ++g) {
      const std::int64_t padded = g * RoundUp(group_outputs, kLanes);
      const DenseBlock first{
          .taps_y = shape.kernel_height,
          .taps_x = runs.whole_rows ? 1 : shape.kernel_width,
          .step_y = shape.dilation_y * row_bytes,
          .step_x = shape.dilation_x * shape.channels,
          .run = runs.padded_run,
          .weights = reinterpret_cast<const std::int8_t*>(packed + header.weights + g * header.group_weights),
          .finish = {reinterpret_cast<const std::int32_t*>(packed + header.starts) + padded,
                     reinterpret_cast<const float*>(packed + header.multipliers) + padded, header.target_zero, header.low,
                     header.high},
          .outputs = 0,
          .target_step = shape.outputs,
          .sums_in = nullptr,
          .sums_out = nullptr,
      };
      const Windows windows(shape, frame.width, image + g * (shape.channels / shape.groups));
      const Product product(*VnniTiles(), windows, pixels, group_outputs, first,
                            target + n * pixels * shape.outputs + g * group_outputs);
      amx != nullptr&& pixels >= kAmxPixelsMin ? product.RunPanels(*amx) : product.Run();
    }
  }
}

}  // namespace edgefleet::runtime::kernels
