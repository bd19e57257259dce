#include "cdn_origin/manifest/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "cdn_origin/manifest/dsse.h"

namespace edgefleet::manifest {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;
constexpr char kPayloadType[] = "application/vnd.edgefleet.manifest.v1+json";
static_assert(kEnvelopeBytesMax == dsse::kEnvelopeBytesMax);

Error Bad(const std::string& what) { return InvalidArgument("BAD_MANIFEST", "manifest: " + what); }

// Reads members of one JSON object; the first that is missing or of the wrong type is remembered.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object_.is_object()) Fail("not an object");
  }
  const Status& status() const { return status_; }

  std::string Text(const char* member) {
    const Json* value = Find(member);
    const auto* text = value == nullptr ? nullptr : value->get_ptr<const std::string*>();
    if (text == nullptr) return Fail(std::string("`") + member + "` is not a text"), "";
    return *text;
  }
  std::uint64_t Unsigned(const char* member) {
    const Json* value = Find(member);
    if (value == nullptr || !value->is_number_unsigned()) {
      return Fail(std::string("`") + member + "` is not a whole number from 0 to 2^64-1"), 0;
    }
    return value->get<std::uint64_t>();
  }
  std::int64_t Millis(const char* member) {
    const std::uint64_t value = Unsigned(member);
    if (value > static_cast<std::uint64_t>(INT64_MAX)) return Fail(std::string("`") + member + "` is not a time"), 0;
    return static_cast<std::int64_t>(value);
  }
  bool Flag(const char* member) {
    const Json* value = Find(member);
    if (value == nullptr || !value->is_boolean()) return Fail(std::string("`") + member + "` is not true or false"), false;
    return value->get<bool>();
  }
  crypto::Sha256Digest Digest(const char* member) {
    crypto::Sha256Digest digest{};
    const auto bytes = HexDecode(Text(member));
    if (!bytes || bytes->size() != digest.size()) return Fail(std::string("`") + member + "` is not a SHA-256"), digest;
    std::copy(bytes->begin(), bytes->end(), digest.begin());
    return digest;
  }
  void Exactly(const char* member, const std::string& expected) {
    if (Text(member) != expected) Fail(std::string("`") + member + "` is not " + expected);
  }
  const Json& List(const char* member, std::size_t size_max) {
    static const Json kEmpty = Json::array();
    const Json* value = Find(member);
    if (value != nullptr && value->is_array() && value->size() <= size_max) return *value;
    Fail(std::string("`") + member + "` is not a list of at most " + std::to_string(size_max));
    return kEmpty;
  }

 private:
  const Json* Find(const char* member) const {
    const auto found = object_.find(member);
    return found == object_.end() ? nullptr : &*found;
  }
  void Fail(const std::string& what) {
    if (status_.ok()) status_ = Bad(where_ + what);
  }

  const Json& object_;
  std::string where_;
  Status status_;
};

Json ToJson(const Target& target) {
  Json deltas = Json::array();
  for (const Delta& delta : target.deltas) {
    deltas.push_back({{"from_sha256", HexEncode(delta.from_sha256)},
                      {"sha256", HexEncode(delta.sha256)},
                      {"size", delta.size},
                      {"path", DeltaPath(delta.from_sha256, target.sha256)}});
  }
  return {{"name", target.name},           {"precision", target.precision},
          {"trainable", target.trainable}, {"sha256", HexEncode(target.sha256)},
          {"size", target.size},           {"path", BlobPath(target.sha256)},
          {"deltas", std::move(deltas)}};
}

std::string ToText(const Manifest& manifest) {
  Json targets = Json::array();
  for (const Target& target : manifest.targets) targets.push_back(ToJson(target));
  const Json json = {{"format", kFormat},
                     {"model", manifest.model},
                     {"version", manifest.version},
                     {"alias", manifest.alias},
                     {"sequence", manifest.sequence},
                     {"created_unix_ms", manifest.created_unix_ms},
                     {"expires_unix_ms", manifest.expires_unix_ms},
                     {"targets", std::move(targets)}};
  return json.dump();  // names were checked: it holds only ASCII
}

