#include "registry/registry.h"

#include <charconv>

#include "registry/digest_of.h"
#include "registry/limits.h"

namespace edgefleet::registry {
namespace {

Result<std::uint64_t> VersionToken(const std::string& token) {
  std::uint64_t version = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), version);
  if (error == std::errc() && end == token.data() + token.size() && version > 0) return version;
  return InvalidArgument("BAD_PAGE_TOKEN", "page_token must come from the answer before");
}

NewVersion FromSession(const Session& session) {
  NewVersion version{.model = session.request.model,
                     .inputs = {.onnx = {},
                                .calibration = std::nullopt,
                                .evaluation = std::nullopt,
                                .parameters = std::nullopt,
                                .options = session.request.options},
                     .tags = session.request.tags,
                     .lineage = {.parent_version = session.request.parent_version}};
  for (const ArtifactSpec& artifact : session.request.artifacts) {
    if (artifact.kind == ArtifactKind::kOnnx) version.inputs.onnx = artifact.sha256;
    if (artifact.kind == ArtifactKind::kCalibration) version.inputs.calibration = artifact.sha256;
    if (artifact.kind == ArtifactKind::kEvaluation) version.inputs.evaluation = artifact.sha256;
  }
  return version;
}

}  // namespace

Registry::Registry(const RegistryDependencies& dependencies, const RegistryOptions& options)
    : deps_(dependencies),
      options_(options),
      releases_(deps_.store, deps_.artifacts, deps_.distribution, options.manifest_lifetime_ms),
      worker_({deps_.store, deps_.artifacts, releases_, watchers_, deps_.toolchain, deps_.logger, deps_.metrics},
              options.compile_threads, options.backoff) {}

Status Registry::Start() {
  EF_ASSIGN_OR_RETURN(const auto expired, deps_.store.Expire(NowMs()));
  for (const std::string& upload_id : expired) deps_.artifacts.DropUpload(upload_id);
  EF_RETURN_IF_ERROR(deps_.artifacts.Sweep([this](const Digest& sha256) { return deps_.store.IsArtifactUsed(sha256); }));
  worker_.Wake();
  return OkStatus();
}

