#include "device_client/runtime/graph.h"

#include <type_traits>

namespace edgefleet::runtime {

std::size_t SizeOf(DataType type) {
  switch (type) {
    case DataType::kInt8:
      return 1;
    case DataType::kFloat32:
    case DataType::kInt32:
      return 4;
  }
  return 0;
}

std::string OperatorName(const Operator& op) {
  struct Name {
    std::string operator()(const Conv2d&) const { return "Conv2d"; }
    std::string operator()(const FullyConnected&) const { return "FullyConnected"; }
    std::string operator()(const Pool2d& pool) const { return pool.kind == Pool2d::Kind::kMax ? "MaxPool2d" : "AveragePool2d"; }
    std::string operator()(const GlobalAveragePool&) const { return "GlobalAveragePool"; }
    std::string operator()(const Relu&) const { return "Relu"; }
    std::string operator()(const Add&) const { return "Add"; }
    std::string operator()(const Flatten&) const { return "Flatten"; }
    std::string operator()(const Softmax&) const { return "Softmax"; }
    std::string operator()(const Quantize&) const { return "Quantize"; }
    std::string operator()(const Dequantize&) const { return "Dequantize"; }
  };
  return std::visit(Name{}, op);
}

std::int64_t ElementCount(const std::vector<std::int64_t>& shape) {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) count *= dimension;
  return count;
}

std::int32_t ZeroPoint(const Tensor& tensor) {
  return tensor.quantization && !tensor.quantization->zero_points.empty() ? tensor.quantization->zero_points[0] : 0;
}

}  // namespace edgefleet::runtime
