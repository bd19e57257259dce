// Runs a graph. Many sessions may share one graph; a session itself belongs to one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "device_client/runtime/delegate.h"
#include "device_client/runtime/graph.h"
#include "device_client/runtime/weight_pager.h"

namespace edgefleet::runtime {

// Called with every activation of numbers (graph inputs and each node's outputs) in execution order, int8 as the real values
// they stand for. The span is valid during the call only.
using ActivationObserver = std::function<void(TensorId tensor, std::span<const float> values)>;

struct SessionOptions {
  std::string delegate = "onednn";            // what it does not support runs on `reference`
  int threads = 1;                            // 1 to 64, all of them working only inside Run()
  std::int64_t batch = 1;                     // examples a Run(), 1 to BatchMax(graph)
  std::map<std::string, std::int64_t> sizes;  // of other dynamic dimensions, by symbol; the rest have their defaults
  std::size_t memory_bytes_max = std::size_t{512} << 20;  // activations and the delegates' own memory
  // If set, nodes run one by one (slower) and the observer sees every activation.
  ActivationObserver observer;
  // If set, it is told about weights. Partitions then read at most `block_weight_bytes` of constants each, but for nodes that
  // need more alone.
  WeightPager* pager = nullptr;
  std::size_t block_weight_bytes = std::size_t{8} << 20;
};

struct NodePlacement {
  std::string node;
  std::string op;
  std::string delegate;
  std::string fallback_reason;  // why the chosen delegate does not run it; empty if it does
};

struct SessionInfo {
  std::string delegate;
  double coverage = 0;  // share of nodes on the chosen delegate
  std::size_t partitions = 0;
  std::size_t memory_bytes = 0;
  std::chrono::duration<double> estimated_latency{0};  // the sum of the delegates' estimates
  std::size_t block_weight_bytes = 0;                  // with a pager: of the constants of the partition that has most
  std::vector<NodePlacement> nodes;
};

// The largest batch of the graph's sessions: 1 if it has no dimension kBatchSymbol.
std::int64_t BatchMax(const Graph& graph);

class Session {
 public:
  // Validates the graph, places its nodes, compiles, and plans all memory; Run() allocates none.
  // INVALID_ARGUMENT [BAD_BATCH | BAD_SHAPE | BAD_THREADS] or an error of ValidateGraph and Specialize, NOT_FOUND
  // [DELEGATE_UNKNOWN], RESOURCE_EXHAUSTED [ARENA_TOO_LARGE], INTERNAL [DELEGATE_FAILED].
  static Result<std::unique_ptr<Session>> Create(std::shared_ptr<const Graph> graph, SessionOptions options = {});
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // One buffer for each of graph.inputs and graph.outputs, row-major, of the tensor's type and shape() here.
  // INVALID_ARGUMENT [INPUT_COUNT | INPUT_SIZE | OUTPUT_COUNT | OUTPUT_SIZE], INTERNAL [DELEGATE_FAILED].
  Status Run(std::span<const ByteView> inputs, std::span<const std::span<std::byte>> outputs);
  // For the usual graph with one fp32 input and one fp32 output; INVALID_ARGUMENT [NOT_FLOAT] for others.
  Status Run(std::span<const float> input, std::span<float> output);

  // As it was given.
  const Graph& graph() const;
  // Of one of its tensors, in this session.
  const std::vector<std::int64_t>& shape(TensorId tensor) const;
  std::int64_t batch() const;
  // Elements of one example of the graph's first input and output.
  std::int64_t input_size() const;
  std::int64_t output_size() const;
  const SessionInfo& info() const;

 private:
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace edgefleet::runtime
