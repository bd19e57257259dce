#include "aggregator/aggregation/update_spool.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "base/file.h"
#include "tests/aggregation/temp_folder.h"
#include "tests/support/faulty_disk.h"

namespace edgefleet::aggregation {
namespace {

namespace fs = std::filesystem;

const UploadKey kKey{"round-1", "device-1"};

Bytes RandomBytes(std::size_t size, std::uint64_t seed) {
  Bytes bytes(size);
  SeededRandom(seed).Fill(bytes);
  return bytes;
}

class UpdateSpoolTest : public ::testing::Test {
 protected:
  UpdateSpoolTest() { Reopen(); }

  void Reopen(std::uint64_t bytes_max = 1 << 20) {
    spool_.reset();
    auto opened = UpdateSpool::Open({folder_.path() / "spool", bytes_max, 1 << 16});
    ASSERT_TRUE(opened.has_value()) << opened.error().ToString();
    spool_ = std::move(*opened);
  }

  std::string Reason(const Result<UploadProgress>& result) { return result ? "" : result.error().reason(); }

  Result<UploadProgress> BeginFor(const UploadKey& key, ByteView content) {
    return spool_->Begin(key, content.size(), crypto::Sha256(content));
  }

  void Upload(const UploadKey& key, ByteView content) {
    ASSERT_TRUE(BeginFor(key, content).has_value());
    ASSERT_TRUE(spool_->Append(key, 0, content).value().complete);
  }

  // The only file of the round's folder.
  fs::path OnlyFile() {
    fs::path found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_.path() / "spool")) {
      if (entry.is_regular_file()) {
        EXPECT_TRUE(found.empty());
        found = entry.path();
      }
    }
    return found;
  }

  testing::TempFolder folder_;
  std::unique_ptr<UpdateSpool> spool_;
};

TEST_F(UpdateSpoolTest, TakesChunksInOrderAndKeepsThemWhole) {
  const Bytes content = RandomBytes(1000, 1);
  EXPECT_EQ(BeginFor(kKey, content)->received, 0U);
  for (std::size_t offset = 0; offset < content.size(); offset += 300) {
    const auto progress =
        spool_->Append(kKey, offset, ByteView(content).subspan(offset, std::min<std::size_t>(300, 1000 - offset)));
    ASSERT_TRUE(progress.has_value());
    EXPECT_EQ(progress->complete, offset == 900);
  }
  EXPECT_EQ(ReadFile(spool_->CompleteFile(kKey).value(), 2000).value(), content);
}

TEST_F(UpdateSpoolTest, ResumesWhereItStopsAlsoAfterARestart) {
  const Bytes content = RandomBytes(1000, 2);
  ASSERT_TRUE(BeginFor(kKey, content).has_value());
  ASSERT_TRUE(spool_->Append(kKey, 0, ByteView(content).first(404)).has_value());
  Reopen();
  EXPECT_EQ(spool_->Progress(kKey)->received, 404U);
  EXPECT_EQ(BeginFor(kKey, content)->received, 404U);
  EXPECT_TRUE(spool_->Append(kKey, 404, ByteView(content).subspan(404))->complete);
  Reopen();
  EXPECT_TRUE(spool_->Progress(kKey)->complete);
  EXPECT_EQ(ReadFile(spool_->CompleteFile(kKey).value(), 2000).value(), content);
}

TEST_F(UpdateSpoolTest, RefusesAWrongOffsetAndSaysWhereToGoOn) {
  const Bytes content = RandomBytes(100, 3);
  ASSERT_TRUE(BeginFor(kKey, content).has_value());
  ASSERT_TRUE(spool_->Append(kKey, 0, ByteView(content).first(40)).has_value());
  for (const std::uint64_t offset : {0ULL, 39ULL, 41ULL, 100ULL, ~0ULL}) {
    const auto refused = spool_->Append(kKey, offset, ByteView(content).first(10));
    EXPECT_EQ(Reason(refused), "BAD_OFFSET");
    EXPECT_EQ(refused.error().code(), StatusCode::kOutOfRange);
  }
  EXPECT_EQ(spool_->Progress(kKey)->received, 40U);
  EXPECT_TRUE(spool_->Append(kKey, 40, ByteView(content).subspan(40))->complete);
}

TEST_F(UpdateSpoolTest, DropsContentWithAWrongChecksumAndTakesItAnew) {
  const Bytes content = RandomBytes(100, 4);
  Bytes altered = content;
  altered[50] ^= std::byte{1};
  ASSERT_TRUE(BeginFor(kKey, content).has_value());
  const auto refused = spool_->Append(kKey, 0, altered);
  EXPECT_EQ(Reason(refused), "CHECKSUM_MISMATCH");
  EXPECT_EQ(refused.error().code(), StatusCode::kDataLoss);
  EXPECT_EQ(spool_->CompleteFile(kKey).error().reason(), "UPLOAD_INCOMPLETE");
  EXPECT_EQ(spool_->Progress(kKey)->received, 0U);
  EXPECT_TRUE(spool_->Append(kKey, 0, content)->complete);
}

