#include "registry/compiler/quantization/search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <utility>

#include "registry/compiler/examples.h"
#include "registry/compiler/quantization/bit_allocation.h"
#include "registry/compiler/quantization/correction.h"
#include "registry/compiler/quantization/prepare.h"

namespace edgefleet::compiler {
namespace {

using GraphPtr = std::shared_ptr<const runtime::Graph>;

constexpr std::array<std::string_view, 6> kNames{"fp32", "fp16", "bf16", "int8", "int4", "mixed"};

constexpr std::size_t kMeasuredExamples = 64;                   // on which candidates are compared
constexpr std::size_t kMeasuredFloats = std::size_t{16} << 20;  // of their outputs
constexpr std::size_t kLayerExamples = 8;                       // on which layers are compared
constexpr std::size_t kSensitivityExamples = 16;
constexpr double kFormerLossDb = 0.1;
constexpr double kEqualizationGainDb = 0.5;  // it changes every weight of the next version, too
constexpr double kMixedSnrDb = 20;
constexpr int kBudgetSteps = 8;

std::string Text(const char* format, double a, double b) {
  char text[160];
  std::snprintf(text, sizeof text, format, a, b);
  return text;
}

Precision LayerPrecision(VariantPrecision precision) {
  switch (precision) {
    case VariantPrecision::kFp16:
      return Precision::kFp16;
    case VariantPrecision::kBf16:
      return Precision::kBf16;
    case VariantPrecision::kInt8:
      return Precision::kInt8;
    case VariantPrecision::kInt4:
      return Precision::kInt4;
    default:
      return Precision::kFp32;
  }
}

// A network with what calibration knows of it.
struct Base {
  GraphPtr graph;
  std::optional<Calibration> calibration;
  std::vector<ActivationRange> ranges;
};

struct Candidate {
  const Base* base = nullptr;
  QuantizedGraph quantized;
  GraphPtr graph;  // quantized.graph
  std::vector<std::vector<float>> shifts;
  std::optional<ErrorMeasures> error;
  double mse() const { return error ? error->mse : 0; }
};

}  // namespace

class Quantizer::Search {
 public:
  explicit Search(SearchInput input) : input_(std::move(input)) {}

  Result<SearchResult> Run(VariantPrecision precision, const runtime::Graph* former) {
    precision_ = precision;
    former_ = former;
    decisions_ = preparations_;
    sensitivity_.clear();
    if (precision == VariantPrecision::kInt8 && input_.calibration == nullptr) {
      return InvalidArgument("BAD_CALIBRATION", "int8 needs calibration data: examples of what the model will see");
    }
    const std::vector<Precision> uniform(plain_.graph->nodes.size(), LayerPrecision(precision_));
    Candidate best;
    if (precision_ == VariantPrecision::kMixed) {
      EF_ASSIGN_OR_RETURN(best, Mix());
    } else {
      EF_ASSIGN_OR_RETURN(best, Improve(uniform));
      EF_ASSIGN_OR_RETURN(best, UseFormer(uniform, std::move(best)));
      EF_ASSIGN_OR_RETURN(best, Retry(uniform, std::move(best)));
    }
    return Finish(std::move(best));
  }

  Status Prepare() {
    runtime::Graph graph = SplitActivations(*input_.fp32);
    const QuantizationOptions& options = input_.options;
    if (options.prune_channels > 0) {
      EF_ASSIGN_OR_RETURN(graph, PruneChannels(graph, options.prune_channels));
      Decide("channel pruning", true, Text("%.0f %% of the channels of paired layers", 100 * options.prune_channels, 0));
    }
    if (options.prune_weights > 0) {
      EF_RETURN_IF_ERROR(PruneWeights(graph, options.prune_weights));
      Decide("weight pruning", true, Text("%.0f %% of the weights are zero", 100 * options.prune_weights, 0));
    }
    if (input_.calibration != nullptr) EF_RETURN_IF_ERROR(MeasureReference());
    EF_ASSIGN_OR_RETURN(plain_, MakeBase(std::move(graph)));
    if (input_.score) {
      EF_ASSIGN_OR_RETURN(fp32_score_, input_.score(input_.fp32));
    }
    preparations_ = std::move(decisions_);
    return OkStatus();
  }

