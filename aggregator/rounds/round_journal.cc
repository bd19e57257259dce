#include "aggregator/rounds/round_journal.h"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace edgefleet::rounds {
namespace {

std::filesystem::path FileOf(const std::filesystem::path& rounds, const std::string& round_id) {
  return rounds / round_id / "journal";
}

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

void RoundJournal::Remember(const JournalRecord& record) {
  const Bytes payload = EncodeRecord(record);
  std::lock_guard lock(mutex_);
  if (!journal_) return;
  if (Status written = journal_->Append(KindOf(record), payload); !written.ok()) GiveUp(written);
}

void RoundJournal::Sync() {
  std::lock_guard lock(mutex_);
  if (!journal_) return;
  if (Status synced = journal_->Sync(); !synced.ok()) GiveUp(synced);
}

Status RoundJournal::Replay(const std::function<Status(const JournalRecord&)>& visitor) {
  std::lock_guard lock(mutex_);
  if (!journal_) return OkStatus();
  return journal_->Replay([&](std::uint8_t kind, ByteView payload) -> Status {
    EF_ASSIGN_OR_RETURN(const JournalRecord record, DecodeRecord(kind, payload));
    return visitor(record);
  });
}

void RoundJournal::GiveUp(const Status& why) {
  journal_.reset();
  std::error_code error;
  std::filesystem::remove(file_, error);
  logger_.Error("round journal given up, a restart would end the round",
                {{"round_id", round_id_}, {"error", why.ToString()}, {"removed", error ? error.message() : "yes"}});
}

}  // namespace edgefleet::rounds
