#include "registry/compiler/calibrate.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "device_client/runtime/session.h"
#include "registry/compiler/examples.h"

namespace edgefleet::compiler {
namespace {

constexpr ActivationRange kNothingSeen{std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};

void Widen(ActivationRange& range, std::span<const float> values) {
  for (const float value : values) {
    // Comparisons with NaN are false, which would lose it: make it an infinity, which CheckRanges refuses.
    range.min = std::isnan(value) ? -std::numeric_limits<float>::infinity() : std::min(range.min, value);
    range.max = std::max(range.max, value);
  }
}

ByteView Example(const arrays::Array& array, std::size_t index) {
  const std::size_t size = array.data.size() / static_cast<std::size_t>(array.shape[0]);
  return ByteView(array.data).subspan(index * size, size);
}

Status CheckRanges(const runtime::Graph& graph, std::vector<ActivationRange>& ranges) {
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (ranges[i].min == kNothingSeen.min && ranges[i].max == kNothingSeen.max) ranges[i] = {};
    if (!std::isfinite(ranges[i].min) || !std::isfinite(ranges[i].max)) {
      return InvalidArgument(
          "BAD_CALIBRATION",
          "'" + graph.tensors[i].name + "' becomes NaN or infinite on the calibration data; check its scale and the weights");
    }
  }
  return OkStatus();
}

}  // namespace

Result<Calibration> Calibrate(const std::shared_ptr<const runtime::Graph>& graph, const arrays::Archive& examples) {
  EF_ASSIGN_OR_RETURN(const std::size_t count, CheckExamples(*graph, examples, "BAD_CALIBRATION"));
  Calibration calibration{std::vector<ActivationRange>(graph->tensors.size(), kNothingSeen),
                          std::min(count, kCalibrationExamplesMax)};
  runtime::SessionOptions options;
  options.observer = [&](runtime::TensorId id, std::span<const float> values) {
    Widen(calibration.ranges[static_cast<std::size_t>(id)], values);
  };
  EF_ASSIGN_OR_RETURN(const auto session, runtime::Session::Create(graph, options));
  std::vector<std::vector<float>> outputs;
  std::vector<std::span<std::byte>> output_views;
  for (const runtime::TensorId id : graph->outputs) {
    outputs.emplace_back(static_cast<std::size_t>(runtime::ElementCount(graph->tensors[static_cast<std::size_t>(id)].shape)));
  }
  for (auto& output : outputs) output_views.push_back(std::as_writable_bytes(std::span(output)));
  for (std::size_t i = 0; i < calibration.examples; ++i) {
    std::vector<ByteView> inputs;
    for (const runtime::TensorId id : graph->inputs) {
      inputs.push_back(Example(examples.at(graph->tensors[static_cast<std::size_t>(id)].name), i));
    }
    EF_RETURN_IF_ERROR(session->Run(inputs, output_views));
  }
  EF_RETURN_IF_ERROR(CheckRanges(*graph, calibration.ranges));
  return calibration;
}

}  // namespace edgefleet::compiler
