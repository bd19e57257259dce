// One SGD step's forward and backward pass at a fixed batch size, as a oneDNN program. Internal to the trainer.
#pragma once

#include <cstdint>
#include <dnnl.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "device_client/runtime/graph.h"
#include "device_client/runtime/onednn/program.h"

namespace edgefleet::training {

// Where one parameter lies in the trainer's buffers of values and gradients, and in which layout: the one that the forward
// primitive of the first step that was built likes best.
struct ParameterPlace {
  runtime::TensorId tensor = 0;
  std::optional<dnnl::memory::desc> desc;
  std::size_t offset = 0;  // bytes
};

// The memory of a trainer that every step works on. Padding inside layouts is zero and stays zero.
struct StepBuffers {
  std::byte* values = nullptr;
  std::byte* gradients = nullptr;
  float* inputs = nullptr;         // batch examples
  std::int32_t* labels = nullptr;  // batch labels, checked against the number of classes
};

class TrainingStep {
 public:
  TrainingStep(std::shared_ptr<const runtime::Graph> graph, std::int64_t batch);

  // Chooses primitives; fills in layouts and offsets of `places` that have none yet. Throws dnnl::error.
  // RESOURCE_EXHAUSTED [ARENA_TOO_LARGE].
  Status Build(std::vector<ParameterPlace>& places, std::size_t bytes_max);
  void Bind(const StepBuffers& buffers, const std::vector<ParameterPlace>& places);
  // Writes all gradients; the mean loss of the batch. Throws dnnl::error.
  Result<double> Run(dnnl::stream& stream);

  std::int64_t batch() const { return batch_; }
  std::size_t bytes() const { return program_.bytes(); }

 private:
  friend class StepBuilder;

  const std::shared_ptr<const runtime::Graph> graph_;
  const std::int64_t batch_;
  runtime::onednn::Program program_;
  runtime::onednn::View input_;
  runtime::onednn::View labels_;
  // As places; nothing for a parameter that this step does not use.
  std::vector<std::optional<runtime::onednn::View>> values_;
  std::vector<std::optional<runtime::onednn::View>> gradients_;
  double loss_ = 0;
};

// The tensor that the loss is computed on: the graph's output, or the input of a final Softmax.
runtime::TensorId LogitsOf(const runtime::Graph& graph);

// FAILED_PRECONDITION [NOT_TRAINABLE] with what stands in the way.
Status CheckTrainable(const runtime::Graph& graph);

}  // namespace edgefleet::training
