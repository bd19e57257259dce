#include "registry/compiler/report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace edgefleet::compiler {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kReportBytesMax = 1 << 20;
constexpr std::size_t kLayersMax = 1'000;

Json VariantJson(const Variant& variant, std::size_t fp32_bytes) {
  Json json{{"name", variant.name},
            {"precision", variant.precision},
            {"bytes", variant.efm.size()},
            {"share_of_fp32", static_cast<double>(variant.efm.size()) / static_cast<double>(fp32_bytes)},
            {"trainable", variant.trainable}};
  if (variant.metrics) {
    json["examples"] = variant.metrics->examples;
    json["accuracy"] = variant.metrics->accuracy;
    json["loss"] = variant.metrics->loss;
  }
  return json;
}

Json LayerJson(const ReportInput& report, std::size_t index) {
  const runtime::Node& node = report.fp32.nodes[index];
  const auto output = static_cast<std::size_t>(node.outputs[0]);
  std::int64_t parameters = 0;
  for (const runtime::TensorId id : node.inputs) {
    const runtime::Tensor& tensor = report.fp32.tensors[static_cast<std::size_t>(id)];
    if (tensor.is_constant()) parameters += runtime::ElementCount(tensor.shape);
  }
  Json json{{"name", node.name},
            {"operator", runtime::OperatorName(node.op)},
            {"shape", report.fp32.tensors[output].shape},
            {"parameters", parameters},
            {"precision", "fp32"}};
  if (report.calibration == nullptr || report.quantized == nullptr) return json;
  const NodeQuantization& quantization = report.quantized->nodes[index];
  json["min"] = report.calibration->ranges[output].min;
  json["max"] = report.calibration->ranges[output].max;
  if (quantization.int8) json["precision"] = "int8";
  if (quantization.output) {
    json["scale"] = quantization.output->scale;
    json["zero_point"] = quantization.output->zero_point;
  }
  if (quantization.weight_snr_db) json["weight_snr_db"] = *quantization.weight_snr_db;
  return json;
}

Json HeadJson(const ReportInput& report) {
  const CompileOutput& output = report.output;
  Json json{{"format", 1}, {"model", report.input.name}, {"decision", output.refusal ? "refused" : "accepted"}};
  if (output.refusal) json["refusal"] = *output.refusal;
  json["parameters"] = output.parameter_count;
  json["layout_sha256"] = HexEncode(output.layout_sha256);
  json["limits"] = {{"accuracy_drop_points_max", report.input.options.accuracy_drop_points_max}};
  json["calibration_examples"] = report.calibration == nullptr ? 0 : report.calibration->examples;
  json["variants"] = Json::array();
  for (const Variant& variant : output.variants)
    json["variants"].push_back(VariantJson(variant, output.variants[0].efm.size()));
  return json;
}

}  // namespace

std::string WriteReport(const ReportInput& report) {
  const std::size_t nodes = report.fp32.nodes.size();
  for (std::size_t layers = std::min(nodes, kLayersMax);; layers /= 2) {
    Json json = HeadJson(report);
    json["layers"] = Json::array();
    for (std::size_t i = 0; i < layers; ++i) json["layers"].push_back(LayerJson(report, i));
    json["layers_omitted"] = nodes - layers;
    // Names come from the ONNX file and need not be UTF-8.
    std::string text = json.dump(1, ' ', false, Json::error_handler_t::replace);
    if (text.size() <= kReportBytesMax || layers == 0) return text;
  }
}

}  // namespace edgefleet::compiler
