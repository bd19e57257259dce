// ONNX (https://github.com/onnx/onnx/blob/v1.13.0/docs/IR.md and Operators.md), opset 7 to 18, into the device's graph.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::compiler {

struct ImportLimits {
  std::uint64_t bytes_max = std::uint64_t{1} << 30;             // of the file
  std::uint64_t structure_bytes_max = std::uint64_t{16} << 20;  // of all but the weights; protobuf unpacks it many times larger
  std::int64_t elements_max = std::int64_t{1} << 28;            // of one tensor, at the default sizes
  std::size_t nodes_max = 65'536;                               // with those of functions and branches
};

inline constexpr int kOpsetMin = 7;
inline constexpr int kOpsetMax = 18;
inline constexpr std::int64_t kOpenMax = 1 << 20;

// The sizes of one input. A dimension with min < max stays dynamic; with min = max it is fixed; {0, 0} leaves it as the model
// has it.
struct InputShape {
  struct Dimension {
    std::int64_t min = 0;
    std::int64_t max = 0;
  };
  std::string name;
  std::vector<Dimension> dimensions;
};

// "x=1,3,224,224" or "x=*,3,32..960,32..960": a number, bounds, or `*` for what the model says. INVALID_ARGUMENT [BAD_OPTIONS].
Result<InputShape> ParseInputShape(std::string_view text);

struct ImportOptions {
  ImportLimits limits;
  std::vector<InputShape> shapes;
  // The folder of the model's external data. Empty: external data is refused.
  std::filesystem::path external_data;
};

// The network for inference, with what follows from constants and shapes computed. Inputs and outputs have ONNX's names and
// order. float64, float16 and bfloat16 become float32; int16 and uint16 become int32; uint32 and uint64 become int64.
//
// Dimensions that are numbers are fixed. A symbolic dimension 0 that is not named after something else is the batch: dynamic, 1
// by default, at most runtime::kBatchMax; if the network does not work with other batches, it is fixed at 1. Other symbolic
// dimensions have the sizes in `shapes`; bounded ones default to their maximum. Those that are not there stay open, 1 to
// kOpenMax, if the network works with several sizes, and default to one of these.
//
// Parameters are the float32 weights and biases of Conv2d and FullyConnected that nothing else reads, in order of first use.
//
// INVALID_ARGUMENT [BAD_ONNX] for what is no valid ONNX, [UNSUPPORTED_OPERATOR] for operators, types and shapes beyond
// docs/operators.md, [UNSUPPORTED_OPSET], [TOO_LARGE], [BAD_SHAPE] for dimensions that must be given or do not fit,
// [EXTERNAL_DATA]. Messages name node, operator and opset and say what to do.
Result<runtime::Graph> ImportOnnx(ByteView model, const ImportOptions& options);

}  // namespace edgefleet::compiler
