// Runs one operator on values, as constant folding does: all inputs are known.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/random.h"
#include "device_client/runtime/ops/half.h"
#include "device_client/runtime/ops/ops.h"

namespace edgefleet::runtime::testing {

template <typename T>
constexpr DataType StoredAs() {
  if constexpr (std::is_same_v<T, float>) return DataType::kFloat32;
  if constexpr (std::is_same_v<T, Float16>) return DataType::kFloat16;
  if constexpr (std::is_same_v<T, BFloat16>) return DataType::kBFloat16;
  if constexpr (std::is_same_v<T, std::int8_t>) return DataType::kInt8;
  if constexpr (std::is_same_v<T, std::uint8_t>) return DataType::kUint8;
  if constexpr (std::is_same_v<T, bool>) return DataType::kBool;
  if constexpr (std::is_same_v<T, std::int32_t>) return DataType::kInt32;
  if constexpr (std::is_same_v<T, std::int64_t>) return DataType::kInt64;
}

// A tensor and its elements.
struct Value {
  Tensor tensor;
  std::vector<std::byte> bytes;
  bool known = true;  // while shapes are inferred

  template <typename T>
  std::vector<T> as() const {
    EXPECT_EQ(tensor.type, StoredAs<T>());
    std::vector<T> values(bytes.size() / sizeof(T));
    for (std::size_t i = 0; i < values.size(); ++i) {
      T value;
      std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
      values[i] = value;
    }
    return values;
  }
  const Shape& shape() const { return tensor.shape; }
};

template <typename T>
Value Of(Shape shape, const std::vector<T>& values, std::optional<Quantization> quantization = std::nullopt) {
  Value value;
  value.tensor = {"x", StoredAs<T>(), std::move(shape), std::move(quantization), {}};
  value.bytes.resize(values.size() * sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const T element = values[i];
    std::memcpy(value.bytes.data() + i * sizeof(T), &element, sizeof(T));
  }
  EXPECT_EQ(static_cast<std::int64_t>(values.size()), ElementCount(value.tensor.shape)) << ToText(value.tensor.shape);
  return value;
}
inline Value Floats(Shape shape, const std::vector<float>& values) { return Of<float>(std::move(shape), values); }
inline Value Longs(Shape shape, const std::vector<std::int64_t>& values) { return Of<std::int64_t>(std::move(shape), values); }
inline Value Longs(const std::vector<std::int64_t>& values) {
  return Longs({static_cast<std::int64_t>(values.size())}, values);
}
inline Quantization Whole(float scale, std::int32_t zero_point = 0) { return {{scale}, {zero_point}, -1}; }

// Values in (-2, 2), or integers of the whole type.
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
  return Of<T>(std::move(shape), values, std::move(quantization));
}

// An input that the node does not have.
inline Value Absent() {
  Value value;
  value.tensor.name = "absent";
  return value;
}
inline Value Unknown(Value value) {
  value.known = false;
  return value;
}

inline Operand OperandOf(const Value& value, bool with_data) {
  if (value.tensor.name == "absent") return {};
  static const std::byte kNothing{};
  return {&value.tensor, !with_data ? nullptr : value.bytes.empty() ? &kNothing : value.bytes.data()};
}

inline Result<std::vector<TypedShape>> Inferred(const Operator& op, const std::vector<Value>& inputs, std::size_t outputs = 1) {
  std::vector<Operand> operands;
  for (const Value& input : inputs) operands.push_back(OperandOf(input, input.known));
  return InferOutputs(op, {operands, outputs});
}

// Outputs of the inferred types and shapes; the first one with this quantization.
inline Result<std::vector<Value>> EvaluateAll(const Operator& op, const std::vector<Value>& inputs, std::size_t outputs = 1,
                                              std::optional<Quantization> quantization = std::nullopt) {
  EF_ASSIGN_OR_RETURN(const auto inferred, Inferred(op, inputs, outputs));
  EXPECT_EQ(inferred.size(), outputs);
  std::vector<Value> values(inferred.size());
  std::vector<Destination> destinations;
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i].tensor = {"y", inferred[i].type, inferred[i].shape, i == 0 ? quantization : std::nullopt, {}};
    // Exactly as many bytes, so that the sanitizer sees every one beyond.
    values[i].bytes.assign(static_cast<std::size_t>(ElementCount(inferred[i].shape)) * SizeOf(inferred[i].type),
                           std::byte{0xA5});
    destinations.push_back({&values[i].tensor, values[i].bytes.data()});
  }
  std::vector<Operand> operands;
  for (const Value& input : inputs) operands.push_back(OperandOf(input, true));
  EF_RETURN_IF_ERROR(RunOperator(op, {operands, destinations}));
  return values;
}

// The only output.
inline Result<Value> RunOp(const Operator& op, const std::vector<Value>& inputs,
                           std::optional<Quantization> quantization = std::nullopt) {
  EF_ASSIGN_OR_RETURN(std::vector<Value> values, EvaluateAll(op, inputs, 1, std::move(quantization)));
  return std::move(values.front());
}

inline Value Evaluate(const Operator& op, const std::vector<Value>& inputs,
                      std::optional<Quantization> quantization = std::nullopt) {
  auto value = RunOp(op, inputs, std::move(quantization));
  if (!value) {
    ADD_FAILURE() << OperatorName(op) << ": " << value.error().ToString();
    return {};
  }
  return *std::move(value);
}

// The reason of the failure; "" if there is none.
inline std::string Failure(const Operator& op, const std::vector<Value>& inputs, std::size_t outputs = 1) {
  auto values = EvaluateAll(op, inputs, outputs);
  return values ? "" : values.error().reason();
}

}  // namespace edgefleet::runtime::testing
