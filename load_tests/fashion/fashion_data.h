// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017) as Debian's dataset-fashion-mnist installs it, and how a fleet shares it out.
//
// The 60,000 training images are split once: the first 5,000 are the holdout, which the publisher keeps for calibration and
// validation and no device ever sees; the other 55,000 belong to devices. The 10,000 test images only measure.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/arrays/npz.h"
#include "base/status.h"
#include "device_client/runtime/dataset.h"

namespace edgefleet::fashion {

inline constexpr std::size_t kSide = 28;
inline constexpr std::size_t kPixels = kSide * kSide;
inline constexpr std::int32_t kClasses = 10;
inline constexpr std::size_t kHoldout = 5'000;
inline constexpr std::size_t kCalibration = 500;
inline constexpr const char* kDefaultFolder = "/usr/share/datasets/fashion-mnist";

// Mean and standard deviation of the training pixels over 255. The network's input is (pixel / 255 - kMean) / kDeviation.
inline constexpr float kMean = 0.2860F;
inline constexpr float kDeviation = 0.3530F;

struct Images {
  std::vector<std::uint8_t> pixels;  // kPixels an image, row by row
  std::vector<std::uint8_t> labels;  // 0 to 9
  std::size_t size() const { return labels.size(); }
};

// The network's input for one image; `out` has kPixels elements.
void Normalize(std::span<const std::uint8_t> pixels, std::span<float> out);

// Reads a pair of gzipped IDX files (yann.lecun.com/exdb/mnist, "the IDX file format"). NOT_FOUND [DATASET_MISSING] says which
// package to install; INVALID_ARGUMENT [BAD_DATASET] for files that are damaged or of another shape.
Result<Images> ReadImages(const std::filesystem::path& images, const std::filesystem::path& labels);

struct FashionMnist {
  std::shared_ptr<const Images> devices;  // 55,000
  Images holdout;                         // 5,000
  Images test;                            // 10,000
};
// Errors as ReadImages.
Result<FashionMnist> LoadFashionMnist(const std::filesystem::path& folder = kDefaultFolder);

// One device's examples, as indices into FashionMnist::devices.
using Shard = std::vector<std::uint32_t>;

// Every example on one device; sizes differ by at most one; all drawn at random. Reproducible from the seed.
// INVALID_ARGUMENT [BAD_SHARDS] if there are fewer examples than devices, or no devices.
Result<std::vector<Shard>> ShardIid(std::size_t examples, std::size_t devices, std::uint64_t seed);

// McMahan et al. 2017, section 3: sorts the examples by label, cuts them into devices * shards_per_device pieces and gives each
// device that many at random, so that with two most devices hold examples of two classes. Errors as ShardIid.
Result<std::vector<Shard>> ShardSorted(std::span<const std::uint8_t> labels, std::size_t devices, std::size_t shards_per_device,
                                       std::uint64_t seed);

// A shard as training data. Thread-safe.
class ShardDataset final : public runtime::Dataset {
 public:
  ShardDataset(std::shared_ptr<const Images> images, Shard shard) : images_(std::move(images)), shard_(std::move(shard)) {}
  std::size_t size() const override { return shard_.size(); }
  std::size_t example_size() const override { return kPixels; }
  void CopyExample(std::size_t index, std::span<float> out) const override {
    Normalize(std::span(images_->pixels).subspan(shard_[index] * kPixels, kPixels), out);
  }
  std::int32_t Label(std::size_t index) const override { return images_->labels[shard_[index]]; }

 private:
  const std::shared_ptr<const Images> images_;
  const Shard shard_;
};

// The first `count` (at most all) images as the arrays "image" (float32 [N, 1, 28, 28], normalized) and, if asked for,
// "labels".
arrays::Archive ToNpz(const Images& images, std::size_t count, bool with_labels);

}  // namespace edgefleet::fashion
