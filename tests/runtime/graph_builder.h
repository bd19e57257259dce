// Builds graphs for tests: shapes of outputs follow from the operators.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "device_client/runtime/graph.h"
#include "device_client/runtime/ops/ops.h"

namespace edgefleet::runtime::testing {

// Makes dimension 0 of every input the batch.
inline void MakeBatchDynamic(Graph& graph) {
  graph.dynamic.clear();
  for (std::size_t i = 0; i < graph.inputs.size(); ++i) {
    graph.dynamic.push_back({static_cast<std::int32_t>(i), 0, 1, kBatchMax, std::string(kBatchSymbol)});
  }
}

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
    MakeBatchDynamic(graph_);
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
    std::vector<Operand> operands;
    for (const TensorId id : inputs) operands.push_back({&At(id), At(id).data.data()});
    const auto inferred = InferOutputs(op, {operands, 1});
    if (!inferred) throw std::invalid_argument(inferred.error().ToString());
    return (*inferred)[0].shape;
  }

  Graph graph_;
  std::shared_ptr<std::vector<std::shared_ptr<const void>>> storage_ =
      std::make_shared<std::vector<std::shared_ptr<const void>>>();
};

inline Operator ReluOp() { return Unary{{UnaryKind::kRelu}}; }
inline Operator AddOp(Activation activation = {}) { return Binary{BinaryKind::kAdd, activation}; }
inline Operator GlobalAverageOp() { return Reduce{ReduceKind::kMean, {2, 3}, true}; }

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
