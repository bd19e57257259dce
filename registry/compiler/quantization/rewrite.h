// From the fp32 graph to one in other precisions. int8 by the scheme of Jacob et al. 2018 (sections 2.1 to 2.4): weights
// symmetric in
// [-127, 127] per output channel (or as a whole), activations asymmetric per tensor, biases int32 at the product of both
// scales.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "device_client/runtime/graph.h"
#include "registry/compiler/calibration/range.h"
#include "registry/compiler/quantization/layers.h"
#include "registry/compiler/quantization/weights.h"

namespace edgefleet::compiler {

// `former`, the same variant of an earlier version of the model, lends its scales to tensors of the same name and shape.
struct RewriteInput {
  const runtime::Graph& fp32;
  std::span<const Precision> precisions;       // by node
  std::span<const ActivationRange> ranges;     // by TensorId; read where a node is kInt8
  std::span<const std::vector<float>> shifts;  // by node, or none at all: what to subtract from its bias
  std::int32_t group_size = 64;
  bool per_tensor_weights = false;
  const runtime::Graph* former = nullptr;
};

// What became of one node of the fp32 graph.
struct NodeQuantization {
  Precision precision = Precision::kFp32;
  std::optional<AffineScale> output;          // of an int8 output
  std::optional<ErrorMeasures> weight_error;  // of its weights; absent if they are fp32
  std::uint64_t weight_bytes = 0;
};

struct QuantizedGraph {
  runtime::Graph graph;
  std::vector<NodeQuantization> nodes;      // one for each node of the fp32 graph
  std::vector<std::vector<float>> weights;  // by node: what its (first) quantized weights stand for; empty if they are fp32
};

// Weighted layers get the precision asked for; kInt8 becomes kInt8Weights where the operator has no int8 arithmetic (Lstm, Gru,
// Rnn) or its sums are too long for int32, and embeddings become int8 as a whole. Operators that only move elements run on what
// their input is, those of FollowsItsInputs() too if their precision is the same; all else stays fp32, with Quantize,
// Dequantize and Cast where they meet. Concat and operators that move elements share one range with their inputs. Inputs and
// outputs of the graph keep type and name. INVALID_ARGUMENT [BAD_CALIBRATION] for ranges beyond what a device's scales can
// express.
Result<QuantizedGraph> Rewrite(const RewriteInput& input);

}  // namespace edgefleet::compiler
