#include "aggregator/rounds/round_journal.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace edgefleet::rounds {
namespace {

std::filesystem::path FileOf(const std::filesystem::path& rounds, const std::string& round_id) {
  return rounds / round_id / "journal";
}

constexpr Millis kDiskRetry{1'000};

Error Lost() { return FailedPrecondition("JOURNAL_LOST", "the round's journal could not be written; end the round as failed"); }

}  // namespace

RoundJournal::RoundJournal(std::string round_id, std::filesystem::path file, std::unique_ptr<aggregation::Journal> journal,
                           Logger& logger)
    : round_id_(std::move(round_id)), file_(std::move(file)), logger_(logger), journal_(std::move(journal)) {}

Result<std::shared_ptr<RoundJournal>> RoundJournal::Create(const std::filesystem::path& rounds, const std::string& round_id,
                                                           Logger& logger) {
  const auto file = FileOf(rounds, round_id);
  if (::mkdir(file.parent_path().c_str(), 0700) != 0 && errno != EEXIST) {
    return MakeError(FileError("create", file.parent_path(), errno));
  }
  std::error_code error;
  std::filesystem::remove(file, error);
  if (error) return MakeError(FileError("remove", file, error.value()));
  EF_ASSIGN_OR_RETURN(auto journal, aggregation::Journal::Open(file));
  EF_RETURN_IF_ERROR(SyncPath(rounds));  // so the round's folder survives a lost machine
  return std::shared_ptr<RoundJournal>(new RoundJournal(round_id, file, std::move(journal), logger));
}

Result<std::shared_ptr<RoundJournal>> RoundJournal::Open(const std::filesystem::path& rounds, const std::string& round_id,
                                                         Logger& logger) {
  const auto file = FileOf(rounds, round_id);
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return NotFound("NO_JOURNAL", "this host has no journal of the round");
  EF_ASSIGN_OR_RETURN(auto journal, aggregation::Journal::Open(file));
  return std::shared_ptr<RoundJournal>(new RoundJournal(round_id, file, std::move(journal), logger));
}

Status RoundJournal::Remember(const JournalRecord& record) {
  Bytes payload = EncodeRecord(record);
  std::lock_guard lock(mutex_);
  if (journal_) waiting_.emplace_back(KindOf(record), std::move(payload));
  return WriteWaiting();
}

Status RoundJournal::CatchUp() {
  std::lock_guard lock(mutex_);
  return WriteWaiting();
}

Status RoundJournal::WriteWaiting() {
  if (!journal_) return Lost();
  for (; !waiting_.empty(); waiting_.pop_front()) {
    const auto& [kind, payload] = waiting_.front();
    if (Status written = journal_->Append(kind, payload); !written.ok()) return Judge(written);
  }
  return OkStatus();
}

std::uint64_t RoundJournal::Mark() const {
  std::lock_guard lock(mutex_);
  return journal_ && waiting_.empty() ? journal_->end() : std::numeric_limits<std::uint64_t>::max();
}

Status RoundJournal::Sync(std::uint64_t mark) {
  std::shared_ptr<aggregation::Journal> journal;
  {
    std::lock_guard lock(mutex_);
    EF_RETURN_IF_ERROR(WriteWaiting());
    journal = journal_;
  }
  Status synced = journal->SyncTo(std::min(mark, journal->end()));
  if (synced.ok()) return synced;
  std::lock_guard lock(mutex_);
  return Judge(synced);
}

Status RoundJournal::Replay(const std::function<Status(const JournalRecord&)>& visitor) {
  std::lock_guard lock(mutex_);
  if (!journal_) return Lost();
  return journal_->Replay([&](std::uint8_t kind, ByteView payload) -> Status {
    EF_ASSIGN_OR_RETURN(const JournalRecord record, DecodeRecord(kind, payload));
    return visitor(record);
  });
}

// What a failed write or sync means for the round; `mutex_` is held.
Status RoundJournal::Judge(const Status& failed) {
  if (failed.reason() == "DISK_FULL") {
    logger_.Warn("round journal waits for the disk", {{"round_id", round_id_}, {"error", failed.ToString()}});
    return ResourceExhausted("DISK_FULL", failed.message()).RetryAfter(kDiskRetry);
  }
  waiting_.clear();
  if (journal_) {
    journal_.reset();
    std::error_code error;
    std::filesystem::remove(file_, error);
    logger_.Error("round journal lost",
                  {{"round_id", round_id_}, {"error", failed.ToString()}, {"removed", error ? error.message() : "yes"}});
  }
  return Lost();
}

}  // namespace edgefleet::rounds
