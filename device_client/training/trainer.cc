#include "device_client/training/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>

#include "base/random.h"
#include "device_client/runtime/parameters.h"
#include "device_client/runtime/validate.h"
#include "device_client/training/loss.h"
#include "device_client/training/step.h"

namespace edgefleet::training {
namespace {

using runtime::AlignedBuffer;
using runtime::Dataset;
using runtime::Graph;
namespace onednn = runtime::onednn;

constexpr char kFailed[] = "TRAINER_FAILED";
constexpr std::int32_t kBatchMax = 4'096;
constexpr int kThreadsMax = 64;
constexpr std::int32_t kEpochsMax = 10'000;
constexpr std::size_t kBytesMax = std::size_t{2} << 30;

bool AllFinite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

Error Diverged() {
  return MakeError(StatusCode::kOutOfRange, "DIVERGED",
                   "the loss or a parameter is no longer finite; use a lower learning rate");
}

Status CheckOptions(const TrainOptions& options) {
  if (options.epochs < 1 || options.epochs > kEpochsMax || !std::isfinite(options.learning_rate) ||
      options.learning_rate <= 0 || !std::isfinite(options.proximal_mu) || options.proximal_mu < 0) {
    return InvalidArgument("BAD_TRAIN_OPTIONS", "epochs must be 1 to " + std::to_string(kEpochsMax) +
                                                    ", the learning rate above 0 and mu not below 0, all finite");
  }
  return OkStatus();
}

}  // namespace

struct Trainer::State {
  std::shared_ptr<const Graph> graph;
  TrainerOptions options;
  std::size_t example_size = 0;
  std::int32_t classes = 0;
  dnnl::stream stream;
  std::vector<ParameterPlace> places;
  AlignedBuffer values;
  AlignedBuffer gradients;
  AlignedBuffer start;      // the values at the start of Train()
  std::vector<float> flat;  // the values in the order of graph.parameters, outside Train()
  std::vector<float> inputs;
  std::vector<std::int32_t> labels;
  std::unique_ptr<TrainingStep> full;
  std::unique_ptr<TrainingStep> remainder;  // the latest other batch size

  static std::span<float> Floats(const AlignedBuffer& buffer) {
    return {reinterpret_cast<float*>(buffer.data()), buffer.size() / sizeof(float)};
  }

