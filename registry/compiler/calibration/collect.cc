#include "registry/compiler/calibration/collect.h"

#include <algorithm>

#include "registry/compiler/examples.h"

namespace edgefleet::compiler {
namespace {

// Sums of an activation's channels: those of dimension 1 of images, of the last dimension elsewhere.
class ChannelSums {
 public:
  ChannelSums() = default;
  ChannelSums(const std::vector<std::int64_t>& shape, std::size_t axis) : sums_(static_cast<std::size_t>(shape[axis]), 0) {
    for (std::size_t i = axis + 1; i < shape.size(); ++i) inner_ *= static_cast<std::size_t>(shape[i]);
  }
  bool empty() const { return sums_.empty(); }
  void Add(std::span<const float> values) {
    for (std::size_t i = 0; i < values.size(); i += inner_) {
      double& sum = sums_[i / inner_ % sums_.size()];
      for (std::size_t j = 0; j < inner_; ++j) sum += values[i + j];
    }
    count_ += static_cast<double>(values.size() / sums_.size());
  }
  std::vector<float> Means() const {
    std::vector<float> means;
    for (const double sum : sums_) means.push_back(static_cast<float>(sum / std::max(count_, 1.0)));
    return means;
  }

 private:
  std::vector<double> sums_;
  std::size_t inner_ = 1;
  double count_ = 0;
};

std::vector<ChannelSums> SumsFor(const runtime::Graph& graph) {
  std::vector<ChannelSums> sums(graph.tensors.size());
  for (const runtime::Node& node : graph.nodes) {
    const bool image = std::holds_alternative<runtime::Conv2d>(node.op);
    if (!image && !std::holds_alternative<runtime::FullyConnected>(node.op)) continue;
    const auto& shape = graph.tensor(node.inputs[0]).shape;
    sums[static_cast<std::size_t>(node.inputs[0])] = ChannelSums(shape, image ? 1 : shape.size() - 1);
  }
  return sums;
}

}  // namespace

Result<Calibration> Calibrate(const std::shared_ptr<const runtime::Graph>& graph, const arrays::Archive& examples) {
  EF_ASSIGN_OR_RETURN(const std::size_t count, CheckExamples(*graph, examples, "BAD_CALIBRATION"));
  Calibration calibration;
  calibration.tensors.resize(graph->tensors.size());
  calibration.examples = std::min(count, kCalibrationExamplesMax);
  std::vector<ChannelSums> sums = SumsFor(*graph);
  runtime::SessionOptions options;
  options.observer = [&](runtime::TensorId id, std::span<const float> values) {
    if (graph->tensor(id).type != runtime::DataType::kFloat32) return;
    calibration.tensors[static_cast<std::size_t>(id)].Add(values);
    ChannelSums& channels = sums[static_cast<std::size_t>(id)];
    if (!channels.empty()) channels.Add(values);
  };
  EF_ASSIGN_OR_RETURN(const auto runner, ExampleRunner::Create(graph, examples, std::move(options)));
  for (std::size_t i = 0; i < calibration.examples; ++i) EF_RETURN_IF_ERROR(runner->Run(i));
  for (const ChannelSums& each : sums) calibration.channel_means.push_back(each.Means());
  for (std::size_t i = 0; i < graph->tensors.size(); ++i) {
    EF_RETURN_IF_ERROR(CheckFinite(graph->tensors[i].name, calibration.tensors[i]));
  }
  return calibration;
}

Result<std::vector<ActivationRange>> ChooseRanges(const runtime::Graph& graph, const Calibration& calibration,
                                                  const CalibrationOptions& options) {
  std::vector<ActivationRange> ranges;
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    EF_ASSIGN_OR_RETURN(const ActivationRange range, ChooseRange(graph.tensors[i].name, calibration.tensors[i], options));
    ranges.push_back(range);
  }
  return ranges;
}

}  // namespace edgefleet::compiler
