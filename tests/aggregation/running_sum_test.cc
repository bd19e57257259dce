#include "aggregator/aggregation/running_sum.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "tests/aggregation/killed_child.h"
#include "tests/aggregation/packed_updates.h"
#include "tests/aggregation/temp_folder.h"

namespace edgefleet::aggregation {
namespace {

namespace fs = std::filesystem;
using testing::Pack;
using testing::RandomWords;
using testing::Words;

const std::string kRound = "round-1";

class RunningSumTest : public ::testing::Test {
 protected:
  RunningSumTest() { Restart(); }

  // As a new process finds the disk.
  void Restart() { Restart(folder_.path()); }
  void Restart(const fs::path& folder) {
    sum_.reset();
    spool_.reset();
    auto opened = UpdateSpool::Open({folder, spool_bytes_max_, 16 << 20});
    ASSERT_TRUE(opened.has_value()) << opened.error().ToString();
    spool_ = std::move(*opened);
  }

  Status Open(const std::vector<std::string>& devices = {}) {
    sum_.reset();
    auto opened = RunningSum::Open(*spool_, {shape_, checkpoint_every_}, devices);
    if (!opened) return opened.error();
    sum_ = std::move(*opened);
    return OkStatus();
  }

  void UploadBytes(const std::string& device, ByteView bytes) {
    const UploadKey key{kRound, device};
    const auto begun = spool_->Begin(key, bytes.size(), crypto::Sha256(bytes));
    ASSERT_TRUE(begun.has_value());
    if (begun->complete) return;
    const auto ended = spool_->Append(key, begun->received, bytes.subspan(begun->received));
    ASSERT_TRUE(ended.has_value() && ended->complete);
  }
  void Upload(const std::string& device, const Words& words) { UploadBytes(device, Pack(words, shape_.element_bits)); }
  Status UploadAndAdd(const std::string& device, const Words& words) {
    Upload(device, words);
    return sum_->Add(device);
  }

  Words FinishedWords() {
    EXPECT_TRUE(sum_->Finish().has_value());
    return {sum_->words().begin(), sum_->words().end()};
  }
  std::string SpoolState(const std::string& device) {
    auto file = spool_->CompleteFile({kRound, device});
    return file ? "done" : file.error().reason();
  }
  fs::path CheckpointFile() { return spool_->RoundFolder(kRound) / "sum"; }

