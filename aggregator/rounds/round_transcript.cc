#include "aggregator/rounds/round_transcript.h"

#include <system_error>
#include <utility>

namespace edgefleet::rounds {

std::filesystem::path TranscriptFile(const std::filesystem::path& folder, const std::string& round_id) {
  return folder / (round_id + ".jsonl");
}

RoundTranscript::RoundTranscript(const RoundPorts& ports, std::string round_id)
    : round_id_(std::move(round_id)),
      file_(TranscriptFile(ports.transcripts, round_id_)),
      key_(ports.transcript_key),
      logger_(ports.logger) {}

Status RoundTranscript::Open() {
  if (writer_) return OkStatus();
  EF_ASSIGN_OR_RETURN(writer_, secagg::TranscriptWriter::Open(file_, *key_));
  return OkStatus();
}

void RoundTranscript::OnClosed(Event event, const secagg::Server& server) {
  if (key_ == nullptr) return;
  std::lock_guard lock(mutex_);
  Status written = Open();
  if (written.ok()) written = Write(event, server);
  Log(written);
}

Status RoundTranscript::Write(Event event, const secagg::Server& server) {
  switch (event) {
    case Event::kRosterComplete:
      EF_RETURN_IF_ERROR(writer_->Opened(server));
      return writer_->Roster(server);
    case Event::kKeysShared:
      return writer_->Shared(server);
    case Event::kUpdatesCollected:
    case Event::kUpdatesToConfirm:
      return writer_->Uploads(server);
    case Event::kSurvivorsConfirmed:
      return writer_->Confirmations(server);
    case Event::kSharesRevealed:
      return writer_->Answers(server);
    default:
      return OkStatus();
  }
}

void RoundTranscript::OnEnded(const secagg::Server* server, Event event, const std::string& failure_reason) {
  if (key_ == nullptr) return;
  std::lock_guard lock(mutex_);
  std::error_code error;
  if (!writer_ && !std::filesystem::exists(file_, error)) return;
  const auto outcome = event == Event::kVersionCommitted ? secagg::Outcome::kCommitted : secagg::Outcome::kFailed;
  Status written = Open();
  if (written.ok()) written = writer_->Ended(server, outcome, failure_reason);
  Log(written);
}

void RoundTranscript::Log(const Status& written) const {
  if (written.ok()) return;
  logger_.Error("transcript not written", {{"round_id", round_id_}, {"error", written.ToString()}});
}

}  // namespace edgefleet::rounds
