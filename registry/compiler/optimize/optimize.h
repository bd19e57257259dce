// Passes over the imported network. Each keeps what it computes, up to fp32 rounding.
#pragma once

#include "base/status.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::compiler {

// Normalizations, and sums and products with one number a channel, fold into the Conv2d, ConvTranspose2d or FullyConnected that
// alone feeds them: w' = w * scale[o], b' = b * scale[o] + shift[o] (Jacob et al. 2018, section 3.2). A normalization of an
// image without such a neighbour becomes a depthwise 1x1 Conv2d. INVALID_ARGUMENT [TOO_LARGE] if shared weights would have to
// be copied too often.
Status FoldAffine(runtime::Graph& graph);

// ReLU and Clip go into the Conv2d, ConvTranspose2d, FullyConnected or Binary that alone feeds them.
void FuseActivations(runtime::Graph& graph);

// What exporters spell out in many nodes becomes one: Relu, Clip, HardSigmoid, HardSwish, Swish, Mish, Gelu (both forms),
// LayerNorm.
void RecognizePatterns(runtime::Graph& graph);

// Nodes that change nothing go; transposes merge; zero padding goes into the convolution behind it; a Reshape that flattens
// becomes Flatten.
void Simplify(runtime::Graph& graph);

// Of nodes that compute the same from the same, the first stays.
void ShareCommon(runtime::Graph& graph);

// Models that come quantized (Dequantize, operator, Quantize) become int8 operators where the runtime has them; elsewhere int8
// weights stay as they are and arithmetic is fp32. uint8 becomes int8 with zero points 128 lower, except in inputs and outputs
// of the network.
void FuseQuantized(runtime::Graph& graph);

// `parameters` becomes the fp32 weights and biases of all Conv2d and FullyConnected, in order of first use: what training
// changes.
void ListParameters(runtime::Graph& graph);

// All of the above, in the order that suits them. INVALID_ARGUMENT [BAD_ONNX] if weights overflow fp32.
Status Optimize(runtime::Graph& graph);

}  // namespace edgefleet::compiler