 private:
  Result<Base> MakeBase(runtime::Graph graph) const {
    Base base{std::make_shared<const runtime::Graph>(std::move(graph)), std::nullopt, {}};
    if (input_.calibration == nullptr) return base;
    EF_ASSIGN_OR_RETURN(base.calibration, Calibrate(base.graph, *input_.calibration));
    EF_ASSIGN_OR_RETURN(base.ranges, ChooseRanges(*base.graph, *base.calibration, input_.options.calibration));
    return base;
  }

  // The fp32 network's outputs on the first calibration examples.
  Status MeasureReference() {
    EF_ASSIGN_OR_RETURN(const std::size_t count, CheckExamples(*input_.fp32, *input_.calibration, "BAD_CALIBRATION"));
    EF_ASSIGN_OR_RETURN(const auto runner, ExampleRunner::Create(input_.fp32, *input_.calibration));
    std::size_t floats = 0;
    for (std::size_t i = 0; i < std::min(count, kMeasuredExamples) && floats < kMeasuredFloats; ++i) {
      EF_RETURN_IF_ERROR(runner->Run(i));
      reference_.push_back(runner->Outputs());
      floats += reference_.back().size();
    }
    return OkStatus();
  }

  Result<ErrorMeasures> OutputError(const GraphPtr& graph, std::size_t examples) const {
    EF_ASSIGN_OR_RETURN(const auto runner, ExampleRunner::Create(graph, *input_.calibration));
    ErrorMeter meter;
    for (std::size_t i = 0; i < std::min(examples, reference_.size()); ++i) {
      EF_RETURN_IF_ERROR(runner->Run(i));
      meter.Add(reference_[i], runner->Outputs());
    }
    return meter.Measures();
  }

  Result<Candidate> Build(const Base& base, std::span<const Precision> precisions, std::vector<std::vector<float>> shifts,
                          const runtime::Graph* former, std::size_t examples = kMeasuredExamples) const {
    Candidate candidate;
    candidate.base = &base;
    candidate.shifts = std::move(shifts);
    EF_ASSIGN_OR_RETURN(candidate.quantized, Rewrite({*base.graph, precisions, base.ranges, candidate.shifts,
                                                      input_.options.group_size, input_.options.per_tensor_weights, former}));
    candidate.graph = std::make_shared<const runtime::Graph>(candidate.quantized.graph);
    if (!reference_.empty()) {
      EF_ASSIGN_OR_RETURN(candidate.error, OutputError(candidate.graph, examples));
    }
    return candidate;
  }

  void Decide(std::string what, bool chosen, std::string why) {
    decisions_.push_back({std::move(what), chosen, std::move(why)});
  }

  // By how much quantizing a candidate's weights shifts its layers' mean outputs.
  static std::vector<std::vector<float>> ShiftsOf(const Candidate& candidate) {
    const runtime::Graph& graph = *candidate.base->graph;
    std::vector<std::vector<float>> shifts(graph.nodes.size());
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      const runtime::Node& node = graph.nodes[i];
      const std::vector<float>& weights = candidate.quantized.weights[i];
      const auto* conv = std::get_if<runtime::Conv2d>(&node.op);
      if (weights.empty() || (conv == nullptr && !std::holds_alternative<runtime::FullyConnected>(node.op))) continue;
      const auto& means = candidate.base->calibration->channel_means[static_cast<std::size_t>(node.inputs[0])];
      const runtime::Tensor& exact = graph.tensor(node.inputs[1]);
      shifts[i] = MeanShift(Floats(exact), weights, static_cast<std::size_t>(exact.shape[0]), means,
                            conv == nullptr ? 1 : static_cast<std::size_t>(conv->groups));
    }
    return shifts;
  }

  // `candidate`, or what replaces it if its output error is smaller by more than `gain_db`.
  Candidate Better(std::string what, Candidate candidate, Candidate other, double gain_db) {
    const bool better = other.error->snr_db > candidate.error->snr_db + gain_db;
    Decide(
        std::move(what), better,
        Text("output error %.2f dB with it, %.2f dB without (signal to noise)", other.error->snr_db, candidate.error->snr_db));
    return better ? std::move(other) : std::move(candidate);
  }

