#include "registry/compiler/report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace edgefleet::compiler {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kReportBytesMax = 1 << 20;
constexpr std::size_t kLayersMax = 1'000;

Json ErrorJson(const ErrorMeasures& error) {
  Json json = Json::object();
  if (std::isfinite(error.snr_db)) json["snr_db"] = error.snr_db;
  json.update({{"mse", error.mse}, {"largest", error.largest}, {"cosine", error.cosine}});
  return json;
}

Json LayerJson(const runtime::Graph& graph, std::size_t index) {
  const runtime::Node& node = graph.nodes[index];
  std::int64_t parameters = 0;
  for (const runtime::TensorId id : node.inputs) {
    if (id != runtime::kAbsent && graph.tensor(id).is_constant()) parameters += runtime::ElementCount(graph.tensor(id).shape);
  }
  Json json{{"name", node.name}, {"operator", runtime::OperatorName(node.op)}};
  if (node.outputs[0] != runtime::kAbsent) json["shape"] = graph.tensor(node.outputs[0]).shape;
  json.update({{"parameters", parameters}, {"precision", "fp32"}});
  return json;
}

void AddActivation(const SearchResult& search, runtime::TensorId output, Json& json) {
  const auto at = static_cast<std::size_t>(output);
  const TensorStatistics& seen = search.calibration->tensors[at];
  if (seen.count() == 0) return;
  json.update({{"min", seen.min()},
               {"max", seen.max()},
               {"mean", seen.mean()},
               {"deviation", std::sqrt(seen.variance())},
               {"zero_share", static_cast<double>(seen.zero_count()) / static_cast<double>(seen.count())},
               {"range_min", search.ranges[at].min},
               {"range_max", search.ranges[at].max}});
}

Json LayerJson(const SearchResult& search, std::size_t index) {
  Json json = LayerJson(*search.fp32, index);
  const NodeQuantization& quantization = search.quantized.nodes[index];
  json["precision"] = PrecisionName(quantization.precision);
  if (quantization.weight_bytes > 0) json["weight_bytes"] = quantization.weight_bytes;
  const runtime::TensorId output = search.fp32->nodes[index].outputs[0];
  if (search.calibration && output != runtime::kAbsent) AddActivation(search, output, json);
  if (quantization.output) {
    json["scale"] = quantization.output->scale;
    json["zero_point"] = quantization.output->zero_point;
  }
  if (quantization.weight_error && std::isfinite(quantization.weight_error->snr_db)) {
    json["weight_snr_db"] = quantization.weight_error->snr_db;
  }
  if (search.layer_errors[index]) json["output_error"] = ErrorJson(*search.layer_errors[index]);
  return json;
}

// The first `limit` layers of a graph or of a search.
template <typename Network>
void AddLayers(const Network& network, std::size_t nodes, std::size_t limit, Json& json) {
  json["layers"] = Json::array();
  for (std::size_t i = 0; i < std::min(nodes, limit); ++i) json["layers"].push_back(LayerJson(network, i));
  json["layers_omitted"] = nodes - std::min(nodes, limit);
}

void AddSearch(const SearchResult& search, std::size_t limit, Json& json) {
  if (search.output_error) json["output_error"] = ErrorJson(*search.output_error);
  json["decisions"] = Json::array();
  for (const Decision& decision : search.decisions) {
    json["decisions"].push_back({{"what", decision.what}, {"chosen", decision.chosen}, {"why", decision.why}});
  }
  json["sensitivity"] = Json::array();
  for (const Sensitivity& each : search.sensitivity) {
    if (json["sensitivity"].size() >= 3 * limit) break;
    Json one{{"layer", search.fp32->nodes[each.node].name}, {"precision", PrecisionName(each.precision)}};
    if (std::isfinite(each.snr_db)) one["snr_db"] = each.snr_db;
    if (each.score_drop) one["accuracy_drop_points"] = 100 * *each.score_drop;
    json["sensitivity"].push_back(std::move(one));
  }
  AddLayers(search, search.fp32->nodes.size(), limit, json);
}

Json VariantJson(const ReportInput& report, std::size_t index, std::size_t limit) {
  const Variant& variant = report.output.variants[index];
  const auto fp32_bytes = static_cast<double>(report.output.variants[0].efm.size());
  Json json{{"name", variant.name},
            {"precision", variant.precision},
            {"bytes", variant.efm.size()},
            {"share_of_fp32", static_cast<double>(variant.efm.size()) / fp32_bytes},
            {"trainable", variant.trainable}};
  if (variant.metrics) {
    json["examples"] = variant.metrics->examples;
    json["accuracy"] = variant.metrics->accuracy;
    json["loss"] = variant.metrics->loss;
  }
  if (index > 0) AddSearch(report.searches[index - 1], limit, json);
  return json;
}

Json HeadJson(const ReportInput& report) {
  const CompileOutput& output = report.output;
  const CompileOptions& options = report.input.options;
  Json json{{"format", 2}, {"model", report.input.name}, {"decision", output.refusal ? "refused" : "accepted"}};
  if (output.refusal) json["refusal"] = *output.refusal;
  json["parameters"] = output.parameter_count;
  json["layout_sha256"] = HexEncode(output.layout_sha256);
  json["limits"] = {{"accuracy_drop_points_max", options.accuracy_drop_points_max}};
  json["metric"] = options.metric == Metric::kTop1 ? "top1" : "mse";
  std::size_t examples = 0;
  for (const SearchResult& search : report.searches) {
    if (search.calibration) examples = search.calibration->examples;
  }
  json["calibration"] = {{"method", CalibrationMethodName(options.quantization.calibration.method)}, {"examples", examples}};
  return json;
}

}  // namespace

std::string WriteReport(const ReportInput& report) {
  for (std::size_t limit = kLayersMax;; limit /= 2) {
    Json json = HeadJson(report);
    json["variants"] = Json::array();
    for (std::size_t i = 0; i < report.output.variants.size(); ++i) json["variants"].push_back(VariantJson(report, i, limit));
    AddLayers(report.fp32, report.fp32.nodes.size(), limit, json);
    // Names come from the ONNX file and need not be UTF-8.
    std::string text = json.dump(1, ' ', false, Json::error_handler_t::replace);
    if (text.size() <= kReportBytesMax || limit == 0) return text;
  }
}

}  // namespace edgefleet::compiler
