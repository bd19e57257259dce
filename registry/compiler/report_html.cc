// The report as a page: plain HTML, a style sheet and inline SVG.
#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "registry/compiler/report.h"

namespace edgefleet::compiler {
namespace {

constexpr std::size_t kPageBytesMax = 4 << 20;
constexpr std::size_t kLayersMax = 400;
constexpr std::size_t kBars = 64;
constexpr double kChartWidth = 900;

constexpr char kHead[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>edgefleet model report</title>\n<style>"
    "body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b1f24;background:#fff}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.2rem .7rem;border-bottom:1px solid #d8dee4;text-align:left;vertical-align:middle}"
    "td.n,th.n{text-align:right}.no{color:#b3261e}.yes{color:#1a7f37}svg{display:block}"
    "@media(prefers-color-scheme:dark){body{background:#16191d;color:#e4e7eb}th,td{border-color:#343a42}}"
    "</style></head><body>\n";

__attribute__((format(printf, 1, 2))) std::string Format(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

// Names come from files of anybody: nothing of them is markup, and what is not printable ASCII is shown as '?'.
std::string Escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c >= ' ' && c <= '~' ? c : '?';
    }
  }
  return out;
}

std::string Decibels(double snr_db) { return std::isfinite(snr_db) ? Format("%.1f", snr_db) : snr_db > 0 ? "exact" : "none"; }

std::string Cell(std::string_view text) { return "<td>" + Escape(text) + "</td>"; }
std::string Number(std::string_view text) { return "<td class=n>" + Escape(text) + "</td>"; }

// A histogram in kBars bars on a logarithmic scale, with the chosen range in a frame.
std::string HistogramSvg(const TensorStatistics& statistics, ActivationRange range) {
  const Histogram& histogram = statistics.histogram();
  const auto counts = histogram.counts();
  if (counts.empty()) return "";
  const double low = std::min(double{statistics.min()}, 0.0);
  const double high = std::max(double{statistics.max()}, 0.0);
  std::vector<double> bars(kBars, 0);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    const double at = (histogram.Edge(i) + histogram.width() / 2 - low) / (high - low) * kBars;
    bars[static_cast<std::size_t>(std::clamp(at, 0.0, kBars - 1.0))] += static_cast<double>(counts[i]);
  }
  const double tallest = std::log1p(*std::ranges::max_element(bars));
  std::string path;
  for (std::size_t i = 0; i < kBars; ++i) {
    const double height = 30 * std::log1p(bars[i]) / tallest;
    if (height > 0) path += Format("M%.1f 32v-%.1f", 3.0 * static_cast<double>(i) + 1.5, height);
  }
  const double from = 3 * kBars * (range.min - low) / (high - low);
  const double to = 3 * kBars * (range.max - low) / (high - low);
  return Format(
             "<svg width=%d height=34 role=img aria-label=\"histogram\"><rect x=%.1f y=1 width=%.1f height=32 "
             "fill=\"#5b8def22\" "
             "stroke=\"#5b8def\"/><path stroke=\"#5b8def\" stroke-width=2.4 d=\"",
             static_cast<int>(3 * kBars), from, std::max(to - from, 1.0)) +
         path + "\"/></svg>";
}

struct Bar {
  std::string name;
  double value = 0;
};

// One bar a layer.
std::string BarsSvg(const std::vector<Bar>& bars, const char* unit) {
  if (bars.empty()) return "";
  double most = 0;
  for (const Bar& bar : bars) most = std::max(most, bar.value);
  if (most <= 0) return "";
  const double step = kChartWidth / static_cast<double>(bars.size());
  std::string out = Format("<svg viewBox=\"0 0 %.0f 140\" width=\"100%%\" role=img>", kChartWidth);
  for (std::size_t i = 0; i < bars.size(); ++i) {
    const double height = 110 * std::max(bars[i].value, 0.0) / most;
    out += Format("<rect fill=\"#5b8def\" x=%.1f y=%.1f width=%.1f height=%.1f><title>", step * static_cast<double>(i),
                  125 - height, std::max(step - 1, 0.5), height) +
           Escape(bars[i].name) + Format(": %.4g %s</title></rect>", bars[i].value, unit);
  }
  return out + Format("<text x=0 y=12 fill=currentColor font-size=12>up to %.4g %s</text></svg>", most, unit);
}

std::string VariantsTable(const ReportInput& report) {
  std::string out =
      "<h2>Variants</h2><table><tr><th>variant<th class=n>bytes<th class=n>of fp32<th class=n>accuracy<th class=n>loss"
      "<th class=n>output error, dB</tr>\n";
  const auto fp32_bytes = static_cast<double>(report.output.variants[0].efm.size());
  for (std::size_t i = 0; i < report.output.variants.size(); ++i) {
    const Variant& variant = report.output.variants[i];
    const auto bytes = static_cast<double>(variant.efm.size());
    out += "<tr>" + Cell(variant.name) + Number(Format("%.0f", bytes)) + Number(Format("%.1f %%", 100 * bytes / fp32_bytes));
    out += Number(variant.metrics ? Format("%.2f %%", 100 * variant.metrics->accuracy) : "");
    out += Number(variant.metrics ? Format("%.4g", variant.metrics->loss) : "");
    const bool measured = i > 0 && report.searches[i - 1].output_error;
    out += Number(measured ? Decibels(report.searches[i - 1].output_error->snr_db) : "") + "</tr>\n";
  }
  return out + "</table>\n";
}

