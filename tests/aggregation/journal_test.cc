#include "aggregator/aggregation/journal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <latch>
#include <thread>

#include "base/crypto/crypto.h"
#include "base/file.h"
#include "base/random.h"
#include "tests/aggregation/killed_child.h"
#include "tests/aggregation/temp_folder.h"
#include "tests/support/faulty_disk.h"

namespace edgefleet::aggregation {
namespace {

namespace fs = std::filesystem;

using Record = std::pair<std::uint8_t, Bytes>;
using Records = std::vector<Record>;

Record MakeRecord(std::uint64_t number) {
  SeededRandom random(number);
  Bytes bytes(random.Below(200));
  random.Fill(bytes);
  return {static_cast<std::uint8_t>(number * 37), bytes};
}

Records FirstRecords(std::uint64_t count) {
  Records records;
  for (std::uint64_t i = 0; i < count; ++i) records.push_back(MakeRecord(i));
  return records;
}

class JournalTest : public ::testing::Test {
 protected:
  Status Open() {
    journal_.reset();
    auto opened = Journal::Open(path_, options_);
    if (!opened) return opened.error();
    journal_ = std::move(*opened);
    return OkStatus();
  }
  void Append(std::uint64_t first, std::uint64_t last) {
    for (std::uint64_t i = first; i < last; ++i) {
      const Record record = MakeRecord(i);
      ASSERT_TRUE(journal_->Append(record.first, record.second).ok());
    }
  }
  Records All() {
    Records records;
    const Status replayed = journal_->Replay([&](std::uint8_t kind, ByteView record) {
      records.emplace_back(kind, ToBytes(record));
      return OkStatus();
    });
    EXPECT_TRUE(replayed.ok()) << replayed.ToString();
    return records;
  }
  Bytes Content() { return ReadFile(path_, 1 << 28).value(); }
  // What opening such a file says; it is left open if it could be.
  std::string ReasonFor(ByteView content) {
    journal_.reset();
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << AsText(content);
    return Open().reason();
  }

