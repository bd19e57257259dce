// The public transcript of a round's secure aggregation (secagg/transcript/transcript.h), written as its phases close.
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "aggregator/rounds/round_plan.h"
#include "aggregator/rounds/transitions.h"
#include "secagg/server.h"
#include "secagg/transcript/transcript.h"

namespace edgefleet::rounds {

std::filesystem::path TranscriptFile(const std::filesystem::path& folder, const std::string& round_id);

// When a round has ended and its journal is gone: removes the oldest transcripts, by the time of their last record, of rounds
// without a journal until the folder holds at most ports.transcripts_bytes_max or none is left. May run at the same time in
// several threads. The errors of base/file.h; what is left is removed by a later call.
Status TrimTranscripts(const RoundPorts& ports);

// Thread-safe; blocks on the disk. A transcript that cannot be written is logged, and the round goes on: what is missing in it
// is seen by who verifies it. A record that is there already, from an earlier process, stays.
class RoundTranscript {
 public:
  // Without a transcript key in `ports` nothing is written.
  RoundTranscript(const RoundPorts& ports, std::string round_id);

  // After the server's closing that `event` stands for, before anyone is told of it.
  void OnClosed(Event event, const secagg::Server& server);
  // `server` null: it cannot tell who is to blame. A round that had no roster has no transcript.
  void OnEnded(const secagg::Server* server, Event event, const std::string& failure_reason);

 private:
  Status Write(Event event, const secagg::Server& server);
  Status Open();
  void Log(const Status& written) const;

  const std::string round_id_;
  const std::filesystem::path file_;
  const crypto::Ed25519SecretKey* const key_;
  Logger& logger_;
  std::mutex mutex_;
  std::unique_ptr<secagg::TranscriptWriter> writer_;
};

}  // namespace edgefleet::rounds
