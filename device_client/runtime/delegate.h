// How a graph's nodes are executed. A session cuts the graph into partitions, one delegate each, and hands activations over in
// plain row-major buffers; inside a partition a delegate may use any layout it likes.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "device_client/runtime/cost.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::runtime {

struct Support {
  bool supported = true;
  std::string reason;  // why not, for people; empty when supported
};

// What a node is expected to take. Rough, from what such a delegate reaches on such a processor: for choosing, before anything
// is measured.
struct Cost {
  std::chrono::duration<double> latency{0};
};

// Whose matter an error of a delegate or a session is, and so what helps.
enum class FailureClass {
  kInput,        // the caller's: other inputs, sizes or options
  kMemory,       // a limit: a smaller batch, a larger limit, another model
  kUnsupported,  // the node's: another delegate
  kDelegate,     // the delegate's or its device's: another delegate, or later again
};
FailureClass Classify(const Status& error);

// Consecutive nodes of one graph. `inputs` are the activations that come from outside, `outputs` those that are wanted outside.
struct PartitionSpec {
  std::shared_ptr<const Graph> graph;
  std::vector<std::size_t> nodes;
  std::vector<TensorId> inputs;
  std::vector<TensorId> outputs;
  int threads = 1;
  std::size_t memory_bytes_max = 0;  // for what the partition allocates
};

// The activation buffers of a session by TensorId; null for constants and for what lives inside a partition only.
using BufferTable = std::span<std::byte* const>;

// A compiled partition owns its weights' layout and scratch memory. Thread-compatible.
class Partition {
 public:
  virtual ~Partition() = default;
  // Reads `inputs`, writes `outputs` of its spec. INTERNAL [DELEGATE_FAILED] if the vendor's library fails.
  virtual Status Execute(BufferTable buffers) = 0;
  // Memory held besides the graph and the session's buffers.
  virtual std::size_t bytes() const = 0;
};

// Stateless and thread-safe; lives as long as the process.
class Delegate {
 public:
  virtual ~Delegate() = default;
  virtual std::string_view name() const = 0;
  virtual Support Supports(const Node& node, const Graph& graph) const = 0;
  // Of a node that it supports, on one thread, at the shapes of the graph's tensors.
  virtual Cost Estimate(const Node& node, const Graph& graph) const = 0;
  // Only nodes that Supports() accepts. INTERNAL [DELEGATE_FAILED], RESOURCE_EXHAUSTED [ARENA_TOO_LARGE].
  virtual Result<std::unique_ptr<Partition>> Compile(const PartitionSpec& spec) const = 0;
};

// Scalar, portable, integer-exact for int8: the oracle that every other delegate is held against. Supports every operator.
const Delegate& ReferenceDelegate();
// Optimized CPU kernels of oneDNN, fp32, bf16 and int8. An int8 activation may differ from the reference's by one quantization
// step a node (float against double requantization); fp32 and bf16 by rounding.
const Delegate& OneDnnDelegate();

// NOT_FOUND [DELEGATE_UNKNOWN].
Result<const Delegate*> FindDelegate(std::string_view name);
std::vector<const Delegate*> AllDelegates();

// The slower of computing and moving (Williams et al. 2009).
Cost Roofline(const Work& work, double multiply_adds_per_second, double bytes_per_second);

// The share of the graph's nodes that the delegate supports, 0 to 1.
double Coverage(const Delegate& delegate, const Graph& graph);

}  // namespace edgefleet::runtime
