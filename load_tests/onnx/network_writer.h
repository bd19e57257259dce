// Writes networks of the literature as ONNX files, with weights drawn from a seed: the same calls give the same bytes.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/random.h"

namespace edgefleet::load_tests {

// Opset 13. Initializers are stored as raw data.
class NetworkWriter {
 public:
  using Dims = std::vector<std::int64_t>;

  NetworkWriter(const std::string& producer, const std::string& graph_name, std::uint64_t seed);

  // Dimension 0 is a symbolic "batch"; `dims` are the others.
  void AddInput(const std::string& name, const Dims& dims);
  void AddOutput(const std::string& name, const Dims& dims);

  // Values from N(0, gain / fan_in), where dims[0] counts the outputs. Gain 2 keeps the variance behind a ReLU (He et al. 2015,
  // section 2.2), gain 1 behind a linear layer.
  void AddNormal(const std::string& name, const Dims& dims, float gain = 2);
  void AddFloats(const std::string& name, const Dims& dims, std::span<const float> values);
  // A layer's He-initialized weights and zero bias, `<name>.weight` and `<name>.bias`.
  void AddWeights(const std::string& name, const Dims& dims);

  // A node named as its output.
  onnx::NodeProto* AddNode(const std::string& type, const std::vector<std::string>& inputs, const std::string& output);
  static void AddInts(onnx::NodeProto* node, const std::string& name, const Dims& values);
  static void AddInt(onnx::NodeProto* node, const std::string& name, std::int64_t value);

  // y = x * weight^T + bias as a Gemm node `output`, with AddWeights(name).
  void AddDense(const std::string& name, const std::string& input, std::int64_t in, std::int64_t out,
                const std::string& output);
  void AddMaxPool(const std::string& input, const std::string& output, std::int64_t side);

  RandomSource& random() { return random_; }
  Bytes Finish() const;

 private:
  void AddValue(onnx::ValueInfoProto* value, const std::string& name, const Dims& dims);

  onnx::ModelProto model_;
  SeededRandom random_;
};

}  // namespace edgefleet::load_tests
