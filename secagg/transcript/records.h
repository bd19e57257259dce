// The records of a transcript (secagg/transcript/transcript.h) as structs, and their one text form. Lists that name members
// have them in ascending order. Values may come from outside: only their form is checked here.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/status.h"
#include "secagg/messages.h"
#include "secagg/transcript/transcript.h"

namespace edgefleet::secagg {

inline constexpr std::uint32_t kTranscriptFormat = 1;
inline constexpr std::size_t kLineBytesMax = std::size_t{32} << 20;  // of one record, with its end of line
inline constexpr std::size_t kAuthoritiesMax = 64;
inline constexpr std::size_t kReasonSizeMax = 200;
inline constexpr std::size_t kListedBlamesMax = 65'536;

struct OpenedRecord {
  SessionConfig config;
  Bytes server_nonce;
  crypto::Ed25519PublicKey transcript_key{};
  std::vector<crypto::Ed25519PublicKey> authorities;
};

struct RosterRecord {
  GraphParameters graph;
  std::uint32_t survivors_min = 0;
  crypto::Sha256Digest roster_digest{};
  crypto::Sha256Digest session{};
  std::vector<KeyAdvert> adverts;
};

struct SharedRecord {
  struct Share {
    std::uint32_t member = 0;
    crypto::Sha256Digest seed_commitment{};
    crypto::Sha256Digest sealed_sha256{};
  };
  Bytes sharers;
  std::vector<Share> shares;
};

struct MemberSignature {
  std::uint32_t member = 0;
  Bytes signature;
};

struct UploadsRecord {
  Bytes survivors;
  std::vector<MemberSignature> signatures;  // active variant: each survivor's
};

struct ConfirmationsRecord {
  std::vector<MemberSignature> signatures;
};

struct AnswersRecord {
  struct Answer {
    std::uint32_t member = 0;
    Bytes missing;  // bitmap over the senders of its inbox whose shares did not open; empty: all did
  };
  std::vector<Answer> answers;
};

struct EndedRecord {
  Outcome outcome = Outcome::kFailed;
  std::string reason;
  std::vector<Blame> blames;  // kBadShare and kBadDealer, the first kListedBlamesMax; complaints are in the answers
};

// The alternatives are in the order in which records come; kTypes are their names.
using Record =
    std::variant<OpenedRecord, RosterRecord, SharedRecord, UploadsRecord, ConfirmationsRecord, AnswersRecord, EndedRecord>;
inline constexpr std::array<std::string_view, std::variant_size_v<Record>> kTypes = {
    "opened", "roster", "shared", "uploads", "confirmations", "answers", "ended"};
inline constexpr std::size_t kOpenedType = 0, kConfirmationsType = 4, kEndedType = 6;

// Where a record stands.
struct Position {
  std::uint64_t seq = 0;
  crypto::Sha256Digest previous{};  // hash of the former record; zeros in the first
};

// What is hashed: the record's line up to `,"hash"`. Texts that the same record and position do not give are no transcript's.
std::string HashedText(const Record& record, const Position& position);
// The whole line with its end.
std::string SealedLine(const std::string& hashed_text, const crypto::Ed25519SecretKey& key);

// A line taken apart; refers to it.
struct LineParts {
  std::string_view hashed_text;
  crypto::Sha256Digest hash{};
  Bytes signature;
};
// The line (without its end) at `position`. DATA_LOSS [TRANSCRIPT_INVALID]: it has not the form of a record, its hash is not
// that of its bytes, or it does not follow `position`. The signature is not checked.
Result<LineParts> SplitLine(std::string_view line, const Position& position);
// Whether it ends with the hash of its bytes and something like a signature; otherwise it was altered or only partly written.
bool IsWhole(std::string_view line);
bool IsSignedBy(const LineParts& line, const crypto::Ed25519PublicKey& key);
// DATA_LOSS [TRANSCRIPT_INVALID].
Result<Record> ParseRecord(std::string_view line, const LineParts& parts, const Position& position);

// Whether a record of type `next` comes after one of `former` in a round of this variant.
bool MayFollow(std::size_t former, std::size_t next, Adversary adversary);

// 0x20 to 0x7e only.
bool IsPrintable(std::string_view text);

}  // namespace edgefleet::secagg
