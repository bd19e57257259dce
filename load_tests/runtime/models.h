// Networks that runtimes are measured on, as ONNX files with weights drawn from a seed (network_writer.h). Inputs are "image"
// or "x", outputs "logits" or "y", float32, with a symbolic batch.
#pragma once

#include <cstdint>
#include <vector>

#include "base/arrays/array.h"
#include "base/bytes.h"

namespace edgefleet::load_tests {

// As trained: BatchNormalization nodes. As exported for inference: folded into the convolutions (Jacob et al. 2018,
// section 3.2).
enum class BatchNorms : std::uint8_t { kNodes, kFolded };

// MobileNetV2, width 1.0: image [N, 3, 224, 224] -> logits [N, 1000] (Sandler et al. 2018, table 2), with ReLU6 as Clip; 300.8
// million multiplications an image. Both forms compute the same function.
Bytes MakeMobileNetV2(std::uint64_t seed, BatchNorms batch_norms);

// The networks of McMahan et al. 2017, section 3, for image [N, 1, 28, 28] -> logits [N, 10]. The CNN: 5x5 convolutions to 32
// and 64 channels, each with ReLU and 2x2 max pooling, 512 units with ReLU; 1,663,370 parameters. The 2NN: two hidden layers of
// 200 units with ReLU; 199,210 parameters.
Bytes MakeFedAvgCnn(std::uint64_t seed);
Bytes MakeFedAvg2nn(std::uint64_t seed);

// y = x * W: x [N, inner], W [inner, outer].
Bytes MakeMatMul(std::uint64_t seed, std::int64_t inner, std::int64_t outer);

// `layers` dense layers of width x width with ReLU between them: x [N, width] -> y [N, width].
Bytes MakeDense(std::uint64_t seed, std::int64_t width, int layers);

// An input of values from N(0, 1); the same seed gives the same values.
arrays::Array MakeInput(std::uint64_t seed, std::vector<std::int64_t> shape);

}  // namespace edgefleet::load_tests
