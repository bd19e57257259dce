// Weighted int8 operators (convolution, depthwise convolution, fully connected, matrix product) on plain memory.
//
// Meaning. With q the stored integers, every output channel o computes in int32, exactly and in no particular order,
//   acc = bias[o] + sum (x_q - input_zero_point) * w_q[o]
//   y_q = clamp(round_half_even(acc * multiplier[o]) + output_zero_point, low, high)
// (Jacob et al. 2018, section 2.2). Positions of padding count as input_zero_point. The product with the multiplier is taken in
// fp32, so that y_q may differ by one step from the exact product where that lies within 2^-22 of its size of a tie.
//
// Layout. Activations are NHWC with the channels dense, held as offset bytes: the byte is q + 128. Processors multiply unsigned
// by signed bytes (vpdpbusd, tdpbusd), and a constant offset costs nothing, since it is folded into the bias when packing.
//
// Memory. Sources must be readable for kReadSlackBytes beyond their last element; what lies there does not matter. Targets are
// written exactly. Packed weights and scratch are aligned to kAlignment; activations need no alignment, 64 is fastest.
//
// Threads. Functions hold no state; calls with separate targets and scratch may run at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/status.h"
#include "device_client/runtime/kernels/cpu.h"

namespace edgefleet::runtime::kernels {

inline constexpr std::size_t kReadSlackBytes = 128;
inline constexpr std::size_t kAlignment = 64;
// Changes whenever the bytes that PackConvolution writes change their meaning.
inline constexpr std::uint32_t kPackingVersion = 1;

// What a convolution knows of its geometry. A fully connected layer over R rows is a 1x1 convolution of R images of 1x1.
struct Convolution {
  std::int64_t channels = 0;  // of the source
  std::int64_t outputs = 0;   // channels of the target
  std::int64_t height = 1;
  std::int64_t width = 1;
  std::int64_t out_height = 1;
  std::int64_t out_width = 1;
  std::int64_t kernel_height = 1;
  std::int64_t kernel_width = 1;
  std::int64_t stride_y = 1;
  std::int64_t stride_x = 1;
  std::int64_t dilation_y = 1;
  std::int64_t dilation_x = 1;
  std::int64_t pad_top = 0;
  std::int64_t pad_left = 0;  // bottom and right follow from the sizes
  std::int64_t groups = 1;
};

// The integers of a convolution. `weights` are [outputs, channels / groups, kernel_height, kernel_width]; `bias` is empty or
// one an output; `multipliers` (scale_x * scale_w / scale_y) are one, or one an output. Zero points and bounds are of int8.
struct ConvolutionValues {
  std::span<const std::int8_t> weights;
  std::span<const std::int32_t> bias;
  std::span<const double> multipliers;
  std::int32_t input_zero_point = 0;
  std::int32_t output_zero_point = 0;
  std::int32_t low = -128;
  std::int32_t high = 127;
};

// Names the packing that the kernels of such a processor read, for keys of stored packed weights: "avx512-vnni.1",
// "amx-int8.1"; empty where no kernel runs, and then nothing below may be called.
const char* PackingName(const CpuFeatures& cpu = Cpu());

// The bytes that PackConvolution writes and the scratch that RunConvolution needs (the latter for any batch).
std::size_t PackedConvolutionBytes(const Convolution& shape, const CpuFeatures& cpu = Cpu());
std::size_t ConvolutionScratchBytes(const Convolution& shape);

// Writes a block of bytes that any process may use at any address, on a processor with at least these features.
// UNIMPLEMENTED [INT8_RANGE]: sums or results could leave int32; another delegate must run the operator.
Status PackConvolution(const Convolution& shape, const ConvolutionValues& values, std::span<std::byte> packed,
                       const CpuFeatures& cpu = Cpu());

// `source` is [batch, height, width, channels], `target` [batch, out_height, out_width, outputs]. They must not overlap.
void RunConvolution(const Convolution& shape, const std::byte* packed, std::int64_t batch, const std::uint8_t* source,
                    std::uint8_t* target, std::byte* scratch);

}  // namespace edgefleet::runtime::kernels
