// Labelled examples for evaluation and training.
#pragma once

#include <cstdint>
#include <span>

namespace edgefleet::runtime {

// Const calls are thread-safe.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::size_t size() const = 0;
  // Elements of one example.
  virtual std::size_t example_size() const = 0;
  // Copies example `index` < size(), as the model's input, into `out` (example_size() elements).
  virtual void CopyExample(std::size_t index, std::span<float> out) const = 0;
  // The class of example `index`, 0 to classes - 1.
  virtual std::int32_t Label(std::size_t index) const = 0;
};

}  // namespace edgefleet::runtime