  Result<Candidate> Improve(std::span<const Precision> precisions) {
    EF_ASSIGN_OR_RETURN(Candidate best, Build(plain_, precisions, {}, nullptr));
    const bool coarse = std::ranges::any_of(
        precisions, [](Precision p) { return p == Precision::kInt8 || p == Precision::kInt8Weights || p == Precision::kInt4; });
    if (!coarse || reference_.empty()) return best;
    EF_ASSIGN_OR_RETURN(Candidate corrected, Build(plain_, precisions, ShiftsOf(best), nullptr));
    best = Better("bias correction", std::move(best), std::move(corrected), 0);
    if (!equalized_) {
      runtime::Graph graph = *plain_.graph;
      EF_ASSIGN_OR_RETURN(const std::size_t pairs, Equalize(graph));
      if (pairs == 0) return best;
      EF_ASSIGN_OR_RETURN(equalized_, MakeBase(std::move(graph)));
    }
    EF_ASSIGN_OR_RETURN(Candidate equal, Build(*equalized_, precisions, {}, nullptr));
    EF_ASSIGN_OR_RETURN(corrected, Build(*equalized_, precisions, ShiftsOf(equal), nullptr));
    if (corrected.mse() < equal.mse()) equal = std::move(corrected);
    return Better("cross-layer equalization", std::move(best), std::move(equal), kEqualizationGainDb);
  }

  // With the scales of the version before, if they are as good.
  Result<Candidate> UseFormer(std::span<const Precision> precisions, Candidate best) {
    if (former_ == nullptr) return best;
    if (reference_.empty()) {
      Decide("scales of the version before", false, "there is no calibration data to measure what they cost");
      return best;
    }
    runtime::Graph graph = *plain_.graph;
    EF_RETURN_IF_ERROR(EqualizeLike(graph, *former_));
    EF_ASSIGN_OR_RETURN(like_former_, MakeBase(std::move(graph)));
    EF_ASSIGN_OR_RETURN(Candidate same, Build(*like_former_, precisions, {}, former_));
    EF_ASSIGN_OR_RETURN(Candidate corrected, Build(*like_former_, precisions, ShiftsOf(same), former_));
    if (corrected.mse() < same.mse()) same = std::move(corrected);
    const double loss = best.error->snr_db - same.error->snr_db;
    bool chosen = !(loss > kFormerLossDb);
    std::string why =
        Text("output error %.2f dB with them, %.2f dB with new ones (signal to noise)", same.error->snr_db, best.error->snr_db);
    if (chosen && input_.score) {
      EF_ASSIGN_OR_RETURN(const double old_score, input_.score(same.graph));
      EF_ASSIGN_OR_RETURN(const double new_score, input_.score(best.graph));
      chosen = old_score >= new_score || fp32_score_ - old_score <= input_.score_drop_max / 2;
      why += Text("; score %.4f with them, %.4f with new ones", old_score, new_score);
    }
    Decide("scales of the version before", chosen, std::move(why));
    if (chosen) return same;
    return best;
  }

  std::vector<std::size_t> Layers() const {
    std::vector<std::size_t> layers;
    for (std::size_t i = 0; i < plain_.graph->nodes.size(); ++i) {
      if (WeightedLayerOf(*plain_.graph, plain_.graph->nodes[i])) layers.push_back(i);
    }
    return layers;
  }

  Result<Sensitivity> Measure(std::size_t node, Precision precision, bool with_score) const {
    std::vector<Precision> precisions(plain_.graph->nodes.size(), Precision::kFp32);
    precisions[node] = precision;
    EF_ASSIGN_OR_RETURN(const Candidate alone, Build(plain_, precisions, {}, nullptr, kSensitivityExamples));
    Sensitivity out{node, precision, alone.error ? alone.error->snr_db : WeightSnr(alone, node), std::nullopt};
    if (with_score && input_.score) {
      EF_ASSIGN_OR_RETURN(const double score, input_.score(alone.graph));
      out.score_drop = fp32_score_ - score;
    }
    return out;
  }

  // Without data the weights' own error stands for the outputs'.
  static double WeightSnr(const Candidate& candidate, std::size_t node) {
    const auto& error = candidate.quantized.nodes[node].weight_error;
    return error ? error->snr_db : std::numeric_limits<double>::infinity();
  }

  Result<bool> GoodEnough(const Candidate& candidate, double& score) const {
    if (!input_.score) return true;
    EF_ASSIGN_OR_RETURN(score, input_.score(candidate.graph));
    return fp32_score_ - score <= input_.score_drop_max;
  }

