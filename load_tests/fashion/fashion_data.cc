#include "load_tests/fashion/fashion_data.h"

#include <zlib.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "base/random.h"

namespace edgefleet::fashion {
namespace {

constexpr std::size_t kImagesMax = 1'000'000;
constexpr std::uint32_t kImagesMagic = 0x803;  // unsigned bytes, 3 dimensions
constexpr std::uint32_t kLabelsMagic = 0x801;

Error BadDataset(const std::filesystem::path& path, const std::string& what) {
  return InvalidArgument("BAD_DATASET", path.string() + ": " + what + "; install the package dataset-fashion-mnist again");
}

struct GzClose {
  void operator()(gzFile_s* file) const { gzclose(file); }
};
using GzFile = std::unique_ptr<gzFile_s, GzClose>;

bool ReadExactly(gzFile file, std::span<std::uint8_t> out) {
  return gzread(file, out.data(), static_cast<unsigned>(out.size())) == static_cast<int>(out.size());
}

bool ReadBigEndian(gzFile file, std::uint32_t& value) {
  std::array<std::uint8_t, 4> bytes{};
  if (!ReadExactly(file, bytes)) return false;
  value = 0;
  for (const std::uint8_t byte : bytes) value = value << 8 | byte;
  return true;
}

// The items of an IDX file of `item_size` bytes each, whose dimensions after the first are `dimensions`.
Result<std::vector<std::uint8_t>> ReadIdx(const std::filesystem::path& path, std::uint32_t magic,
                                          std::span<const std::uint32_t> dimensions) {
  const GzFile file(gzopen(path.c_str(), "rb"));
  if (!file) {
    return NotFound("DATASET_MISSING",
                    path.string() + " cannot be opened; install the package dataset-fashion-mnist, or name another folder");
  }
  std::uint32_t found = 0;
  std::uint32_t count = 0;
  if (!ReadBigEndian(file.get(), found) || found != magic) return BadDataset(path, "not an IDX file of this kind");
  if (!ReadBigEndian(file.get(), count) || count == 0 || count > kImagesMax)
    return BadDataset(path, "the number of items is absurd");
  std::size_t item_size = 1;
  for (const std::uint32_t wanted : dimensions) {
    if (!ReadBigEndian(file.get(), found) || found != wanted) return BadDataset(path, "the images are not 28 by 28");
    item_size *= wanted;
  }
  std::vector<std::uint8_t> data(count * item_size);
  std::uint8_t extra = 0;
  if (!ReadExactly(file.get(), data) || gzread(file.get(), &extra, 1) != 0)
    return BadDataset(path, "the file is truncated or damaged");
  return data;
}

Images Slice(const Images& images, std::size_t begin, std::size_t end) {
  const auto at = [](const std::vector<std::uint8_t>& from, std::size_t index) {
    return from.begin() + static_cast<std::ptrdiff_t>(index);
  };
  return {{at(images.pixels, begin * kPixels), at(images.pixels, end * kPixels)},
          {at(images.labels, begin), at(images.labels, end)}};
}

void Shuffle(std::span<std::uint32_t> values, RandomSource& random) {
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[random.Below(i)]);
}

Status CheckShards(std::size_t examples, std::size_t pieces) {
  if (pieces == 0 || pieces > examples) {
    return InvalidArgument(
        "BAD_SHARDS", std::to_string(examples) + " examples cannot be shared out in " + std::to_string(pieces) + " pieces");
  }
  return OkStatus();
}

// Piece `index` of `pieces`, whose sizes differ by at most one.
std::span<const std::uint32_t> Piece(std::span<const std::uint32_t> all, std::size_t index, std::size_t pieces) {
  const std::size_t begin = all.size() * index / pieces;
  return all.subspan(begin, all.size() * (index + 1) / pieces - begin);
}

std::vector<std::uint32_t> Indices(std::size_t count) {
  std::vector<std::uint32_t> indices(count);
  std::iota(indices.begin(), indices.end(), 0U);
  return indices;
}

}  // namespace

