#include "secagg/transcript/transcript.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/file_handle.h"
#include "secagg/server_states.h"
#include "secagg/transcript/records.h"

namespace edgefleet::secagg {

namespace fs = std::filesystem;

namespace {

Error TooEarly(std::string_view record, const Server& server) {
  return FailedPrecondition("WRONG_PHASE", "a server that is '" + std::string(server.state()) +
                                               "' has nothing for the record '" + std::string(record) + "'");
}

bool IsIn(const Server& server, std::initializer_list<std::string_view> states) {
  return std::ranges::find(states, server.state()) != states.end();
}

template <typename Array>
Array ToArray(ByteView bytes) {
  Array array{};
  std::ranges::copy(bytes, array.begin());
  return array;
}

// The senders whose shares did not open; empty when all did.
Bytes MissingIn(ByteView held, std::size_t senders) {
  Bytes missing(BitmapSize(senders));
  for (std::size_t place = 0; place < senders; ++place) {
    if (!TestBit(held, place)) SetBit(missing, place);
  }
  if (CountBits(missing) == 0) missing.clear();
  return missing;
}

}  // namespace

// The file, and what is in it.
struct TranscriptWriter::File {
  struct Written {
    std::size_t type = 0;
    Position position;
    crypto::Sha256Digest hash{};
  };

  File(fs::path name, FileHandle opened, const crypto::Ed25519SecretKey& secret)
      : path(std::move(name)), file(std::move(opened)), key(secret) {}

  Status TakeUp();
  // The error of a line behind the last record.
  Status TakeUpLine(std::string_view line);
  Status Append(const Record& record);
  Status Write(const std::string& line);
  void Note(const Record& record, const crypto::Sha256Digest& hash);
  bool Repeats(const Written& former, const Record& record) const;

  const fs::path path;
  const FileHandle file;
  const crypto::Ed25519SecretKey key;
  std::vector<Written> records;
  Position next;
  std::uint64_t size = 0;  // of the file
  Adversary adversary = Adversary::kSemiHonest;
  std::optional<EndedRecord> ended;
  bool broken = false;
};

void TranscriptWriter::File::Note(const Record& record, const crypto::Sha256Digest& hash) {
  records.push_back({record.index(), next, hash});
  next = {next.seq + 1, hash};
  if (const auto* opened = std::get_if<OpenedRecord>(&record)) adversary = opened->config.adversary;
  if (const auto* last = std::get_if<EndedRecord>(&record)) ended = *last;
}

// All of the file at once: its largest records are a few hundred bytes for each member.
Status TranscriptWriter::File::TakeUp() {
  EF_ASSIGN_OR_RETURN(const Bytes content, ReadFile(path, kTypes.size() * kLineBytesMax));
  std::string_view rest = AsText(content);
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    const bool last = end == std::string_view::npos || end + 1 == rest.size();
    const std::string_view line = rest.substr(0, end);
    // A torn write: without its end, or not all of its blocks are on the disk.
    const bool whole = end != std::string_view::npos && (!last || IsWhole(line));
    if (!whole) {
      if (::ftruncate(file.fd(), static_cast<off_t>(size)) != 0) return FileError("truncate", path, errno);
      return OkStatus();
    }
    if (Status status = TakeUpLine(line); !status.ok()) {
      return std::move(status).Annotate(path.string() + ", record " + std::to_string(next.seq));
    }
    rest.remove_prefix(line.size() + 1);
    size += line.size() + 1;
  }
  return OkStatus();
}

Status TranscriptWriter::File::TakeUpLine(std::string_view line) {
  EF_ASSIGN_OR_RETURN(const LineParts parts, SplitLine(line, next));
  if (!IsSignedBy(parts, key.public_key())) return DataLoss("TRANSCRIPT_INVALID", "it is signed by another key");
  EF_ASSIGN_OR_RETURN(const Record record, ParseRecord(line, parts, next));
  Note(record, parts.hash);
  return OkStatus();
}

// The end is the same whoever is blamed: a server that was replayed may not have unmasked again.
bool TranscriptWriter::File::Repeats(const Written& former, const Record& record) const {
  if (const auto* again = std::get_if<EndedRecord>(&record)) {
    return again->outcome == ended->outcome && again->reason == ended->reason;
  }
  return crypto::Sha256(AsBytes(HashedText(record, former.position))) == former.hash;
}

Status TranscriptWriter::File::Append(const Record& record) {
  const std::string name(kTypes[record.index()]);
  const auto former = std::ranges::find(records, record.index(), &Written::type);
  if (former != records.end()) {
    if (Repeats(*former, record)) return OkStatus();
    return FailedPrecondition("TRANSCRIPT_DIFFERS", path.string() + " says something else in its record '" + name +
                                                        "' already; end the round as failed");
  }
  const bool follows =
      records.empty() ? record.index() == kOpenedType : MayFollow(records.back().type, record.index(), adversary);
  if (!follows) return FailedPrecondition("WRONG_PHASE", "the record '" + name + "' does not come next in " + path.string());
  const std::string text = HashedText(record, next);
  EF_RETURN_IF_ERROR(Write(SealedLine(text, key)));
  Note(record, crypto::Sha256(AsBytes(text)));
  return OkStatus();
}

