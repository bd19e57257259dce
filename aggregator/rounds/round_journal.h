// A round's journal in a folder of its own, <rounds>/<round_id>, which goes with the round.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "aggregator/aggregation/journal.h"
#include "aggregator/rounds/journal_records.h"
#include "base/log.h"

namespace edgefleet::rounds {

// Thread-safe; blocks on the disk. A journal that cannot be written is given up: it is removed, so that the round goes on, and
// a restart ends it instead of taking up half of it.
class RoundJournal {
 public:
  // An empty journal; `logger` outlives it. The errors of Journal::Open and FileError.
  static Result<std::shared_ptr<RoundJournal>> Create(const std::filesystem::path& rounds, const std::string& round_id,
                                                      Logger& logger);
  // The journal of an earlier process: NOT_FOUND [NO_JOURNAL]; the errors of Journal::Open.
  static Result<std::shared_ptr<RoundJournal>> Open(const std::filesystem::path& rounds, const std::string& round_id,
                                                    Logger& logger);

  // Survives a killed process from here on.
  void Remember(const JournalRecord& record);
  // What was remembered survives a lost machine from here on.
  void Sync();
  // Every record, in order. DATA_LOSS [BAD_RECORD]; the first error of `visitor`.
  Status Replay(const std::function<Status(const JournalRecord&)>& visitor);

 private:
  RoundJournal(std::string round_id, std::filesystem::path file, std::unique_ptr<aggregation::Journal> journal, Logger& logger);
  void GiveUp(const Status& why);

  const std::string round_id_;
  const std::filesystem::path file_;
  Logger& logger_;
  std::mutex mutex_;
  std::unique_ptr<aggregation::Journal> journal_;  // null: given up
};

}  // namespace edgefleet::rounds
