#include "secagg/transcript/records.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace edgefleet::secagg {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr char kLabel[] = "edgefleet/secagg/transcript/v1";
constexpr std::string_view kBeforeHash = R"(,"hash":")";
constexpr std::string_view kBeforeSignature = R"(","signature":")";
constexpr std::string_view kEnd = R"("})";
constexpr std::size_t kHashDigits = 2 * kDigestSize;
constexpr std::size_t kSignatureDigits = 2 * kSignatureSize;
constexpr std::size_t kTailSize = kBeforeHash.size() + kHashDigits + kBeforeSignature.size() + kSignatureDigits + kEnd.size();
// Of the text of one record: more than the writer ever makes, so that hostile ones are not expanded in memory.
constexpr int kDepthMax = 4;
constexpr std::size_t kValuesMax = std::size_t{1} << 20;

constexpr std::pair<Adversary, std::string_view> kAdversaries[] = {{Adversary::kSemiHonest, "semi-honest"},
                                                                   {Adversary::kActive, "active"}};
constexpr std::pair<MaskCipher, std::string_view> kCiphers[] = {{MaskCipher::kAes256Ctr, "aes-256-ctr"},
                                                                {MaskCipher::kAes128Ctr, "aes-128-ctr"}};
constexpr std::pair<Outcome, std::string_view> kOutcomes[] = {{Outcome::kCommitted, "committed"}, {Outcome::kFailed, "failed"}};
constexpr std::pair<Blame::Kind, std::string_view> kBlames[] = {{Blame::Kind::kBadShare, "bad_share"},
                                                                {Blame::Kind::kBadDealer, "bad_dealer"}};

Error Invalid(const std::string& what) { return DataLoss("TRANSCRIPT_INVALID", what); }

template <typename Names, typename Value>
std::string_view NameOf(const Names& names, Value value) {
  const auto found = std::ranges::find_if(names, [&](const auto& pair) { return pair.first == value; });
  return found == std::end(names) ? "" : found->second;
}

// --- to text ---

void Write(OrderedJson& json, const OpenedRecord& record) {
  json["format"] = kTranscriptFormat;
  json["round_id"] = record.config.round_id;
  json["adversary"] = NameOf(kAdversaries, record.config.adversary);
  json["mask_cipher"] = NameOf(kCiphers, record.config.cipher);
  json["vector_length"] = record.config.vector_length;
  json["element_bits"] = record.config.element_bits;
  json["server_nonce"] = HexEncode(record.server_nonce);
  json["transcript_key"] = HexEncode(record.transcript_key);
  json["enrolment_keys"] = OrderedJson::array();
  for (const auto& key : record.authorities) json["enrolment_keys"].push_back(HexEncode(key));
}

void Write(OrderedJson& json, const RosterRecord& record) {
  json["members"] = record.adverts.size();
  json["degree"] = record.graph.degree;
  json["threshold"] = record.graph.threshold;
  json["survivors_min"] = record.survivors_min;
  json["roster_digest"] = HexEncode(record.roster_digest);
  json["session"] = HexEncode(record.session);
  OrderedJson adverts = OrderedJson::array();
  for (const KeyAdvert& advert : record.adverts) {
    adverts.push_back({{"cipher_key", HexEncode(advert.cipher_public_key)},
                       {"mask_key", HexEncode(advert.mask_public_key)},
                       {"identity", HexEncode(advert.identity_key)},
                       {"certificate", HexEncode(advert.certificate)},
                       {"signature", HexEncode(advert.signature)}});
  }
  json["adverts"] = std::move(adverts);
}

void Write(OrderedJson& json, const SharedRecord& record) {
  json["sharers"] = HexEncode(record.sharers);
  OrderedJson shares = OrderedJson::array();
  for (const auto& share : record.shares) {
    shares.push_back({{"member", share.member},
                      {"seed_commitment", HexEncode(share.seed_commitment)},
                      {"sealed_sha256", HexEncode(share.sealed_sha256)}});
  }
  json["shares"] = std::move(shares);
}

OrderedJson SignaturesToJson(const std::vector<MemberSignature>& entries) {
  OrderedJson signatures = OrderedJson::array();
  for (const auto& entry : entries) {
    signatures.push_back({{"member", entry.member}, {"signature", HexEncode(entry.signature)}});
  }
  return signatures;
}

