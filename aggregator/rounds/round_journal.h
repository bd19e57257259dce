// A round's journal in a folder of its own, <rounds>/<round_id>, which goes with the round.
#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "aggregator/aggregation/journal.h"
#include "aggregator/rounds/journal_records.h"
#include "base/log.h"

namespace edgefleet::rounds {

// Thread-safe; blocks on the disk. While the disk is full, records wait in memory (each is a message that the round holds
// anyway) and are written, in order, before anything else. After any other failure, a failed sync above all, the journal is
// lost for good: it is removed, so that a restart ends the round instead of taking up half of it.
//
// Errors of Remember, CatchUp and Sync: RESOURCE_EXHAUSTED [DISK_FULL] with retry-after; FAILED_PRECONDITION [JOURNAL_LOST]:
// end the round as failed.
class RoundJournal {
 public:
  // An empty journal; `logger` outlives it. The errors of Journal::Open and FileError.
  static Result<std::shared_ptr<RoundJournal>> Create(const std::filesystem::path& rounds, const std::string& round_id,
                                                      Logger& logger);
  // The journal of an earlier process: NOT_FOUND [NO_JOURNAL]; the errors of Journal::Open.
  static Result<std::shared_ptr<RoundJournal>> Open(const std::filesystem::path& rounds, const std::string& round_id,
                                                    Logger& logger);

  // OK: the record and all before it survive a killed process. Otherwise it waits.
  Status Remember(const JournalRecord& record);
  // OK: nothing waits.
  Status CatchUp();
  // OK: what was remembered when Mark() was called, or now, survives a lost machine. Calls at the same time share a sync, and
  // records can be remembered meanwhile.
  std::uint64_t Mark() const;
  Status Sync(std::uint64_t mark);
  Status Sync() { return Sync(Mark()); }
  // Every record, in order. DATA_LOSS [BAD_RECORD]; the first error of `visitor`.
  Status Replay(const std::function<Status(const JournalRecord&)>& visitor);

 private:
  RoundJournal(std::string round_id, std::filesystem::path file, std::unique_ptr<aggregation::Journal> journal, Logger& logger);
  Status WriteWaiting();
  Status Judge(const Status& status);

  const std::string round_id_;
  const std::filesystem::path file_;
  Logger& logger_;
  mutable std::mutex mutex_;                       // of all below; not held during a sync
  std::shared_ptr<aggregation::Journal> journal_;  // null: lost
  std::deque<std::pair<std::uint8_t, Bytes>> waiting_;
};

}  // namespace edgefleet::rounds
