#include "load_tests/fashion/fashion_network.h"

#include <string>

#include "load_tests/fashion/fashion_data.h"
#include "load_tests/onnx/network_writer.h"

namespace edgefleet::fashion {
namespace {

load_tests::NetworkWriter Writer(std::uint64_t seed) { return {"edgefleet-fashion", "fashion_cnn", seed}; }

// 3x3 convolution, ReLU, 2x2 max pooling.
void AddConvBlock(load_tests::NetworkWriter& writer, const std::string& name, const std::string& input, std::int64_t in,
                  std::int64_t out) {
  writer.AddWeights(name, {out, in, 3, 3});
  onnx::NodeProto* conv = writer.AddNode("Conv", {input, name + ".weight", name + ".bias"}, name);
  load_tests::NetworkWriter::AddInts(conv, "kernel_shape", {3, 3});
  load_tests::NetworkWriter::AddInts(conv, "pads", {1, 1, 1, 1});
  writer.AddNode("Relu", {name}, name + ".relu");
  writer.AddMaxPool(name + ".relu", name + ".pool", 2);
}

}  // namespace

Bytes MakeFashionCnn(std::uint64_t seed) {
  load_tests::NetworkWriter writer = Writer(seed);
  writer.AddInput("image", {1, 28, 28});
  AddConvBlock(writer, "conv1", "image", 1, 16);
  AddConvBlock(writer, "conv2", "conv1.pool", 16, 32);
  writer.AddNode("Flatten", {"conv2.pool"}, "features");
  writer.AddDense("fc1", "features", 32 * 7 * 7, 64, "fc1");
  writer.AddNode("Relu", {"fc1"}, "fc1.relu");
  writer.AddDense("fc2", "fc1.relu", 64, 10, "logits");
  writer.AddOutput("logits", {10});
  return writer.Finish();
}

Bytes MakeFashionLinear(std::uint64_t seed) {
  load_tests::NetworkWriter writer = Writer(seed);
  writer.AddInput("image", {1, kSide, kSide});
  writer.AddNode("Flatten", {"image"}, "features");
  writer.AddDense("fc", "features", kPixels, kClasses, "logits");
  writer.AddOutput("logits", {kClasses});
  return writer.Finish();
}

}  // namespace edgefleet::fashion
