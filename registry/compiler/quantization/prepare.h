// Changes to the fp32 graph before it is quantized. None of them touches the graph that is given: constants are copied.
#pragma once

#include <cstddef>
#include <vector>

#include "base/status.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::compiler {

// int8 arithmetic applies only ReLU and clips to its results: every other fused activation becomes a node of its own.
runtime::Graph SplitActivations(const runtime::Graph& graph);

// Two layers of which the second alone reads the first's output, with nothing but ReLU, LeakyReLU, pools and Flatten between:
// scaling a channel of the first by a positive number scales what the second reads of it. Both hold fp32 weights that nothing
// else reads. Indices of nodes.
struct LayerPair {
  std::size_t first = 0;
  std::size_t second = 0;
  std::size_t repeats = 1;  // input columns of the second a channel of the first has: those of a flattened image
};
std::vector<LayerPair> LayerPairs(const runtime::Graph& graph);

// Cross-layer equalization (correction.h) over all pairs until scales settle; the function stays the same up to rounding.
// Returns the number of pairs; 0 leaves the graph as it is.
Result<std::size_t> Equalize(runtime::Graph& graph);

// The equalization that `former`, a quantized version of an earlier state of this graph, was made with, as far as its weights
// tell: each channel is scaled to match best (in least squares) the channel of the same name there.
Status EqualizeLike(runtime::Graph& graph, const runtime::Graph& former);

// Unstructured pruning of all layers' weights together (prune.h). Biases and recurrent layers stay.
Status PruneWeights(runtime::Graph& graph, double share);

// Structured pruning: takes the share of output channels with the smallest L2 norm out of the first layer of each pair, with
// what reads them in the second. The graph gets smaller.
Result<runtime::Graph> PruneChannels(const runtime::Graph& graph, double share);

}  // namespace edgefleet::compiler
