// int8 by the scheme of Jacob et al. 2018 (sections 2.1 to 2.4): weights symmetric per output channel in [-127, 127],
// activations asymmetric per tensor, biases int32 at the product of both scales.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/status.h"
#include "device_client/runtime/graph.h"
#include "registry/compiler/calibrate.h"

namespace edgefleet::compiler {

// What became of one node of the fp32 graph.
struct NodeQuantization {
  bool int8 = false;
  std::optional<AffineScale> output;
  std::optional<double> weight_snr_db;  // 10 log10(sum w^2 / sum (w - w_quantized)^2); absent when nothing was lost
};

struct QuantizedGraph {
  runtime::Graph graph;
  std::vector<NodeQuantization> nodes;  // one for each node of the fp32 graph
};

// Conv2d, FullyConnected and Add run in int8, with Quantize and Dequantize where they meet fp32; pooling, Flatten and Relu run
// in what their input has and keep its quantization; Softmax, and sums too long for int32, stay fp32. Inputs and outputs of the
// graph stay fp32 under their names. INVALID_ARGUMENT [BAD_CALIBRATION] for ranges beyond what a device's scales can express.
Result<QuantizedGraph> QuantizeGraph(const runtime::Graph& fp32, std::span<const ActivationRange> ranges);

}  // namespace edgefleet::compiler