TEST_F(UpdateSpoolTest, ATruncatedUploadIsNotComplete) {
  const Bytes content = RandomBytes(100, 5);
  ASSERT_TRUE(BeginFor(kKey, content).has_value());
  EXPECT_FALSE(spool_->Append(kKey, 0, ByteView(content).first(99))->complete);
  EXPECT_EQ(spool_->CompleteFile(kKey).error().reason(), "UPLOAD_INCOMPLETE");
  EXPECT_EQ(spool_->Discard(kKey).reason(), "UPLOAD_INCOMPLETE");
}

TEST_F(UpdateSpoolTest, RefusesMoreThanAnnounced) {
  const Bytes content = RandomBytes(100, 6);
  ASSERT_TRUE(spool_->Begin(kKey, 96, crypto::Sha256(content)).has_value());
  EXPECT_EQ(Reason(spool_->Append(kKey, 0, content)), "BAD_UPDATE");
  EXPECT_EQ(Reason(spool_->Append(kKey, 0, {})), "BAD_UPDATE");
  EXPECT_EQ(spool_->Progress(kKey)->received, 0U);
}

TEST_F(UpdateSpoolTest, RefusesHeadersThatMakeNoSense) {
  const auto digest = crypto::Sha256({});
  for (const std::uint64_t size : {0ULL, 65537ULL, ~0ULL}) EXPECT_EQ(Reason(spool_->Begin(kKey, size, digest)), "BAD_UPDATE");
  EXPECT_EQ(Reason(spool_->Begin(kKey, 4, ByteView(digest).first(31))), "BAD_UPDATE");
  EXPECT_EQ(Reason(spool_->Begin({"", "d"}, 4, digest)), "BAD_UPDATE");
  EXPECT_EQ(Reason(spool_->Begin({"r", std::string(257, 'x')}, 4, digest)), "BAD_UPDATE");
  EXPECT_EQ(spool_->bytes_reserved(), 0U);
}

TEST_F(UpdateSpoolTest, TakesAnySize) {
  for (const std::size_t size : {1U, 2U, 3U, 5U, 65536U}) {
    const UploadKey key{"round-1", std::to_string(size)};
    const Bytes content = RandomBytes(size, size);
    Upload(key, content);
    EXPECT_EQ(ReadFile(spool_->CompleteFile(key).value(), size).value(), content);
  }
}

TEST_F(UpdateSpoolTest, ARoundsFolderHoldsItsUploadsAndGoesWithIt) {
  Upload(kKey, RandomBytes(8, 7));
  const fs::path folder = spool_->RoundFolder(kKey.round_id);
  EXPECT_EQ(OnlyFile().parent_path(), folder);
  std::ofstream(folder / "sum") << "the round's";
  Reopen();
  EXPECT_TRUE(fs::exists(folder / "sum"));
  ASSERT_TRUE(spool_->RemoveRound(kKey.round_id).ok());
  EXPECT_FALSE(fs::exists(folder));
}