void Normalize(std::span<const std::uint8_t> pixels, std::span<float> out) {
  for (std::size_t i = 0; i < kPixels; ++i) out[i] = (static_cast<float>(pixels[i]) / 255.0F - kMean) / kDeviation;
}

Result<Images> ReadImages(const std::filesystem::path& images, const std::filesystem::path& labels) {
  constexpr std::array<std::uint32_t, 2> kDimensions{kSide, kSide};
  Images read;
  EF_ASSIGN_OR_RETURN(read.pixels, ReadIdx(images, kImagesMagic, kDimensions));
  EF_ASSIGN_OR_RETURN(read.labels, ReadIdx(labels, kLabelsMagic, {}));
  if (read.pixels.size() != read.labels.size() * kPixels) return BadDataset(labels, "there are not as many labels as images");
  if (std::ranges::any_of(read.labels, [](std::uint8_t label) { return label >= kClasses; })) {
    return BadDataset(labels, "a label is above 9");
  }
  return read;
}

Result<FashionMnist> LoadFashionMnist(const std::filesystem::path& folder) {
  EF_ASSIGN_OR_RETURN(const Images train,
                      ReadImages(folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz"));
  if (train.size() <= kHoldout) return BadDataset(folder, "there are too few training images for a holdout of 5,000");
  FashionMnist data;
  EF_ASSIGN_OR_RETURN(data.test, ReadImages(folder / "t10k-images-idx3-ubyte.gz", folder / "t10k-labels-idx1-ubyte.gz"));
  data.holdout = Slice(train, 0, kHoldout);
  data.devices = std::make_shared<const Images>(Slice(train, kHoldout, train.size()));
  return data;
}

Result<std::vector<Shard>> ShardIid(std::size_t examples, std::size_t devices, std::uint64_t seed) {
  EF_RETURN_IF_ERROR(CheckShards(examples, devices));
  SeededRandom random(seed);
  std::vector<std::uint32_t> indices = Indices(examples);
  Shuffle(indices, random);
  std::vector<Shard> shards;
  for (std::size_t d = 0; d < devices; ++d) {
    const auto piece = Piece(indices, d, devices);
    shards.emplace_back(piece.begin(), piece.end());
  }
  return shards;
}

Result<std::vector<Shard>> ShardSorted(std::span<const std::uint8_t> labels, std::size_t devices, std::size_t shards_per_device,
                                       std::uint64_t seed) {
  if (devices > labels.size() || shards_per_device > labels.size())
    return MakeError(CheckShards(labels.size(), labels.size() + 1));
  const std::size_t pieces = devices * shards_per_device;
  EF_RETURN_IF_ERROR(CheckShards(labels.size(), pieces));
  SeededRandom random(seed);
  std::vector<std::uint32_t> indices = Indices(labels.size());
  std::ranges::stable_sort(indices, {}, [&](std::uint32_t i) { return labels[i]; });
  std::vector<std::uint32_t> order = Indices(pieces);
  Shuffle(order, random);
  std::vector<Shard> shards(devices);
  for (std::size_t p = 0; p < pieces; ++p) {
    const auto piece = Piece(indices, order[p], pieces);
    Shard& shard = shards[p / shards_per_device];
    shard.insert(shard.end(), piece.begin(), piece.end());
  }
  return shards;
}

arrays::Archive ToNpz(const Images& images, std::size_t count, bool with_labels) {
  count = std::min(count, images.size());
  std::vector<float> inputs(count * kPixels);
  for (std::size_t i = 0; i < count; ++i) {
    Normalize(std::span(images.pixels).subspan(i * kPixels, kPixels), std::span(inputs).subspan(i * kPixels, kPixels));
  }
  const auto n = static_cast<std::int64_t>(count);
  arrays::Archive archive;
  archive.emplace("image", arrays::MakeArray<float>({n, 1, kSide, kSide}, inputs));
  if (with_labels) {
    const std::vector<std::int64_t> labels(images.labels.begin(), images.labels.begin() + static_cast<std::ptrdiff_t>(count));
    archive.emplace("labels", arrays::MakeArray<std::int64_t>({n}, labels));
  }
  return archive;
}

}  // namespace edgefleet::fashion
