// Builds graphs for tests: shapes of outputs follow from the operators.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::runtime::testing {

inline Quantization PerTensor(float scale, std::int32_t zero_point = 0) { return {{scale}, {zero_point}, -1}; }

class GraphBuilder {
 public:
  GraphBuilder() { graph_.name = "test"; }

  TensorId Input(std::vector<std::int64_t> shape, std::optional<Quantization> quantization = std::nullopt) {
    const TensorId id = Activation(std::move(shape), std::move(quantization));
    graph_.inputs.push_back(id);
    return id;
  }

  template <typename T>
  TensorId Constant(std::vector<std::int64_t> shape, const std::vector<T>& values,
                    std::optional<Quantization> quantization = std::nullopt) {
    auto bytes = std::make_shared<std::vector<T>>(values);
    storage_->push_back(bytes);
    Tensor tensor{"c" + std::to_string(graph_.tensors.size()), TypeOf<T>(), std::move(shape), std::move(quantization),
                  std::as_bytes(std::span(*bytes))};
    return Push(std::move(tensor));
  }

  TensorId Parameter(std::vector<std::int64_t> shape, const std::vector<float>& values) {
    const TensorId id = Constant<float>(std::move(shape), values);
    graph_.parameters.push_back(id);
    return id;
  }

  // A node; with `quantization` its output is int8.
  TensorId Apply(Operator op, std::vector<TensorId> inputs, std::optional<Quantization> quantization = std::nullopt) {
    std::vector<std::int64_t> shape = OutputShape(op, inputs);
    const TensorId out = Activation(std::move(shape), std::move(quantization));
    graph_.nodes.push_back({"n" + std::to_string(graph_.nodes.size()), std::move(op), std::move(inputs), {out}});
    return out;
  }

  const std::vector<std::int64_t>& Shape(TensorId id) const { return graph_.tensors[static_cast<std::size_t>(id)].shape; }
  const Tensor& At(TensorId id) const { return graph_.tensors[static_cast<std::size_t>(id)]; }

  std::shared_ptr<const Graph> Finish(std::vector<TensorId> outputs) {
    graph_.outputs = std::move(outputs);
    graph_.storage = storage_;
    return std::make_shared<const Graph>(graph_);
  }

  Graph& raw() { return graph_; }

 private:
  template <typename T>
  static constexpr DataType TypeOf() {
    if constexpr (std::is_same_v<T, float>) return DataType::kFloat32;
    if constexpr (std::is_same_v<T, std::int8_t>) return DataType::kInt8;
    return DataType::kInt32;
  }

  TensorId Push(Tensor tensor) {
    graph_.tensors.push_back(std::move(tensor));
    return static_cast<TensorId>(graph_.tensors.size() - 1);
  }

  TensorId Activation(std::vector<std::int64_t> shape, std::optional<Quantization> quantization) {
    const DataType type = quantization ? DataType::kInt8 : DataType::kFloat32;
    return Push({"a" + std::to_string(graph_.tensors.size()), type, std::move(shape), std::move(quantization), {}});
  }

  std::vector<std::int64_t> OutputShape(const Operator& op, const std::vector<TensorId>& inputs) const {
    const auto& x = Shape(inputs[0]);
    const auto slide = [](std::int64_t in, std::int64_t kernel, int stride, int before, int after, int dilation) {
      return (in + before + after - (dilation * (kernel - 1) + 1)) / stride + 1;
    };
    if (const auto* conv = std::get_if<Conv2d>(&op)) {
      const auto& w = Shape(inputs[1]);
      return {1, w[0], slide(x[2], w[2], conv->strides[0], conv->pads[0], conv->pads[2], conv->dilations[0]),
              slide(x[3], w[3], conv->strides[1], conv->pads[1], conv->pads[3], conv->dilations[1])};
    }
    if (std::holds_alternative<FullyConnected>(op)) return {1, Shape(inputs[1])[0]};
    if (const auto* pool = std::get_if<Pool2d>(&op)) {
      return {1, x[1], slide(x[2], pool->kernel[0], pool->strides[0], pool->pads[0], pool->pads[2], 1),
              slide(x[3], pool->kernel[1], pool->strides[1], pool->pads[1], pool->pads[3], 1)};
    }
    if (std::holds_alternative<GlobalAveragePool>(op)) return {1, x[1], 1, 1};
    if (std::holds_alternative<Flatten>(op)) return {1, ElementCount(x)};
    return x;
  }

  Graph graph_;
  std::shared_ptr<std::vector<std::shared_ptr<const void>>> storage_ =
      std::make_shared<std::vector<std::shared_ptr<const void>>>();
};

inline std::vector<float> RandomFloats(SeededRandom& random, std::int64_t count, float limit = 1.0F) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = static_cast<float>(random.Unit() * 2 - 1) * limit;
  return values;
}

inline std::vector<std::int8_t> RandomInt8(SeededRandom& random, std::int64_t count) {
  std::vector<std::int8_t> values(static_cast<std::size_t>(count));
  for (std::int8_t& value : values) value = static_cast<std::int8_t>(static_cast<int>(random.Below(255)) - 127);
  return values;
}

}  // namespace edgefleet::runtime::testing
