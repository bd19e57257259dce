#include "load_tests/fashion/fashion_data.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <string>

#include "tests/support/temp_dir.h"

namespace edgefleet::fashion {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

std::string BigEndian(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}
std::string ImageFile(std::uint32_t count, std::size_t bytes) {
  return BigEndian(0x803) + BigEndian(count) + BigEndian(28) + BigEndian(28) + std::string(bytes, '\x7f');
}
std::string LabelFile(const std::string& labels) {
  return BigEndian(0x801) + BigEndian(static_cast<std::uint32_t>(labels.size())) + labels;
}

class IdxTest : public ::testing::Test {
 protected:
  std::filesystem::path WriteGz(const std::string& name, const std::string& content) {
    const auto path = folder_.path() / name;
    gzFile file = gzopen(path.c_str(), "wb");
    EXPECT_EQ(gzwrite(file, content.data(), static_cast<unsigned>(content.size())), static_cast<int>(content.size()));
    gzclose(file);
    return path;
  }
  std::string Refusal(const std::string& images, const std::string& labels) {
    const auto read = ReadImages(WriteGz("images.gz", images), WriteGz("labels.gz", labels));
    return read ? "accepted" : read.error().reason() + ": " + read.error().message();
  }
  test::TempDir folder_;
};

TEST_F(IdxTest, ReadsImagesAndLabels) {
  const auto read = ReadImages(WriteGz("i.gz", ImageFile(2, 2 * kPixels)), WriteGz("l.gz", LabelFile({3, 9})));
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(read->size(), 2U);
  EXPECT_THAT(read->labels, ::testing::ElementsAre(3, 9));
  EXPECT_THAT(read->pixels, Each(0x7f));
}

TEST_F(IdxTest, RefusesDamagedFiles) {
  const std::string labels = LabelFile({1, 2});
  EXPECT_THAT(Refusal(ImageFile(2, 2 * kPixels - 1), labels), HasSubstr("truncated"));
  EXPECT_THAT(Refusal(ImageFile(2, 2 * kPixels + 1), labels), HasSubstr("truncated or damaged"));
  EXPECT_THAT(Refusal(ImageFile(0xffffffff, 100), labels), HasSubstr("absurd"));
  EXPECT_THAT(Refusal(ImageFile(3, 3 * kPixels), labels), HasSubstr("as many labels"));
  EXPECT_THAT(Refusal(ImageFile(2, 2 * kPixels), LabelFile({1, 10})), HasSubstr("above 9"));
  EXPECT_THAT(Refusal(labels, labels), HasSubstr("not an IDX file"));
  EXPECT_THAT(Refusal("", labels), HasSubstr("not an IDX file"));
  EXPECT_THAT(Refusal(BigEndian(0x803) + BigEndian(1) + BigEndian(32) + BigEndian(32), labels), HasSubstr("28 by 28"));
  const auto missing = LoadFashionMnist(folder_.path() / "nowhere");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().reason(), "DATASET_MISSING");
  EXPECT_THAT(missing.error().message(), HasSubstr("dataset-fashion-mnist"));
}

TEST_F(IdxTest, ATruncatedGzipFileIsRefused) {
  const auto path = WriteGz("images.gz", ImageFile(50, 50 * kPixels));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_FALSE(ReadImages(path, WriteGz("labels.gz", LabelFile(std::string(50, '\1')))));
}

TEST(FashionMnist, TheRealDataIsSplitAsDocumented) {
  const auto data = LoadFashionMnist();
  ASSERT_TRUE(data) << data.error().ToString();
  EXPECT_EQ(data->devices->size(), 55'000U);
  EXPECT_EQ(data->holdout.size(), 5'000U);
  EXPECT_EQ(data->test.size(), 10'000U);
  // The documented mean and deviation are those of the training images.
  std::vector<float> values(kPixels);
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < 5'000; ++i) {
    Normalize(std::span(data->holdout.pixels).subspan(i * kPixels, kPixels), values);
    for (const float v : values) {
      sum += v;
      squares += double{v} * v;
    }
  }
  const double count = 5'000.0 * kPixels;
  EXPECT_NEAR(sum / count, 0, 0.02);
  EXPECT_NEAR(squares / count, 1, 0.02);
  const auto npz = ToNpz(data->holdout, kCalibration, false);
  EXPECT_EQ(npz.size(), 1U);
  EXPECT_THAT(npz.at("image").shape, ::testing::ElementsAre(500, 1, 28, 28));
}

// Each index is in exactly one shard.
void ExpectPartition(const std::vector<Shard>& shards, std::size_t examples) {
  std::vector<std::uint32_t> all;
  for (const Shard& shard : shards) all.insert(all.end(), shard.begin(), shard.end());
  std::ranges::sort(all);
  std::vector<std::uint32_t> expected(examples);
  std::iota(expected.begin(), expected.end(), 0U);
  EXPECT_EQ(all, expected);
}

TEST(Shards, IidSharesEverythingEvenly) {
  const auto shards = ShardIid(1'003, 10, 5);
  ASSERT_TRUE(shards);
  ExpectPartition(*shards, 1'003);
  for (const Shard& shard : *shards) EXPECT_TRUE(shard.size() == 100 || shard.size() == 101);
  EXPECT_EQ(*ShardIid(1'003, 10, 5), *shards);
  EXPECT_NE(*ShardIid(1'003, 10, 6), *shards);
}

TEST(Shards, SortedGivesMostDevicesTwoClasses) {
  std::vector<std::uint8_t> labels(6'000);
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::uint8_t>(i % 10);
  const auto shards = ShardSorted(labels, 100, 2, 5);
  ASSERT_TRUE(shards);
  ASSERT_EQ(shards->size(), 100U);
  ExpectPartition(*shards, 6'000);
  std::size_t two = 0;
  for (const Shard& shard : *shards) {
    EXPECT_EQ(shard.size(), 60U);
    std::set<std::uint8_t> classes;
    for (const std::uint32_t i : shard) classes.insert(labels[i]);
    EXPECT_LE(classes.size(), 2U);
    if (classes.size() == 2) ++two;
  }
  EXPECT_GT(two, 70U);
}

TEST(Shards, ImpossibleSplitsAreRefused) {
  EXPECT_FALSE(ShardIid(5, 6, 1));
  EXPECT_FALSE(ShardIid(5, 0, 1));
  const std::vector<std::uint8_t> labels(10);
  EXPECT_FALSE(ShardSorted(labels, 6, 2, 1));
  EXPECT_FALSE(ShardSorted(labels, 0, 2, 1));
  EXPECT_FALSE(ShardSorted(labels, 3, 0, 1));
  EXPECT_FALSE(ShardSorted(labels, ~std::size_t{0}, 2, 1));
}

TEST(Shards, AShardIsADataset) {
  auto images = std::make_shared<Images>();
  images->labels = {1, 2, 3};
  images->pixels.assign(3 * kPixels, 0);
  images->pixels[2 * kPixels] = 255;
  const ShardDataset dataset(images, {2, 0});
  EXPECT_EQ(dataset.size(), 2U);
  EXPECT_EQ(dataset.Label(0), 3);
  std::vector<float> out(kPixels);
  dataset.CopyExample(0, out);
  EXPECT_FLOAT_EQ(out[0], (1 - kMean) / kDeviation);
  EXPECT_FLOAT_EQ(out[1], -kMean / kDeviation);
}

}  // namespace
}  // namespace edgefleet::fashion
