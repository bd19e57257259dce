// Local training on the device: mini-batch SGD on softmax cross-entropy, for the classifiers that the registry marks trainable.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "device_client/runtime/dataset.h"
#include "device_client/runtime/graph.h"

namespace edgefleet::training {

struct TrainerOptions {
  std::int32_t batch_size = 10;  // 1 to 4,096
  int threads = 1;               // 1 to 64, all of them working only inside Train()
};

struct TrainProgress {
  std::int32_t epoch = 0;  // from 0
  std::int64_t step = 0;   // steps done, all epochs
  std::int64_t steps_total = 0;
  double loss = 0;  // of the latest batch, without the proximal term
};

struct TrainOptions {
  std::int32_t epochs = 1;     // 1 to 10,000
  float learning_rate = 0.1F;  // above 0
  // FedProx (Li et al. 2020, equation 2): adds mu/2 * |w - w_start|^2 to the loss, w_start being the parameters at the start of
  // Train(). 0 is FedAvg.
  float proximal_mu = 0.0F;
  std::uint64_t seed = 0;  // of the shuffles, one an epoch
  // Both optional. Checked and called between steps, on the calling thread.
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(const TrainProgress&)> progress;
};

struct TrainResult {
  std::vector<float> parameters;  // in the order of graph.parameters
  std::int64_t examples = 0;      // of the dataset; each was seen `epochs` times
  std::int64_t steps = 0;
  double mean_loss = 0;        // over all examples seen, each measured before its step
  double last_epoch_loss = 0;  // the same over the last epoch
};

// Built once for a graph, then used for any number of runs: primitives and buffers are made once, for full batches at once and
// for an epoch's remainder when it first comes up. The same graph, parameters, data, options and machine give the same result.
// Thread-compatible; trainers are independent of one another.
class Trainer {
 public:
  // Starts with the graph's own parameters. The graph must be fp32 with one input, and one output [1, classes], which may come
  // from a Softmax; every weight and bias that is not in graph.parameters stays as it is.
  // FAILED_PRECONDITION [NOT_TRAINABLE], INVALID_ARGUMENT [BAD_BATCH | BAD_THREADS] or of ValidateGraph, RESOURCE_EXHAUSTED
  // [ARENA_TOO_LARGE], INTERNAL [TRAINER_FAILED].
  static Result<std::unique_ptr<Trainer>> Create(std::shared_ptr<const runtime::Graph> graph, TrainerOptions options = {});
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // INVALID_ARGUMENT [PARAMETER_COUNT | PARAMETER_NOT_FINITE]; the former parameters stay then.
  Status SetParameters(std::span<const float> parameters);
  std::vector<float> parameters() const;

  // Trains from the current parameters, which are the result's afterwards. INVALID_ARGUMENT [BAD_TRAIN_OPTIONS | EXAMPLE_SIZE |
  // EMPTY_DATASET | BAD_LABEL], CANCELLED [CANCELLED], OUT_OF_RANGE [DIVERGED] when the loss or a parameter is no longer
  // finite, INTERNAL [TRAINER_FAILED]. After an error the parameters are those from before the call.
  Result<TrainResult> Train(const runtime::Dataset& dataset, const TrainOptions& options);

  // Mean loss of the examples and its gradient at the current parameters, which stay; `inputs` holds labels.size() examples, at
  // most a batch. For tests and for aggregation algorithms that need gradients.
  struct LossAndGradient {
    double loss = 0;
    std::vector<float> gradient;
  };
  Result<LossAndGradient> Gradient(std::span<const float> inputs, std::span<const std::int32_t> labels);

  // Memory held besides the graph.
  std::size_t bytes() const;

 private:
  struct State;
  explicit Trainer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace edgefleet::training
