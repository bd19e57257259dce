#include "registry/compiler/quantization/constants.h"

#include <algorithm>
#include <cmath>

#include "device_client/runtime/ops/half.h"
#include "device_client/runtime/ops/widen.h"

namespace edgefleet::compiler {
namespace {

using runtime::DataType;
using runtime::Quantization;
using runtime::Tensor;

// A device accepts scales from 2^-40 to 2^40; weights' are kept where their product with the input's, the bias's scale, fits
// too.
constexpr double kScaleMin = 0x1p-40;
constexpr double kScaleMax = 0x1p40;
constexpr double kBiasMax = 0x1p30;  // leaves the accumulator room

template <typename T>
Bytes BytesOf(const std::vector<T>& values) {
  return ToBytes(std::as_bytes(std::span(values)));
}

// How the values of a constant are shared out to scales.
struct Slices {
  Slices(const Tensor& tensor, int quantized_axis) : axis(quantized_axis) {
    if (axis < 0) {
      inner = static_cast<std::size_t>(runtime::ElementCount(tensor.shape));
      return;
    }
    const auto at = static_cast<std::size_t>(axis);
    count = static_cast<std::size_t>(tensor.shape[at]);
    for (std::size_t i = at + 1; i < tensor.shape.size(); ++i) inner *= static_cast<std::size_t>(tensor.shape[i]);
  }
  std::size_t Of(std::size_t index) const { return index / inner % count; }