  testing::TempFolder folder_;
  SumShape shape_{.round_id = kRound, .elements = 2, .element_bits = 32};
  std::size_t checkpoint_every_ = 1000;
  std::uint64_t spool_bytes_max_ = 64 << 20;
  std::unique_ptr<UpdateSpool> spool_;
  std::unique_ptr<RunningSum> sum_;
};

TEST_F(RunningSumTest, AddsPackedUpdatesOfEveryWidth) {
  for (std::uint32_t bits = 1; bits <= 32; ++bits) {
    SCOPED_TRACE(bits);
    shape_ = {.round_id = kRound, .elements = 37, .element_bits = bits};
    ASSERT_TRUE(Open().ok());
    Words expected(shape_.elements);
    for (std::uint32_t device = 0; device < 5; ++device) {
      const Words words = RandomWords(shape_.elements, bits, device);
      for (std::size_t i = 0; i < words.size(); ++i) expected[i] += words[i];
      ASSERT_TRUE(UploadAndAdd(std::to_string(device), words).ok());
    }
    for (std::uint32_t& word : expected) word &= testing::ElementMask(bits);
    EXPECT_EQ(sum_->count(), 5U);
    EXPECT_EQ(FinishedWords(), expected);
    sum_->Close();
    ASSERT_TRUE(spool_->RemoveRound(kRound).ok());
  }
}

TEST_F(RunningSumTest, AddsUpdatesOfSeveralBlocks) {
  shape_ = {.round_id = kRound, .elements = 2 * RunningSum::kBlockElements + 13, .element_bits = 19};
  ASSERT_TRUE(Open().ok());
  Words expected(shape_.elements);
  for (std::uint32_t device = 0; device < 3; ++device) {
    const Words words = RandomWords(shape_.elements, 19, device);
    for (std::size_t i = 0; i < words.size(); ++i) expected[i] = (expected[i] + words[i]) & testing::ElementMask(19);
    ASSERT_TRUE(UploadAndAdd(std::to_string(device), words).ok());
  }
  EXPECT_EQ(FinishedWords(), expected);
}

TEST_F(RunningSumTest, NeverAddsADeviceTwice) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(UploadAndAdd("a", {1, 2}).ok());
  EXPECT_EQ(sum_->Add("a").reason(), "ALREADY_COUNTED");
  ASSERT_TRUE(sum_->Checkpoint().ok());
  EXPECT_EQ(sum_->Add("a").reason(), "ALREADY_COUNTED");
  Restart();
  ASSERT_TRUE(Open({"a"}).ok());
  EXPECT_EQ(sum_->Add("a").reason(), "ALREADY_COUNTED");
  EXPECT_EQ(FinishedWords(), (Words{1, 2}));
}

TEST_F(RunningSumTest, RefusesMalformedUpdatesBeforeItAddsAnything) {
  shape_ = {.round_id = kRound, .elements = 3, .element_bits = 10};  // 4 bytes, the last two bits unused
  ASSERT_TRUE(Open().ok());
  const Bytes genuine = Pack({1, 2, 3}, 10);
  struct Case {
    const char* device;
    Bytes bytes;
  };
  Case longer{"longer", genuine}, shorter{"shorter", genuine}, low{"low tail bit", genuine}, high{"high tail bit", genuine};
  longer.bytes.push_back(std::byte{0});
  shorter.bytes.pop_back();
  low.bytes.back() |= std::byte{0x40};
  high.bytes.back() |= std::byte{0x80};
  for (const Case& bad : {longer, shorter, low, high}) {
    UploadBytes(bad.device, bad.bytes);
    EXPECT_EQ(sum_->Add(bad.device).reason(), "BAD_UPDATE") << bad.device;
    EXPECT_FALSE(sum_->Counted(bad.device));
  }
  ASSERT_TRUE(UploadAndAdd("genuine", {7, 8, 1023}).ok());
  Restart();
  ASSERT_TRUE(Open({"longer", "shorter", "low tail bit", "high tail bit", "genuine"}).ok());
  EXPECT_EQ(sum_->counted(), (std::vector<std::string>{"genuine"}));
  EXPECT_EQ(FinishedWords(), (Words{7, 8, 1023}));
}

TEST_F(RunningSumTest, RefusesWhatIsNotThere) {
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(sum_->Add("nobody").reason(), "UPLOAD_UNKNOWN");
  const Bytes half(4);
  ASSERT_TRUE(spool_->Begin({kRound, "half"}, 8, crypto::Sha256(half)).has_value());
  ASSERT_TRUE(spool_->Append({kRound, "half"}, 0, half).has_value());
  EXPECT_EQ(sum_->Add("half").reason(), "UPLOAD_INCOMPLETE");
  Upload("gone", {1, 2});
  fs::remove(spool_->CompleteFile({kRound, "gone"}).value());
  EXPECT_EQ(sum_->Add("gone").reason(), "FILE_MISSING");
  EXPECT_EQ(sum_->count(), 0U);
}

TEST_F(RunningSumTest, RefusesShapesThatMakeNoSense) {
  for (const SumShape& bad : {SumShape{"", 1, 32}, SumShape{"r", 0, 32}, SumShape{"r", 1, 0}, SumShape{"r", 1, 33}}) {
    EXPECT_EQ(RunningSum::Open(*spool_, {bad}, {}).error().reason(), "BAD_SHAPE");
  }
}

TEST_F(RunningSumTest, DiscardsUploadsOnlyAfterTheCheckpointThatHoldsThem) {
  checkpoint_every_ = 3;
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(UploadAndAdd("a", {1, 0}).ok());
  ASSERT_TRUE(UploadAndAdd("b", {10, 0}).ok());
  EXPECT_EQ(SpoolState("a"), "done");
  EXPECT_FALSE(fs::exists(CheckpointFile()));
  ASSERT_TRUE(UploadAndAdd("c", {100, 0}).ok());
  for (const char* device : {"a", "b", "c"}) EXPECT_EQ(SpoolState(device), "UPLOAD_USED");
  ASSERT_TRUE(UploadAndAdd("d", {1000, 0}).ok());
  EXPECT_EQ(SpoolState("d"), "done");
  EXPECT_EQ(FinishedWords(), (Words{1111, 0}));
  EXPECT_EQ(SpoolState("d"), "UPLOAD_USED");
}

TEST_F(RunningSumTest, ACrowdedSpoolIsMadeRoomIn) {
  spool_bytes_max_ = 10'000;  // two uploads with what is reserved for each
  Restart();
  ASSERT_TRUE(Open().ok());
  for (std::uint32_t device = 0; device < 2; ++device) {
    ASSERT_TRUE(UploadAndAdd(std::to_string(device), {device, 1}).ok());
  }
  EXPECT_EQ(SpoolState("1"), "UPLOAD_USED");
}

TEST_F(RunningSumTest, TakesUpTheCheckpointAndTheUploadsBehindIt) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(UploadAndAdd("a", {1, 0}).ok());
  ASSERT_TRUE(sum_->Checkpoint().ok());
  ASSERT_TRUE(UploadAndAdd("b", {10, 0}).ok());
  Upload("c", {100, 0});  // complete, and never added
  Upload("stranger", {1000, 0});
  Restart();
  ASSERT_TRUE(Open({"a", "b", "c", "never uploaded"}).ok());
  EXPECT_EQ(sum_->counted(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(FinishedWords(), (Words{111, 0}));
}

TEST_F(RunningSumTest, ACrashBetweenCheckpointAndDiscardCountsNothingTwice) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(UploadAndAdd("a", {1, 2}).ok());
  const fs::path done = spool_->CompleteFile({kRound, "a"}).value();
  const Bytes content = ReadFile(done, 100).value();
  ASSERT_TRUE(sum_->Checkpoint().ok());
  fs::path used = done;
  fs::rename(used.replace_extension("used"), done);
  ASSERT_TRUE(WriteFileAtomic(done, content).ok());
  std::ofstream(CheckpointFile().string() + ".tmp") << "half a checkpoint";
  Restart();
  ASSERT_EQ(SpoolState("a"), "done");
  ASSERT_TRUE(Open({"a"}).ok());
  EXPECT_EQ(SpoolState("a"), "UPLOAD_USED");
  EXPECT_EQ(FinishedWords(), (Words{1, 2}));
}

TEST_F(RunningSumTest, ACheckpointThatWasLostIsNotTakenForAnEmptySum) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(UploadAndAdd("a", {1, 2}).ok());
  ASSERT_TRUE(sum_->Checkpoint().ok());
  fs::remove(CheckpointFile());
  Restart();
  EXPECT_EQ(Open({"a"}).reason(), "CHECKPOINT_DAMAGED");
}