void Registry::Drain() {
  {
    std::lock_guard lock(stop_mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  worker_.Drain();
  watchers_.Clear();
}

void Registry::Stop() {
  Drain();
  worker_.Stop();
}

Status Registry::Maintain() {
  EF_ASSIGN_OR_RETURN(const auto expired, deps_.store.Expire(NowMs()));
  for (const std::string& upload_id : expired) deps_.artifacts.DropUpload(upload_id);
  worker_.Wake();
  return releases_.Maintain(NowMs(), deps_.logger);
}

Result<SessionState> Registry::BeginPublish(const std::string& request_id, PublishRequest request) {
  EF_RETURN_IF_ERROR(CheckRequestId(request_id));
  if (request.options.accuracy_drop_points_max == 0) request.options = {};
  EF_RETURN_IF_ERROR(CheckPublish(request));
  const RequestKey key{request_id, DigestOf(request), NowMs()};
  const Session session{crypto::RandomId(), std::move(request), NowMs() + options_.upload_session_lifetime_ms, 0};
  EF_ASSIGN_OR_RETURN(const Session begun, deps_.store.BeginSession(key, session, options_.upload_sessions_max));
  return StateOf(begun);
}

Result<SessionState> Registry::GetSession(const std::string& upload_id) {
  EF_ASSIGN_OR_RETURN(const Session session, deps_.store.GetSession(upload_id));
  return StateOf(session);
}

Result<SessionState> Registry::StateOf(const Session& session) {
  SessionState state{session.upload_id, session.request.model, {}, session.expires_unix_ms};
  for (const ArtifactSpec& artifact : session.request.artifacts) {
    EF_ASSIGN_OR_RETURN(const ArtifactState one, deps_.artifacts.State(session.upload_id, artifact));
    state.artifacts.push_back(one);
  }
  return state;
}

Result<ArtifactSpec> Registry::FindArtifact(const std::string& upload_id, ArtifactKind kind) {
  EF_ASSIGN_OR_RETURN(const Session session, deps_.store.GetSession(upload_id));
  for (const ArtifactSpec& artifact : session.request.artifacts) {
    if (artifact.kind == kind) return artifact;
  }
  return NotFound("UPLOAD_UNKNOWN", "this upload announced no artifact of that kind; begin a publish that does");
}

Status Registry::Append(const std::string& upload_id, const ArtifactSpec& artifact, std::uint64_t offset, ByteView chunk) {
  if (chunk.size() > kChunkBytesMax) return InvalidArgument("TOO_LARGE", "a chunk has at most 1 MiB");
  return deps_.artifacts.Append(upload_id, artifact, offset, chunk);
}

Result<ArtifactState> Registry::CompleteArtifact(const std::string& upload_id, const ArtifactSpec& artifact) {
  return deps_.artifacts.Complete(upload_id, artifact);
}

Result<Version> Registry::CommitPublish(const std::string& request_id, const std::string& upload_id) {
  EF_RETURN_IF_ERROR(CheckRequestId(request_id));
  EF_ASSIGN_OR_RETURN(const Session session, deps_.store.GetSession(upload_id));
  EF_ASSIGN_OR_RETURN(const SessionState state, StateOf(session));
  for (const ArtifactState& artifact : state.artifacts) {
    if (!artifact.complete) {
      return FailedPrecondition("UPLOAD_INCOMPLETE", std::to_string(artifact.received) + " of " +
                                                         std::to_string(artifact.size) +
                                                         " bytes of an artifact are here; upload the rest, then commit");
    }
  }
  const RequestKey key{request_id, DigestOfCommit(upload_id), NowMs()};
  EF_ASSIGN_OR_RETURN(Version version, deps_.store.CommitSession(key, upload_id, FromSession(session)));
  deps_.logger.Info("version published", {{"model", version.key.model}, {"version", version.key.version}});
  worker_.Wake();
  return version;
}

Result<VersionKey> Registry::Resolve(const VersionRef& ref) {
  EF_RETURN_IF_ERROR(CheckName("model", ref.model));
  if (ref.version != 0) return VersionKey{ref.model, ref.version};
  EF_RETURN_IF_ERROR(CheckName("alias", ref.alias));
  EF_ASSIGN_OR_RETURN(const Model model, deps_.store.GetModel(ref.model));
  for (const Alias& alias : model.aliases) {
    if (alias.name == ref.alias) return VersionKey{ref.model, alias.version};
  }
  return NotFound("VERSION_UNKNOWN", "model '" + ref.model + "' has no alias '" + ref.alias + "'; set it, or name a version");
}

Result<Version> Registry::GetVersion(const VersionRef& ref) {
  EF_ASSIGN_OR_RETURN(const VersionKey key, Resolve(ref));
  return deps_.store.GetVersion(key);
}

Status Registry::Watch(const VersionRef& ref, VersionListener listener) {
  EF_ASSIGN_OR_RETURN(const VersionKey key, Resolve(ref));
  return watchers_.Add(
      key, [this, key] { return deps_.store.GetVersion(key); }, std::move(listener));
}

Result<Model> Registry::GetModel(const std::string& model) {
  EF_RETURN_IF_ERROR(CheckName("model", model));
  return deps_.store.GetModel(model);
}

Result<Page<Model>> Registry::ListModels(std::uint32_t page_size, const std::string& token) {
  EF_ASSIGN_OR_RETURN(const std::size_t limit, CheckPageSize(page_size));
  if (!token.empty() && !CheckName("model", token).ok()) {
    return InvalidArgument("BAD_PAGE_TOKEN", "page_token must come from the answer before");
  }
  Page<Model> page;
  EF_ASSIGN_OR_RETURN(page.items, deps_.store.ListModels(token, limit + 1));
  if (page.items.size() > limit) {
    page.items.pop_back();
    page.next_token = page.items.back().name;
  }
  return page;
}

Result<Page<Version>> Registry::ListVersions(const std::string& model, std::uint32_t page_size, const std::string& token) {
  EF_RETURN_IF_ERROR(CheckName("model", model));
  EF_ASSIGN_OR_RETURN(const std::size_t limit, CheckPageSize(page_size));
  std::uint64_t below = 0;
  if (!token.empty()) {
    EF_ASSIGN_OR_RETURN(below, VersionToken(token));
  }
  Page<Version> page;
  EF_ASSIGN_OR_RETURN(page.items, deps_.store.ListVersions(model, below, limit + 1));
  if (page.items.size() > limit) {
    page.items.pop_back();
    page.next_token = std::to_string(page.items.back().key.version);
  }
  return page;
}

Result<std::string> Registry::GetReport(const VersionRef& ref) {
  EF_ASSIGN_OR_RETURN(const VersionKey key, Resolve(ref));
  return deps_.store.GetReport(key);
}

// Deltas first: when the origin is away, nothing has changed yet. Once the move is recorded it will be published, if not now
// then when the call is repeated or by Maintain.
Result<Model> Registry::SetAlias(const std::string& request_id, const AliasKey& key, std::uint64_t version) {
  EF_RETURN_IF_ERROR(CheckRequestId(request_id));
  EF_RETURN_IF_ERROR(CheckName("model", key.model));
  EF_RETURN_IF_ERROR(CheckName("alias", key.alias));
  EF_ASSIGN_OR_RETURN(const Version target, deps_.store.GetVersion({key.model, version}));
  if (target.state == VersionState::kReady) EF_RETURN_IF_ERROR(releases_.PrepareMove(key, target));
  EF_RETURN_IF_ERROR(deps_.store.MoveAlias({request_id, DigestOf(key, version), NowMs()}, key, version));
  EF_RETURN_IF_ERROR(releases_.PublishAlias(key));
  deps_.logger.Info("alias set", {{"model", key.model}, {"alias", key.alias}, {"version", version}});
  return deps_.store.GetModel(key.model);
}

Result<Version> Registry::SetTags(const std::string& request_id, const VersionKey& key, const Tags& tags) {
  EF_RETURN_IF_ERROR(CheckRequestId(request_id));
  EF_RETURN_IF_ERROR(CheckName("model", key.model));
  EF_RETURN_IF_ERROR(CheckTags(tags));
  return deps_.store.SetTags({request_id, DigestOf(key, tags), NowMs()}, key, tags);
}

}  // namespace edgefleet::registry
