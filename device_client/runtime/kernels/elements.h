// int8 operators that are no products: between representations, element by element, and pools, on plain memory.
//
// Activations are offset bytes (q + 128) in NHWC as in int8_conv.h, with the same rules of memory and threads: sources are
// readable for kReadSlackBytes beyond their end. Real values are computed in fp32, so that a result may differ by one step from
// the definition where that lies within 2^-22 of its size of a tie.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgefleet::runtime::kernels {

// real = scale * (q - zero_point), q an int8.
struct Affine {
  float scale = 1;
  std::int32_t zero_point = 0;
};

// Result of an operator: its quantization and the bounds of a fused activation, as int8.
struct AffineResult {
  Affine affine;
  std::int32_t low = -128;
  std::int32_t high = 127;
};

struct Image {
  std::int64_t batch = 1;
  std::int64_t channels = 1;
  std::int64_t pixels = 1;  // height * width
};

// A window over [height, width, channels]; padding never counts, unless `count_padding`.
struct Pool {
  std::int64_t batch = 1;
  std::int64_t channels = 1;
  std::int64_t height = 1;
  std::int64_t width = 1;
  std::int64_t out_height = 1;
  std::int64_t out_width = 1;
  std::int64_t kernel_height = 1;
  std::int64_t kernel_width = 1;
  std::int64_t stride_y = 1;
  std::int64_t stride_x = 1;
  std::int64_t pad_top = 0;
  std::int64_t pad_left = 0;
  bool count_padding = false;  // the divisor is the whole window
};

struct Elements {
  // fp32 NCHW to bytes NHWC: clamp(round_half_even(x / scale) + zero_point), NaN to the least.
  void (*quantize)(const Image& image, const float* source, Affine affine, std::uint8_t* target);
  // bytes NHWC to fp32 NCHW.
  void (*dequantize)(const Image& image, const std::uint8_t* source, Affine affine, float* target);
  // int8 NCHW to bytes NHWC, and back. These sources need no slack.
  void (*from_planes)(const Image& image, const std::int8_t* source, std::uint8_t* target);
  void (*to_planes)(const Image& image, const std::uint8_t* source, std::int8_t* target);
  // The sum of two tensors of `count` elements; the target may be one of them.
  void (*add)(std::int64_t count, const std::uint8_t* a, Affine a_affine, const std::uint8_t* b, Affine b_affine,
              const AffineResult& result, std::uint8_t* target);
  // target = table[source]; the table is aligned to 64. The target may be the source.
  void (*look_up)(std::int64_t count, const std::uint8_t* source, const std::uint8_t* table, std::uint8_t* target);
  // The mean of all pixels, for each channel and image.
  void (*average)(const Image& image, const std::uint8_t* source, Affine affine, const AffineResult& result,
                  std::uint8_t* target);
  // Both keep the windows' order; a window without any position inside gives the least value, an average the zero point.
  void (*pool_max)(const Pool& pool, const std::uint8_t* source, std::uint8_t* target);
  void (*pool_average)(const Pool& pool, const std::uint8_t* source, Affine affine, const AffineResult& result,
                       std::uint8_t* target);
};

// Null where no kernel runs: as PackingName() is empty.
const Elements* Int8Elements();

}  // namespace edgefleet::runtime::kernels