void Write(OrderedJson& json, const UploadsRecord& record) {
  json["survivors"] = HexEncode(record.survivors);
  json["signatures"] = SignaturesToJson(record.signatures);
}

void Write(OrderedJson& json, const ConfirmationsRecord& record) { json["signatures"] = SignaturesToJson(record.signatures); }

void Write(OrderedJson& json, const AnswersRecord& record) {
  OrderedJson answers = OrderedJson::array();
  for (const auto& answer : record.answers) {
    answers.push_back({{"member", answer.member}, {"missing", HexEncode(answer.missing)}});
  }
  json["answers"] = std::move(answers);
}

void Write(OrderedJson& json, const EndedRecord& record) {
  json["outcome"] = NameOf(kOutcomes, record.outcome);
  json["reason"] = record.reason;
  OrderedJson blames = OrderedJson::array();
  for (const Blame& blame : record.blames) {
    blames.push_back({{"kind", NameOf(kBlames, blame.kind)}, {"owner", blame.owner}, {"responder", blame.responder}});
  }
  json["blames"] = std::move(blames);
}

std::string HeadOf(const Position& position) {
  return R"({"seq":)" + std::to_string(position.seq) + R"(,"previous":")" + HexEncode(position.previous) + R"(","type":")";
}

std::string SignedText(const crypto::Sha256Digest& hash) { return std::string(kLabel).append(AsText(hash)); }

// --- from text ---

// Reads members of one JSON object; the first that is missing or of the wrong form is remembered.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {
    if (!object_.is_object()) Fail("an entry is not an object");
  }
  const Status& status() const { return status_; }

  std::string Text(const char* member, std::size_t size_max) {
    const auto* text = Find<std::string>(member);
    if (text != nullptr && text->size() <= size_max && IsPrintable(*text)) return *text;
    return Fail(Quoted(member) + " is not a text of at most " + std::to_string(size_max) + " printable characters"), "";
  }
  std::uint64_t Number(const char* member, std::uint64_t most) {
    const auto* number = Find<Json::number_unsigned_t>(member);
    if (number != nullptr && *number <= most) return *number;
    return Fail(Quoted(member) + " is not a whole number up to " + std::to_string(most)), 0;
  }
  std::uint32_t Member(const char* member) { return static_cast<std::uint32_t>(Number(member, kMembersMax)); }
  Bytes Hex(const char* member, std::size_t size_max) {
    const auto* text = Find<std::string>(member);
    if (text != nullptr && text->size() <= 2 * size_max) {
      if (auto bytes = HexDecode(*text)) return *std::move(bytes);
    }
    return Fail(Quoted(member) + " is not hexadecimal of at most " + std::to_string(size_max) + " bytes"), Bytes();
  }
  crypto::Sha256Digest Digest(const char* member) {  // or a key: 32 bytes
    crypto::Sha256Digest digest{};
    const Bytes bytes = Hex(member, digest.size());
    if (bytes.size() != digest.size()) return Fail(Quoted(member) + " has not 32 bytes"), digest;
    std::ranges::copy(bytes, digest.begin());
    return digest;
  }
  template <typename Names>
  auto Choice(const char* member, const Names& names) {
    const auto* text = Find<std::string>(member);
    const auto found = std::ranges::find_if(names, [&](const auto& pair) { return text != nullptr && pair.second == *text; });
    if (found != std::end(names)) return found->first;
    return Fail(Quoted(member) + " is unknown; this program may be too old for the transcript"), std::begin(names)->first;
  }
  const Json& List(const char* member, std::size_t size_max) {
    static const Json kEmpty = Json::array();
    const auto found = object_.find(member);
    if (found != object_.end() && found->is_array() && found->size() <= size_max) return *found;
    return Fail(Quoted(member) + " is not a list of at most " + std::to_string(size_max)), kEmpty;
  }
  void Fail(const std::string& what) {
    if (status_.ok()) status_ = Invalid(what);
  }

 private:
  static std::string Quoted(const char* member) { return "`" + std::string(member) + "`"; }
  template <typename T>
  const T* Find(const char* member) const {
    const auto found = object_.find(member);
    return found == object_.end() ? nullptr : found->get_ptr<const T*>();
  }

  const Json& object_;
  Status status_;
};

