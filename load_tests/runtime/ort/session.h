// A model in ONNX Runtime, the peer that benches and tests compare with: one thread, sequential, all graph optimizations.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet::load_tests {

// With the numbers of ONNX's TensorProto.DataType.
enum class OrtType : std::uint8_t { kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6, kInt64 = 7, kBool = 9 };

// Bytes of one element.
std::size_t SizeOf(OrtType type);

template <typename T>
constexpr OrtType OrtTypeOf();
template <>
constexpr OrtType OrtTypeOf<float>() {
  return OrtType::kFloat;
}
template <>
constexpr OrtType OrtTypeOf<std::uint8_t>() {
  return OrtType::kUint8;
}
template <>
constexpr OrtType OrtTypeOf<std::int8_t>() {
  return OrtType::kInt8;
}
template <>
constexpr OrtType OrtTypeOf<std::int32_t>() {
  return OrtType::kInt32;
}
template <>
constexpr OrtType OrtTypeOf<std::int64_t>() {
  return OrtType::kInt64;
}
template <>
constexpr OrtType OrtTypeOf<bool>() {
  return OrtType::kBool;
}

// Row-major; `data` holds the product of `shape` elements.
struct OrtTensor {
  OrtType type = OrtType::kFloat;
  std::vector<std::int64_t> shape;
  Bytes data;

  // T must be the tensor's type.
  template <typename T>
  std::span<const T> values() const {
    return {reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T)};
  }
};

template <typename T>
OrtTensor MakeOrtTensor(std::vector<std::int64_t> shape, std::span<const T> values) {
  return {OrtTypeOf<T>(), std::move(shape), ToBytes(std::as_bytes(values))};
}

// An input or output as the model declares it; -1 is a dimension that it leaves open.
struct OrtPort {
  std::string name;
  OrtType type = OrtType::kFloat;
  std::vector<std::int64_t> shape;
};

// A model with inputs of given values and shapes: what is timed. Belongs to one thread at a time.
class OrtRun {
 public:
  ~OrtRun();
  OrtRun(OrtRun&&) noexcept;
  OrtRun& operator=(OrtRun&&) noexcept;

  // From the second call on into the memory of the first call's outputs. INTERNAL [ORT_FAILED].
  Status operator()();
  // Copies of the last run's outputs, in the model's order. FAILED_PRECONDITION [ORT_NOT_RUN] before the first run.
  Result<std::vector<OrtTensor>> Outputs() const;

 private:
  friend class OrtSession;
  struct State;
  explicit OrtRun(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class OrtSession {
 public:
  // `model` is an ONNX file, read during the call only. NOT_FOUND [NPM_PACKAGES_MISSING] if ONNX Runtime was not fetched,
  // INTERNAL [ORT_UNUSABLE | ORT_FAILED], UNIMPLEMENTED [ORT_TYPE] for inputs or outputs that are no tensors of an OrtType.
  static Result<OrtSession> Load(ByteView model);
  ~OrtSession();
  OrtSession(OrtSession&&) noexcept;
  OrtSession& operator=(OrtSession&&) noexcept;

  const std::vector<OrtPort>& inputs() const;
  const std::vector<OrtPort>& outputs() const;

  // One tensor for each of inputs(). The session must outlive the run. INVALID_ARGUMENT [ORT_INPUT], INTERNAL [ORT_FAILED].
  Result<OrtRun> Prepare(std::vector<OrtTensor> inputs) const;
  // Prepares, runs once, and gives the outputs.
  Result<std::vector<OrtTensor>> Run(std::vector<OrtTensor> inputs) const;

 private:
  struct State;
  explicit OrtSession(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace edgefleet::load_tests