Status TranscriptWriter::File::Write(const std::string& line) {
  if (broken) {
    return FailedPrecondition("TRANSCRIPT_BROKEN", "a write to " + path.string() + " has failed; open the transcript anew");
  }
  if (line.size() > kLineBytesMax) {
    return ResourceExhausted("RECORD_TOO_LARGE", "a record of " + std::to_string(line.size()) + " bytes is not written to " +
                                                     path.string() + ": at most " + std::to_string(kLineBytesMax));
  }
  const ssize_t written = ::pwrite(file.fd(), line.data(), line.size(), static_cast<off_t>(size));
  if (written != static_cast<ssize_t>(line.size())) {
    const int error = written < 0 ? errno : ENOSPC;
    broken = ::ftruncate(file.fd(), static_cast<off_t>(size)) != 0;
    return FileError("write", path, error);
  }
  if (::fsync(file.fd()) != 0) {
    broken = true;  // the kernel may have dropped what it could not write, and tells only once
    return FileError("sync", path, errno);
  }
  size += line.size();
  return OkStatus();
}

// --- the records of a server ---

Result<std::unique_ptr<TranscriptWriter>> TranscriptWriter::Open(const fs::path& path, const crypto::Ed25519SecretKey& key) {
  FileHandle handle(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644), 0);
  if (handle.fd() < 0) return MakeError(FileError("open", path, errno));
  EF_RETURN_IF_ERROR(SyncPath(path.has_parent_path() ? path.parent_path() : "."));
  auto file = std::make_unique<File>(path, std::move(handle), key);
  EF_RETURN_IF_ERROR(file->TakeUp());
  return std::unique_ptr<TranscriptWriter>(new TranscriptWriter(std::move(file)));
}

TranscriptWriter::TranscriptWriter(std::unique_ptr<File> file) : file_(std::move(file)) {}
TranscriptWriter::~TranscriptWriter() = default;

Status TranscriptWriter::Opened(const Server& server) {
  const ServerOptions& options = server.ledger().options;
  if (!IsPrintable(options.config.round_id)) {
    return InvalidArgument("BAD_SETUP", "the id of a round with a transcript is printable ASCII");
  }
  if (options.authorities.size() > kAuthoritiesMax) {
    return InvalidArgument("BAD_SETUP", "a transcript names at most " + std::to_string(kAuthoritiesMax) + " authorities");
  }
  return file_->Append(OpenedRecord{.config = options.config,
                                    .server_nonce = options.server_nonce,
                                    .transcript_key = file_->key.public_key(),
                                    .authorities = options.authorities});
}

Status TranscriptWriter::Roster(const Server& server) {
  if (IsIn(server, {"advertising"})) return TooEarly("roster", server);
  const Ledger& ledger = server.ledger();
  return file_->Append(RosterRecord{.graph = ledger.parameters,
                                    .survivors_min = ledger.survivors_min,
                                    .roster_digest = ledger.roster.root(),
                                    .session = ledger.session,
                                    .adverts = ledger.adverts});
}

Status TranscriptWriter::Shared(const Server& server) {
  if (!IsIn(server, {"collecting"})) return TooEarly("shared", server);
  const Ledger& ledger = server.ledger();
  SharedRecord record{.sharers = ledger.sharer_bitmap};
  for (std::uint32_t member = 1; member <= ledger.members(); ++member) {
    if (!ledger.HasShared(member)) continue;
    const SharedKeys& shared = ledger.shared[member - 1];
    record.shares.push_back({member, ToArray<crypto::Sha256Digest>(shared.seed_commitment), crypto::Sha256(shared.sealed)});
  }
  return file_->Append(record);
}

Status TranscriptWriter::Uploads(const Server& server) {
  UploadsRecord record;
  EF_ASSIGN_OR_RETURN(record.survivors, server.SurvivorBitmap());
  const Ledger& ledger = server.ledger();
  for (const std::uint32_t survivor : ledger.survivors) {
    if (ledger.active()) record.signatures.push_back({survivor, ledger.upload_signatures[survivor - 1]});
  }
  return file_->Append(record);
}

Status TranscriptWriter::Confirmations(const Server& server) {
  const Ledger& ledger = server.ledger();
  if (!ledger.active() || !IsIn(server, {"unmasking", "done"})) return TooEarly("confirmations", server);
  ConfirmationsRecord record;
  for (const std::uint32_t survivor : ledger.survivors) {
    const Bytes& signature = ledger.confirmations[survivor - 1];
    if (!signature.empty()) record.signatures.push_back({survivor, signature});
  }
  return file_->Append(record);
}

Status TranscriptWriter::Answers(const Server& server) {
  if (!IsIn(server, {"unmasking", "done"})) return TooEarly("answers", server);
  const Ledger& ledger = server.ledger();
  AnswersRecord record;
  for (const std::uint32_t survivor : ledger.survivors) {
    const auto& answer = ledger.answers[survivor - 1];
    if (answer) record.answers.push_back({survivor, MissingIn(answer->held, ledger.Senders(survivor).size())});
  }
  return file_->Append(record);
}

Status TranscriptWriter::Ended(const Server* server, Outcome outcome, std::string_view reason) {
  EndedRecord record{.outcome = outcome, .reason = std::string(reason.substr(0, kReasonSizeMax))};
  std::ranges::replace_if(
      record.reason,
      [](char c) {
        return !IsPrintable({&c, 1});
      },
      '?');
  for (const Blame& blame : server == nullptr ? std::vector<Blame>() : server->blames()) {
    if (blame.kind != Blame::Kind::kComplaint && record.blames.size() < kListedBlamesMax) record.blames.push_back(blame);
  }
  return file_->Append(record);
}

}  // namespace edgefleet::secagg
