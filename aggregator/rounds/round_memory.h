// All that a round keeps while it runs, and how the next process gets it back.
//
// On disk are: the store's row of the round, its journal (journal_records.h), its uploads and their sum (running_sum.h), and,
// from the end of AGGREGATING on, its candidate parameters. A phase is closed in the journal before it is in the store, so the
// journal may be one closing ahead, never behind.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "aggregator/aggregation/running_sum.h"
#include "aggregator/rounds/round_journal.h"
#include "aggregator/rounds/round_plan.h"
#include "aggregator/rounds/round_state.h"

namespace edgefleet::rounds {

// How often a round is taken up before it is failed: whatever ends the process again and again may be the round itself.
inline constexpr std::uint32_t kResumptionsMax = 5;

struct RoundMemory {
  std::shared_ptr<RoundJournal> journal;
  RoundStarted started;
  std::unique_ptr<RoundState> state;                    // once devices are assigned
  std::shared_ptr<aggregation::RunningSum> sum;         // from COLLECTING to AGGREGATING
  std::shared_ptr<const std::vector<float>> candidate;  // from the end of AGGREGATING on
  UpdatesAveraged averaged;                             // with the candidate
};

// Of a round that begins. The errors of RoundJournal.
Result<RoundMemory> BeginRound(const RoundPorts& ports, const RoundPlan& plan);
// Of a round that another process left in the phase of plan.record; synced. NOT_FOUND [NO_JOURNAL]; FAILED_PRECONDITION
// [RESUMED_TOO_OFTEN]; DATA_LOSS [ROUND_DAMAGED] when journal, store, sum and candidate do not fit; those of RoundJournal,
// Journal::Open, DecodeRecord, RoundState and RunningSum::Open.
Result<RoundMemory> RecallRound(const RoundPorts& ports, const RoundPlan& plan);
// Removes all that is on disk; what is left after an error is removed by a later call.
Status ForgetRound(const RoundPorts& ports, const std::string& round_id);

// The sum of the uploads of these devices, as far as they have arrived. The errors of RunningSum::Open.
Result<std::shared_ptr<aggregation::RunningSum>> OpenSum(const RoundPorts& ports, const secagg::SessionConfig& config,
                                                         const std::vector<std::string>& devices);

std::filesystem::path CandidateFile(const std::filesystem::path& folder, const std::string& round_id);
// DATA_LOSS [CANDIDATE_DAMAGED] for another number of parameters; the errors of ReadFile.
Result<std::vector<float>> ReadCandidate(const std::filesystem::path& file, std::uint64_t count);

}  // namespace edgefleet::rounds
