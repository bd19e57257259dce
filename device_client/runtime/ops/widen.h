// Real numbers of narrow types as fp32, and back: constants that delegates widen, and the inputs and outputs of kernels that
// compute with real numbers whatever type holds them.
#pragma once

#include <new>
#include <string_view>
#include <vector>

#include "device_client/runtime/ops/call.h"

namespace edgefleet::runtime {

// Whether the tensor's elements stand for real numbers: kFloat32, kFloat16, kBFloat16, kInt8 and kUint8 with quantization,
// kInt4 with groups.
bool CanWiden(const Tensor& tensor);

// Rows [begin, end) of `data`, of dimension 0 (a scalar is one row), as fp32 at `out`. CanWiden(tensor); `data` has the
// tensor's alignment.
void WidenRows(const Tensor& tensor, const std::byte* data, std::int64_t begin, std::int64_t end, float* out);

// RESOURCE_EXHAUSTED [OUT_OF_MEMORY].
template <typename T>
Result<std::vector<T>> Allocate(std::int64_t count, T value = {}) {
  try {
    return std::vector<T>(static_cast<std::size_t>(count), value);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("OUT_OF_MEMORY", "no memory for " + std::to_string(count) + " intermediate values");
  }
}

// An operand as fp32: its own data where it is fp32, else a copy. The operand outlives it.
class Reals {
 public:
  static Result<Reals> Of(const Operand& operand);  // RESOURCE_EXHAUSTED [OUT_OF_MEMORY]
  const float* data() const { return copy_.empty() ? direct_ : copy_.data(); }
  const float* operator+(std::int64_t offset) const { return data() + offset; }
  float operator[](std::int64_t i) const { return data()[i]; }

 private:
  const float* direct_ = nullptr;
  std::vector<float> copy_;
};

// Where a kernel writes fp32 results for a destination of type kFloat32, kBFloat16, or kInt8 or kUint8 with quantization.
// Store() rounds them into the destination.
class RealOutput {
 public:
  static Result<RealOutput> For(
      const Destination& destination);  // RESOURCE_EXHAUSTED [OUT_OF_MEMORY], INVALID_ARGUMENT [GRAPH_TYPE]
  float* data() { return copy_.empty() ? destination_.as<float>() : copy_.data(); }
  Status Store() const;

 private:
  Destination destination_;
  std::vector<float> copy_;
};

// That an activation is fp32, bf16, or quantized int8 or uint8 as a whole; `what` names it. INVALID_ARGUMENT [GRAPH_TYPE].
Status CheckReal(const Operand& operand, std::string_view what);

// That an input holds real numbers and has this shape: scales, shifts and the like. INVALID_ARGUMENT [GRAPH_TYPE |
// GRAPH_SHAPE].
Status CheckParameter(const Operand& operand, const Shape& shape, std::string_view what);

}  // namespace edgefleet::runtime