std::string DecisionsTable(const SearchResult& search) {
  if (search.decisions.empty()) return "";
  std::string out = "<h3>What was tried</h3><table>\n";
  for (const Decision& decision : search.decisions) {
    out += std::string("<tr><td class=") + (decision.chosen ? "yes>kept" : "no>left") + "</td>" + Cell(decision.what) +
           Cell(decision.why) + "</tr>\n";
  }
  return out + "</table>\n";
}

std::string SensitivityPlot(const SearchResult& search) {
  std::string out;
  for (const Precision precision :
       {Precision::kInt4, Precision::kInt8, Precision::kInt8Weights, Precision::kFp16, Precision::kBf16}) {
    std::vector<Bar> bars;
    for (const Sensitivity& each : search.sensitivity) {
      if (each.precision != precision || bars.size() >= kLayersMax) continue;
      const double noise = std::isfinite(each.snr_db) ? 100 * std::pow(10, -each.snr_db / 20) : 0;
      bars.push_back({search.fp32->nodes[each.node].name, noise});
    }
    if (bars.empty()) continue;
    out += "<h3>Sensitivity: each layer alone in " + std::string(PrecisionName(precision)) + "</h3>" +
           BarsSvg(bars, "% of the output's magnitude");
  }
  return out;
}

std::string LayerRow(const SearchResult& search, std::size_t index) {
  const runtime::Node& node = search.fp32->nodes[index];
  const NodeQuantization& quantization = search.quantized.nodes[index];
  std::string out =
      "<tr>" + Cell(node.name) + Cell(runtime::OperatorName(node.op)) + Cell(PrecisionName(quantization.precision));
  out +=
      Number(quantization.weight_bytes > 0 ? Format("%llu", static_cast<unsigned long long>(quantization.weight_bytes)) : "");
  out += Number(quantization.weight_error ? Decibels(quantization.weight_error->snr_db) : "");
  out += Number(search.layer_errors[index] ? Decibels(search.layer_errors[index]->snr_db) : "");
  const runtime::TensorId id = node.outputs[0];
  const bool seen =
      search.calibration && id != runtime::kAbsent && search.calibration->tensors[static_cast<std::size_t>(id)].count() > 0;
  if (!seen) return out + "<td></td><td></td></tr>\n";
  const auto at = static_cast<std::size_t>(id);
  const ActivationRange range = search.ranges[at];
  return out + Number(Format("%.4g to %.4g", double{range.min}, double{range.max})) + "<td>" +
         HistogramSvg(search.calibration->tensors[at], range) + "</td></tr>\n";
}

std::string LayersTable(const SearchResult& search, std::size_t limit) {
  const std::size_t nodes = search.fp32->nodes.size();
  std::vector<Bar> error;
  std::vector<Bar> size;
  std::string rows;
  for (std::size_t i = 0; i < std::min(nodes, limit); ++i) {
    rows += LayerRow(search, i);
    const std::string& name = search.fp32->nodes[i].name;
    if (search.layer_errors[i] && std::isfinite(search.layer_errors[i]->snr_db)) {
      error.push_back({name, 100 * std::pow(10, -search.layer_errors[i]->snr_db / 20)});
    }
    if (search.quantized.nodes[i].weight_bytes > 0) {
      size.push_back({name, static_cast<double>(search.quantized.nodes[i].weight_bytes)});
    }
  }
  std::string out;
  if (!error.empty()) out += "<h3>Error of each layer's output</h3>" + BarsSvg(error, "% of its magnitude");
  if (!size.empty()) out += "<h3>Size of each layer's weights</h3>" + BarsSvg(size, "bytes");
  out +=
      "<h3>Layers</h3><table><tr><th>layer<th>operator<th>precision<th class=n>weights, bytes<th class=n>weights, dB"
      "<th class=n>output, dB<th class=n>range<th>values on the calibration data (log counts), range framed</tr>\n";
  out += rows + "</table>\n";
  if (nodes > limit) out += Format("<p>%zu more layers are left out.</p>\n", nodes - limit);
  return out;
}

std::string Page(const ReportInput& report, std::size_t limit) {
  std::string out = kHead;
  out += "<h1>" + Escape(report.input.name) + "</h1>\n<p>";
  out += report.output.refusal ? "<b class=no>Refused:</b> " + Escape(*report.output.refusal) : "<b class=yes>Accepted.</b>";
  out += Format(" %llu parameters; at most %.4g points of accuracy may be lost.</p>\n",
                static_cast<unsigned long long>(report.output.parameter_count), report.input.options.accuracy_drop_points_max);
  out += VariantsTable(report);
  for (std::size_t i = 0; i < report.searches.size(); ++i) {
    const SearchResult& search = report.searches[i];
    out += "<h2>" + Escape(report.output.variants[i + 1].name) + "</h2>\n";
    out += DecisionsTable(search) + SensitivityPlot(search) + LayersTable(search, limit);
  }
  return out + "</body></html>\n";
}

}  // namespace

std::string WriteHtmlReport(const ReportInput& report) {
  for (std::size_t limit = kLayersMax;; limit /= 2) {
    std::string page = Page(report, limit);
    if (page.size() <= kPageBytesMax || limit == 0) return page;
  }
}

}  // namespace edgefleet::compiler
