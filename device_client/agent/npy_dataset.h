// Labelled examples from two .npy files, mapped: images float32 [N, ...], labels int64, int32 or uint8 [N].
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/arrays/npy.h"
#include "base/status.h"
#include "device_client/runtime/dataset.h"

namespace edgefleet::agent {

class NpyDataset final : public runtime::Dataset {
 public:
  // INVALID_ARGUMENT [BAD_NPY] says what is wrong with which file.
  static Result<std::unique_ptr<NpyDataset>> Open(const std::filesystem::path& examples, const std::filesystem::path& labels);

  std::size_t size() const override { return labels_.size(); }
  std::size_t example_size() const override { return example_size_; }
  void CopyExample(std::size_t index, std::span<float> out) const override;
  std::int32_t Label(std::size_t index) const override { return labels_[index]; }

 private:
  NpyDataset(arrays::NpyFile examples, std::vector<std::int32_t> labels);

  const arrays::NpyFile examples_;
  const std::vector<std::int32_t> labels_;
  const std::size_t example_size_;
};

}  // namespace edgefleet::agent
