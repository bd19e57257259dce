// Builds a graph node by node. Types and shapes of outputs are inferred; what is computed from constants and shapes alone is
// computed at once, with the reference kernels, and becomes a constant. Not thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "device_client/runtime/graph.h"
#include "device_client/runtime/inference.h"

namespace edgefleet::runtime {

class FoldingBuilder {
 public:
  explicit FoldingBuilder(std::string name, const FoldingLimits& limits = {});

  // An activation given from outside, with its default shape.
  TensorId AddInput(std::string name, DataType type, std::vector<std::int64_t> shape,
                    std::optional<Quantization> quantization = std::nullopt);
  // A dimension of an input added before. What is computed from shapes that depend on it stays in the graph (its value for the
  // default shape is still known to inference), so call this before any node.
  void AddDynamic(DynamicDimension dimension);

  // Copies `data` (ConstantBytes() of them) to 64-byte-aligned memory of the graph's own.
  Result<TensorId> AddConstant(std::string name, DataType type, std::vector<std::int64_t> shape, ByteView data,
                               std::optional<Quantization> quantization = std::nullopt);
  // A constant as it is; its bytes must live as long as something given to Keep().
  TensorId AddBorrowed(Tensor constant);
  void Keep(std::shared_ptr<const void> storage);

  // Infers, and folds or appends. One id for each of `output_names`; kAbsent for an empty name. `quantization` is that of the
  // (then single) output; outputs of operators that only move elements take their input's. Errors: those of InferOutputs and
  // RunOperator, with the node's name.
  Result<std::vector<TensorId>> AddNode(std::string name, Operator op, std::vector<TensorId> inputs,
                                        std::vector<std::string> output_names,
                                        std::optional<Quantization> quantization = std::nullopt);

  const Tensor& At(TensorId id) const { return graph_.tensor(id); }
  // The value of a constant, or of what is computed from shapes (for their defaults); null if it is not known.
  const std::byte* Known(TensorId id) const { return inference_.Known(graph_, id); }
  Graph& graph() { return graph_; }

  struct Output {
    TensorId id;
    std::string name;
  };
  // Names the outputs (an Identity node stands between where one is an input, a constant or listed twice) and drops nodes and
  // tensors that no output needs; ids are renumbered, all inputs stay.
  Graph Finish(std::vector<Output> outputs) &&;

 private:
  TensorId Add(Tensor tensor, bool varies);

  Graph graph_;
  Inference inference_;
  std::vector<bool> varies_;  // by TensorId: shape or value depends on a dynamic dimension
  std::shared_ptr<std::vector<std::shared_ptr<const void>>> kept_;
};

// Drops nodes whose outputs nobody needs and tensors that nobody mentions, and renumbers the rest. Inputs and outputs stay;
// parameters that no node reads go.
void RemoveDead(Graph& graph);

// Whether outputs are made of elements of the first input as they are (and, for Concat, of the others): their quantization
// stays.
bool MovesElements(const Operator& op);

}  // namespace edgefleet::runtime