// `read` makes an element of each entry.
template <typename Element, typename Read>
std::vector<Element> ReadList(Reader& reader, const char* member, std::size_t size_max, Read read) {
  std::vector<Element> elements;
  for (const Json& entry : reader.List(member, size_max)) {
    Reader fields(entry);
    elements.push_back(read(fields));
    if (fields.status().ok()) continue;
    reader.Fail("`" + std::string(member) + "`, entry " + std::to_string(elements.size()) + ": " + fields.status().message());
    break;
  }
  return elements;
}

OpenedRecord ReadOpened(Reader& reader) {
  OpenedRecord record;
  if (reader.Number("format", UINT32_MAX) != kTranscriptFormat) {
    reader.Fail("the transcript's format is not " + std::to_string(kTranscriptFormat) + ", the one this program reads");
  }
  record.config = {.round_id = reader.Text("round_id", kRoundIdSizeMax),
                   .adversary = reader.Choice("adversary", kAdversaries),
                   .cipher = reader.Choice("mask_cipher", kCiphers),
                   .vector_length = reader.Number("vector_length", kVectorLengthMax),
                   .element_bits = static_cast<std::uint32_t>(reader.Number("element_bits", kElementBitsMax))};
  record.server_nonce = reader.Hex("server_nonce", kDigestSize);
  record.transcript_key = reader.Digest("transcript_key");
  for (const Json& entry : reader.List("enrolment_keys", kAuthoritiesMax)) {
    const Json object = {{"key", entry}};
    Reader key(object);
    record.authorities.push_back(key.Digest("key"));
    if (!key.status().ok()) reader.Fail("`enrolment_keys`: " + key.status().message());
  }
  return record;
}

RosterRecord ReadRoster(Reader& reader) {
  RosterRecord record{.graph = {reader.Member("degree"), reader.Member("threshold")},
                      .survivors_min = reader.Member("survivors_min"),
                      .roster_digest = reader.Digest("roster_digest"),
                      .session = reader.Digest("session")};
  record.adverts = ReadList<KeyAdvert>(reader, "adverts", kMembersMax, [](Reader& fields) {
    return KeyAdvert{.cipher_public_key = fields.Hex("cipher_key", kKeySize),
                     .mask_public_key = fields.Hex("mask_key", kKeySize),
                     .identity_key = fields.Hex("identity", kKeySize),
                     .certificate = fields.Hex("certificate", kSignatureSize),
                     .signature = fields.Hex("signature", kSignatureSize)};
  });
  if (reader.Member("members") != record.adverts.size()) reader.Fail("`members` is not the number of adverts");
  return record;
}

SharedRecord ReadShared(Reader& reader) {
  return {.sharers = reader.Hex("sharers", BitmapSize(kMembersMax)),
          .shares = ReadList<SharedRecord::Share>(reader, "shares", kMembersMax, [](Reader& fields) {
            return SharedRecord::Share{.member = fields.Member("member"),
                                       .seed_commitment = fields.Digest("seed_commitment"),
                                       .sealed_sha256 = fields.Digest("sealed_sha256")};
          })};
}

std::vector<MemberSignature> ReadSignatures(Reader& reader) {
  return ReadList<MemberSignature>(reader, "signatures", kMembersMax, [](Reader& fields) {
    return MemberSignature{fields.Member("member"), fields.Hex("signature", kSignatureSize)};
  });
}

UploadsRecord ReadUploads(Reader& reader) {
  return {.survivors = reader.Hex("survivors", BitmapSize(kMembersMax)), .signatures = ReadSignatures(reader)};
}

ConfirmationsRecord ReadConfirmations(Reader& reader) { return {ReadSignatures(reader)}; }

AnswersRecord ReadAnswers(Reader& reader) {
  return {ReadList<AnswersRecord::Answer>(reader, "answers", kMembersMax, [](Reader& fields) {
    return AnswersRecord::Answer{fields.Member("member"), fields.Hex("missing", BitmapSize(kMembersMax))};
  })};
}

EndedRecord ReadEnded(Reader& reader) {
  return {.outcome = reader.Choice("outcome", kOutcomes),
          .reason = reader.Text("reason", kReasonSizeMax),
          .blames = ReadList<Blame>(reader, "blames", kListedBlamesMax, [](Reader& fields) {
            return Blame{fields.Member("owner"), fields.Member("responder"), fields.Choice("kind", kBlames)};
          })};
}

