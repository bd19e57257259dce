#include "secagg/transcript/verify.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <functional>
#include <memory>
#include <utility>

#include "base/file.h"
#include "secagg/parameters.h"
#include "secagg/server.h"
#include "secagg/server_states.h"
#include "secagg/session.h"
#include "secagg/transcript/records.h"

namespace edgefleet::secagg {
namespace {

Error Invalid(const std::string& what) { return DataLoss("TRANSCRIPT_INVALID", what); }

std::string Member(std::uint32_t index) { return "member " + std::to_string(index); }

template <typename Entry>
Status CheckAscending(const std::vector<Entry>& entries) {
  const auto wrong = std::ranges::adjacent_find(entries, std::ranges::greater_equal(), &Entry::member);
  if (wrong == entries.end()) return OkStatus();
  return Invalid(Member(wrong->member) + " is not before the next one: each is listed once, by ascending index");
}

// What the aggregator's server would have said to the records.
class Replay {
 public:
  explicit Replay(const VerifyOptions& options) : options_(options) {}

  Status Apply(const OpenedRecord& record);
  Status Apply(const RosterRecord& record);
  Status Apply(const SharedRecord& record);
  Status Apply(const UploadsRecord& record);
  Status Apply(const ConfirmationsRecord& record);
  Status Apply(const AnswersRecord& record);
  Status Apply(const EndedRecord& record);

  TranscriptSummary summary;

 private:
  Status Enter(ServerState::Next next);
  Status CheckBlame(const Blame& blame) const;
  // Every secret that is needed has t shares that nobody found to be wrong.
  Status CheckRevealed(const EndedRecord& record) const;
  const Ledger& ledger() const { return state_->ledger(); }

