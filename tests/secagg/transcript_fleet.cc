#include "tests/secagg/transcript_fleet.h"

#include "secagg/transcript/records.h"

namespace edgefleet::secagg::testing {

const crypto::Ed25519SecretKey& TranscriptKey() {
  static const auto key = crypto::Ed25519SecretKey::FromSeed(Bytes(32, std::byte{9})).value();
  return key;
}

FleetOptions Small(Adversary adversary) {
  return LeavingOut({.members = 6, .graph = {5, 4}, .survivors_min = 4, .adversary = adversary}, 2);
}

Status PlayWithTranscript(Fleet& fleet, TranscriptWriter& transcript, const Dropouts& dropouts) {
  EF_RETURN_IF_ERROR(transcript.Opened(fleet.server));
  const auto failed = [&](const Status& status) { return transcript.Ended(&fleet.server, Outcome::kFailed, status.reason()); };
  if (const Status status = fleet.AdvertiseAndClose(); !status.ok()) return failed(status);
  EF_RETURN_IF_ERROR(transcript.Roster(fleet.server));
  if (const Status status = fleet.ShareAndClose(dropouts.before_sharing); !status.ok()) return failed(status);
  EF_RETURN_IF_ERROR(transcript.Shared(fleet.server));
  if (const Status status = fleet.UploadAndClose(dropouts.before_upload); !status.ok()) return failed(status);
  EF_RETURN_IF_ERROR(transcript.Uploads(fleet.server));
  if (const Status status = fleet.ConfirmAndClose(dropouts.before_confirming); !status.ok()) return failed(status);
  if (fleet.active()) EF_RETURN_IF_ERROR(transcript.Confirmations(fleet.server));
  std::set<std::uint32_t> silent = dropouts.before_confirming;
  silent.insert(dropouts.before_unmasking.begin(), dropouts.before_unmasking.end());
  const Status unmasked = fleet.AnswerAndUnmask(silent);
  EF_RETURN_IF_ERROR(transcript.Answers(fleet.server));
  if (!unmasked.ok()) return failed(unmasked);
  return transcript.Ended(&fleet.server, Outcome::kCommitted, "");
}

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at += lines.back().size() + 1;
  }
  return lines;
}

std::string TextOf(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

std::string Resealed(const std::string& text, const std::function<void(Records&)>& change,
                     const crypto::Ed25519SecretKey& key) {
  Records records;
  for (const std::string& line : LinesOf(text)) records.push_back(nlohmann::ordered_json::parse(line));
  change(records);
  std::string resealed, previous(2 * kDigestSize, '0');
  for (std::size_t seq = 0; seq < records.size(); ++seq) {
    records[seq]["seq"] = seq;
    records[seq]["previous"] = previous;
    records[seq].erase("hash");
    records[seq].erase("signature");
    std::string hashed = records[seq].dump();
    hashed.pop_back();
    previous = crypto::Sha256Hex(AsBytes(hashed));
    resealed += SealedLine(hashed, key);
  }
  return resealed;
}

}  // namespace edgefleet::secagg::testing
