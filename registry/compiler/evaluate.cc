#include "registry/compiler/evaluate.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "device_client/runtime/evaluate.h"
#include "device_client/runtime/session.h"

namespace edgefleet::compiler {
namespace {

constexpr std::size_t kBatch = 64;

}  // namespace

Result<Metrics> Measure(std::shared_ptr<const runtime::Graph> graph, const runtime::Dataset& dataset) {
  runtime::SessionOptions options;
  options.batch =
      std::min({static_cast<std::int64_t>(kBatch), static_cast<std::int64_t>(dataset.size()), runtime::BatchMax(*graph)});
  EF_ASSIGN_OR_RETURN(const auto session, runtime::Session::Create(std::move(graph), options));
  const auto evaluation = runtime::Evaluate(*session, dataset);
  if (!evaluation) {
    if (evaluation.error().code() != StatusCode::kOutOfRange) return MakeError(evaluation.error());
    return InvalidArgument("BAD_EVALUATION", "the network yields NaN or infinity on the evaluation data; check its weights");
  }
  return Metrics{static_cast<std::uint64_t>(evaluation->examples), evaluation->accuracy, evaluation->cross_entropy};
}

std::optional<std::string> RefusalOf(const Metrics& fp32, const Metrics& int8, const CompileOptions& options) {
  const double drop_points = 100 * (fp32.accuracy - int8.accuracy);
  if (drop_points <= options.accuracy_drop_points_max) return std::nullopt;
  char text[320];
  std::snprintf(
      text, sizeof text,
      "the int8 variant loses %.2f points of accuracy against fp32 (%.2f %% to %.2f %% on %llu examples), more than the "
      "%.2f allowed; calibrate on more and more typical examples, or publish with a higher limit",
      drop_points, 100 * fp32.accuracy, 100 * int8.accuracy, static_cast<unsigned long long>(fp32.examples),
      options.accuracy_drop_points_max);
  return text;
}

}  // namespace edgefleet::compiler