TEST_F(UpdateSpoolTest, IsCrowdedWhenHalfOfItIsReserved) {
  Reopen(10'000);
  EXPECT_FALSE(spool_->Crowded());
  ASSERT_TRUE(spool_->Begin({"r", "a"}, 900, crypto::Sha256({})).has_value());  // 4096 are reserved on top
  EXPECT_FALSE(spool_->Crowded());
  ASSERT_TRUE(spool_->Begin({"r", "b"}, 900, crypto::Sha256({})).has_value());
  EXPECT_TRUE(spool_->Crowded());
}

TEST_F(UpdateSpoolTest, IdsCannotLeaveTheFolder) {
  const Bytes content = RandomBytes(8, 7);
  Upload({"../../escape", "/etc/../x"}, content);
  const fs::path file = spool_->CompleteFile({"../../escape", "/etc/../x"}).value();
  EXPECT_EQ(file.parent_path().parent_path(), folder_.path() / "spool");
}

TEST_F(UpdateSpoolTest, ASecondSubmissionIsRefusedAndARepetitionIsNot) {
  const Bytes content = RandomBytes(100, 8);
  const Bytes other = RandomBytes(100, 9);
  ASSERT_TRUE(BeginFor(kKey, content).has_value());
  EXPECT_EQ(Reason(BeginFor(kKey, other)), "ALREADY_SUBMITTED");
  ASSERT_TRUE(spool_->Append(kKey, 0, content)->complete);
  EXPECT_EQ(Reason(BeginFor(kKey, other)), "ALREADY_SUBMITTED");
  EXPECT_EQ(Reason(spool_->Append(kKey, 0, content)), "ALREADY_SUBMITTED");
  EXPECT_TRUE(BeginFor(kKey, content)->complete);
  ASSERT_TRUE(spool_->Discard(kKey).ok());
  EXPECT_EQ(Reason(BeginFor(kKey, other)), "ALREADY_SUBMITTED");
  Reopen();
  EXPECT_EQ(Reason(BeginFor(kKey, other)), "ALREADY_SUBMITTED");
  EXPECT_EQ(spool_->CompleteFile(kKey).error().reason(), "UPLOAD_USED");
  EXPECT_TRUE(BeginFor({"round-2", "device-1"}, other).has_value());  // another round is another matter
}

TEST_F(UpdateSpoolTest, UnknownUploadsAreNotFound) {
  EXPECT_EQ(Reason(spool_->Progress(kKey)), "UPLOAD_UNKNOWN");
  EXPECT_EQ(Reason(spool_->Append(kKey, 0, RandomBytes(4, 1))), "UPLOAD_UNKNOWN");
  EXPECT_EQ(spool_->CompleteFile(kKey).error().reason(), "UPLOAD_UNKNOWN");
  EXPECT_EQ(spool_->Discard(kKey).reason(), "UPLOAD_UNKNOWN");
  EXPECT_TRUE(spool_->RemoveRound("round-1").ok());
}

TEST_F(UpdateSpoolTest, TotalBytesAreBoundedAndGivenBack) {
  Reopen(53'000);
  const Bytes content = RandomBytes(20'000, 10);
  Upload({"r", "a"}, content);
  Upload({"r", "b"}, content);
  const auto refused = BeginFor({"r", "c"}, content);
  EXPECT_EQ(Reason(refused), "SPOOL_FULL");
  EXPECT_TRUE(refused.error().retry_after().has_value());
  ASSERT_TRUE(spool_->Discard({"r", "a"}).ok());
  Upload({"r", "c"}, content);
  const std::uint64_t reserved = spool_->bytes_reserved();
  Reopen(53'000);
  EXPECT_EQ(spool_->bytes_reserved(), reserved);
  ASSERT_TRUE(spool_->RemoveRound("r").ok());
  EXPECT_EQ(spool_->bytes_reserved(), 0U);
  EXPECT_TRUE(fs::is_empty(folder_.path() / "spool"));
}

TEST_F(UpdateSpoolTest, RemovingARoundLeavesTheOthers) {
  const Bytes content = RandomBytes(40, 11);
  Upload({"r1", "a"}, content);
  Upload({"r2", "a"}, content);
  ASSERT_TRUE(spool_->RemoveRound("r1").ok());
  EXPECT_EQ(Reason(spool_->Progress({"r1", "a"})), "UPLOAD_UNKNOWN");
  EXPECT_TRUE(spool_->Progress({"r2", "a"})->complete);
  EXPECT_TRUE(fs::exists(spool_->CompleteFile({"r2", "a"}).value()));
}

TEST_F(UpdateSpoolTest, APartDamagedWhileTheProcessWasDownIsFoundOut) {
  const Bytes content = RandomBytes(100, 12);
  ASSERT_TRUE(BeginFor(kKey, content).has_value());
  ASSERT_TRUE(spool_->Append(kKey, 0, ByteView(content).first(60)).has_value());
  {
    std::fstream file(OnlyFile(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(10);
    file.put('!');
  }
  Reopen();
  EXPECT_EQ(Reason(spool_->Append(kKey, 60, ByteView(content).subspan(60))), "CHECKSUM_MISMATCH");
  EXPECT_TRUE(spool_->Append(kKey, 0, content)->complete);
}

TEST_F(UpdateSpoolTest, AWholePartWhoseVerificationWasCutOffIsVerifiedAfterARestart) {
  for (const std::size_t size : {100U, 3U, 1U}) {
    const Bytes content = RandomBytes(size, 13);
    ASSERT_TRUE(BeginFor(kKey, content).has_value());
    std::ofstream(OnlyFile(), std::ios::binary) << AsText(content);
    Reopen();
    const std::uint64_t received = spool_->Progress(kKey)->received;
    EXPECT_LT(received, content.size());
    EXPECT_TRUE(spool_->Append(kKey, received, ByteView(content).subspan(received))->complete);
    ASSERT_TRUE(spool_->RemoveRound(kKey.round_id).ok());
  }
}

TEST_F(UpdateSpoolTest, AFileOfTheWrongLengthIsNotTrusted) {
  const Bytes content = RandomBytes(100, 14);
  Upload(kKey, content);
  fs::resize_file(OnlyFile(), 96);
  Reopen();
  EXPECT_FALSE(spool_->Progress(kKey)->complete);
  EXPECT_EQ(spool_->Progress(kKey)->received, 0U);
  EXPECT_TRUE(spool_->Append(kKey, 0, content)->complete);
}

TEST_F(UpdateSpoolTest, ForeignFilesAreLeftAlone) {
  fs::create_directories(folder_.path() / "spool" / "x");
  for (const char* name : {"notes.txt", "a.b.c.d", "....", "0123456789abcdef0123456789abcdef.12x.00.part"}) {
    std::ofstream(folder_.path() / "spool" / "x" / name) << "mine";
  }
  Reopen();
  EXPECT_EQ(spool_->bytes_reserved(), 0U);
  EXPECT_TRUE(fs::exists(folder_.path() / "spool" / "x" / "notes.txt"));
}

// A sync that succeeds after one that failed proves nothing: the bytes are asked for again.
TEST_F(UpdateSpoolTest, AnUploadThatCouldNotBeSyncedStartsAnew) {
  using edgefleet::testing::FaultyDisk;
  const Bytes content = RandomBytes(1000, 20);
  ASSERT_TRUE(BeginFor(kKey, content).has_value());
  const std::string round_folder = "/" + spool_->RoundFolder(kKey.round_id).filename().string();
  FaultyDisk disk;
  for (const std::string& place : {std::string(".part"), round_folder}) {
    ASSERT_TRUE(spool_->Append(kKey, 0, ByteView(content).first(600)).has_value());
    disk.Break(FaultyDisk::Call::kSync, place, EIO);
    EXPECT_EQ(Reason(spool_->Append(kKey, 600, ByteView(content).subspan(600))), "FILE_IO") << place;
    EXPECT_EQ(disk.faults(), 1U);
    disk.Mend();
    EXPECT_EQ(spool_->Progress(kKey)->received, 0U);
    EXPECT_FALSE(spool_->CompleteFile(kKey).has_value());
  }
  ASSERT_TRUE(spool_->Append(kKey, 0, content)->complete);
  EXPECT_EQ(ReadFile(spool_->CompleteFile(kKey).value(), 2000).value(), content);
  Reopen();
  EXPECT_TRUE(spool_->Progress(kKey)->complete);
}

TEST_F(UpdateSpoolTest, AChunkThatDoesNotFitOnTheDiskIsSentAgain) {
  using edgefleet::testing::FaultyDisk;
  const Bytes content = RandomBytes(1000, 21);
  ASSERT_TRUE(BeginFor(kKey, content).has_value());
  ASSERT_TRUE(spool_->Append(kKey, 0, ByteView(content).first(600)).has_value());
  FaultyDisk disk;
  disk.Break(FaultyDisk::Call::kWrite, ".part", ENOSPC);
  EXPECT_EQ(Reason(spool_->Append(kKey, 600, ByteView(content).subspan(600))), "DISK_FULL");
  disk.Mend();
  EXPECT_EQ(spool_->Progress(kKey)->received, 600U);
  EXPECT_TRUE(spool_->Append(kKey, 600, ByteView(content).subspan(600))->complete);
}

TEST_F(UpdateSpoolTest, ManyDevicesUploadAtOnceWhileARoundIsRemoved) {
  Reopen(1 << 22);
  std::vector<std::thread> devices;
  for (int device = 0; device < 8; ++device) {
    devices.emplace_back([this, device] {
      const Bytes content = RandomBytes(32'000, static_cast<std::uint64_t>(device));
      const UploadKey key{device % 2 == 0 ? "kept" : "removed", std::to_string(device)};
      if (!BeginFor(key, content)) return;
      for (std::size_t offset = 0; offset < content.size(); offset += 1000) {
        if (!spool_->Append(key, offset, ByteView(content).subspan(offset, 1000))) return;
      }
    });
  }
  EXPECT_TRUE(spool_->RemoveRound("removed").ok());
  for (std::thread& device : devices) device.join();
  EXPECT_TRUE(spool_->RemoveRound("removed").ok());
  for (int device = 0; device < 8; device += 2) {
    EXPECT_EQ(ReadFile(spool_->CompleteFile({"kept", std::to_string(device)}).value(), 1 << 16).value(),
              RandomBytes(32'000, static_cast<std::uint64_t>(device)));
  }
  EXPECT_EQ(spool_->bytes_reserved(), 4U * (32'000 + 4096));
}

}  // namespace
}  // namespace edgefleet::aggregation
