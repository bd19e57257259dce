#include "device_client/runtime/evaluate.h"

#include <algorithm>
#include <cmath>

namespace edgefleet::runtime {
namespace {

constexpr double kProbabilityMin = 1e-12;

double LogLikelihood(std::span<const float> row, std::size_t label, bool probabilities) {
  if (probabilities) return std::log(std::max(static_cast<double>(row[label]), kProbabilityMin));
  const double top = *std::ranges::max_element(row);
  double sum = 0;
  for (const float value : row) sum += std::exp(value - top);
  return std::max(row[label] - top - std::log(sum), std::log(kProbabilityMin));
}

// Sums over examples; divided at the end.
Status Accumulate(std::span<const float> outputs, std::span<const std::int32_t> labels, bool probabilities, Evaluation& sums) {
  const std::size_t classes = outputs.size() / labels.size();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::span<const float> row = outputs.subspan(i * classes, classes);
    if (labels[i] < 0 || static_cast<std::size_t>(labels[i]) >= classes) {
      return InvalidArgument(
          "BAD_LABEL", "a label is " + std::to_string(labels[i]) + "; the model has " + std::to_string(classes) + " classes");
    }
    if (!std::ranges::all_of(row, [](float value) { return std::isfinite(value); })) {
      return MakeError(StatusCode::kOutOfRange, "NOT_FINITE", "the model yields NaN or infinity");
    }
    const auto label = static_cast<std::size_t>(labels[i]);
    const auto best = static_cast<std::size_t>(std::ranges::max_element(row) - row.begin());
    sums.accuracy += best == label ? 1 : 0;
    sums.cross_entropy -= LogLikelihood(row, label, probabilities);
    ++sums.examples;
  }
  return OkStatus();
}

Evaluation Mean(Evaluation sums) {
  sums.accuracy /= static_cast<double>(sums.examples);
  sums.cross_entropy /= static_cast<double>(sums.examples);
  return sums;
}

}  // namespace

bool EndsInSoftmax(const Graph& graph) {
  for (const Node& node : graph.nodes) {
    if (node.outputs[0] == graph.outputs[0]) return std::holds_alternative<Softmax>(node.op);
  }
  return false;
}

Result<Evaluation> EvaluateOutputs(std::span<const float> outputs, std::span<const std::int32_t> labels, bool probabilities) {
  if (labels.empty()) return InvalidArgument("EMPTY_DATASET", "there is no example to evaluate on");
  if (outputs.empty() || outputs.size() % labels.size() != 0) {
    return InvalidArgument("OUTPUT_SIZE", "the outputs are not one row for each label");
  }
  Evaluation sums;
  EF_RETURN_IF_ERROR(Accumulate(outputs, labels, probabilities, sums));
  return Mean(sums);
}

Result<Evaluation> Evaluate(Session& session, const Dataset& dataset) {
  const auto example_size = static_cast<std::size_t>(session.input_size());
  const auto classes = static_cast<std::size_t>(session.output_size());
  const auto batch = static_cast<std::size_t>(session.batch());
  if (dataset.size() == 0) return InvalidArgument("EMPTY_DATASET", "there is no example to evaluate on");
  if (dataset.example_size() != example_size) {
    return InvalidArgument("EXAMPLE_SIZE", "examples have " + std::to_string(dataset.example_size()) +
                                               " values, the model takes " + std::to_string(example_size));
  }
  const bool probabilities = EndsInSoftmax(session.graph());
  std::vector<float> inputs(batch * example_size, 0.0F);
  std::vector<float> outputs(batch * classes);
  std::vector<std::int32_t> labels;
  Evaluation sums;
  for (std::size_t begin = 0; begin < dataset.size(); begin += batch) {
    const std::size_t count = std::min(batch, dataset.size() - begin);
    labels.clear();
    for (std::size_t i = 0; i < count; ++i) {
      dataset.CopyExample(begin + i, std::span(inputs).subspan(i * example_size, example_size));
      labels.push_back(dataset.Label(begin + i));
    }
    EF_RETURN_IF_ERROR(session.Run(inputs, outputs));
    EF_RETURN_IF_ERROR(Accumulate(std::span(outputs).first(count * classes), labels, probabilities, sums));
  }
  return Mean(sums);
}

}  // namespace edgefleet::runtime
