// The port to the registry's durable metadata. Implementations: registry/store. One contract test suite holds for all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "registry/model.h"

namespace edgefleet::registry {

// A mutating call: the same id with the same content yields the first call's outcome, with other content ALREADY_EXISTS
// [REQUEST_ID_REUSED]. Outcomes are kept for kRequestLifetimeMs.
struct RequestKey {
  std::string id;
  Digest content{};  // of everything that the call asks for
  std::int64_t now_unix_ms = 0;
};
inline constexpr std::int64_t kRequestLifetimeMs = 7LL * 24 * 3600 * 1000;

// What a new version starts with; the store gives the number.
struct NewVersion {
  std::string model;
  Inputs inputs;
  Tags tags;
  Lineage lineage;
};

struct AliasKey {
  std::string model;
  std::string alias;
};

// Thread-safe. Every call is one transaction: it happens whole or not at all, and durably. Besides the listed errors each may
// give UNAVAILABLE [STORE_UNREACHABLE, STORE_BUSY], ABORTED [STORE_CONFLICT] or RESOURCE_EXHAUSTED [DISK_FULL, STORE_BUSY].
class MetadataStore {
 public:
  virtual ~MetadataStore() = default;

  // Records `session`, or finds the one this request made before. RESOURCE_EXHAUSTED [TOO_MANY_UPLOADS] when `open_max`
  // sessions are open; ALREADY_EXISTS [REQUEST_ID_REUSED].
  virtual Result<Session> BeginSession(const RequestKey& request, const Session& session, std::size_t open_max) = 0;
  // NOT_FOUND [UPLOAD_UNKNOWN].
  virtual Result<Session> GetSession(const std::string& upload_id) = 0;
  // Makes the session's version, COMPILING, and the model when it is its first; a session yields one version, whatever the
  // request. NOT_FOUND [UPLOAD_UNKNOWN, VERSION_UNKNOWN (the parent)], ALREADY_EXISTS [REQUEST_ID_REUSED].
  virtual Result<Version> CommitSession(const RequestKey& request, const std::string& upload_id, const NewVersion& version) = 0;
  // Forgets sessions that expired, and request outcomes past their life; yields the ids of sessions forgotten, at most 1000.
  virtual Result<std::vector<std::string>> Expire(std::int64_t now_unix_ms) = 0;

  // The outcome of an AddVersion before, if there was one. ALREADY_EXISTS [REQUEST_ID_REUSED].
  virtual Result<std::optional<Version>> FindAdded(const RequestKey& request) = 0;
  // A version that a round produced, COMPILING. NOT_FOUND [MODEL_UNKNOWN], ALREADY_EXISTS [REQUEST_ID_REUSED].
  virtual Result<Version> AddVersion(const RequestKey& request, const NewVersion& version) = 0;
  // NOT_FOUND [MODEL_UNKNOWN, VERSION_UNKNOWN].
  virtual Result<Version> GetVersion(const VersionKey& key) = 0;
  // The stage of a COMPILING version; nothing changes when it is not COMPILING.
  virtual Status SetStage(const VersionKey& key, const std::string& stage) = 0;
  // Turns a COMPILING version READY or REFUSED; one that is neither any more stays as it is. NOT_FOUND [VERSION_UNKNOWN].
  virtual Status Finish(const VersionKey& key, const Outcome& outcome) = 0;
  // Oldest first.
  virtual Result<std::vector<VersionKey>> ListCompiling(std::size_t limit) = 0;
  // Newest first, only those below `below` (0: all). NOT_FOUND [MODEL_UNKNOWN].
  virtual Result<std::vector<Version>> ListVersions(const std::string& model, std::uint64_t below, std::size_t limit) = 0;
  // NOT_FOUND [VERSION_UNKNOWN, REPORT_MISSING].
  virtual Result<std::string> GetReport(const VersionKey& key) = 0;
  // NOT_FOUND [VERSION_UNKNOWN], ALREADY_EXISTS [REQUEST_ID_REUSED].
  virtual Result<Version> SetTags(const RequestKey& request, const VersionKey& key, const Tags& tags) = 0;

  // NOT_FOUND [MODEL_UNKNOWN].
  virtual Result<Model> GetModel(const std::string& model) = 0;
  // By name, only those after `after`.
  virtual Result<std::vector<Model>> ListModels(const std::string& after, std::size_t limit) = 0;

  // Points the alias at the version and gives its manifest the next sequence, also when it pointed there already. NOT_FOUND
  // [VERSION_UNKNOWN], FAILED_PRECONDITION [VERSION_NOT_READY], RESOURCE_EXHAUSTED [TOO_MANY_ALIASES], ALREADY_EXISTS
  // [REQUEST_ID_REUSED].
  virtual Status MoveAlias(const RequestKey& request, const AliasKey& key, std::uint64_t version) = 0;
  // NOT_FOUND [ALIAS_UNKNOWN].
  virtual Result<Alias> GetAlias(const AliasKey& key) = 0;
  // Versions that the alias pointed at and does not now, the latest first, each once.
  virtual Result<std::vector<std::uint64_t>> FormerTargets(const AliasKey& key, std::size_t limit) = 0;
  // Records that the origin has the manifest of this sequence.
  virtual Status MarkPublished(const AliasKey& key, std::uint64_t sequence) = 0;
  // Gives a new manifest of the same version the next sequence, if `sequence` is still the present one.
  virtual Status RenewAlias(const AliasKey& key, std::uint64_t sequence, std::int64_t now_unix_ms) = 0;
  // Aliases whose newest manifest the origin may lack.
  virtual Result<std::vector<AliasKey>> ListUnpublished(std::size_t limit) = 0;
  // Aliases whose manifest was signed before this time.
  virtual Result<std::vector<AliasKey>> ListSignedBefore(std::int64_t unix_ms, std::size_t limit) = 0;

  // Whether any version is compiled from, or has a variant that is, this file.
  virtual Result<bool> IsArtifactUsed(const Digest& sha256) = 0;
};

}  // namespace edgefleet::registry