  Result<Candidate> Retry(std::span<const Precision> uniform, Candidate best) {
    double score = 0;
    EF_ASSIGN_OR_RETURN(const bool good, GoodEnough(best, score));
    const std::vector<std::size_t> layers = Layers();
    if (good || uniform.empty() || uniform[0] == Precision::kFp32 || uniform[0] == Precision::kFp16 || layers.size() < 2) {
      return best;
    }
    for (const std::size_t layer : layers) {
      EF_ASSIGN_OR_RETURN(const Sensitivity each, Measure(layer, uniform[layer], true));
      sensitivity_.push_back(each);
    }
    std::vector<Sensitivity> order = sensitivity_;
    std::ranges::stable_sort(order, {}, &Sensitivity::snr_db);
    for (std::size_t raised = 1; raised <= layers.size() / 2; raised *= 2) {
      std::vector<Precision> precisions(uniform.begin(), uniform.end());
      for (std::size_t i = 0; i < raised; ++i) precisions[order[i].node] = Precision::kFp16;
      EF_ASSIGN_OR_RETURN(Candidate candidate, Improve(precisions));
      double new_score = 0;
      EF_ASSIGN_OR_RETURN(const bool enough, GoodEnough(candidate, new_score));
      Decide(std::to_string(raised) + " most sensitive layers in fp16", enough || new_score > score,
             Text("score %.4f with it, %.4f without", new_score, score));
      if (enough || new_score > score) {
        score = new_score;
        best = std::move(candidate);
      }
      if (enough) break;
    }
    return best;
  }

  static constexpr std::array kChoices{Precision::kInt4, Precision::kInt8, Precision::kFp16};

  // Noise against signal, and bytes, of each layer in each precision.
  Result<std::vector<std::vector<PrecisionOption>>> LayerOptions(const std::vector<std::size_t>& layers) {
    std::vector<std::vector<PrecisionOption>> options;
    for (const std::size_t layer : layers) {
      options.emplace_back();
      for (Precision precision : kChoices) {
        if (precision == Precision::kInt8 && reference_.empty()) precision = Precision::kInt8Weights;
        EF_ASSIGN_OR_RETURN(const Sensitivity each, Measure(layer, precision, false));
        sensitivity_.push_back(each);
        options.back().push_back({BytesOf(layer, precision), std::pow(10, -each.snr_db / 10)});
      }
    }
    return options;
  }

  std::uint64_t BytesOf(std::size_t layer, Precision precision) const {
    const runtime::Node& node = plain_.graph->nodes[layer];
    std::uint64_t bytes = 0;
    const std::optional<WeightedLayer> weighted = WeightedLayerOf(*plain_.graph, node);
    if (!weighted) return 0;
    for (const std::size_t input : weighted->weights) {
      const auto& shape = plain_.graph->tensor(node.inputs[input]).shape;
      const runtime::DataType type = precision == Precision::kInt4   ? runtime::DataType::kInt4
                                     : precision == Precision::kFp16 ? runtime::DataType::kFloat16
                                                                     : runtime::DataType::kInt8;
      bytes += runtime::ConstantBytes(type, shape, input_.options.group_size);
    }
    return bytes;
  }

  Result<Candidate> Mix() {
    const std::vector<std::size_t> layers = Layers();
    EF_ASSIGN_OR_RETURN(const auto options, LayerOptions(layers));
    const auto build = [&](const Allocation& allocation) {
      std::vector<Precision> precisions(plain_.graph->nodes.size(), reference_.empty() ? Precision::kFp32 : Precision::kInt8);
      for (std::size_t i = 0; i < layers.size(); ++i) {
        precisions[layers[i]] = kChoices[allocation.choices[i]];
        if (precisions[layers[i]] == Precision::kInt8 && reference_.empty()) precisions[layers[i]] = Precision::kInt8Weights;
      }
      return Improve(precisions);
    };
    if (input_.options.size_share_max) {
      std::uint64_t fp32_bytes = 0;
      for (const std::size_t layer : layers) fp32_bytes += 2 * BytesOf(layer, Precision::kFp16);
      const double budget = *input_.options.size_share_max * static_cast<double>(fp32_bytes);
      const Allocation allocation = AllocateForSize(options, static_cast<std::uint64_t>(budget));
      Decide("size budget", allocation.within_budget,
             Text("the weights take %.0f bytes of %.0f", static_cast<double>(allocation.bytes), budget));
      return build(allocation);
    }
    // Bisects the noise (in dB) between what is heard and what is not.
    double low = 0;
    double high = 60;
    EF_ASSIGN_OR_RETURN(Candidate best, build(AllocateForNoise(options, std::pow(10, -high / 10))));
    for (int step = 0; step < kBudgetSteps; ++step) {
      const double middle = input_.score ? (low + high) / 2 : kMixedSnrDb;
      EF_ASSIGN_OR_RETURN(Candidate candidate, build(AllocateForNoise(options, std::pow(10, -middle / 10))));
      if (!input_.score) return candidate;
      double score = 0;
      EF_ASSIGN_OR_RETURN(const bool good, GoodEnough(candidate, score));
      Decide(Text("layers within %.1f dB of output error", middle, 0), good,
             Text("score %.4f against %.4f of fp32", score, fp32_score_));
      (good ? high : low) = middle;
      if (good) best = std::move(candidate);
    }
    return best;
  }

