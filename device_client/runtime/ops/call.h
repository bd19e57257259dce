// What an operator is given when its outputs' types and shapes are inferred and when it runs. Internal to ops/ and its callers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::runtime {

using Shape = std::vector<std::int64_t>;

std::string ToText(const Shape& shape);  // "[1, 3, 224, 224]"

// An input: `tensor` is null if the node does not have it. `data` is null while shapes are inferred unless the values are
// known: a constant, or something computed from shapes and constants.
struct Operand {
  const Tensor* tensor = nullptr;
  const std::byte* data = nullptr;

  bool present() const { return tensor != nullptr; }
  const Shape& shape() const { return tensor->shape; }
  DataType type() const { return tensor->type; }
  std::int64_t count() const { return ElementCount(tensor->shape); }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data);
  }
};

// Where an output goes: `tensor` null if the node does not have it. Its type and shape are those inferred, its quantization the
// graph's.
struct Destination {
  const Tensor* tensor = nullptr;
  std::byte* data = nullptr;

  bool present() const { return tensor != nullptr; }
  const Shape& shape() const { return tensor->shape; }
  DataType type() const { return tensor->type; }
  std::int64_t count() const { return ElementCount(tensor->shape); }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
};

struct TypedShape {
  DataType type = DataType::kFloat32;
  Shape shape;
};

// The inputs of one node, and how many outputs it has (absent ones in between count).
struct InferCall {
  std::span<const Operand> inputs;
  std::size_t outputs = 1;

  bool has(std::size_t i) const { return i < inputs.size() && inputs[i].present(); }
  const Operand& at(std::size_t i) const { return inputs[i]; }
  bool known(std::size_t i) const { return has(i) && inputs[i].data != nullptr; }

  // That there are `min` to `max` inputs, the first `min` of them present, and at most `outputs_max` outputs.
  // INVALID_ARGUMENT [GRAPH_NODE].
  Status CheckArity(std::size_t min, std::size_t max, std::size_t outputs_max = 1) const;
  // The values of an int32 or int64 input, at most 1,024. INVALID_ARGUMENT [GRAPH_TYPE], UNIMPLEMENTED [SHAPE_DEPENDS_ON_DATA]
  // if they are not known: the shape of the output would differ from inference to inference.
  Result<std::vector<std::int64_t>> Integers(std::size_t i) const;
};

struct RunCall {
  std::span<const Operand> inputs;  // all with data, where present
  std::span<const Destination> outputs;

  bool has(std::size_t i) const { return i < inputs.size() && inputs[i].present(); }
  bool wants(std::size_t i) const { return i < outputs.size() && outputs[i].present(); }
  const Operand& in(std::size_t i) const { return inputs[i]; }
  const Destination& out(std::size_t i = 0) const { return outputs[i]; }
};

// INVALID_ARGUMENT [GRAPH_SHAPE], [GRAPH_TYPE] and [GRAPH_NODE] (attributes), with a text that says what was found and what is
// wanted. The caller adds the node's name.
Error BadShape(std::string text);
Error BadType(std::string text);
Error BadAttribute(std::string text);

// `axis` in [-rank, rank) as [0, rank). INVALID_ARGUMENT [GRAPH_NODE].
Result<std::size_t> Axis(std::int64_t axis, std::size_t rank);
// The elements of a shape. INVALID_ARGUMENT [GRAPH_SHAPE] if a dimension is negative or there are more than 2^31 - 1 (0 is
// allowed).
Result<std::int64_t> CheckedCount(const Shape& shape);
// numpy's rule. INVALID_ARGUMENT [GRAPH_SHAPE].
Result<Shape> Broadcast(const Shape& a, const Shape& b);

}  // namespace edgefleet::runtime
