// ONNX (https://github.com/onnx/onnx/blob/v1.12.0/docs/IR.md and Operators.md), opset 7 to 18, into the compiler's network.
#pragma once

#include "base/bytes.h"
#include "base/status.h"
#include "registry/compiler/ir.h"

namespace edgefleet::compiler {

struct OnnxLimits {
  std::uint64_t bytes_max = std::uint64_t{1} << 30;  // of the file
  std::uint64_t structure_bytes_max = std::uint64_t{16}
                                      << 20;          // of everything but the weights; protobuf unpacks it many times larger
  std::int64_t elements_max = std::int64_t{1} << 28;  // of one tensor, activations with a batch of 1
};

inline constexpr int kOpsetMin = 7;
inline constexpr int kOpsetMax = 18;

// Conv, Gemm, MatMul by a constant, Add (of two activations, or of a constant a channel), BatchNormalization, Relu, MaxPool,
// AveragePool, GlobalAveragePool, Flatten, Reshape to [N, features], Softmax, Identity, Dropout, Constant. The batch, dimension
// 0 of each input, is symbolic or 1; all other dimensions are fixed.
//
// INVALID_ARGUMENT [BAD_ONNX] for what is no valid ONNX, [UNSUPPORTED_OPERATOR] for operators, attributes and shapes beyond the
// list, [UNSUPPORTED_OPSET], [TOO_LARGE]. Messages name node, operator and opset and say what to do. External data is refused.
Result<IrGraph> ImportOnnx(ByteView model, const OnnxLimits& limits = {});

}  // namespace edgefleet::compiler
