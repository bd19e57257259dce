#include "device_client/agent/npy_dataset.h"

#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace edgefleet::agent {
namespace {

using arrays::ElementType;

Error Bad(const std::string& what) { return InvalidArgument("BAD_NPY", what); }

template <typename Integer>
std::vector<std::int32_t> LabelsAs(ByteView data) {
  std::vector<std::int32_t> labels(data.size() / sizeof(Integer));
  for (std::size_t i = 0; i < labels.size(); ++i) {
    Integer value;
    std::memcpy(&value, data.data() + i * sizeof value, sizeof value);
    // What does not fit becomes -1, which training refuses as BAD_LABEL.
    labels[i] = std::in_range<std::int32_t>(value) && value >= 0 ? static_cast<std::int32_t>(value) : -1;
  }
  return labels;
}

Result<std::vector<std::int32_t>> ReadLabels(const std::filesystem::path& path) {
  EF_ASSIGN_OR_RETURN(const auto file, arrays::NpyFile::Open(path));
  if (file.info().shape.size() == 1) {
    switch (file.info().type) {
      case ElementType::kInt64:
        return LabelsAs<std::int64_t>(file.data());
      case ElementType::kInt32:
        return LabelsAs<std::int32_t>(file.data());
      case ElementType::kUint8:
        return LabelsAs<std::uint8_t>(file.data());
      default:
        break;
    }
  }
  return Bad(path.string() + " must hold one int64, int32 or uint8 for each example, not " + file.info().ToString());
}

}  // namespace

NpyDataset::NpyDataset(arrays::NpyFile examples, std::vector<std::int32_t> labels)
    : examples_(std::move(examples)),
      labels_(std::move(labels)),
      example_size_(labels_.empty() ? 0 : examples_.data().size() / sizeof(float) / labels_.size()) {}

Result<std::unique_ptr<NpyDataset>> NpyDataset::Open(const std::filesystem::path& examples,
                                                     const std::filesystem::path& labels) {
  EF_ASSIGN_OR_RETURN(auto file, arrays::NpyFile::Open(examples));
  if (file.info().type != ElementType::kFloat32 || file.info().shape.empty()) {
    return Bad(examples.string() + " must be float32 with one row an example, not " + file.info().ToString());
  }
  EF_ASSIGN_OR_RETURN(auto classes, ReadLabels(labels));
  if (!std::cmp_equal(classes.size(), file.info().shape[0])) {
    return Bad(labels.string() + " has " + std::to_string(classes.size()) + " labels for the " +
               std::to_string(file.info().shape[0]) + " examples of " + examples.string());
  }
  return std::unique_ptr<NpyDataset>(new NpyDataset(std::move(file), std::move(classes)));
}

void NpyDataset::CopyExample(std::size_t index, std::span<float> out) const {
  std::memcpy(out.data(), examples_.data().data() + index * example_size_ * sizeof(float), example_size_ * sizeof(float));
}

}  // namespace edgefleet::agent
