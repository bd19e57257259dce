#include "aggregator/rounds/round_transcript.h"

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.h"

namespace edgefleet::rounds {

std::filesystem::path TranscriptFile(const std::filesystem::path& folder, const std::string& round_id) {
  return folder / (round_id + ".jsonl");
}

Status TrimTranscripts(const RoundPorts& ports) {
  struct Ended {
    std::filesystem::file_time_type written;
    std::uintmax_t size = 0;
    std::filesystem::path file;
  };
  std::vector<Ended> ended;
  std::uintmax_t total = 0;
  std::error_code error;
  std::filesystem::directory_iterator folder(ports.transcripts, error);
  for (const std::filesystem::directory_iterator end; !error && folder != end; folder.increment(error)) {
    std::error_code gone;  // another thread removes too
    const Ended found{folder->last_write_time(gone), gone ? 0 : folder->file_size(gone), folder->path()};
    if (gone) continue;
    total += found.size;
    const auto journal = ports.rounds / found.file.stem();
    if (!std::filesystem::exists(journal, gone) && !gone) ended.push_back(found);
  }
  if (error) return FileError("list", ports.transcripts, error.value());
  std::ranges::sort(ended, {}, &Ended::written);
  for (auto oldest = ended.begin(); total > ports.transcripts_bytes_max && oldest != ended.end(); ++oldest) {
    std::filesystem::remove(oldest->file, error);
    if (error) return FileError("remove", oldest->file, error.value());
    total -= oldest->size;
    ports.logger.Info("transcript removed", {{"round_id", oldest->file.stem().string()}});
  }
  return OkStatus();
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