Result<Delta> ParseDelta(const Json& json, const crypto::Sha256Digest& to) {
  Reader reader(json, "a delta's ");
  Delta delta;
  delta.from_sha256 = reader.Digest("from_sha256");
  delta.sha256 = reader.Digest("sha256");
  delta.size = reader.Unsigned("size");
  reader.Exactly("path", DeltaPath(delta.from_sha256, to));
  EF_RETURN_IF_ERROR(reader.status());
  return delta;
}

Result<Target> ParseTarget(const Json& json) {
  Reader reader(json, "a target's ");
  Target target;
  target.name = reader.Text("name");
  target.precision = reader.Text("precision");
  target.trainable = reader.Flag("trainable");
  target.sha256 = reader.Digest("sha256");
  target.size = reader.Unsigned("size");
  reader.Exactly("path", BlobPath(target.sha256));
  const Json& deltas = reader.List("deltas", kDeltasMax);
  EF_RETURN_IF_ERROR(reader.status());
  for (const Json& entry : deltas) {
    EF_ASSIGN_OR_RETURN(auto delta, ParseDelta(entry, target.sha256));
    target.deltas.push_back(delta);
  }
  return target;
}

Result<Manifest> Parse(ByteView payload) {
  const Json json = Json::parse(AsText(payload), nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Bad("not JSON");
  Reader reader(json, "");
  if (reader.Unsigned("format") != kFormat && reader.status().ok()) return Bad("its `format` is not 1; update this software");
  Manifest manifest;
  manifest.model = reader.Text("model");
  manifest.version = reader.Unsigned("version");
  manifest.alias = reader.Text("alias");
  manifest.sequence = reader.Unsigned("sequence");
  manifest.created_unix_ms = reader.Millis("created_unix_ms");
  manifest.expires_unix_ms = reader.Millis("expires_unix_ms");
  const Json& targets = reader.List("targets", kTargetsMax);
  EF_RETURN_IF_ERROR(reader.status());
  for (const Json& entry : targets) {
    EF_ASSIGN_OR_RETURN(auto target, ParseTarget(entry));
    manifest.targets.push_back(std::move(target));
  }
  EF_RETURN_IF_ERROR(Check(manifest));
  return manifest;
}

bool IsSize(std::uint64_t size) { return size > 0 && size <= kTargetBytesMax; }

Status CheckTarget(const Target& target) {
  if (!IsName(target.name)) return Bad("a target's `name` does not match [a-z0-9][a-z0-9._-]{0,62}");
  if (!IsName(target.precision)) return Bad("`precision` of " + target.name + " is not a name");
  if (!IsSize(target.size)) return Bad("`size` of " + target.name + " is not 1 to 4 GiB");
  if (target.deltas.size() > kDeltasMax) return Bad("more than 64 deltas of " + target.name);
  std::set<crypto::Sha256Digest> bases;
  for (const Delta& delta : target.deltas) {
    if (!IsSize(delta.size)) return Bad("`size` of a delta of " + target.name + " is not 1 to 4 GiB");
    if (!bases.insert(delta.from_sha256).second) return Bad("two deltas of " + target.name + " have the same base");
  }
  return OkStatus();
}

}  // namespace

const Target* Manifest::FindTarget(std::string_view name) const {
  const auto found = std::find_if(targets.begin(), targets.end(), [&](const Target& target) { return target.name == name; });
  return found == targets.end() ? nullptr : &*found;
}

std::string BlobPath(const crypto::Sha256Digest& sha256) { return "/blobs/" + HexEncode(sha256); }

