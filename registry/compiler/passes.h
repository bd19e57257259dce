// From the imported network to the graph that devices run. Each pass keeps what the network computes, up to fp32 rounding.
#pragma once

#include "base/status.h"
#include "device_client/runtime/graph.h"
#include "registry/compiler/ir.h"

namespace edgefleet::compiler {

// Readers of an identity read its input instead. An output of the network keeps its name.
void RemoveIdentities(IrGraph& graph);

// Folds an Affine into the Conv2d or FullyConnected that alone feeds it: w' = w * scale[o], b' = b * scale[o] + shift[o]
// (Jacob et al. 2018, section 3.2). An Affine on an image without such a neighbour becomes a depthwise 1x1 Conv2d.
// INVALID_ARGUMENT [UNSUPPORTED_OPERATOR] for one that can become neither.
Status FoldAffine(IrGraph& graph);

// The second half of FoldAffine alone: what the network computes without folding.
Status ExpandAffine(IrGraph& graph);

// Fuses a Relu into the Conv2d, FullyConnected or Add that alone feeds it.
void FuseRelu(IrGraph& graph);

// Drops nodes that no output needs.
void RemoveDeadNodes(IrGraph& graph);

// The device's graph; its parameters are the weights and biases of every Conv2d and FullyConnected, in order of first use.
// INVALID_ARGUMENT [BAD_ONNX] if the network has become invalid (weights that overflow, an output that is an input).
Result<runtime::Graph> Lower(const IrGraph& graph);

// All of the above, in order.
Result<runtime::Graph> Optimize(IrGraph graph);

}  // namespace edgefleet::compiler
