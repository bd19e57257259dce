// Labelled examples from two .npy files, mapped: images float32 [N, ...], labels int64 or int32 [N]; C order, little-endian
// (the NumPy format, version 1.0 to 3.0).
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "device_client/runtime/dataset.h"

namespace edgefleet::agent {

// One mapped array. INVALID_ARGUMENT [BAD_NPY] says what is wrong.
struct NpyArray {
  std::string dtype;  // "<f4"
  std::vector<std::size_t> shape;
  ByteView data;
  std::shared_ptr<const MappedFile> file;

  static Result<NpyArray> Open(const std::filesystem::path& path);
  std::size_t elements() const;
};

class NpyDataset final : public runtime::Dataset {
 public:
  static Result<std::unique_ptr<NpyDataset>> Open(const std::filesystem::path& examples, const std::filesystem::path& labels);

  std::size_t size() const override { return labels_.size(); }
  std::size_t example_size() const override { return example_size_; }
  void CopyExample(std::size_t index, std::span<float> out) const override;
  std::int32_t Label(std::size_t index) const override { return labels_[index]; }

 private:
  NpyArray examples_;
  std::size_t example_size_ = 0;
  std::vector<std::int32_t> labels_;
};

}  // namespace edgefleet::agent