  testing::TempFolder folder_;
  fs::path path_ = folder_.path() / "journal";
  Journal::Options options_;
  std::unique_ptr<Journal> journal_;
};

TEST_F(JournalTest, RepeatsWhatWasAppendedAlsoAfterAReopening) {
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(All(), Records());
  Append(0, 20);
  EXPECT_EQ(All(), FirstRecords(20));
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(All(), FirstRecords(20));
  Append(20, 30);
  ASSERT_TRUE(journal_->Sync().ok());
  Append(30, 40);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(All(), FirstRecords(40));
}

TEST_F(JournalTest, IsReadableByItsOwnerOnly) {
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(JournalTest, TakesEmptyAndLargeRecords) {
  ASSERT_TRUE(Open().ok());
  const Bytes large(Journal::kRecordBytesMax, std::byte{7});
  ASSERT_TRUE(journal_->Append(1, {}).ok());
  ASSERT_TRUE(journal_->Append(255, large).ok());
  EXPECT_EQ(journal_->Append(3, Bytes(Journal::kRecordBytesMax + 1)).reason(), "RECORD_TOO_LARGE");
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(All(), (Records{{1, {}}, {255, large}}));
}

TEST_F(JournalTest, IsBounded) {
  options_.bytes_max = 1000;
  ASSERT_TRUE(Open().ok());
  const Bytes record(400);
  EXPECT_TRUE(journal_->Append(1, record).ok());
  EXPECT_TRUE(journal_->Append(1, record).ok());
  EXPECT_EQ(journal_->Append(1, record).reason(), "JOURNAL_FULL");
  EXPECT_TRUE(journal_->Append(1, Bytes(40)).ok());
  EXPECT_LE(Content().size(), 1000U);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(All().size(), 3U);
}

TEST_F(JournalTest, AVisitorsErrorEndsTheReplay) {
  ASSERT_TRUE(Open().ok());
  Append(0, 3);
  int seen = 0;
  const Status status = journal_->Replay(
      [&](std::uint8_t, ByteView) -> Status { return ++seen == 2 ? Status(Internal("NO_MORE", "")) : OkStatus(); });
  EXPECT_EQ(status.reason(), "NO_MORE");
  EXPECT_EQ(seen, 2);
}

TEST_F(JournalTest, NeedsItsFolder) {
  path_ = folder_.path() / "absent" / "journal";
  EXPECT_EQ(Open().reason(), "FILE_MISSING");
}

// Cut anywhere behind the synced length, the whole records before the cut are there, and more can be appended.
TEST_F(JournalTest, ATornTailIsCutOff) {
  ASSERT_TRUE(Open().ok());
  const std::size_t empty = Content().size();
  Append(0, 4);
  const Bytes content = Content();
  for (std::size_t size = empty; size < content.size(); ++size) {
    for (const std::size_t zeros : {0, 5, 100}) {
      Bytes torn = ToBytes(ByteView(content).first(size));
      const bool cuts_record = ReasonFor(torn).empty() && Content().size() != size;
      if (zeros > 0 && cuts_record) continue;  // zeros after half a record look like its payload
      torn.resize(size + zeros);
      ASSERT_EQ(ReasonFor(torn), "") << size;
      const Records kept = All();
      ASSERT_EQ(kept, FirstRecords(kept.size()));
      ASSERT_LT(kept.size(), 4U);
      Append(kept.size(), 4);
      ASSERT_EQ(Content(), content) << size;
    }
  }
}

TEST_F(JournalTest, ALastRecordWithoutItsContentIsDropped) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(journal_->Append(1, Bytes(10, std::byte{1})).ok());
  ASSERT_TRUE(journal_->Append(2, Bytes(10, std::byte{2})).ok());
  Bytes content = Content();
  for (std::size_t i = 1; i <= 10; ++i) content[content.size() - i] = std::byte{0};
  ASSERT_EQ(ReasonFor(content), "");
  EXPECT_EQ(All(), (Records{{1, Bytes(10, std::byte{1})}}));
}

TEST_F(JournalTest, WhatWasSyncedCannotBecomeShorter) {
  ASSERT_TRUE(Open().ok());
  Append(0, 3);
  ASSERT_TRUE(journal_->Sync().ok());
  const Bytes synced = Content();
  Append(3, 4);
  const Bytes content = Content();
  for (std::size_t size = 0; size < synced.size(); ++size)
    EXPECT_EQ(ReasonFor(ByteView(content).first(size)), "JOURNAL_DAMAGED") << size;
  for (std::size_t size = synced.size(); size < content.size(); ++size) {
    EXPECT_EQ(ReasonFor(ByteView(content).first(size)), "") << size;
    EXPECT_EQ(All(), FirstRecords(3));
  }
}

TEST_F(JournalTest, EveryFlippedByteOfWhatWasSyncedIsFoundOut) {
  ASSERT_TRUE(Open().ok());
  Append(0, 4);
  ASSERT_TRUE(journal_->Sync().ok());
  const Bytes content = Content();
  for (std::size_t at = 0; at < content.size(); ++at) {
    Bytes altered = content;
    altered[at] ^= std::byte{0x20};
    EXPECT_EQ(ReasonFor(altered), "JOURNAL_DAMAGED") << at;
  }
}

TEST_F(JournalTest, EveryFlippedByteBeforeTheLastRecordIsFoundOut) {
  ASSERT_TRUE(Open().ok());
  Append(0, 3);
  const std::size_t last = Content().size();
  Append(3, 4);
  const Bytes content = Content();
  for (std::size_t at = 0; at < content.size(); ++at) {
    Bytes altered = content;
    altered[at] ^= std::byte{0x20};
    const std::string reason = ReasonFor(altered);
    EXPECT_TRUE(reason == "JOURNAL_DAMAGED" || (reason.empty() && at >= last && All() == FirstRecords(3))) << at;
  }
}

TEST_F(JournalTest, MovedRepeatedAndForeignRecordsAreFoundOut) {
  ASSERT_TRUE(Open().ok());
  const std::size_t header = Content().size();
  for (const int kind : {1, 2, 3}) ASSERT_TRUE(journal_->Append(static_cast<std::uint8_t>(kind), Bytes(8)).ok());
  const Bytes content = Content();
  const std::size_t size = (content.size() - header) / 3;
  const auto record = [&](std::size_t number) { return ByteView(content).subspan(header + number * size, size); };
  for (const std::vector<std::size_t>& order :
       {std::vector<std::size_t>{1, 2}, {0, 2}, {0, 2, 1}, {0, 0, 1, 2}, {0, 1, 1, 2}}) {
    Bytes altered = ToBytes(ByteView(content).first(header));
    for (const std::size_t number : order) altered.insert(altered.end(), record(number).begin(), record(number).end());
    EXPECT_EQ(ReasonFor(altered), "JOURNAL_DAMAGED");
  }
  EXPECT_EQ(ReasonFor(content), "");
}

TEST_F(JournalTest, ManyThreadsAppendAtOnce) {
  ASSERT_TRUE(Open().ok());
  std::vector<std::thread> threads;
  for (std::uint8_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([this, thread] {
      for (std::size_t i = 0; i < 50; ++i) EXPECT_TRUE(journal_->Append(thread, Bytes(i)).ok());
      EXPECT_TRUE(journal_->Sync().ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(Open().ok());
  std::array<std::size_t, 4> next{};
  for (const auto& [kind, bytes] : All()) EXPECT_EQ(bytes.size(), next.at(kind)++);
  EXPECT_EQ(next, (std::array<std::size_t, 4>{50, 50, 50, 50}));
}

// --- the disk ---

using Call = edgefleet::testing::FaultyDisk::Call;

// All have appended before the first of them syncs: its sync is theirs too, and none goes on before it has returned.
TEST_F(JournalTest, SyncsAtTheSameTimeAreOne) {
  constexpr int kThreads = 16;
  ASSERT_TRUE(Open().ok());
  std::latch appended(kThreads), began(1), allowed(1);
  std::atomic<int> syncs = 0, durable = 0;
  edgefleet::testing::FaultyDisk disk;
  disk.WatchSyncs("/journal", [&] {
    if (++syncs == 1) began.count_down();
    allowed.wait();
  });
  std::vector<std::thread> threads;
  for (std::uint8_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      EXPECT_TRUE(journal_->Append(thread, Bytes(10)).ok());
      const std::uint64_t end = journal_->end();
      appended.arrive_and_wait();
      EXPECT_TRUE(journal_->SyncTo(end).ok());
      ++durable;
    });
  }
  began.wait();
  EXPECT_EQ(durable, 0);
  allowed.count_down();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(durable, kThreads);
  EXPECT_EQ(syncs, 1);
  ASSERT_TRUE(journal_->Sync().ok());
  EXPECT_EQ(syncs, 1) << "there was nothing new";
}

TEST_F(JournalTest, WhatIsAppendedDuringASyncNeedsAnother) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(journal_->Append(1, Bytes(10)).ok());
  int syncs = 0;
  edgefleet::testing::FaultyDisk disk;
  disk.WatchSyncs("/journal", [&] {
    if (++syncs > 1) return;
    EXPECT_TRUE(journal_->Append(2, Bytes(10)).ok());
  });
  const std::uint64_t first = journal_->end();
  ASSERT_TRUE(journal_->SyncTo(first).ok());
  ASSERT_TRUE(journal_->SyncTo(first).ok());
  EXPECT_EQ(syncs, 1);
  ASSERT_TRUE(journal_->Sync().ok());
  EXPECT_EQ(syncs, 2);
}

TEST_F(JournalTest, AFailedSyncIsForGood) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(journal_->Append(1, Bytes(10)).ok());
  edgefleet::testing::FaultyDisk disk;
  disk.Break(Call::kSync, "/journal", EIO);
  EXPECT_EQ(journal_->Sync().reason(), "FILE_IO");
  disk.Mend();
  EXPECT_EQ(journal_->Sync().reason(), "JOURNAL_BROKEN");
  EXPECT_EQ(journal_->Append(1, Bytes(10)).reason(), "JOURNAL_BROKEN");
}

TEST_F(JournalTest, AFailedWriteIsTakenBack) {
  ASSERT_TRUE(Open().ok());
  Append(0, 3);
  const Bytes before = Content();
  edgefleet::testing::FaultyDisk disk;
  disk.Break(Call::kWrite, "/journal", ENOSPC);
  EXPECT_EQ(journal_->Append(1, Bytes(10)).reason(), "DISK_FULL");
  disk.Break(Call::kWrite, "/journal", EIO);
  EXPECT_EQ(journal_->Append(1, Bytes(10)).reason(), "FILE_IO");
  disk.Mend();
  EXPECT_EQ(Content(), before);
  Append(3, 5);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(All(), FirstRecords(5));
}

// A real short write: the system lets the file grow into the middle of a record.
TEST_F(JournalTest, HalfARecordIsTakenBack) {
  ASSERT_TRUE(Open().ok());
  Append(0, 3);
  const Bytes before = Content();
  rlimit former{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &former), 0);
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{before.size() + 40, former.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  const Status refused = journal_->Append(1, Bytes(100));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &former), 0);
  EXPECT_EQ(refused.reason(), "DISK_FULL");
  EXPECT_EQ(Content(), before);
  Append(3, 5);
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(All(), FirstRecords(5));
}

TEST_F(JournalTest, AKilledProcessLosesNoAcknowledgedRecord) {
  SeededRandom random(3);
  std::uint64_t acknowledged = 0;
  for (int run = 0; run < 40; ++run) {
    testing::KilledChild child([&](const testing::Acknowledge& acknowledge) {
      if (!Open().ok()) return;
      for (std::uint64_t i = All().size();; ++i) {
        const Record record = MakeRecord(i);
        if (!journal_->Append(record.first, record.second).ok()) return;
        if (i % 16 == 0 && !journal_->Sync().ok()) return;
        acknowledge(i);
      }
    });
    acknowledged = child.KillAfter(1 + random.Below(40)).value_or(acknowledged);
    ASSERT_TRUE(Open().ok());
    const Records records = All();
    ASSERT_GE(records.size(), acknowledged);
    ASSERT_LE(records.size(), acknowledged + 1);
    ASSERT_EQ(records, FirstRecords(records.size()));
    acknowledged = records.size();
  }
}

}  // namespace
}  // namespace edgefleet::aggregation
