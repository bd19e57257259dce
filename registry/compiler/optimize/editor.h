// A graph while passes change it: who writes and reads each tensor, and memory for new constants. Internal to the passes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "device_client/runtime/arena.h"
#include "device_client/runtime/graph.h"
#include "registry/compiler/values.h"

namespace edgefleet::compiler {

using runtime::TensorId;

// Nodes that passes remove stay in the list, marked, until Apply(). Node indices are stable until then.
class GraphEditor {
 public:
  explicit GraphEditor(runtime::Graph& graph);

  runtime::Graph& graph() { return graph_; }
  std::size_t size() const { return graph_.nodes.size(); }
  runtime::Node& node(std::size_t index) { return graph_.nodes[index]; }
  const runtime::Node& node(std::size_t index) const { return graph_.nodes[index]; }
  bool removed(std::size_t index) const { return removed_[index]; }
  runtime::Tensor& At(TensorId id) { return graph_.tensor(id); }
  const runtime::Tensor& At(TensorId id) const { return graph_.tensor(id); }

  // The node that writes the tensor; nothing for constants and inputs.
  std::optional<std::size_t> Writer(TensorId id) const;
  // The same if exactly one input of one node reads it, and it is no output of the graph.
  std::optional<std::size_t> SoleWriter(TensorId id) const;
  // Inputs of nodes and outputs of the graph that read the tensor.
  std::size_t Readers(TensorId id) const { return readers_[static_cast<std::size_t>(id)]; }
  bool IsOutput(TensorId id) const;

  // Makes all readers of `from` (outputs of the graph too) read `to`. A name that people know (an output's) moves along.
  void Replace(TensorId from, TensorId to);
  // Takes `node`'s output over by the node `writer`, whose own output nobody else reads; `node` goes.
  void TakeOver(std::size_t writer, std::size_t node);
  void Remove(std::size_t index);
  void SetInput(std::size_t index, std::size_t input, TensorId id);
  // The inputs become these.
  void SetInputs(std::size_t index, const std::vector<TensorId>& ids);
  void AddInput(std::size_t index, TensorId id);

  // A constant of its own, in 64-byte-aligned memory.
  TensorId AddConstant(std::string name, std::vector<std::int64_t> shape, std::span<const float> values);
  TensorId AddConstant(runtime::Tensor like, std::span<const std::byte> data);

  // A copy of the bytes in memory of the graph's own, aligned to 64.
  ByteView Store(std::span<const std::byte> data);

  // Removes marked nodes, then what is dead.
  void Apply();

 private:
  void Count(const runtime::Node& node, std::ptrdiff_t by);

  runtime::Graph& graph_;
  std::vector<std::ptrdiff_t> writer_;
  std::vector<std::size_t> readers_;
  std::vector<bool> removed_;
  std::shared_ptr<std::vector<std::shared_ptr<const void>>> storage_;
};

// The value of an fp32 constant whose elements are all the same.
std::optional<float> ScalarOf(const runtime::Tensor& tensor);

}  // namespace edgefleet::compiler
