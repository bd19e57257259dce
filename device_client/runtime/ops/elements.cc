#include "device_client/runtime/ops/elements.h"

#include "device_client/runtime/ops/affine.h"

namespace edgefleet::runtime {
namespace {

bool IsByte(DataType type) { return type == DataType::kInt8 || type == DataType::kUint8; }

template <typename T, typename Out, typename F>
void Load(const std::byte* data, std::int64_t first, std::int64_t stride, std::int64_t count, Out* out, F f) {
  const T* in = reinterpret_cast<const T*>(data) + first;
  for (std::int64_t i = 0; i < count; ++i) out[i] = f(in[i * stride]);
}

template <typename T, typename In, typename F>
void Store(std::byte* data, std::int64_t first, std::int64_t count, const In* in, F f) {
  T* out = reinterpret_cast<T*>(data) + first;
  for (std::int64_t i = 0; i < count; ++i) out[i] = f(in[i]);
}

// What 8-bit elements of a quantized tensor stand for.
struct Code {
  double scale;
  std::int32_t zero_point;
};
Code CodeOf(const Tensor& tensor) { return {tensor.quantization ? ScaleOf(tensor) : 1, ZeroPoint(tensor)}; }

}  // namespace

bool IsReal(const Tensor& tensor) {
  if (IsByte(tensor.type)) return tensor.quantization && tensor.quantization->scales.size() == 1;
  return tensor.type == DataType::kFloat32 || tensor.type == DataType::kBFloat16 || tensor.type == DataType::kFloat16;
}

bool IsInteger(const Tensor& tensor) {
  const bool integer = IsByte(tensor.type) || tensor.type == DataType::kInt32 || tensor.type == DataType::kInt64;
  return integer && !tensor.quantization;
}

std::string TypeText(const Tensor& tensor) {
  return std::string(DataTypeName(tensor.type)) + (tensor.quantization ? ", quantized" : "");
}

Status CheckMovable(const Tensor& tensor) {
  const bool sliced = tensor.quantization && tensor.quantization->scales.size() > 1;
  if (tensor.type == DataType::kInt4 || sliced) return BadType("its input is " + TypeText(tensor) + " as only weights can be");
  return OkStatus();
}

std::array<std::byte, 8> ZeroOf(const Tensor& tensor) {
  std::array<std::byte, 8> bytes{};
  if (IsByte(tensor.type)) bytes[0] = static_cast<std::byte>(ZeroPoint(tensor));
  return bytes;
}

void LoadReals(const Tensor& tensor, const std::byte* data, std::int64_t first, std::int64_t stride, std::int64_t count,
               double* out) {
  const auto decode = [code = CodeOf(tensor)](auto value) { return code.scale * (value - code.zero_point); };
  switch (tensor.type) {
    case DataType::kFloat32:
      return Load<float>(data, first, stride, count, out, [](float value) { return double{value}; });
    case DataType::kBFloat16:
      return Load<BFloat16>(data, first, stride, count, out, [](BFloat16 value) { return double{ToFloat(value)}; });
    case DataType::kFloat16:
      return Load<Float16>(data, first, stride, count, out, [](Float16 value) { return double{ToFloat(value)}; });
    case DataType::kInt8:
      return Load<std::int8_t>(data, first, stride, count, out, decode);
    case DataType::kUint8:
      return Load<std::uint8_t>(data, first, stride, count, out, decode);
    default:
      return;
  }
}

void StoreReals(const Tensor& tensor, std::byte* data, std::int64_t first, std::int64_t count, const double* in) {
  const auto encode = [code = CodeOf(tensor)]<typename T>(T) {
    return [code](double value) { return SaturateTo<T>(value / code.scale, code.zero_point); };
  };
  switch (tensor.type) {
    case DataType::kFloat32:
      return Store<float>(data, first, count, in, [](double value) { return static_cast<float>(value); });
    case DataType::kBFloat16:
      return Store<BFloat16>(data, first, count, in, [](double value) { return ToBFloat16(static_cast<float>(value)); });
    case DataType::kFloat16:
      return Store<Float16>(data, first, count, in, [](double value) { return ToFloat16(static_cast<float>(value)); });
    case DataType::kInt8:
      return Store<std::int8_t>(data, first, count, in, encode(std::int8_t{}));
    case DataType::kUint8:
      return Store<std::uint8_t>(data, first, count, in, encode(std::uint8_t{}));
    default:
      return;
  }
}

void LoadIntegers(DataType type, const std::byte* data, std::int64_t first, std::int64_t stride, std::int64_t count,
                  std::int64_t* out) {
  const auto widen = [](auto value) { return static_cast<std::int64_t>(value); };
  switch (type) {
    case DataType::kInt8:
      return Load<std::int8_t>(data, first, stride, count, out, widen);
    case DataType::kUint8:
      return Load<std::uint8_t>(data, first, stride, count, out, widen);
    case DataType::kBool:
      return Load<std::uint8_t>(data, first, stride, count, out, [](std::uint8_t value) { return std::int64_t{value != 0}; });
    case DataType::kInt32:
      return Load<std::int32_t>(data, first, stride, count, out, widen);
    case DataType::kInt64:
      return Load<std::int64_t>(data, first, stride, count, out, widen);
    default:
      return;
  }
}

void StoreIntegers(DataType type, std::byte* data, std::int64_t first, std::int64_t count, const std::int64_t* in) {
  switch (type) {
    case DataType::kInt8:
      return Store<std::int8_t>(data, first, count, in, [](std::int64_t value) { return static_cast<std::int8_t>(value); });
    case DataType::kUint8:
      return Store<std::uint8_t>(data, first, count, in, [](std::int64_t value) { return static_cast<std::uint8_t>(value); });
    case DataType::kBool:
      return Store<std::uint8_t>(data, first, count, in,
                                 [](std::int64_t value) { return static_cast<std::uint8_t>(value != 0); });
    case DataType::kInt32:
      return Store<std::int32_t>(data, first, count, in, [](std::int64_t value) { return static_cast<std::int32_t>(value); });
    case DataType::kInt64:
      return Store<std::int64_t>(data, first, count, in, [](std::int64_t value) { return value; });
    default:
      return;
  }
}

}  // namespace edgefleet::runtime