TEST_F(RunningSumTest, AFinishedSumIsItsOwnersAndTheDiskKeepsTheMaskedOne) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(UploadAndAdd("b", {1, 2}).ok());
  ASSERT_TRUE(UploadAndAdd("a", {1, 2}).ok());
  Upload("late", {50, 50});
  EXPECT_EQ(sum_->Finish().value(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(sum_->Add("late").reason(), "SUM_FINISHED");
  EXPECT_EQ(sum_->Checkpoint().reason(), "SUM_FINISHED");
  for (std::uint32_t& word : sum_->words()) word = 99;
  Restart();
  ASSERT_TRUE(Open().ok());  // the late one is not among the survivors
  EXPECT_EQ(FinishedWords(), (Words{2, 4}));
}

TEST_F(RunningSumTest, WhatIsSavedIsNotWrittenAgain) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(UploadAndAdd("a", {1, 2}).ok());
  EXPECT_EQ(FinishedWords(), (Words{1, 2}));
  Restart();
  ASSERT_TRUE(Open().ok());
  fs::create_directory(CheckpointFile().string() + ".tmp");  // in the way
  EXPECT_TRUE(sum_->Checkpoint().ok());
  EXPECT_EQ(FinishedWords(), (Words{1, 2}));
}

TEST_F(RunningSumTest, ASumOfNothingIsFinishedToo) {
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(FinishedWords(), (Words{0, 0}));
  Restart();
  ASSERT_TRUE(Open({"a"}).ok());
  EXPECT_EQ(sum_->count(), 0U);
}