std::string DeltaPath(const crypto::Sha256Digest& from_sha256, const crypto::Sha256Digest& to_sha256) {
  return "/deltas/" + HexEncode(from_sha256) + "-" + HexEncode(to_sha256);
}

std::string PathOf(const Manifest& manifest) {
  if (!manifest.alias.empty()) return manifest.model + "/" + manifest.alias + ".json";
  return manifest.model + "/versions/" + std::to_string(manifest.version) + ".json";
}

bool IsName(std::string_view name) {
  const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const auto allowed = [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; };
  return !name.empty() && name.size() <= 63 && alphanumeric(name.front()) && std::all_of(name.begin(), name.end(), allowed);
}

Status CheckPath(std::string_view path) {
  bool good = path.size() <= kPathCharactersMax;
  std::string_view rest = path;
  while (good) {
    const std::size_t slash = rest.find('/');
    std::string_view segment = rest.substr(0, slash);
    if (slash == std::string_view::npos && segment.ends_with(".json")) segment.remove_suffix(5);
    good = IsName(segment);
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  if (good) return OkStatus();
  return InvalidArgument(
      "BAD_PATH", "a manifest's path is names of [a-z0-9][a-z0-9._-]{0,62} between slashes, then .json, 200 characters in all");
}

Status Check(const Manifest& manifest) {
  if (!IsName(manifest.model)) return Bad("`model` does not match [a-z0-9][a-z0-9._-]{0,62}");
  if (!manifest.alias.empty() && !IsName(manifest.alias)) return Bad("`alias` does not match [a-z0-9][a-z0-9._-]{0,62}");
  if (manifest.version == 0) return Bad("`version` is 0");
  if (manifest.sequence == 0) return Bad("`sequence` is 0");
  if (manifest.created_unix_ms < 0 || manifest.expires_unix_ms <= manifest.created_unix_ms) {
    return Bad("`expires_unix_ms` is not after `created_unix_ms`");
  }
  if (manifest.targets.empty() || manifest.targets.size() > kTargetsMax) return Bad("`targets` does not have 1 to 16 entries");
  std::set<std::string_view> names;
  for (const Target& target : manifest.targets) {
    EF_RETURN_IF_ERROR(CheckTarget(target));
    if (!names.insert(target.name).second) return Bad("two targets are named " + target.name);
  }
  return OkStatus();
}

Result<Bytes> Sign(const Manifest& manifest, std::span<const crypto::Ed25519SecretKey> keys) {
  EF_RETURN_IF_ERROR(Check(manifest));
  return dsse::Seal(kPayloadType, AsBytes(ToText(manifest)), keys);
}

Result<Manifest> Verify(ByteView envelope, std::span<const crypto::Ed25519PublicKey> trusted, const Expectation& expectation,
                        const Clock& clock) {
  EF_ASSIGN_OR_RETURN(const Bytes payload, dsse::Open(envelope, kPayloadType, trusted));
  EF_ASSIGN_OR_RETURN(Manifest manifest, Parse(payload));
  if (manifest.model != expectation.model) {
    return FailedPrecondition("WRONG_MODEL",
                              "the manifest is for model " + manifest.model + ", not " + std::string(expectation.model));
  }
  if (manifest.sequence < expectation.sequence_min) {
    return FailedPrecondition("STALE_MANIFEST", "the manifest has sequence " + std::to_string(manifest.sequence) + " but " +
                                                    std::to_string(expectation.sequence_min) + " was seen before");
  }
  if (manifest.expires_unix_ms <= ToUnixMillis(clock.Now())) {
    return FailedPrecondition("MANIFEST_EXPIRED",
                              "the manifest has expired; publish a fresh one or check this machine's clock");
  }
  return manifest;
}

Result<Manifest> ReadUnverified(ByteView envelope) {
  EF_ASSIGN_OR_RETURN(const Bytes payload, dsse::OpenUnverified(envelope, kPayloadType));
  return Parse(payload);
}

}  // namespace edgefleet::manifest
