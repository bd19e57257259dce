#include "load_tests/runtime/models.h"

#include <array>
#include <cmath>
#include <random>
#include <string>

#include "load_tests/onnx/network_writer.h"

namespace edgefleet::load_tests {
namespace {

constexpr float kEpsilon = 1e-5F;  // ONNX's default for BatchNormalization
constexpr const char* kProducer = "edgefleet-bench";

struct ConvShape {
  std::int64_t in = 0, out = 0;
  std::int64_t kernel = 1, stride = 1;
  bool depthwise = false;
};

// Statistics and affine parameters near those of a layer whose outputs are normalized already, so that depth keeps values sane.
struct BatchNorm {
  std::vector<float> scale, bias, mean, variance;
};

class MobileNetWriter {
 public:
  MobileNetWriter(std::uint64_t seed, BatchNorms batch_norms)
      : writer_(kProducer, "mobilenet_v2", seed), batch_norms_(batch_norms) {}

  Bytes Write() {
    writer_.AddInput("image", {3, 224, 224});
    writer_.AddFloats("relu6.min", {}, std::array{0.0F});
    writer_.AddFloats("relu6.max", {}, std::array{6.0F});
    std::string x = ConvRelu6("stem", "image", {.in = 3, .out = 32, .kernel = 3, .stride = 2}, 1);
    struct Stage {  // table 2
      std::int64_t expansion, channels;
      int blocks;
      std::int64_t stride;
    };
    std::int64_t channels = 32;
    int block = 0;
    for (const Stage& stage : {Stage{1, 16, 1, 1}, Stage{6, 24, 2, 2}, Stage{6, 32, 3, 2}, Stage{6, 64, 4, 2},
                               Stage{6, 96, 3, 1}, Stage{6, 160, 3, 2}, Stage{6, 320, 1, 1}}) {
      for (int i = 0; i < stage.blocks; ++i) {
        x = Block("block" + std::to_string(block++), x, channels, stage.channels, stage.expansion, i == 0 ? stage.stride : 1);
        channels = stage.channels;
      }
    }
    x = ConvRelu6("head", x, {.in = channels, .out = 1280}, 1);
    writer_.AddNode("GlobalAveragePool", {x}, "pool");
    writer_.AddNode("Flatten", {"pool"}, "features");
    writer_.AddDense("classifier", "features", 1280, 1000, "logits");
    writer_.AddOutput("logits", {1000});
    return writer_.Finish();
  }

 private:
  // An inverted residual (figure 3); its output is linear.
  std::string Block(const std::string& name, const std::string& input, std::int64_t in, std::int64_t out,
                    std::int64_t expansion, std::int64_t stride) {
    const std::int64_t wide = in * expansion;
    std::string x = input;
    if (expansion != 1) x = ConvRelu6(name + ".expand", x, {.in = in, .out = wide}, 1);
    x = ConvRelu6(name + ".depthwise", x, {.in = wide, .out = wide, .kernel = 3, .stride = stride, .depthwise = true}, 2);
    x = Conv(name + ".project", x, {.in = wide, .out = out}, 2);
    if (stride != 1 || in != out) return x;
    writer_.AddNode("Add", {input, x}, name + ".add");
    return name + ".add";
  }

  std::string ConvRelu6(const std::string& name, const std::string& input, const ConvShape& shape, float gain) {
    writer_.AddNode("Clip", {Conv(name, input, shape, gain), "relu6.min", "relu6.max"}, name + ".relu6");
    return name + ".relu6";
  }

  // Convolution and normalization; returns the name of their output. `gain`: 2 behind a ReLU6, 1 behind a linear layer.
  std::string Conv(const std::string& name, const std::string& input, const ConvShape& shape, float gain) {
    const std::int64_t fan_in = (shape.depthwise ? 1 : shape.in) * shape.kernel * shape.kernel;
    std::vector<float> weight(static_cast<std::size_t>(shape.out * fan_in));
    std::normal_distribution<float> normal(0, std::sqrt(gain / static_cast<float>(fan_in)));
    for (float& value : weight) value = normal(writer_.random());
    const BatchNorm norm = DrawNorm(shape.out);
    const bool folded = batch_norms_ == BatchNorms::kFolded;
    std::vector<float> bias(static_cast<std::size_t>(shape.out));
    if (folded) Fold(norm, weight, bias);
    const NetworkWriter::Dims dims{shape.out, shape.depthwise ? 1 : shape.in, shape.kernel, shape.kernel};
    writer_.AddFloats(name + ".weight", dims, weight);
    std::vector<std::string> inputs{input, name + ".weight"};
    if (folded) {
      writer_.AddFloats(name + ".bias", {shape.out}, bias);
      inputs.push_back(name + ".bias");
    }
    onnx::NodeProto* conv = writer_.AddNode("Conv", inputs, name);
    const std::int64_t pad = shape.kernel / 2;
    NetworkWriter::AddInts(conv, "kernel_shape", {shape.kernel, shape.kernel});
    NetworkWriter::AddInts(conv, "strides", {shape.stride, shape.stride});
    NetworkWriter::AddInts(conv, "pads", {pad, pad, pad, pad});
    NetworkWriter::AddInt(conv, "group", shape.depthwise ? shape.in : 1);
    if (folded) return name;
    for (const auto& [part, values] : {std::pair{".scale", &norm.scale}, std::pair{".shift", &norm.bias},
                                       std::pair{".mean", &norm.mean}, std::pair{".variance", &norm.variance}}) {
      writer_.AddFloats(name + part, {shape.out}, *values);
    }
    writer_.AddNode("BatchNormalization", {name, name + ".scale", name + ".shift", name + ".mean", name + ".variance"},
                    name + ".norm");
    return name + ".norm";
  }

