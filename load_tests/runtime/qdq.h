// Writes a float model's QDQ form the way ONNX Runtime's static quantizer does (quantize_static with QuantFormat.QDQ,
// per_channel, MinMax): the peer's int8 is measured on what its own users run.
#pragma once

#include <cstdint>
#include <span>

#include "base/arrays/array.h"
#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet::load_tests {

// What the quantized model takes and gives.
enum class QdqBoundary : std::uint8_t {
  kFloat,  // as the quantizer writes it: float32 with QuantizeLinear first and DequantizeLinear last
  kUint8,  // without these two nodes
};

// For models of Conv, Gemm (transB), MatMul, Add, GlobalAveragePool, MaxPool, Flatten, and Relu or Clip behind one of them,
// with one input, without BatchNormalization. Activations are uint8, one scale and zero point a tensor, from the smallest and
// largest value (and 0) that ONNX Runtime computes on `examples`; Relu and Clip go into the range of the node before them;
// weights are int8, symmetric, a scale an output channel (range / 127); biases int32 of scale activation * weight.
// INVALID_ARGUMENT [QDQ_MODEL], or an error of OrtSession.
Result<Bytes> QuantizeQdq(ByteView model, std::span<const arrays::Array> examples, QdqBoundary boundary = QdqBoundary::kFloat);

}  // namespace edgefleet::load_tests
