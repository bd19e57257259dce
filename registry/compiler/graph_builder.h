// Builds a runtime::Graph whose constants lie in aligned memory of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device_client/runtime/graph.h"

namespace edgefleet::compiler {

class GraphBuilder {
 public:
  explicit GraphBuilder(std::string name);

  // A tensor without data is an activation.
  runtime::TensorId AddActivation(runtime::Tensor tensor);
  // Copies `data` to 64-byte-aligned memory.
  runtime::TensorId AddConstant(runtime::Tensor tensor, ByteView data);
  void AddNode(runtime::Node node) { graph_.nodes.push_back(std::move(node)); }

  runtime::Graph& graph() { return graph_; }
  runtime::Graph Finish() &&;

 private:
  struct FreeAligned {
    void operator()(std::byte* data) const;
  };
  using Storage = std::vector<std::unique_ptr<std::byte[], FreeAligned>>;

  runtime::Graph graph_;
  std::shared_ptr<Storage> storage_;
};

}  // namespace edgefleet::compiler
