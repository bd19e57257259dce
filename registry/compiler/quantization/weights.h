// Weight quantizers and what they cost. Weights are matrices, row-major: a row is one output channel, the columns are what is
// summed up (input channels and kernel taps). All values must be finite.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace edgefleet::compiler {

// int8, symmetric: real = scale * q, q in [-127, 127] (Jacob et al. 2018, section 2.1; Krishnamoorthi 2018, section 2.3).

// The smallest scale that clips nothing of `values`; 1 if all are zero.
float Int8Scale(std::span<const float> values);

// Rounds half to even; what the scales, all above 0, cannot represent saturates. Value i has scale (i / slice) % scales.size():
// `slice` is the number of values that follow one another in one slice of the quantized dimension.
std::vector<std::int8_t> QuantizeInt8(std::span<const float> values, std::span<const float> scales, std::size_t slice);

// int4 in groups along the rows: real = scale * q, q in [-8, 7], one fp16 scale above 0 for each `group` values of a row (the
// last group may be shorter), packed as runtime::Tensor says.
//
// Each group's scale is the one of least squared error among 96 that clip more and more of it, refined by least squares; so
// outliers clip when that is better for the others.
Bytes QuantizeInt4(std::span<const float> values, std::size_t rows, std::size_t group);
// The same with the scales that `packed`, of the same shape and group, has.
Bytes QuantizeInt4Like(ByteView packed, std::span<const float> values, std::size_t rows, std::size_t group);

// Round half to even; what would become infinite becomes the largest finite number: a weight is better clipped.
std::vector<std::uint16_t> QuantizeFloat16(std::span<const float> values);
std::vector<std::uint16_t> QuantizeBFloat16(std::span<const float> values);

// How far `approximate` is from `exact` (as long): signal-to-noise ratio 10 log10(sum e^2 / sum (e - a)^2), mean squared error,
// largest error, and cosine of the angle between both.
struct ErrorMeasures {
  double snr_db = 0;  // +infinity without error; -infinity if there is an error and no signal
  double mse = 0;
  double largest = 0;
  double cosine = 1;  // 1 if both are zero, 0 if one is
};

// Sums up over any number of pieces.
class ErrorMeter {
 public:
  void Add(std::span<const float> exact, std::span<const float> approximate);
  ErrorMeasures Measures() const;

 private:
  double count_ = 0;
  double exact_ = 0;
  double approximate_ = 0;
  double product_ = 0;
  double noise_ = 0;
  double largest_ = 0;
};

ErrorMeasures MeasureError(std::span<const float> exact, std::span<const float> approximate);

}  // namespace edgefleet::compiler