Result<Json> ParseBounded(std::string_view text) {
  std::size_t values = 0;
  bool bounded = true;
  const auto keep = [&](int depth, Json::parse_event_t, Json&) {
    return bounded = bounded && depth <= kDepthMax && ++values <= kValuesMax;
  };
  Json json = Json::parse(text.begin(), text.end(), keep, /*allow_exceptions=*/false);
  if (!bounded) return Invalid("it holds more than a record does");
  if (!json.is_object()) return Invalid("it is not a JSON object");
  return json;
}

template <auto read>
Record ReadAs(Reader& reader) {
  return read(reader);
}
// By type.
constexpr std::array<Record (*)(Reader&), kTypes.size()> kReads = {
    &ReadAs<ReadOpened>,        &ReadAs<ReadRoster>,  &ReadAs<ReadShared>, &ReadAs<ReadUploads>,
    &ReadAs<ReadConfirmations>, &ReadAs<ReadAnswers>, &ReadAs<ReadEnded>};

}  // namespace

bool IsPrintable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= 0x20 && c <= 0x7e; });
}

bool MayFollow(std::size_t former, std::size_t next, Adversary adversary) {
  if (former == kEndedType) return false;
  if (next == kEndedType) return true;
  const bool skips = former + 1 == kConfirmationsType && adversary != Adversary::kActive;
  return next == former + (skips ? 2 : 1);
}

std::string HashedText(const Record& record, const Position& position) {
  OrderedJson members = OrderedJson::object();
  std::visit([&](const auto& alternative) { Write(members, alternative); }, record);
  // All text is printable ASCII, and every record has members.
  std::string text = members.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  text.pop_back();
  text.replace(0, 1, HeadOf(position) + std::string(kTypes[record.index()]) + "\",");
  return text;
}

std::string SealedLine(const std::string& hashed_text, const crypto::Ed25519SecretKey& key) {
  const crypto::Sha256Digest hash = crypto::Sha256(AsBytes(hashed_text));
  std::string line = hashed_text;
  line.append(kBeforeHash)
      .append(HexEncode(hash))
      .append(kBeforeSignature)
      .append(HexEncode(key.Sign(AsBytes(SignedText(hash)))));
  return line.append(kEnd).append("\n");
}

bool IsWhole(std::string_view line) {
  if (line.size() <= kTailSize || !line.ends_with(kEnd)) return false;
  const std::string_view text = line.substr(0, line.size() - kTailSize);
  const std::string hash = HexEncode(crypto::Sha256(AsBytes(text)));
  return line.substr(text.size()).starts_with(std::string(kBeforeHash) + hash + std::string(kBeforeSignature));
}

Result<LineParts> SplitLine(std::string_view line, const Position& position) {
  if (!IsWhole(line)) return Invalid("it does not end with the hash of its bytes and a signature");
  LineParts parts{.hashed_text = line.substr(0, line.size() - kTailSize)};
  if (!parts.hashed_text.starts_with(HeadOf(position))) {
    return Invalid("it does not follow the record before it: a record was dropped, repeated, moved or altered");
  }
  parts.hash = crypto::Sha256(AsBytes(parts.hashed_text));
  const std::string_view digits = line.substr(line.size() - kEnd.size() - kSignatureDigits, kSignatureDigits);
  const auto signature = HexDecode(digits);
  if (!signature || HexEncode(*signature) != digits) return Invalid("its signature is not lower-case hexadecimal");
  parts.signature = *signature;
  return parts;
}

bool IsSignedBy(const LineParts& line, const crypto::Ed25519PublicKey& key) {
  return crypto::Ed25519Verify(key, AsBytes(SignedText(line.hash)), line.signature);
}

Result<Record> ParseRecord(std::string_view line, const LineParts& parts, const Position& position) {
  EF_ASSIGN_OR_RETURN(const Json json, ParseBounded(line));
  Reader reader(json);
  const auto type = std::ranges::find(kTypes, reader.Text("type", kReasonSizeMax));
  if (type == kTypes.end()) return Invalid("its type is unknown; this program may be too old for the transcript");
  const Record record = kReads[static_cast<std::size_t>(type - kTypes.begin())](reader);
  EF_RETURN_IF_ERROR(reader.status());
  if (HashedText(record, position) == parts.hashed_text) return record;
  return Invalid("it has other members or another spelling than a record of its type");
}

}  // namespace edgefleet::secagg
