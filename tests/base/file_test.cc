#include "base/file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "base/crypto/crypto.h"

namespace edgefleet {
namespace {

namespace fs = std::filesystem;

class Files : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directory(dir_); }
  void TearDown() override { fs::remove_all(dir_); }
  fs::path dir_ = fs::temp_directory_path() / ("edgefleet-file-test-" + crypto::RandomId());
};

TEST_F(Files, AtomicWriteReplacesAndLeavesNothingBehind) {
  const auto path = dir_ / "state";
  ASSERT_TRUE(WriteFileAtomic(path, AsBytes("one")).ok());
  ASSERT_TRUE(WriteFileAtomic(path, AsBytes("two")).ok());
  EXPECT_EQ(ToString(ReadFile(path, 100).value()), "two");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 1);
}

TEST_F(Files, AtomicWriteThatFailsKeepsTheFormerContent) {
  const auto path = dir_ / "folder";
  fs::create_directory(path);
  std::ofstream(path / "inside") << "x";
  EXPECT_FALSE(WriteFileAtomic(path, AsBytes("two")).ok());
  EXPECT_TRUE(fs::exists(path / "inside"));
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 1);
}

TEST_F(Files, ReadsAreBoundedAndErrorsNameTheirKind) {
  std::ofstream(dir_ / "big") << std::string(101, 'x');
  EXPECT_EQ(ReadFile(dir_ / "big", 100).error().reason(), "FILE_TOO_LARGE");
  EXPECT_EQ(ReadFile(dir_ / "big", 101).value().size(), 101U);
  EXPECT_EQ(ReadFile(dir_ / "none", 1).error().reason(), "FILE_MISSING");
  EXPECT_EQ(ReadFile(dir_, 1).error().reason(), "NOT_A_FILE");
}

TEST_F(Files, MappingOutlivesItsName) {
  std::ofstream(dir_ / "map") << "mapped";
  const auto map = MappedFile::Open(dir_ / "map").value();
  fs::remove(dir_ / "map");
  EXPECT_EQ(ToString(map->bytes()), "mapped");
  std::ofstream(dir_ / "empty");
  EXPECT_TRUE(MappedFile::Open(dir_ / "empty").value()->bytes().empty());
  EXPECT_EQ(MappedFile::Open(dir_ / "none").error().reason(), "FILE_MISSING");
}

TEST_F(Files, AdviceChangesNoBytes) {
  const Bytes content(10'000, std::byte{7});
  ASSERT_TRUE(WriteFileAtomic(dir_ / "map", content).ok());
  const auto map = MappedFile::Open(dir_ / "map").value();
  for (const PageAdvice advice : {PageAdvice::kWillNeed, PageAdvice::kPopulate, PageAdvice::kRelease}) {
    EXPECT_TRUE(map->Advise(map->bytes(), advice).ok());
    EXPECT_TRUE(map->Advise(map->bytes().subspan(4095, 2), advice).ok());
    EXPECT_TRUE(map->Advise({}, advice).ok());
    EXPECT_EQ(ToBytes(map->bytes()), content);
    EXPECT_EQ(map->Advise(content, advice).reason(), "NOT_MAPPED");
    EXPECT_EQ(map->Advise({map->bytes().data() + 1, content.size()}, advice).reason(), "NOT_MAPPED");
  }
}

}  // namespace
}  // namespace edgefleet
