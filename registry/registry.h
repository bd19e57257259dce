// The registry: what teams publish, what it becomes, and where devices find it. Plain C++ behind ports; services/registry puts
// gRPC in front of it (proto/edgefleet/registry/v1/registry.proto documents every call's meaning, bounds and errors).
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "registry/artifact_store.h"
#include "registry/compile_worker.h"
#include "registry/distribution.h"
#include "registry/metadata_store.h"
#include "registry/releases.h"
#include "registry/watchers.h"

namespace edgefleet::registry {

struct RegistryOptions {
  std::size_t compile_threads = 1;
  std::size_t upload_sessions_max = 64;
  std::int64_t upload_session_lifetime_ms = 24LL * 3600 * 1000;
  std::int64_t manifest_lifetime_ms = 30LL * 24 * 3600 * 1000;
  BackoffOptions backoff;
};

// All outlive the registry.
struct RegistryDependencies {
  MetadataStore& store;
  ArtifactStore& artifacts;
  Distribution& distribution;
  const Toolchain& toolchain;
  const Clock& clock;
  Logger& logger;
  edgefleet::Metrics& metrics;
};

// A version by number, or by the alias that points at it when the number is 0.
struct VersionRef {
  std::string model;
  std::uint64_t version = 0;
  std::string alias;
};

template <typename T>
struct Page {
  std::vector<T> items;
  std::string next_token;  // empty: that was all
};

// A flat vector of trainable parameters of a version.
struct Parameters {
  VersionKey key;
  Digest layout_sha256{};
  std::vector<float> values;
};

struct CommitParametersRequest {
  std::string request_id;
  Parameters parameters;  // `key` is the parent
  Lineage lineage;
  Tags tags;
};

// Thread-safe; calls block on the store, on files, and SetAlias on the origin.
class Registry {
 public:
  Registry(const RegistryDependencies& dependencies, const RegistryOptions& options);
  ~Registry() { Stop(); }

  // Cleans up what a crash left and takes up interrupted compiles. Call before anything else. UNAVAILABLE when the store is
  // away.
  Status Start();
  // Makes waiting calls return UNAVAILABLE [STOPPING], forgets those who watch, begins no more compiles.
  void Drain();
  // Drains and waits for a compile that runs. A version left COMPILING is taken up by Start().
  void Stop();
  // Expires uploads, publishes manifests that could not be, renews aging ones. Call every minute or so.
  Status Maintain();

  Result<SessionState> BeginPublish(const std::string& request_id, PublishRequest request);
  Result<SessionState> GetSession(const std::string& upload_id);
  // What the session announced of one artifact. UPLOAD_UNKNOWN also when it announced none of that kind.
  Result<ArtifactSpec> FindArtifact(const std::string& upload_id, ArtifactKind kind);
  Status Append(const std::string& upload_id, const ArtifactSpec& artifact, std::uint64_t offset, ByteView chunk);
  Result<ArtifactState> CompleteArtifact(const std::string& upload_id, const ArtifactSpec& artifact);
  Result<Version> CommitPublish(const std::string& request_id, const std::string& upload_id);

  Result<Version> GetVersion(const VersionRef& ref);
  // Tells `listener` the version now and after each change until it is READY or REFUSED.
  Status Watch(const VersionRef& ref, VersionListener listener);
  Result<Model> GetModel(const std::string& model);
  Result<Page<Model>> ListModels(std::uint32_t page_size, const std::string& token);
  Result<Page<Version>> ListVersions(const std::string& model, std::uint32_t page_size, const std::string& token);
  Result<std::string> GetReport(const VersionRef& ref);
  Result<Model> SetAlias(const std::string& request_id, const AliasKey& key, std::uint64_t version);
  Result<Version> SetTags(const std::string& request_id, const VersionKey& key, const Tags& tags);

  Result<Parameters> GetParameters(const VersionRef& ref);
  // Whether a vector of this many values and this layout fits the version; before its bytes are taken in.
  Status CheckParameters(const VersionKey& key, std::uint64_t count, const Digest& layout_sha256);
  Result<Metrics> EvaluateParameters(const Parameters& parameters);
  // Returns when the new version is READY or REFUSED.
  Result<Version> CommitParameters(const CommitParametersRequest& request);

 private:
  Result<VersionKey> Resolve(const VersionRef& ref);
  Result<SessionState> StateOf(const Session& session);
  Result<Version> Trainable(const VersionKey& key);
  Result<Version> WaitUntilFinal(const VersionKey& key);
  std::int64_t NowMs() const { return ToUnixMillis(deps_.clock.Now()); }

  const RegistryDependencies deps_;
  const RegistryOptions options_;
  Releases releases_;
  Watchers watchers_;
  std::mutex stop_mutex_;
  std::condition_variable changed_;  // of a version somebody waits for, or stopping_
  bool stopping_ = false;
  CompileWorker worker_;  // last: its threads use the others
};

}  // namespace edgefleet::registry
