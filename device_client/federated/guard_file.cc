#include "device_client/federated/guard_file.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/file.h"

namespace edgefleet::device {
namespace {

// Format: kMagic, entries of subject and content, SHA-256 of all that precedes.
constexpr std::string_view kMagic = "edgefleet said 1";
constexpr std::size_t kDigestSize = sizeof(crypto::Sha256Digest);
constexpr std::size_t kEntrySize = 2 * kDigestSize;
constexpr std::size_t kFileBytesMax = kMagic.size() + kStatementsMax * kEntrySize + kDigestSize;

void Append(Bytes& to, ByteView bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

crypto::Sha256Digest SubjectOf(std::string_view round_id, secagg::Statement statement) {
  Bytes text(1, static_cast<std::byte>(statement));
  Append(text, AsBytes(round_id));
  return crypto::Sha256(text);
}

crypto::Sha256Digest DigestAt(ByteView bytes, std::size_t offset) {
  crypto::Sha256Digest digest;
  std::ranges::copy(bytes.subspan(offset, kDigestSize), digest.begin());
  return digest;
}

}  // namespace

Result<std::unique_ptr<GuardFile>> GuardFile::Open(std::filesystem::path file) {
  std::unique_ptr<GuardFile> guard(new GuardFile(std::move(file)));
  const auto text = ReadFile(guard->file_, kFileBytesMax);
  if (!text && text.error().reason() == "FILE_MISSING") return guard;
  if (!text && text.error().reason() != "FILE_TOO_LARGE") return MakeError(text.error());
  EF_RETURN_IF_ERROR(guard->Parse(text ? ByteView(*text) : ByteView()));
  return guard;
}

Status GuardFile::Parse(ByteView text) {
  const std::size_t frame = kMagic.size() + kDigestSize;
  if (text.size() < frame || (text.size() - frame) % kEntrySize != 0 || AsText(text.first(kMagic.size())) != kMagic ||
      crypto::Sha256(text.first(text.size() - kDigestSize)) != DigestAt(text, text.size() - kDigestSize)) {
    return DataLoss("GUARD_DAMAGED",
                    file_.string() +
                        " is damaged, so this device cannot know what it has said in rounds under way and takes "
                        "no part in any; remove the file once the rounds of its task have ended");
  }
  for (std::size_t at = kMagic.size(); at + kDigestSize < text.size(); at += kEntrySize) {
    entries_.push_back({DigestAt(text, at), DigestAt(text, at + kDigestSize)});
  }
  return OkStatus();
}

Status GuardFile::Bind(std::string_view round_id, secagg::Statement statement, const crypto::Sha256Digest& content) {
  const auto subject = SubjectOf(round_id, statement);
  const auto said = std::ranges::find(entries_, subject, &Entry::subject);
  if (said != entries_.end()) {
    if (said->content == content) return OkStatus();
    return FailedPrecondition("ALREADY_SAID",
                              "this device has spoken differently in this round before; it takes part in the next");
  }
  std::vector<Entry> entries = entries_;
  if (entries.size() == kStatementsMax) entries.erase(entries.begin());
  entries.push_back({subject, content});
  EF_RETURN_IF_ERROR(Write(entries));
  entries_ = std::move(entries);
  return OkStatus();
}

bool GuardFile::HasSaid(std::string_view round_id, secagg::Statement statement) const {
  return std::ranges::find(entries_, SubjectOf(round_id, statement), &Entry::subject) != entries_.end();
}

Status GuardFile::Write(const std::vector<Entry>& entries) const {
  Bytes text = ToBytes(AsBytes(kMagic));
  for (const Entry& entry : entries) {
    Append(text, entry.subject);
    Append(text, entry.content);
  }
  Append(text, crypto::Sha256(text));
  return WriteFileAtomic(file_, text);
}

}  // namespace edgefleet::device