TEST_F(RunningSumTest, AClosedSumLetsTheRoundGo) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(UploadAndAdd("a", {1, 2}).ok());
  sum_->Close();
  EXPECT_EQ(sum_->Checkpoint().reason(), "SUM_FINISHED");
  ASSERT_TRUE(spool_->RemoveRound(kRound).ok());
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(RunningSumTest, AFailedCheckpointKeepsTheUploads) {
  checkpoint_every_ = 1;
  ASSERT_TRUE(Open().ok());
  fs::create_directory(CheckpointFile().string() + ".tmp");  // in the way
  ASSERT_TRUE(UploadAndAdd("a", {1, 2}).ok());
  EXPECT_EQ(SpoolState("a"), "done");
  EXPECT_FALSE(sum_->Finish().has_value());
  fs::remove(CheckpointFile().string() + ".tmp");
  ASSERT_TRUE(UploadAndAdd("b", {1, 2}).ok());
  EXPECT_EQ(SpoolState("a"), "UPLOAD_USED");
  EXPECT_EQ(FinishedWords(), (Words{2, 4}));
}

TEST_F(RunningSumTest, AFileThatBecameShorterIsNotAdded) {
  shape_.elements = 2 * RunningSum::kBlockElements;
  ASSERT_TRUE(Open().ok());
  const Words words = RandomWords(shape_.elements, 32, 1);
  ASSERT_TRUE(UploadAndAdd("a", words).ok());
  Upload("short", RandomWords(shape_.elements, 32, 2));
  fs::resize_file(spool_->CompleteFile({kRound, "short"}).value(), 100);
  EXPECT_EQ(sum_->Add("short").reason(), "BAD_UPDATE");
  EXPECT_EQ(FinishedWords(), words);
}

