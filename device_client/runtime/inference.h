// Types, shapes and, where they follow from constants and shapes alone, values of a graph's tensors, node by node. Internal to
// the runtime and the compiler.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "device_client/runtime/arena.h"
#include "device_client/runtime/graph.h"
#include "device_client/runtime/ops/ops.h"

namespace edgefleet::runtime {

// What may be computed ahead of run time. A node beyond a limit is left to run time.
struct FoldingLimits {
  std::int64_t bytes_each = std::int64_t{256} << 20;  // of each input and output
  std::int64_t bytes_total = std::int64_t{1} << 30;   // of all computed values together
  std::int64_t work_total = std::int64_t{1} << 33;    // bytes read and written, and multiply-adds
};

// What a device computes when it loads a model, which may come from anybody: shapes and the like.
inline constexpr FoldingLimits kShapeFolding{std::int64_t{64} << 10, std::int64_t{16} << 20, std::int64_t{1} << 28};

class Inference {
 public:
  explicit Inference(const FoldingLimits& limits) : limits_(limits) {}

  // The value of a constant or of what has been computed; null if it is not known.
  const std::byte* Known(const Graph& graph, TensorId id) const;
  // Types and shapes of the node's outputs from those of its inputs. Errors of InferOutputs, with the node's name.
  Result<std::vector<TypedShape>> Infer(const Graph& graph, const Node& node) const;
  // Computes the node's outputs, whose tensors have the types and shapes inferred, if their values follow from what is known
  // and the limits allow; the views are in the order of node.outputs and live as long as storage(). A device's graph keeps
  // weights as they are: Dequantize is never computed. Errors of RunOperator, with the node's name.
  Result<std::optional<std::vector<ByteView>>> Evaluate(const Graph& graph, const Node& node);

  std::shared_ptr<const void> storage() const { return storage_; }

 private:
  bool Affordable(const Graph& graph, const Node& node);

  FoldingLimits limits_;
  std::vector<const std::byte*> known_;  // by TensorId; shorter if the rest is not known
  std::shared_ptr<std::vector<AlignedBuffer>> storage_ = std::make_shared<std::vector<AlignedBuffer>>();
};

// "Conv2d 'features.0'"
std::string Describe(const Node& node);

}  // namespace edgefleet::runtime