  BatchNorm DrawNorm(std::int64_t channels) {
    BatchNorm norm;
    const auto draw = [&](double low, double high) {
      std::vector<float> values(static_cast<std::size_t>(channels));
      for (float& value : values) value = static_cast<float>(low + (high - low) * writer_.random().Unit());
      return values;
    };
    norm.scale = draw(0.8, 1.2);
    norm.bias = draw(-0.2, 0.2);
    norm.mean = draw(-0.2, 0.2);
    norm.variance = draw(0.8, 1.2);
    return norm;
  }

  static void Fold(const BatchNorm& norm, std::vector<float>& weight, std::vector<float>& bias) {
    const std::size_t fan_in = weight.size() / bias.size();
    for (std::size_t channel = 0; channel < bias.size(); ++channel) {
      const float factor = norm.scale[channel] / std::sqrt(norm.variance[channel] + kEpsilon);
      for (std::size_t i = 0; i < fan_in; ++i) weight[channel * fan_in + i] *= factor;
      bias[channel] = norm.bias[channel] - norm.mean[channel] * factor;
    }
  }

  NetworkWriter writer_;
  BatchNorms batch_norms_;
};

// 5x5 convolution that keeps the size, ReLU, 2x2 max pooling.
void AddConvBlock(NetworkWriter& writer, const std::string& name, const std::string& input, std::int64_t in, std::int64_t out) {
  writer.AddWeights(name, {out, in, 5, 5});
  onnx::NodeProto* conv = writer.AddNode("Conv", {input, name + ".weight", name + ".bias"}, name);
  NetworkWriter::AddInts(conv, "kernel_shape", {5, 5});
  NetworkWriter::AddInts(conv, "pads", {2, 2, 2, 2});
  writer.AddNode("Relu", {name}, name + ".relu");
  writer.AddMaxPool(name + ".relu", name + ".pool", 2);
}

}  // namespace

Bytes MakeMobileNetV2(std::uint64_t seed, BatchNorms batch_norms) { return MobileNetWriter(seed, batch_norms).Write(); }

Bytes MakeFedAvgCnn(std::uint64_t seed) {
  NetworkWriter writer(kProducer, "fedavg_cnn", seed);
  writer.AddInput("image", {1, 28, 28});
  AddConvBlock(writer, "conv1", "image", 1, 32);
  AddConvBlock(writer, "conv2", "conv1.pool", 32, 64);
  writer.AddNode("Flatten", {"conv2.pool"}, "features");
  writer.AddDense("fc1", "features", std::int64_t{64} * 7 * 7, 512, "fc1");
  writer.AddNode("Relu", {"fc1"}, "fc1.relu");
  writer.AddDense("fc2", "fc1.relu", 512, 10, "logits");
  writer.AddOutput("logits", {10});
  return writer.Finish();
}

Bytes MakeFedAvg2nn(std::uint64_t seed) {
  NetworkWriter writer(kProducer, "fedavg_2nn", seed);
  writer.AddInput("image", {1, 28, 28});
  writer.AddNode("Flatten", {"image"}, "features");
  writer.AddDense("fc1", "features", 784, 200, "fc1");
  writer.AddNode("Relu", {"fc1"}, "fc1.relu");
  writer.AddDense("fc2", "fc1.relu", 200, 200, "fc2");
  writer.AddNode("Relu", {"fc2"}, "fc2.relu");
  writer.AddDense("fc3", "fc2.relu", 200, 10, "logits");
  writer.AddOutput("logits", {10});
  return writer.Finish();
}

Bytes MakeMatMul(std::uint64_t seed, std::int64_t inner, std::int64_t outer) {
  NetworkWriter writer(kProducer, "matmul", seed);
  writer.AddInput("x", {inner});
  writer.AddNormal("weight", {inner, outer}, static_cast<float>(outer) / static_cast<float>(inner));  // of 1 / inner
  writer.AddNode("MatMul", {"x", "weight"}, "y");
  writer.AddOutput("y", {outer});
  return writer.Finish();
}

Bytes MakeDense(std::uint64_t seed, std::int64_t width, int layers) {
  NetworkWriter writer(kProducer, "dense", seed);
  writer.AddInput("x", {width});
  std::string x = "x";
  for (int i = 0; i < layers; ++i) {
    const std::string name = "fc" + std::to_string(i);
    const bool last = i + 1 == layers;
    writer.AddDense(name, x, width, width, last ? "y" : name);
    if (!last) writer.AddNode("Relu", {name}, x = name + ".relu");
  }
  writer.AddOutput("y", {width});
  return writer.Finish();
}

arrays::Array MakeInput(std::uint64_t seed, std::vector<std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t dim : shape) count *= dim;
  std::vector<float> values(static_cast<std::size_t>(count));
  SeededRandom random(seed);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(random);
  return arrays::MakeArray<float>(std::move(shape), values);
}

}  // namespace edgefleet::load_tests
