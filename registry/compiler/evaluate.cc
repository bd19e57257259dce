#include "registry/compiler/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "device_client/runtime/evaluate.h"
#include "device_client/runtime/session.h"
#include "registry/compiler/examples.h"

namespace edgefleet::compiler {
namespace {

constexpr std::size_t kBatch = 64;
constexpr std::size_t kTargetFloatsMax = std::size_t{256} << 20;

Error NotFinite() {
  return InvalidArgument("BAD_EVALUATION", "the network yields NaN or infinity on the evaluation data; check its weights");
}

Result<Metrics> MeasureLabelled(std::shared_ptr<const runtime::Graph> graph, const runtime::Dataset& dataset) {
  runtime::SessionOptions options;
  options.batch =
      std::min({static_cast<std::int64_t>(kBatch), static_cast<std::int64_t>(dataset.size()), runtime::BatchMax(*graph)});
  EF_ASSIGN_OR_RETURN(const auto session, runtime::Session::Create(std::move(graph), options));
  const auto evaluation = runtime::Evaluate(*session, dataset);
  if (!evaluation) {
    if (evaluation.error().code() != StatusCode::kOutOfRange) return MakeError(evaluation.error());
    return NotFinite();
  }
  return Metrics{static_cast<std::uint64_t>(evaluation->examples), evaluation->accuracy, evaluation->cross_entropy};
}

// The targets of one example, if the archive has them for every fp32 output.
std::optional<std::vector<float>> TargetsOf(const runtime::Graph& graph, const arrays::Archive& archive, std::size_t example,
                                            std::size_t count) {
  std::vector<float> targets;
  for (const runtime::TensorId id : graph.outputs) {
    const runtime::Tensor& output = graph.tensor(id);
    if (output.type != runtime::DataType::kFloat32) continue;
    const auto found = archive.find(output.name);
    const auto size = static_cast<std::size_t>(runtime::ElementCount(output.shape));
    if (found == archive.end() || found->second.type != arrays::ElementType::kFloat32) return std::nullopt;
    const auto values = found->second.values<float>();
    if (values.size() != size * count) return std::nullopt;
    targets.insert(targets.end(), values.begin() + static_cast<std::ptrdiff_t>(example * size),
                   values.begin() + static_cast<std::ptrdiff_t>((example + 1) * size));
  }
  return targets;
}

}  // namespace

Result<std::unique_ptr<Evaluator>> Evaluator::Create(std::shared_ptr<const runtime::Graph> fp32, ByteView npz, Metric metric) {
  auto evaluator = std::make_unique<Evaluator>();
  if (metric == Metric::kTop1) {
    EF_ASSIGN_OR_RETURN(evaluator->labelled_, ReadEvaluation(*fp32, npz));
    return evaluator;
  }
  EF_ASSIGN_OR_RETURN(evaluator->examples_, arrays::ReadNpz(npz));
  EF_ASSIGN_OR_RETURN(evaluator->count_, CheckExamples(*fp32, evaluator->examples_, "BAD_EVALUATION"));
  EF_ASSIGN_OR_RETURN(const auto runner, ExampleRunner::Create(fp32, evaluator->examples_));
  std::size_t floats = 0;
  for (std::size_t i = 0; i < evaluator->count_; ++i) {
    auto targets = TargetsOf(*fp32, evaluator->examples_, i, evaluator->count_);
    if (!targets) {
      EF_RETURN_IF_ERROR(runner->Run(i));
      targets = runner->Outputs();
    }
    floats += targets->size();
    if (floats > kTargetFloatsMax)
      return InvalidArgument("BAD_EVALUATION", "the outputs for all examples together are too large");
    evaluator->targets_.push_back(std::move(*targets));
  }
  return evaluator;
}

Result<Metrics> Evaluator::Measure(std::shared_ptr<const runtime::Graph> graph) const {
  if (labelled_) return MeasureLabelled(std::move(graph), *labelled_);
  EF_ASSIGN_OR_RETURN(const auto runner, ExampleRunner::Create(std::move(graph), examples_));
  double error = 0;
  double sum = 0;
  double squares = 0;
  double values = 0;
  for (std::size_t i = 0; i < count_; ++i) {
    EF_RETURN_IF_ERROR(runner->Run(i));
    const std::vector<float> outputs = runner->Outputs();
    for (std::size_t j = 0; j < outputs.size(); ++j) {
      const double target = targets_[i][j];
      error += (outputs[j] - target) * (outputs[j] - target);
      sum += target;
      squares += target * target;
    }
    values += static_cast<double>(outputs.size());
  }
  if (!std::isfinite(error)) return NotFinite();
  if (values == 0) return InvalidArgument("BAD_EVALUATION", "the network has no float32 output to measure");
  const double spread = squares - sum * sum / values;
  return Metrics{count_, spread > 0 ? 1 - error / spread : (error > 0 ? 0.0 : 1.0), error / values};
}

std::optional<std::string> RefusalOf(const std::string& variant, const Metrics& fp32, const Metrics& measured,
                                     const CompileOptions& options) {
  const double drop_points = 100 * (fp32.accuracy - measured.accuracy);
  if (drop_points <= options.accuracy_drop_points_max) return std::nullopt;
  char text[360];
  std::snprintf(
      text, sizeof text,
      "the %s variant loses %.2f points of accuracy against fp32 (%.2f %% to %.2f %% on %llu examples), more than the "
      "%.2f allowed; calibrate on more and more typical examples, or publish with a higher limit",
      variant.c_str(), drop_points, 100 * fp32.accuracy, 100 * measured.accuracy,
      static_cast<unsigned long long>(fp32.examples), options.accuracy_drop_points_max);
  return text;
}

}  // namespace edgefleet::compiler
