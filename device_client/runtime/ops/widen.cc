#include "device_client/runtime/ops/widen.h"

#include <algorithm>

#include "device_client/runtime/ops/affine.h"
#include "device_client/runtime/ops/half.h"

namespace edgefleet::runtime {
namespace {

template <typename T>
void WidenFloats(const std::byte* data, std::int64_t begin, std::int64_t end, float* out) {
  const T* values = reinterpret_cast<const T*>(data);
  for (std::int64_t i = begin; i < end; ++i) *out++ = ToFloat(values[i]);
}

template <typename T>
void WidenIntegers(const Tensor& tensor, const std::byte* data, std::int64_t begin, std::int64_t end, float* out) {
  const T* values = reinterpret_cast<const T*>(data);
  const int axis = tensor.quantization->axis;
  if (axis < 0) {
    const auto scale = static_cast<float>(ScaleOf(tensor));
    const std::int32_t zero_point = ZeroPoint(tensor);
    for (std::int64_t i = begin; i < end; ++i) *out++ = scale * static_cast<float>(values[i] - zero_point);
    return;
  }
  const std::int64_t slices = tensor.shape[static_cast<std::size_t>(axis)];
  std::int64_t inner = 1;
  for (auto i = static_cast<std::size_t>(axis) + 1; i < tensor.shape.size(); ++i) inner *= tensor.shape[i];
  for (std::int64_t i = begin; i < end;) {
    const std::int64_t slice = i / inner % slices;
    const auto scale = static_cast<float>(ScaleOf(tensor, slice));
    const std::int32_t zero_point = ZeroPointOf(tensor, slice);
    const std::int64_t stop = std::min(end, (i / inner + 1) * inner);
    for (; i < stop; ++i) *out++ = scale * static_cast<float>(values[i] - zero_point);
  }
}

// See Tensor for the layout.
void WidenGroups(const Tensor& tensor, const std::byte* data, std::int64_t rows, std::int64_t columns, std::int64_t begin,
                 std::int64_t end, float* out) {
  const std::int64_t group = tensor.quantization->group_size;
  const std::int64_t row_bytes = (columns + 1) / 2;
  const std::int64_t row_groups = (columns + group - 1) / group;
  const auto* scales = reinterpret_cast<const Float16*>(data + (rows * row_bytes + 1) / 2 * 2);
  for (std::int64_t row = begin; row < end; ++row) {
    const std::byte* nibbles = data + row * row_bytes;
    for (std::int64_t g = 0; g < row_groups; ++g) {
      const float scale = ToFloat(scales[row * row_groups + g]);
      const std::int64_t stop = std::min(columns, (g + 1) * group);
      for (std::int64_t k = g * group; k < stop; ++k) {
        const auto byte = static_cast<unsigned>(nibbles[k / 2]);
        const auto value = static_cast<int>((k % 2 == 0 ? byte : byte >> 4) & 0xFU);
        *out++ = scale * static_cast<float>(value >= 8 ? value - 16 : value);
      }
    }
  }
}

template <typename T>
void Represent(const std::vector<float>& values, const Destination& destination) {
  const Tensor& tensor = *destination.tensor;
  const double scale = ScaleOf(tensor);
  const std::int32_t zero_point = ZeroPoint(tensor);
  T* out = destination.as<T>();
  for (const float value : values) *out++ = SaturateTo<T>(value / scale, zero_point);
}

}  // namespace

bool CanWiden(const Tensor& tensor) {
  switch (tensor.type) {
    case DataType::kFloat32:
    case DataType::kFloat16:
    case DataType::kBFloat16:
      return true;
    case DataType::kInt8:
    case DataType::kUint8:
      return tensor.quantization.has_value() && tensor.quantization->group_size == 0;
    case DataType::kInt4:
      return tensor.quantization.has_value() && tensor.quantization->group_size > 0;
    default:
      return false;
  }
}

void WidenRows(const Tensor& tensor, const std::byte* data, std::int64_t begin, std::int64_t end, float* out) {
  const std::int64_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
  if (rows == 0) return;
  const std::int64_t columns = ElementCount(tensor.shape) / rows;
  switch (tensor.type) {
    case DataType::kFloat32: {
      const auto* values = reinterpret_cast<const float*>(data);
      std::copy(values + begin * columns, values + end * columns, out);
      return;
    }
    case DataType::kFloat16:
      return WidenFloats<Float16>(data, begin * columns, end * columns, out);
    case DataType::kBFloat16:
      return WidenFloats<BFloat16>(data, begin * columns, end * columns, out);
    case DataType::kInt8:
      return WidenIntegers<std::int8_t>(tensor, data, begin * columns, end * columns, out);
    case DataType::kUint8:
      return WidenIntegers<std::uint8_t>(tensor, data, begin * columns, end * columns, out);
    case DataType::kInt4:
      return WidenGroups(tensor, data, rows, columns, begin, end, out);
    default:
      return;
  }
}

Result<Reals> Reals::Of(const Operand& operand) {
  Reals reals;
  reals.direct_ = operand.as<float>();
  if (operand.type() == DataType::kFloat32 || operand.count() == 0) return reals;
  EF_ASSIGN_OR_RETURN(reals.copy_, Allocate<float>(operand.count()));
  WidenRows(*operand.tensor, operand.data, 0, operand.shape().empty() ? 1 : operand.shape()[0], reals.copy_.data());
  return reals;
}

Result<RealOutput> RealOutput::For(const Destination& destination) {
  RealOutput output;
  output.destination_ = destination;
  if (destination.type() == DataType::kFloat32) return output;
  const bool narrow = destination.type() == DataType::kInt8 || destination.type() == DataType::kUint8;
  if (!CanWiden(*destination.tensor) || (!narrow && destination.type() != DataType::kBFloat16)) {
    return BadType("its output of type " + std::string(DataTypeName(destination.type())) + " has no quantization");
  }
  EF_ASSIGN_OR_RETURN(output.copy_, Allocate<float>(destination.count()));
  return output;
}

Status RealOutput::Store() const {
  if (destination_.type() == DataType::kBFloat16) {
    std::ranges::transform(copy_, destination_.as<BFloat16>(), ToBFloat16);
  } else if (destination_.type() == DataType::kInt8) {
    Represent<std::int8_t>(copy_, destination_);
  } else if (destination_.type() == DataType::kUint8) {
    Represent<std::uint8_t>(copy_, destination_);
  }
  return OkStatus();
}

Status CheckReal(const Operand& operand, std::string_view what) {
  const DataType type = operand.type();
  if (type == DataType::kFloat32 || type == DataType::kBFloat16) return OkStatus();
  if (type != DataType::kInt8 && type != DataType::kUint8) {
    return BadType(std::string(what) + " must be float32, bfloat16 or quantized, not " + std::string(DataTypeName(type)));
  }
  if (!CanWiden(*operand.tensor) || operand.tensor->quantization->axis >= 0) {
    return BadType(std::string(what) + " of type " + std::string(DataTypeName(type)) + " must be quantized as a whole");
  }
  return OkStatus();
}

Status CheckParameter(const Operand& operand, const Shape& shape, std::string_view what) {
  if (!CanWiden(*operand.tensor)) {
    return BadType(std::string(what) + " of type " + std::string(DataTypeName(operand.type())) + " holds no real numbers");
  }
  if (operand.shape() != shape) {
    return BadShape(std::string(what) + " has the shape " + ToText(operand.shape()) + "; " + ToText(shape) + " is wanted");
  }
  return OkStatus();
}

}  // namespace edgefleet::runtime
