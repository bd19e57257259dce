// Runs single operators on values: inference first, then the kernel, as every caller does.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "device_client/runtime/ops/half.h"
#include "device_client/runtime/ops/ops.h"

namespace edgefleet::runtime::testing {

template <typename T>
inline constexpr DataType kTypeOf = DataType::kFloat32;
template <>
inline constexpr DataType kTypeOf<std::int8_t> = DataType::kInt8;
template <>
inline constexpr DataType kTypeOf<std::uint8_t> = DataType::kUint8;
template <>
inline constexpr DataType kTypeOf<std::int32_t> = DataType::kInt32;
template <>
inline constexpr DataType kTypeOf<std::int64_t> = DataType::kInt64;
template <>
inline constexpr DataType kTypeOf<Float16> = DataType::kFloat16;
template <>
inline constexpr DataType kTypeOf<BFloat16> = DataType::kBFloat16;

inline Quantization Whole(float scale, std::int32_t zero_point = 0) { return {{scale}, {zero_point}, -1}; }

// A tensor with its bytes. `known` values are visible to inference, as constants are.
struct Value {
  DataType type = DataType::kFloat32;
  Shape shape;
  std::vector<std::byte> bytes;
  std::optional<Quantization> quantization;
  bool known = true;
  bool present = true;

  template <typename T>
  std::vector<T> As() const {
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
};

inline const Value kNone{.present = false};

template <typename T>
Value Make(Shape shape, const std::vector<T>& values, std::optional<Quantization> quantization = std::nullopt) {
  Value value{kTypeOf<T>, std::move(shape), {}, std::move(quantization)};
  value.bytes.resize(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(value.bytes.data(), values.data(), value.bytes.size());
  return value;
}

inline Value Unknown(Value value) {
  value.known = false;
  return value;
}

// Normal-looking values in (-2, 2), or integers of the whole type.
template <typename T>
Value RandomValue(RandomSource& random, Shape shape, std::optional<Quantization> quantization = std::nullopt) {
  std::vector<T> values(static_cast<std::size_t>(ElementCount(shape)));
  for (T& value : values) {
    if constexpr (std::is_same_v<T, float>) {
      value = static_cast<float>(random.Unit() * 4 - 2);
    } else if constexpr (std::is_same_v<T, BFloat16>) {
      value = ToBFloat16(static_cast<float>(random.Unit() * 4 - 2));
    } else {
      value = static_cast<T>(random());
    }
  }
  return Make<T>(std::move(shape), values, std::move(quantization));
}

namespace internal {
struct Operands {
  std::vector<Tensor> tensors;
  std::vector<Operand> inferring;
  std::vector<Operand> running;

  explicit Operands(const std::vector<Value>& values) {
    for (const Value& value : values) tensors.push_back({"", value.type, value.shape, value.quantization, {}});
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Tensor* tensor = values[i].present ? &tensors[i] : nullptr;
      static constexpr std::byte kNothing[16] = {};
      const std::byte* data = values[i].bytes.empty() ? kNothing : values[i].bytes.data();
      inferring.push_back({tensor, values[i].known ? data : nullptr});
      running.push_back({tensor, data});
    }
  }
};
}  // namespace internal

inline Result<std::vector<TypedShape>> InferOp(const Operator& op, const std::vector<Value>& inputs, std::size_t outputs = 1) {
  const internal::Operands operands(inputs);
  return InferOutputs(op, {operands.inferring, outputs});
}

// All `outputs`, each with the quantization `quantization`.
inline Result<std::vector<Value>> RunOpFull(const Operator& op, const std::vector<Value>& inputs, std::size_t outputs,
                                            const std::optional<Quantization>& quantization = std::nullopt) {
  const internal::Operands operands(inputs);
  EF_ASSIGN_OR_RETURN(const std::vector<TypedShape> shapes, InferOutputs(op, {operands.inferring, outputs}));
  std::vector<Value> values;
  std::vector<Tensor> tensors;
  for (const TypedShape& shape : shapes) {
    values.push_back({shape.type, shape.shape, {}, quantization});
    values.back().bytes.resize(static_cast<std::size_t>(ElementCount(shape.shape)) * SizeOf(shape.type), std::byte{0xA5});
    tensors.push_back({"", shape.type, shape.shape, quantization, {}});
  }
  std::vector<Destination> destinations;
  for (std::size_t i = 0; i < values.size(); ++i) destinations.push_back({&tensors[i], values[i].bytes.data()});
  EF_RETURN_IF_ERROR(RunOperator(op, {operands.running, destinations}));
  return values;
}

inline Result<Value> RunOp(const Operator& op, const std::vector<Value>& inputs,
                           const std::optional<Quantization>& quantization = std::nullopt) {
  EF_ASSIGN_OR_RETURN(std::vector<Value> values, RunOpFull(op, inputs, 1, quantization));
  return std::move(values[0]);
}

// "GRAPH_SHAPE" and the like, or "" if inference succeeds.
inline std::string InferReason(const Operator& op, const std::vector<Value>& inputs, std::size_t outputs = 1) {
  const auto result = InferOp(op, inputs, outputs);
  return result ? "" : result.error().reason();
}

}  // namespace edgefleet::runtime::testing