TEST_F(RunningSumTest, ManyThreadsAddAtOnce) {
  shape_.elements = 1000;
  checkpoint_every_ = 3;
  ASSERT_TRUE(Open().ok());
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread] {
      for (std::uint32_t i = 0; i < 8; ++i) {
        EXPECT_TRUE(UploadAndAdd(std::to_string(thread) + "-" + std::to_string(i), Words(1000, 1)).ok());
        EXPECT_GT(sum_->count(), i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum_->count(), 32U);
  EXPECT_EQ(FinishedWords(), Words(1000, 32));
}

// --- checkpoints that are not what was written ---

class CheckpointTest : public RunningSumTest {
 protected:
  CheckpointTest() {
    shape_ = {.round_id = kRound, .elements = 5, .element_bits = 20};
    EXPECT_TRUE(Open().ok());
    EXPECT_TRUE(UploadAndAdd("a", {1, 2, 3, 4, 5}).ok());
    EXPECT_TRUE(UploadAndAdd("b", {6, 7, 8, 9, 10}).ok());
    EXPECT_TRUE(sum_->Checkpoint().ok());
    content_ = ReadFile(CheckpointFile(), 1 << 16).value();
  }
  std::string ReasonFor(ByteView content) {
    EXPECT_TRUE(WriteFileAtomic(CheckpointFile(), content).ok());
    return Open({"a", "b"}).reason();
  }
  Bytes content_;
};

TEST_F(CheckpointTest, IsReadableByItsOwnerOnly) {
  EXPECT_EQ(fs::status(CheckpointFile()).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(CheckpointTest, EveryFlippedByteIsFoundOut) {
  for (std::size_t at = 0; at < content_.size(); ++at) {
    Bytes altered = content_;
    altered[at] ^= std::byte{0x10};
    EXPECT_EQ(ReasonFor(altered), "CHECKPOINT_DAMAGED") << at;
  }
  EXPECT_EQ(ReasonFor(content_), "");
}

TEST_F(CheckpointTest, EveryOtherLengthIsFoundOut) {
  for (std::size_t size = 0; size < content_.size(); ++size)
    EXPECT_EQ(ReasonFor(ByteView(content_).first(size)), "CHECKPOINT_DAMAGED") << size;
  Bytes longer = content_;
  longer.push_back(std::byte{0});
  EXPECT_EQ(ReasonFor(longer), "CHECKPOINT_DAMAGED");
}

TEST_F(CheckpointTest, ServesOnlyTheRoundThatItIsOf) {
  for (const SumShape& other : {SumShape{kRound, 5, 21}, SumShape{kRound, 6, 20}, SumShape{kRound, 4, 20}}) {
    shape_ = other;
    EXPECT_EQ(Open().reason(), "CHECKPOINT_DAMAGED");
  }
  shape_ = {"round-2", 5, 20};
  fs::create_directories(spool_->RoundFolder("round-2"));
  fs::copy(CheckpointFile(), spool_->RoundFolder("round-2") / "sum");
  EXPECT_EQ(Open().reason(), "CHECKPOINT_DAMAGED");
}

// --- killed processes ---

TEST_F(RunningSumTest, AKilledProcessLosesNothingAndCountsNothingTwice) {
  shape_ = {.round_id = kRound, .elements = 3000, .element_bits = 13};
  checkpoint_every_ = 3;
  std::vector<std::string> devices(60);
  for (std::size_t i = 0; i < devices.size(); ++i) devices[i] = "device-" + std::to_string(i);
  const auto words_of = [&](std::size_t device) { return RandomWords(shape_.elements, 13, device); };
  const testing::TempFolder copy;
  SeededRandom random(7);
  std::size_t acknowledged = 0;
  for (int run = 0; acknowledged < devices.size() && run < 100; ++run) {
    sum_.reset();
    spool_.reset();
    testing::KilledChild child([&](const testing::Acknowledge& acknowledge) {
      Restart();
      if (!Open(devices).ok()) return;
      for (std::size_t i = acknowledged; i < devices.size(); ++i) {
        if (sum_->Counted(devices[i])) continue;
        Upload(devices[i], words_of(i));
        if (!sum_->Add(devices[i]).ok()) return;
        acknowledge(i);
      }
    });
    acknowledged = std::max(acknowledged, child.KillAfter(1 + random.Below(12)).value_or(0));
    fs::copy(folder_.path(), copy.path() / std::to_string(run), fs::copy_options::recursive);
    Restart(copy.path() / std::to_string(run));  // what is checked is a copy, so that crash follows crash
    ASSERT_TRUE(Open(devices).ok());
    Words expected(shape_.elements);
    for (std::size_t i = 0; i < devices.size(); ++i) {
      const bool counted = sum_->Counted(devices[i]);
      ASSERT_TRUE(counted || i >= acknowledged) << i;
      if (!counted) continue;
      const Words words = words_of(i);
      for (std::size_t j = 0; j < words.size(); ++j) expected[j] = (expected[j] + words[j]) & testing::ElementMask(13);
      acknowledged = std::max(acknowledged, i + 1);
    }
    ASSERT_EQ(FinishedWords(), expected) << "run " << run;
  }
  EXPECT_EQ(acknowledged, devices.size());
}

}  // namespace
}  // namespace edgefleet::aggregation
