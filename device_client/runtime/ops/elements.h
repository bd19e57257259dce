// Blocks of elements as numbers of one type, whatever a tensor stores, so that a kernel is written once for all types; and the
// types that operators accept. Internal to ops/ and its callers.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "base/status.h"
#include "device_client/runtime/graph.h"
#include "device_client/runtime/ops/call.h"
#include "device_client/runtime/ops/half.h"

namespace edgefleet::runtime {

// What the elements stand for. 8-bit ones are reals if the tensor is quantized as a whole; what is quantized by slices, and
// kInt4, are weights and neither.
bool IsReal(const Tensor& tensor);     // also floating-point types
bool IsInteger(const Tensor& tensor);  // not bool
inline bool IsQuantized(const Tensor& tensor) { return tensor.quantization.has_value(); }

// "int8, quantized"
std::string TypeText(const Tensor& tensor);

// That elements can be moved one by one: not those of kInt4, nor of what is quantized by slices. INVALID_ARGUMENT [GRAPH_TYPE].
Status CheckMovable(const Tensor& tensor);

// The bytes of an element that stands for 0.
std::array<std::byte, 8> ZeroOf(const Tensor& tensor);

// Truncates; what is beyond the type becomes its nearest, NaN 0.
template <typename Int>
Int Saturated(double value) {
  using Limits = std::numeric_limits<Int>;
  // The limits of int64 round up in a double: `<` and the power of two are exact.
  constexpr double kBeyond = static_cast<double>(Limits::max() / 2 + 1) * 2;
  if (std::isnan(value)) return 0;
  if (value < static_cast<double>(Limits::min())) return Limits::min();
  return value >= kBeyond ? Limits::max() : static_cast<Int>(value);
}

// Blocks that kernels keep on the stack.
inline constexpr std::int64_t kBlock = 256;

// out[i] = what element first + i * stride stands for, i < count. Of a tensor that IsReal().
void LoadReals(const Tensor& tensor, const std::byte* data, std::int64_t first, std::int64_t stride, std::int64_t count,
               double* out);
// Elements first to first + count - 1: rounded half to even; 8-bit ones are saturated, NaN to the lowest.
void StoreReals(const Tensor& tensor, std::byte* data, std::int64_t first, std::int64_t count, const double* in);

// The same of types that are integers as stored, bool among them; the store keeps the low bits.
void LoadIntegers(DataType type, const std::byte* data, std::int64_t first, std::int64_t stride, std::int64_t count,
                  std::int64_t* out);
void StoreIntegers(DataType type, std::byte* data, std::int64_t first, std::int64_t count, const std::int64_t* in);

// Integer arithmetic modulo 2^64.
inline std::int64_t WrapAdd(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}
inline std::int64_t WrapSub(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}
inline std::int64_t WrapMul(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
}

// Calls visit(T{}) with the type that a tensor of `type` stores (bool: std::uint8_t). False for kInt4, without a call.
template <typename Visit>
bool WithStored(DataType type, Visit&& visit) {
  switch (type) {
    case DataType::kFloat32:
      return visit(float{}), true;
    case DataType::kFloat16:
      return visit(Float16{}), true;
    case DataType::kBFloat16:
      return visit(BFloat16{}), true;
    case DataType::kInt8:
      return visit(std::int8_t{}), true;
    case DataType::kUint8:
    case DataType::kBool:
      return visit(std::uint8_t{}), true;
    case DataType::kInt32:
      return visit(std::int32_t{}), true;
    case DataType::kInt64:
      return visit(std::int64_t{}), true;
    case DataType::kInt4:
      break;
  }
  return false;
}

struct IntegerRange {
  std::int64_t low = 0;
  std::int64_t high = 0;
};
// Of a type that stores integers.
inline IntegerRange RangeOfType(DataType type) {
  IntegerRange range;
  WithStored(type, [&]<typename T>(T) {
    if constexpr (std::is_integral_v<T>) range = {std::numeric_limits<T>::min(), std::numeric_limits<T>::max()};
  });
  return range;
}

// A stored value in a form that compares: the 16-bit floats as float.
template <typename T>
auto Comparable(T value) {
  if constexpr (std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>) {
    return ToFloat(value);
  } else {
    return value;
  }
}

}  // namespace edgefleet::runtime