  const VerifyOptions& options_;
  std::optional<Server> server_;               // up to the roster
  std::unique_ptr<ServerState> state_;         // from the shares on
  std::vector<std::optional<Bytes>> answers_;  // by member: the senders whose shares are missing
  std::vector<std::uint32_t> share_counts_;    // by member: shares of its secret that were revealed
};

Status Replay::Enter(ServerState::Next next) {
  EF_ASSIGN_OR_RETURN(state_, std::move(next));
  return OkStatus();
}

Status Replay::Apply(const OpenedRecord& record) {
  summary.config = record.config;
  const bool active = record.config.adversary == Adversary::kActive;
  if (!active && !options_.authorities.empty()) {
    return Invalid("the round is of the semi-honest variant: no authority has enrolled its members");
  }
  EF_ASSIGN_OR_RETURN(
      server_, Server::Create({.config = record.config,
                               .server_nonce = record.server_nonce,
                               .authorities = options_.authorities.empty() ? record.authorities : options_.authorities}));
  return OkStatus();
}

Status Replay::Apply(const RosterRecord& record) {
  for (const KeyAdvert& advert : record.adverts) {
    const auto index = server_->AddAdvert(advert);
    if (!index) return Status(index.error()).Annotate(Member(server_->member_count() + 1));
  }
  EF_RETURN_IF_ERROR(server_->CloseRoster(record.graph, record.survivors_min));
  const Ledger& roster = server_->ledger();
  if (roster.roster.root() != record.roster_digest) return Invalid("the roster's digest is not that of its adverts");
  if (roster.session != record.session) return Invalid("the session id does not follow from the setup");
  const std::uint32_t members = roster.members();
  EF_RETURN_IF_ERROR(
      CheckRoundPrivacy(summary.config.adversary, members, record.graph, record.survivors_min, options_.corrupt_fraction));
  summary.members = members;
  summary.graph = record.graph;
  summary.survivors_min = record.survivors_min;
  return OkStatus();
}

// Who is a sharer follows from who has committed to a seed: the sealed shares themselves are not needed.
Status Replay::Apply(const SharedRecord& record) {
  EF_RETURN_IF_ERROR(CheckAscending(record.shares));
  const Ledger& roster = server_->ledger();
  auto ledger = std::make_unique<Ledger>();
  ledger->options = roster.options;
  ledger->adverts = roster.adverts;
  ledger->parameters = roster.parameters;
  ledger->survivors_min = roster.survivors_min;
  ledger->neighbours = roster.neighbours;
  ledger->committee = roster.committee;
  ledger->in_committee = roster.in_committee;
  ledger->roster = roster.roster;
  ledger->session = roster.session;
  ledger->shared.resize(roster.members());
  server_.reset();
  for (const auto& share : record.shares) {
    if (share.member < 1 || share.member > ledger->members()) return Invalid(Member(share.member) + " is not in the roster");
    ledger->shared[share.member - 1].seed_commitment = ToBytes(share.seed_commitment);
  }
  EF_RETURN_IF_ERROR(Enter(ServerSharing(std::move(ledger)).CloseSharing()));
  if (this->ledger().sharer_bitmap != record.sharers) {
    return Invalid("the sharers are not the largest set of members that shared with t neighbours each in it");
  }
  summary.sharers = static_cast<std::uint32_t>(this->ledger().sharers.size());
  return OkStatus();
}

Status Replay::Apply(const UploadsRecord& record) {
  if (!IsBitmapOf(record.survivors, summary.members)) return Invalid("the survivors are not a bitmap over the roster");
  EF_RETURN_IF_ERROR(CheckAscending(record.signatures));
  auto next = record.signatures.begin();
  for (std::uint32_t member = 1; member <= summary.members; ++member) {
    if (!TestBit(record.survivors, member - 1)) continue;
    const bool is_signed = next != record.signatures.end() && next->member == member;
    EF_RETURN_IF_ERROR(state_->AddUpload(member, is_signed ? UploadProof{next->signature} : UploadProof()));
    if (is_signed) ++next;
  }
  if (next != record.signatures.end()) return Invalid(Member(next->member) + " has signed its upload, but is no survivor");
  EF_RETURN_IF_ERROR(Enter(state_->CloseUploads()));
  if (ledger().active()) {
    const Graph graph(GraphSeed(ledger().session), summary.members, summary.graph.degree);
    EF_RETURN_IF_ERROR(CheckConnected(graph, summary.graph.threshold, record.survivors, options_.corrupt_fraction));
  }
  summary.survivors = static_cast<std::uint32_t>(ledger().survivors.size());
  summary.dropouts = summary.members - summary.survivors;
  return OkStatus();
}

Status Replay::Apply(const ConfirmationsRecord& record) {
  EF_RETURN_IF_ERROR(CheckAscending(record.signatures));
  for (const auto& [member, signature] : record.signatures) {
    EF_RETURN_IF_ERROR(state_->AddConfirmation(member, {signature}));
  }
  EF_RETURN_IF_ERROR(Enter(state_->CloseConfirmations()));
  summary.confirmations = static_cast<std::uint32_t>(record.signatures.size());
  return OkStatus();
}

Status Replay::Apply(const AnswersRecord& record) {
  EF_RETURN_IF_ERROR(CheckAscending(record.answers));
  answers_.resize(summary.members);
  share_counts_.resize(summary.members);
  for (const auto& [member, missing] : record.answers) {
    EF_ASSIGN_OR_RETURN([[maybe_unused]] const UnmaskRequest request, state_->Request(member));
    const std::vector<std::uint32_t> senders = ledger().Senders(member);
    if (!missing.empty() && (!IsBitmapOf(missing, senders.size()) || CountBits(missing) == 0)) {
      return Invalid("what is missing in the answer of " + Member(member) + " is not a bitmap over the senders of its inbox");
    }
    for (std::size_t place = 0; place < senders.size(); ++place) {
      if (missing.empty() || !TestBit(missing, place)) {
        ++share_counts_[senders[place] - 1];
      } else {
        summary.blames.push_back({senders[place], member, Blame::Kind::kComplaint});
      }
    }
    answers_[member - 1] = missing;
  }
  summary.answers = static_cast<std::uint32_t>(record.answers.size());
  return OkStatus();
}

Status Replay::CheckBlame(const Blame& blame) const {
  const auto [owner, responder, kind] = blame;
  const Error wrong = Invalid("the blame of owner " + std::to_string(owner) + " and responder " + std::to_string(responder) +
                              " is about a share that was not revealed");
  if (answers_.empty() || owner < 1 || owner > summary.members || !ledger().IsSharer(owner) || !ledger().IsNeeded(owner)) {
    return Error(wrong);
  }
  if (kind == Blame::Kind::kBadDealer) return responder == 0 ? OkStatus() : Status(Error(wrong));
  if (responder < 1 || responder > summary.members || !answers_[responder - 1]) return Error(wrong);
  const std::vector<std::uint32_t> senders = ledger().Senders(responder);
  const auto sender = std::ranges::lower_bound(senders, owner);
  if (sender == senders.end() || *sender != owner) return Error(wrong);
  const Bytes& missing = *answers_[responder - 1];
  const bool revealed = missing.empty() || !TestBit(missing, static_cast<std::size_t>(sender - senders.begin()));
  return revealed ? OkStatus() : Status(Error(wrong));
}

Status Replay::CheckRevealed(const EndedRecord& record) const {
  std::vector<std::uint32_t> right = share_counts_;
  for (const Blame& blame : record.blames) {
    if (blame.kind == Blame::Kind::kBadDealer) return Invalid("the round cannot be committed: a secret was not recovered");
    --right[blame.owner - 1];
  }
  for (const std::uint32_t owner : ledger().sharers) {
    if (!ledger().IsNeeded(owner) || right[owner - 1] >= summary.graph.threshold) continue;
    return Invalid("the round cannot be committed: " + std::to_string(right[owner - 1]) + " shares of the secret of " +
                   Member(owner) + " were revealed and right, " + std::to_string(summary.graph.threshold) + " are needed");
  }
  return OkStatus();
}

Status Replay::Apply(const EndedRecord& record) {
  const auto key = [](const Blame& blame) { return std::pair(blame.owner, blame.responder); };
  if (std::ranges::adjacent_find(record.blames, std::ranges::greater_equal(), key) != record.blames.end()) {
    return Invalid("the blames are not listed once each, by ascending owner and responder");
  }
  for (const Blame& blame : record.blames) EF_RETURN_IF_ERROR(CheckBlame(blame));
  if (record.outcome == Outcome::kCommitted) {
    if (answers_.empty()) return Invalid("the round cannot be committed: no shares were revealed");
    EF_RETURN_IF_ERROR(CheckRevealed(record));
  }
  summary.blames.insert(summary.blames.end(), record.blames.begin(), record.blames.end());
  summary.outcome = record.outcome;
  summary.reason = record.reason;
  return OkStatus();
}

enum class Line { kWhole, kEnd, kTorn, kTooLong };

Line ReadLine(std::streambuf& stream, std::string& line) {
  using Traits = std::streambuf::traits_type;
  line.clear();
  for (int c = stream.sbumpc(); c != Traits::eof(); c = stream.sbumpc()) {
    if (c == '\n') return Line::kWhole;
    if (line.size() == kLineBytesMax) return Line::kTooLong;
    line.push_back(Traits::to_char_type(c));
  }
  return line.empty() ? Line::kEnd : Line::kTorn;
}

class Verifier {
 public:
  explicit Verifier(const VerifyOptions& options) : options_(options), replay_(options) {}