  Status Prepare();
  Result<TrainingStep*> StepFor(std::size_t batch);
  Status CheckData(const Dataset& dataset) const;
  Status CheckLabels(std::span<const std::int32_t> batch) const;
  void Import(std::span<const float> from_flat);
  std::vector<float> Export(const AlignedBuffer& buffer) const;
  Status Train(const Dataset& dataset, const TrainOptions& train, TrainResult& result);
};

Status Trainer::State::Prepare() {
  if (options.batch_size < 1 || options.batch_size > kBatchMax) {
    return InvalidArgument("BAD_BATCH", "a batch is 1 to " + std::to_string(kBatchMax));
  }
  if (options.threads < 1 || options.threads > kThreadsMax) {
    return InvalidArgument("BAD_THREADS", "a trainer has 1 to " + std::to_string(kThreadsMax) + " threads");
  }
  EF_RETURN_IF_ERROR(runtime::ValidateGraph(*graph));
  EF_RETURN_IF_ERROR(CheckTrainable(*graph));
  const auto& input = graph->tensors[static_cast<std::size_t>(graph->inputs[0])];
  const auto& output = graph->tensors[static_cast<std::size_t>(graph->outputs[0])];
  example_size = static_cast<std::size_t>(runtime::ElementCount(input.shape));
  classes = static_cast<std::int32_t>(output.shape[1]);
  const auto batch = static_cast<std::size_t>(options.batch_size);
  if (batch * example_size > kBytesMax / sizeof(float)) {
    return ResourceExhausted("ARENA_TOO_LARGE", "a batch of inputs needs too much memory; use a smaller batch");
  }
  for (const runtime::TensorId id : graph->parameters) places.push_back({id, std::nullopt, 0});

  const onednn::ThreadScope threads(options.threads);
  stream = dnnl::stream(onednn::Engine());
  full = std::make_unique<TrainingStep>(graph, options.batch_size);
  EF_RETURN_IF_ERROR(full->Build(places, kBytesMax));
  const std::size_t bytes = places.back().offset + (places.back().desc->get_size() + 63) / 64 * 64;
  EF_ASSIGN_OR_RETURN(values, AlignedBuffer::Allocate(bytes));
  EF_ASSIGN_OR_RETURN(gradients, AlignedBuffer::Allocate(bytes));
  EF_ASSIGN_OR_RETURN(start, AlignedBuffer::Allocate(bytes));
  inputs.resize(batch * example_size);
  labels.resize(batch);
  full->Bind({values.data(), gradients.data(), inputs.data(), labels.data()}, places);
  flat = runtime::ReadParameters(*graph);
  Import(flat);
  return OkStatus();
}

Result<TrainingStep*> Trainer::State::StepFor(std::size_t batch) {
  const auto wanted = static_cast<std::int64_t>(batch);
  if (wanted == full->batch()) return full.get();
  if (!remainder || remainder->batch() != wanted) {
    remainder.reset();
    auto step = std::make_unique<TrainingStep>(graph, wanted);
    EF_RETURN_IF_ERROR(step->Build(places, kBytesMax));
    step->Bind({values.data(), gradients.data(), inputs.data(), labels.data()}, places);
    remainder = std::move(step);
  }
  return remainder.get();
}

Status Trainer::State::CheckLabels(std::span<const std::int32_t> batch) const {
  for (const std::int32_t label : batch) {
    if (label < 0 || label >= classes) {
      return InvalidArgument("BAD_LABEL",
                             "a label is " + std::to_string(label) + "; the model has " + std::to_string(classes) + " classes");
    }
  }
  return OkStatus();
}

Status Trainer::State::CheckData(const Dataset& dataset) const {
  if (dataset.size() == 0) return InvalidArgument("EMPTY_DATASET", "there is no example to train on");
  if (dataset.example_size() != example_size) {
    return InvalidArgument("EXAMPLE_SIZE", "examples have " + std::to_string(dataset.example_size()) +
                                               " values, the model takes " + std::to_string(example_size));
  }
  return OkStatus();
}

// From the flat vector into the layouts of the primitives.
void Trainer::State::Import(std::span<const float> from_flat) {
  for (const ParameterPlace& place : places) {
    const auto plain = onednn::Plain(place.desc->dims(), dnnl::memory::data_type::f32);
    dnnl::memory from(plain, onednn::Engine(), const_cast<float*>(from_flat.data()));
    dnnl::memory to(*place.desc, onednn::Engine(), values.data() + place.offset);
    dnnl::reorder(from, to).execute(stream, from, to);
    from_flat = from_flat.subspan(plain.get_size() / sizeof(float));
  }
  stream.wait();
}

std::vector<float> Trainer::State::Export(const AlignedBuffer& buffer) const {
  std::vector<float> exported(static_cast<std::size_t>(runtime::ParameterCount(*graph)));
  float* out = exported.data();
  dnnl::stream order(onednn::Engine());
  for (const ParameterPlace& place : places) {
    const auto plain = onednn::Plain(place.desc->dims(), dnnl::memory::data_type::f32);
    dnnl::memory from(*place.desc, onednn::Engine(), buffer.data() + place.offset);
    dnnl::memory to(plain, onednn::Engine(), out);
    dnnl::reorder(from, to).execute(order, from, to);
    out += plain.get_size() / sizeof(float);
  }
  order.wait();
  return exported;
}

Status Trainer::State::Train(const Dataset& dataset, const TrainOptions& train, TrainResult& result) {
  const auto batch_size = static_cast<std::size_t>(options.batch_size);
  const std::size_t size = dataset.size();
  TrainProgress progress;
  progress.steps_total = static_cast<std::int64_t>((size + batch_size - 1) / batch_size) * train.epochs;
  SeededRandom random(train.seed);
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  double loss_sum = 0;
  for (progress.epoch = 0; progress.epoch < train.epochs; ++progress.epoch) {
    for (std::size_t i = size - 1; i > 0; --i) std::swap(order[i], order[random.Below(i + 1)]);
    double epoch_sum = 0;
    for (std::size_t begin = 0; begin < size; begin += batch_size) {
      if (train.cancel != nullptr && train.cancel->load(std::memory_order_relaxed)) {
        return MakeError(StatusCode::kCancelled, "CANCELLED", "training was cancelled");
      }
      const std::size_t count = std::min(batch_size, size - begin);
      for (std::size_t i = 0; i < count; ++i) {
        dataset.CopyExample(order[begin + i], std::span(inputs).subspan(i * example_size, example_size));
        labels[i] = dataset.Label(order[begin + i]);
      }
      EF_RETURN_IF_ERROR(CheckLabels(std::span(labels).first(count)));
      EF_ASSIGN_OR_RETURN(TrainingStep* const step, StepFor(count));
      EF_ASSIGN_OR_RETURN(progress.loss, step->Run(stream));
      if (!std::isfinite(progress.loss)) return Diverged();
      SgdUpdate(Floats(values), Floats(gradients), Floats(start), train.learning_rate, train.proximal_mu);
      epoch_sum += progress.loss * static_cast<double>(count);
      ++progress.step;
      if (train.progress) train.progress(progress);
    }
    loss_sum += epoch_sum;
    result.last_epoch_loss = epoch_sum / static_cast<double>(size);
  }
  result.examples = static_cast<std::int64_t>(size);
  result.steps = progress.step;
  result.mean_loss = loss_sum / (static_cast<double>(size) * train.epochs);
  result.parameters = Export(values);
  return AllFinite(result.parameters) ? OkStatus() : Status(Diverged());
}

Trainer::Trainer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Trainer::~Trainer() = default;

Result<std::unique_ptr<Trainer>> Trainer::Create(std::shared_ptr<const Graph> graph, TrainerOptions options) {
  auto state = std::make_unique<State>();
  state->graph = std::move(graph);
  state->options = options;
  EF_RETURN_IF_ERROR(onednn::Guard(kFailed, [&] { return state->Prepare(); }));
  return std::unique_ptr<Trainer>(new Trainer(std::move(state)));
}

Status Trainer::SetParameters(std::span<const float> parameters) {
  if (static_cast<std::int64_t>(parameters.size()) != runtime::ParameterCount(*state_->graph)) {
    return InvalidArgument("PARAMETER_COUNT", "the model has " + std::to_string(runtime::ParameterCount(*state_->graph)) +
                                                  " parameters, not " + std::to_string(parameters.size()));
  }
  if (!AllFinite(parameters)) return InvalidArgument("PARAMETER_NOT_FINITE", "a parameter is NaN or infinite");
  return onednn::Guard(kFailed, [&] {
    const onednn::ThreadScope threads(state_->options.threads);
    state_->Import(parameters);
    state_->flat.assign(parameters.begin(), parameters.end());
    return OkStatus();
  });
}

std::vector<float> Trainer::parameters() const { return state_->flat; }

Result<TrainResult> Trainer::Train(const Dataset& dataset, const TrainOptions& options) {
  EF_RETURN_IF_ERROR(CheckOptions(options));
  EF_RETURN_IF_ERROR(state_->CheckData(dataset));
  std::memcpy(state_->start.data(), state_->values.data(), state_->values.size());
  TrainResult result;
  const Status status = onednn::Guard(kFailed, [&] {
    const onednn::ThreadScope threads(state_->options.threads);
    return state_->Train(dataset, options, result);
  });
  if (status.ok()) {
    state_->flat = result.parameters;
    return result;
  }
  std::memcpy(state_->values.data(), state_->start.data(), state_->values.size());
  return MakeError(status);
}

Result<Trainer::LossAndGradient> Trainer::Gradient(std::span<const float> inputs, std::span<const std::int32_t> labels) {
  State& state = *state_;
  if (labels.empty()) return InvalidArgument("EMPTY_DATASET", "there is no example");
  if (labels.size() > state.labels.size()) return InvalidArgument("BAD_BATCH", "there are more examples than a batch holds");
  if (inputs.size() != labels.size() * state.example_size) {
    return InvalidArgument("EXAMPLE_SIZE", "the inputs are not one example for each label");
  }
  EF_RETURN_IF_ERROR(state.CheckLabels(labels));
  LossAndGradient result;
  EF_RETURN_IF_ERROR(onednn::Guard(kFailed, [&]() -> Status {
    const onednn::ThreadScope threads(state.options.threads);
    EF_ASSIGN_OR_RETURN(TrainingStep* const step, state.StepFor(labels.size()));
    std::ranges::copy(inputs, state.inputs.begin());
    std::ranges::copy(labels, state.labels.begin());
    EF_ASSIGN_OR_RETURN(result.loss, step->Run(state.stream));
    result.gradient = state.Export(state.gradients);
    return OkStatus();
  }));
  return result;
}

std::size_t Trainer::bytes() const {
  const State& state = *state_;
  return state.values.size() + state.gradients.size() + state.start.size() +
         (state.flat.size() + state.inputs.size()) * sizeof(float) + state.labels.size() * sizeof(std::int32_t) +
         state.full->bytes() + (state.remainder ? state.remainder->bytes() : 0);
}

}  // namespace edgefleet::training
