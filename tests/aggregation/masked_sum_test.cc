#include "aggregator/aggregation/masked_sum.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/aggregation/temp_folder.h"

namespace edgefleet::aggregation {
namespace {

using Words = std::vector<std::uint32_t>;

class MaskedSumTest : public ::testing::Test {
 protected:
  MaskedSumTest() : spool_(UpdateSpool::Open({folder_.path(), 64 << 20, 16 << 20}).value()) {}

  UploadKey Upload(const std::string& device, const Words& words) {
    const UploadKey key{"round", device};
    const ByteView bytes = std::as_bytes(std::span(words));
    EXPECT_TRUE(spool_->Begin(key, bytes.size(), crypto::Sha256(bytes)).has_value());
    EXPECT_TRUE(spool_->Append(key, 0, bytes).value().complete);
    return key;
  }

  testing::TempFolder folder_;
  std::unique_ptr<UpdateSpool> spool_;
};

// More than one block, and a last one that is not full.
constexpr std::size_t kLength = 2 * MaskedSum::kBlockBytes / 4 + 13;

TEST_F(MaskedSumTest, AddsModuloTwoToThe32) {
  SeededRandom random(1);
  Words expected(kLength);
  MaskedSum sum(kLength);
  for (int device = 0; device < 3; ++device) {
    Words words(kLength);
    random.Fill(std::as_writable_bytes(std::span(words)));
    for (std::size_t i = 0; i < kLength; ++i) expected[i] += words[i];
    ASSERT_TRUE(sum.Add(*spool_, Upload(std::to_string(device), words)).ok());
  }
  EXPECT_EQ(Words(sum.words().begin(), sum.words().end()), expected);
  EXPECT_EQ(sum.count(), 3U);
}

TEST_F(MaskedSumTest, NeverAddsADeviceTwice) {
  MaskedSum sum(2);
  const UploadKey key = Upload("a", {1, 2});
  ASSERT_TRUE(sum.Add(*spool_, key).ok());
  EXPECT_EQ(sum.Add(*spool_, key).reason(), "ALREADY_COUNTED");
  ASSERT_TRUE(spool_->Discard(key).ok());
  EXPECT_EQ(sum.Add(*spool_, key).reason(), "ALREADY_COUNTED");
  EXPECT_EQ(MaskedSum(2).Add(*spool_, key).reason(), "UPLOAD_USED");
  EXPECT_EQ(Words(sum.words().begin(), sum.words().end()), (Words{1, 2}));
}

TEST_F(MaskedSumTest, RefusesAnUpdateOfAnotherLength) {
  MaskedSum sum(2);
  EXPECT_EQ(sum.Add(*spool_, Upload("a", {1, 2, 3})).reason(), "BAD_UPDATE");
  EXPECT_EQ(sum.Add(*spool_, Upload("b", {1})).reason(), "BAD_UPDATE");
  EXPECT_TRUE(sum.Add(*spool_, Upload("c", {7, 8})).ok());
  EXPECT_EQ(Words(sum.words().begin(), sum.words().end()), (Words{7, 8}));
}

TEST_F(MaskedSumTest, RefusesWhatIsNotThere) {
  MaskedSum sum(2);
  EXPECT_EQ(sum.Add(*spool_, {"round", "nobody"}).reason(), "UPLOAD_UNKNOWN");
  const UploadKey key = Upload("a", {1, 2});
  std::filesystem::remove(spool_->CompleteFile(key).value());
  EXPECT_EQ(sum.Add(*spool_, key).reason(), "FILE_MISSING");
  EXPECT_EQ(sum.count(), 0U);
}

}  // namespace
}  // namespace edgefleet::aggregation