  Status Add(std::string_view line) {
    EF_ASSIGN_OR_RETURN(const LineParts parts, SplitLine(line, next_));
    if (next_.seq > 0 && !IsSignedBy(parts, signer_)) return WrongSigner();
    EF_ASSIGN_OR_RETURN(const Record record, ParseRecord(line, parts, next_));
    if (next_.seq == 0) EF_RETURN_IF_ERROR(CheckSigner(record, parts));
    if (next_.seq > 0 && !MayFollow(former_, record.index(), replay_.summary.config.adversary)) {
      return Invalid("'" + std::string(kTypes[record.index()]) + "' may not follow '" + std::string(kTypes[former_]) + "'");
    }
    EF_RETURN_IF_ERROR(std::visit([this](const auto& alternative) { return replay_.Apply(alternative); }, record));
    former_ = record.index();
    next_ = {next_.seq + 1, parts.hash};
    return OkStatus();
  }

  std::uint64_t records() const { return next_.seq; }
  TranscriptSummary Finish() {
    replay_.summary.signer = signer_;
    replay_.summary.records = records();
    return std::move(replay_.summary);
  }

 private:
  static Error WrongSigner() { return Invalid("it is not signed by the key of the transcript"); }

  Status CheckSigner(const Record& record, const LineParts& parts) {
    const auto* opened = std::get_if<OpenedRecord>(&record);
    if (opened == nullptr) return Invalid("a transcript begins with 'opened'");
    signer_ = opened->transcript_key;
    if (options_.signer && signer_ != *options_.signer) {
      return Invalid("the transcript is of another aggregator: its key is " + HexEncode(signer_));
    }
    return IsSignedBy(parts, signer_) ? OkStatus() : Status(WrongSigner());
  }

  const VerifyOptions& options_;
  Replay replay_;
  crypto::Ed25519PublicKey signer_{};
  Position next_;
  std::size_t former_ = 0;
};

// Whatever refused it, the transcript is what is wrong.
Error InRecord(std::uint64_t record, const std::string& what) {
  return Invalid("record " + std::to_string(record) + ": " + what);
}

}  // namespace

Result<TranscriptSummary> VerifyTranscript(std::istream& transcript, const VerifyOptions& options) {
  if (!(options.corrupt_fraction >= 0 && options.corrupt_fraction < 1)) {
    return InvalidArgument("BAD_ASSUMPTIONS", "the corrupt fraction must be at least 0 and less than 1");
  }
  Verifier verifier(options);
  std::string line;
  for (;;) {
    switch (ReadLine(*transcript.rdbuf(), line)) {
      case Line::kEnd:
        if (verifier.records() == 0) return Invalid("there is no record");
        return verifier.Finish();
      case Line::kTorn:
        return InRecord(verifier.records(), "its line is cut off");
      case Line::kTooLong:
        return InRecord(verifier.records(), "it has more than " + std::to_string(kLineBytesMax) + " bytes");
      case Line::kWhole:
        if (const Status status = verifier.Add(line); !status.ok()) return InRecord(verifier.records(), status.message());
    }
  }
}

Result<TranscriptSummary> VerifyTranscript(const std::filesystem::path& file, const VerifyOptions& options) {
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return MakeError(FileError("open", file, errno));
  return VerifyTranscript(stream, options);
}

}  // namespace edgefleet::secagg