  int axis;
  std::size_t count = 1;
  std::size_t inner = 1;
};

std::vector<float> LargestOf(std::span<const float> values, const Slices& slices) {
  std::vector<float> largest(slices.count, 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    float& most = largest[slices.Of(i)];
    most = std::max(most, std::abs(values[i]));
  }
  return largest;
}

QuantizedConstant Int8Constant(const Tensor& weights, const Slices& slices, std::vector<float> scales) {
  const std::span<const float> values = Floats(weights);
  const std::vector<std::int8_t> q = QuantizeInt8(values, scales, slices.inner);
  std::vector<float> real(q.size());
  for (std::size_t i = 0; i < q.size(); ++i) real[i] = static_cast<float>(q[i]) * scales[slices.Of(i)];
  return {DataType::kInt8, BytesOf(q), Quantization{std::move(scales), {}, slices.axis}, std::move(real)};
}

bool HasScales(FormerConstant former, const Slices& slices) {
  return former != nullptr && former->quantization && former->quantization->axis == slices.axis &&
         former->quantization->scales.size() == slices.count;
}

QuantizedConstant Int4Constant(const Tensor& weights, std::int32_t group_size, FormerConstant former) {
  const auto values = Floats(weights);
  const std::size_t rows = weights.shape.empty() ? 1 : static_cast<std::size_t>(weights.shape[0]);
  const auto group = static_cast<std::size_t>(group_size);
  const bool again = former != nullptr && former->quantization && former->quantization->group_size == group_size;
  Bytes packed = again ? QuantizeInt4Like(former->data, values, rows, group) : QuantizeInt4(values, rows, group);
  const Quantization quantization{.group_size = group_size};
  std::vector<float> real(values.size());
  runtime::WidenRows({.type = DataType::kInt4, .shape = weights.shape, .quantization = quantization}, packed.data(), 0,
                     static_cast<std::int64_t>(rows), real.data());
  return {DataType::kInt4, std::move(packed), quantization, std::move(real)};
}

}  // namespace

QuantizedConstant QuantizeHalf(const Tensor& constant, DataType type) {
  const bool half = type == DataType::kFloat16;
  const std::vector<std::uint16_t> bits = half ? QuantizeFloat16(Floats(constant)) : QuantizeBFloat16(Floats(constant));
  std::vector<float> real;
  for (const std::uint16_t each : bits) {
    real.push_back(half ? runtime::ToFloat(runtime::Float16{each}) : runtime::ToFloat(runtime::BFloat16{each}));
  }
  return {type, BytesOf(bits), std::nullopt, std::move(real)};
}

QuantizedConstant QuantizeWeights(const Tensor& weights, const WeightedLayer& layer, Precision precision, bool per_tensor,
                                  std::int32_t group_size, FormerConstant former) {
  if (precision == Precision::kInt4) return Int4Constant(weights, group_size, former);
  if (precision != Precision::kInt8Weights) {
    return QuantizeHalf(weights, precision == Precision::kFp16 ? DataType::kFloat16 : DataType::kBFloat16);
  }
  const Slices slices(weights, per_tensor ? -1 : layer.channel_axis);
  if (HasScales(former, slices)) return Int8Constant(weights, slices, former->quantization->scales);
  std::vector<float> scales = LargestOf(Floats(weights), slices);
  for (float& scale : scales) scale = std::clamp(Int8Scale({&scale, 1}), float{kScaleMin}, float{kScaleMax});
  return Int8Constant(weights, slices, std::move(scales));
}

Result<QuantizedConstant> QuantizeInt8Weights(const Tensor& weights, const WeightedLayer& layer, bool per_tensor,
                                              std::span<const float> bias, float input_scale, FormerConstant former) {
  const Slices slices(weights, per_tensor ? -1 : layer.channel_axis);
  std::vector<double> least(slices.count, std::max(kScaleMin / input_scale, kScaleMin));
  for (std::size_t o = 0; o < bias.size(); ++o) {
    double& scale = least[o % slices.count];
    scale = std::max(scale, std::abs(double{bias[o]}) / (double{input_scale} * kBiasMax));
  }
  std::vector<float> scales = LargestOf(Floats(weights), slices);
  for (std::size_t i = 0; i < scales.size(); ++i) {
    scales[i] = Int8Scale({&scales[i], 1});
    if (HasScales(former, slices)) scales[i] = former->quantization->scales[i];
    scales[i] = static_cast<float>(std::max(double{scales[i]}, least[i]));
    if (scales[i] > kScaleMax || double{scales[i]} * input_scale > kScaleMax) {
      return InvalidArgument("BAD_CALIBRATION", "its weights are too large for int8");
    }
  }
  return Int8Constant(weights, slices, std::move(scales));
}

QuantizedConstant QuantizeBias(std::span<const float> bias, float input_scale, std::span<const float> weight_scales) {
  std::vector<std::int32_t> values;
  std::vector<float> scales;
  std::vector<float> real;
  for (std::size_t o = 0; o < bias.size(); ++o) {
    const double scale = double{input_scale} * weight_scales[o % weight_scales.size()];
    values.push_back(
        static_cast<std::int32_t>(std::clamp(std::nearbyint(bias[o] / scale), -2.0 * kBiasMax, 2.0 * kBiasMax - 1)));
    scales.push_back(std::max(static_cast<float>(scale), static_cast<float>(kScaleMin)));
    real.push_back(static_cast<float>(values.back() * scale));
  }
  const bool one = weight_scales.size() == 1;
  if (one) scales.resize(1);
  return {DataType::kInt32, BytesOf(values), Quantization{std::move(scales), {}, one ? -1 : 0}, std::move(real)};
}

QuantizedConstant QuantizeOperand(const Tensor& constant, AffineScale scale) {
  std::vector<std::int8_t> q;
  std::vector<float> real;
  for (const float value : Floats(constant)) {
    const double level = std::nearbyint(double{value} / scale.scale) + scale.zero_point;
    q.push_back(static_cast<std::int8_t>(std::clamp(level, -128.0, 127.0)));
    real.push_back(scale.scale * static_cast<float>(q.back() - scale.zero_point));
  }
  return {DataType::kInt8, BytesOf(q), Quantization{{scale.scale}, {scale.zero_point}, -1}, std::move(real)};
}

}  // namespace edgefleet::compiler