  // Compares each node's output, node by node, on a few examples.
  Result<std::vector<std::optional<ErrorMeasures>>> LayerErrors(const Candidate& best) const {
    const runtime::Graph& graph = *best.base->graph;
    std::vector<std::optional<ErrorMeasures>> errors(graph.nodes.size());
    if (reference_.empty()) return errors;
    std::map<std::string, std::vector<float>> exact;
    runtime::SessionOptions keep;
    keep.observer = [&](runtime::TensorId id, std::span<const float> values) {
      if (graph.tensor(id).type == runtime::DataType::kFloat32)
        exact[graph.tensor(id).name].assign(values.begin(), values.end());
    };
    std::map<std::string, ErrorMeter> meters;
    runtime::SessionOptions compare;
    compare.observer = [&](runtime::TensorId id, std::span<const float> values) {
      std::string name = best.graph->tensor(id).name;
      for (const std::string_view suffix : {"_int8", "_bf16"}) {
        if (name.ends_with(suffix) && !exact.contains(name)) name.resize(name.size() - suffix.size());
      }
      const auto found = exact.find(name);
      if (found != exact.end() && found->second.size() == values.size()) meters[name].Add(found->second, values);
    };
    EF_ASSIGN_OR_RETURN(const auto fp32, ExampleRunner::Create(best.base->graph, *input_.calibration, std::move(keep)));
    EF_ASSIGN_OR_RETURN(const auto rough, ExampleRunner::Create(best.graph, *input_.calibration, std::move(compare)));
    for (std::size_t i = 0; i < std::min(kLayerExamples, reference_.size()); ++i) {
      EF_RETURN_IF_ERROR(fp32->Run(i));
      EF_RETURN_IF_ERROR(rough->Run(i));
    }
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      const runtime::TensorId output = graph.nodes[i].outputs[0];
      const auto found = output == runtime::kAbsent ? meters.end() : meters.find(graph.tensor(output).name);
      if (found != meters.end()) errors[i] = found->second.Measures();
    }
    return errors;
  }

  Result<SearchResult> Finish(Candidate best) {
    SearchResult out;
    EF_ASSIGN_OR_RETURN(out.layer_errors, LayerErrors(best));
    out.fp32 = best.base->graph;
    out.quantized = std::move(best.quantized);
    out.calibration = best.base->calibration;
    out.ranges = best.base->ranges;
    out.output_error = best.error;
    out.sensitivity = std::move(sensitivity_);
    out.decisions = std::move(decisions_);
    return out;
  }

  const SearchInput input_;
  VariantPrecision precision_ = VariantPrecision::kFp32;
  const runtime::Graph* former_ = nullptr;
  Base plain_;
  std::optional<Base> equalized_;
  std::optional<Base> like_former_;
  std::vector<std::vector<float>> reference_;  // outputs, by example; none without calibration data
  double fp32_score_ = 0;
  std::vector<Sensitivity> sensitivity_;
  std::vector<Decision> preparations_;
  std::vector<Decision> decisions_;
};

std::string_view VariantPrecisionName(VariantPrecision precision) { return kNames[static_cast<std::size_t>(precision)]; }

std::optional<VariantPrecision> ParseVariantPrecision(std::string_view name) {
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<VariantPrecision>(found - kNames.begin());
}

Quantizer::Quantizer(std::unique_ptr<Search> search) : search_(std::move(search)) {}
Quantizer::~Quantizer() = default;

Result<std::unique_ptr<Quantizer>> Quantizer::Create(SearchInput input) {
  auto search = std::make_unique<Search>(std::move(input));
  EF_RETURN_IF_ERROR(search->Prepare());
  return std::unique_ptr<Quantizer>(new Quantizer(std::move(search)));
}

Result<SearchResult> Quantizer::Quantize(VariantPrecision precision, const runtime::Graph* former) {
  return search_->Run(precision, former);
}

}  // namespace edgefleet::compiler
