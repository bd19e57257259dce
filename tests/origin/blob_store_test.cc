#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "base/file.h"
#include "cdn_origin/blobs/file_blob_store.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::blobs {
namespace {

namespace fs = std::filesystem;
using crypto::Sha256;

std::string Content(std::size_t size, std::uint64_t seed = 1) {
  std::string text(size, '\0');
  SeededRandom random(seed);
  random.Fill(std::as_writable_bytes(std::span(text)));
  return text;
}

class BlobStoreTest : public ::testing::Test {
 protected:
  BlobStoreTest() { Reopen(); }
  void Reopen() {
    store_.reset();
    auto opened = FileBlobStore::Open(dir_.path());
    ASSERT_TRUE(opened) << opened.error().ToString();
    store_ = std::move(*opened);
  }
  Result<BlobState> PutAll(const std::string& text) {
    auto writer = store_->Put(Sha256(AsBytes(text)), text.size(), 0);
    if (!writer) return MakeError(writer.error());
    EF_RETURN_IF_ERROR((*writer)->Append(AsBytes(text)));
    return (*writer)->Finish();
  }
  std::string Read(const crypto::Sha256Digest& sha256) {
    auto file = store_->Open(sha256);
    if (!file) return file.error().reason();
    std::string text(file->size(), '\0');
    EXPECT_EQ(::pread(file->fd(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    return text;
  }
  std::size_t Partials() {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(dir_.path() / "partial"), fs::directory_iterator()));
  }

  test::TempDir dir_;
  std::unique_ptr<FileBlobStore> store_;
};

TEST_F(BlobStoreTest, StoresAndKeepsAcrossRestart) {
  const std::string text = Content(100'000);
  ASSERT_TRUE(PutAll(text)->complete);
  EXPECT_EQ(Read(Sha256(AsBytes(text))), text);
  Reopen();
  EXPECT_EQ(Read(Sha256(AsBytes(text))), text);
  EXPECT_TRUE(store_->Stat(Sha256(AsBytes(text)))->complete);
  EXPECT_EQ(Partials(), 0u);
}

TEST_F(BlobStoreTest, UnknownBlob) {
  const auto digest = Sha256(AsBytes("nothing"));
  EXPECT_EQ(store_->Open(digest).error().reason(), "BLOB_UNKNOWN");
  EXPECT_EQ(store_->Stat(digest)->received, 0u);
  EXPECT_FALSE(store_->Stat(digest)->complete);
}

TEST_F(BlobStoreTest, ResumesAfterRestartFromWhatArrived) {
  const std::string text = Content(5000);
  const auto digest = Sha256(AsBytes(text));
  {
    auto writer = store_->Put(digest, text.size(), 0);
    ASSERT_TRUE((*writer)->Append(AsBytes(text.substr(0, 1234))).ok());
    EXPECT_FALSE((*writer)->Finish()->complete);
  }
  Reopen();
  const auto state = store_->Stat(digest);
  EXPECT_EQ(state->received, 1234u);
  EXPECT_EQ(state->size, 5000u);
  EXPECT_EQ(store_->Open(digest).error().reason(), "BLOB_UNKNOWN");
  EXPECT_EQ(store_->Put(digest, text.size(), 0).error().reason(), "BAD_OFFSET");
  EXPECT_EQ(store_->Put(digest, text.size(), 1235).error().reason(), "BAD_OFFSET");
  EXPECT_EQ(store_->Put(digest, text.size() + 1, 1234).error().reason(), "BAD_OFFSET");
  auto writer = store_->Put(digest, text.size(), 1234);
  ASSERT_TRUE((*writer)->Append(AsBytes(text.substr(1234))).ok());
  EXPECT_TRUE((*writer)->Finish()->complete);
  EXPECT_EQ(Read(digest), text);
}

TEST_F(BlobStoreTest, WrongBytesAreDroppedAndMayBeSentAgain) {
  const std::string text = Content(1000);
  const auto digest = Sha256(AsBytes(text));
  auto writer = store_->Put(digest, text.size(), 0);
  ASSERT_TRUE((*writer)->Append(AsBytes(Content(1000, 2))).ok());
  EXPECT_EQ((*writer)->Finish().error().reason(), "CHECKSUM_MISMATCH");
  EXPECT_EQ(store_->Stat(digest)->received, 0u);
  EXPECT_TRUE(PutAll(text)->complete);
}

TEST_F(BlobStoreTest, BoundsAndRepeats) {
  const std::string text = Content(1000);
  const auto digest = Sha256(AsBytes(text));
  EXPECT_EQ(store_->Put(digest, kBlobBytesMax + 1, 0).error().reason(), "TOO_LARGE");
  auto writer = store_->Put(digest, 10, 0);
  EXPECT_EQ((*writer)->Append(AsBytes(text)).reason(), "TOO_LARGE");
  EXPECT_TRUE((*writer)->Append(AsBytes(text.substr(0, 5))).ok());
  EXPECT_TRUE(PutAll(text)->complete) << "offset 0 with another size starts anew";
  auto again = store_->Put(digest, text.size(), 77);
  ASSERT_TRUE(again);
  EXPECT_TRUE((*again)->Append(AsBytes("ignored")).ok());
  EXPECT_TRUE((*again)->Finish()->complete);
  EXPECT_EQ(Read(digest), text);
  EXPECT_TRUE(PutAll("")->complete);
}

TEST_F(BlobStoreTest, LaterUploadTakesOver) {
  const std::string text = Content(1000);
  const auto digest = Sha256(AsBytes(text));
  auto first = store_->Put(digest, text.size(), 0);
  ASSERT_TRUE((*first)->Append(AsBytes(text.substr(0, 400))).ok());
  auto second = store_->Put(digest, text.size(), 400);
  ASSERT_TRUE(second);
  EXPECT_EQ((*first)->Append(AsBytes(text.substr(400))).reason(), "SUPERSEDED");
  EXPECT_EQ((*first)->Finish().error().reason(), "SUPERSEDED");
  ASSERT_TRUE((*second)->Append(AsBytes(text.substr(400))).ok());
  EXPECT_TRUE((*second)->Finish()->complete);
}

TEST_F(BlobStoreTest, AbandonedUploadsAreBounded) {
  for (std::size_t i = 0; i < kPartialsMax + 10; ++i) {
    const auto digest = Sha256(AsBytes(std::to_string(i)));
    auto writer = store_->Put(digest, 100, 0);
    ASSERT_TRUE(writer) << i;
    ASSERT_TRUE((*writer)->Append(AsBytes("x")).ok());
  }
  EXPECT_EQ(Partials(), kPartialsMax);
}

TEST_F(BlobStoreTest, ActiveUploadsAreNotThrownOut) {
  std::vector<std::unique_ptr<BlobWriter>> writers;
  for (std::size_t i = 0; i < kPartialsMax; ++i) {
    writers.push_back(std::move(*store_->Put(Sha256(AsBytes(std::to_string(i))), 100, 0)));
  }
  EXPECT_EQ(store_->Put(Sha256(AsBytes("more")), 100, 0).error().reason(), "TOO_MANY_UPLOADS");
}

TEST_F(BlobStoreTest, ForeignAndTornFilesAreIgnored) {
  const std::string text = Content(300);
  const auto digest = Sha256(AsBytes(text));
  std::ofstream(dir_.path() / "partial" / "garbage") << "x";
  std::ofstream(dir_.path() / "partial" / (HexEncode(digest) + ".12x")) << "x";
  std::ofstream(dir_.path() / "partial" / (HexEncode(digest) + ".5")) << "longer than its size";
  EXPECT_EQ(store_->Stat(digest)->received, 0u);
  EXPECT_TRUE(PutAll(text)->complete);
}

TEST_F(BlobStoreTest, OneProcessAtATime) { EXPECT_EQ(FileBlobStore::Open(dir_.path()).error().reason(), "STORE_IN_USE"); }

// A child is killed at an arbitrary byte; the upload is finished afterwards.
TEST_F(BlobStoreTest, SurvivesKillInTheMiddle) {
  const std::string text = Content(1 << 20);
  const auto digest = Sha256(AsBytes(text));
  store_.reset();
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = FileBlobStore::Open(dir_.path());
    auto writer = (*store)->Put(digest, text.size(), 0);
    for (std::size_t at = 0; at < text.size() / 2; at += 4096) {
      if (!(*writer)->Append(AsBytes(text.substr(at, 4096))).ok()) ::_exit(1);
      if (at == 40960 && ::write(ready[1], "x", 1) != 1) ::_exit(1);
    }
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  ::close(ready[0]);
  ::close(ready[1]);
  Reopen();
  const std::uint64_t received = store_->Stat(digest)->received;
  EXPECT_GE(received, 40960u);
  auto writer = store_->Put(digest, text.size(), received);
  ASSERT_TRUE((*writer)->Append(AsBytes(text.substr(received))).ok());
  EXPECT_TRUE((*writer)->Finish()->complete);
  EXPECT_EQ(Read(digest), text);
}

TEST_F(BlobStoreTest, ConcurrentUploadsOfOneBlobEndInOneWholeBlob) {
  const std::string text = Content(200'000);
  const auto digest = Sha256(AsBytes(text));
  const auto upload = [&] {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      const auto state = store_->Stat(digest);
      if (state && state->complete) return;
      auto writer = store_->Put(digest, text.size(), state->received);
      for (std::size_t at = state->received; writer && at < text.size(); at += 10'000) {
        if (!(*writer)->Append(AsBytes(text).subspan(at, std::min<std::size_t>(10'000, text.size() - at))).ok()) break;
      }
      if (writer) (void)(*writer)->Finish();
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(upload);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(Read(digest), text);
}

}  // namespace
}  // namespace edgefleet::blobs
