#include "registry/compiler/calibration/range.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <ranges>
#include <utility>

#include "registry/compiler/calibration/divergence.h"

namespace edgefleet::compiler {
namespace {

// A device accepts scales from 2^-40 to 2^40; activations' are kept where their product with the weights', the bias's scale,
// fits too.
constexpr float kActivationScaleMin = 0x1p-30F;

constexpr std::array<std::pair<CalibrationMethod, std::string_view>, 3> kMethods{{
    {CalibrationMethod::kMinMax, "min-max"},
    {CalibrationMethod::kEntropy, "entropy"},
    {CalibrationMethod::kPercentile, "percentile"},
}};

// How many of the bins, in the order given, hold at most `cut` values together.
template <typename Counts>
std::size_t BinsToCut(const Counts& counts, double cut) {
  std::size_t bins = 0;
  double seen = 0;
  for (const std::uint64_t count : counts) {
    seen += static_cast<double>(count);
    if (seen > cut) break;
    ++bins;
  }
  return bins;
}

ActivationRange PercentileRange(const TensorStatistics& statistics, ActivationRange all, double percentile) {
  const Histogram& histogram = statistics.histogram();
  const double cut = (1 - percentile / 100) / 2 * static_cast<double>(statistics.count() - statistics.zero_count());
  const auto low = static_cast<float>(histogram.Edge(BinsToCut(histogram.counts(), cut)));
  const auto high =
      static_cast<float>(histogram.Edge(Histogram::kBins - BinsToCut(std::views::reverse(histogram.counts()), cut)));
  return {std::max(std::min(low, 0.0F), all.min), std::min(std::max(high, 0.0F), all.max)};
}

}  // namespace

AffineScale ScaleOf(ActivationRange range) {
  const double low = std::min(double{range.min}, 0.0);
  const double high = std::max(double{range.max}, 0.0);
  if (low == high) return {};
  const float scale = std::max(static_cast<float>((high - low) / 255), kActivationScaleMin);
  const double zero_point = std::nearbyint(-128 - low / double{scale});
  return {scale, static_cast<std::int32_t>(std::clamp(zero_point, -128.0, 127.0))};
}

std::string_view CalibrationMethodName(CalibrationMethod method) {
  return std::ranges::find(kMethods, method, &decltype(kMethods)::value_type::first)->second;
}

std::optional<CalibrationMethod> ParseCalibrationMethod(std::string_view name) {
  const auto found = std::ranges::find(kMethods, name, &decltype(kMethods)::value_type::second);
  if (found == kMethods.end()) return std::nullopt;
  return found->first;
}

Result<ActivationRange> ChooseRange(std::string_view tensor, const TensorStatistics& statistics,
                                    const CalibrationOptions& options) {
  EF_RETURN_IF_ERROR(CheckFinite(tensor, statistics));
  const ActivationRange all{std::min(statistics.min(), 0.0F), std::max(statistics.max(), 0.0F)};
  if (all.min == all.max) return all;
  switch (options.method) {
    case CalibrationMethod::kMinMax:
      return all;
    case CalibrationMethod::kEntropy:
      return LeastDivergentRange(statistics.histogram(), all);
    case CalibrationMethod::kPercentile:
      return PercentileRange(statistics, all, options.percentile);
  }
  return all;
}

}  // namespace edgefleet::compiler
