// Brings versions and aliases to the origin: blobs, deltas, manifests.
#pragma once

#include "base/clock.h"
#include "base/log.h"
#include "registry/artifact_store.h"
#include "registry/distribution.h"
#include "registry/metadata_store.h"

namespace edgefleet::registry {

// Thread-safe; blocks on the origin. Everything may be repeated.
class Releases {
 public:
  // Former targets of an alias that get a delta to its new one.
  static constexpr std::size_t kDeltaSourcesMax = 4;
  // A version's own manifest says which files it is, which never changes: it stays good for ten years. What an alias means
  // changes, so its manifests live as long as configured and are signed anew.
  static constexpr std::int64_t kVersionManifestLifetimeMs = 10LL * 365 * 24 * 3600 * 1000;

  Releases(MetadataStore& store, ArtifactStore& artifacts, Distribution& distribution, std::int64_t manifest_lifetime_ms)
      : store_(store), artifacts_(artifacts), distribution_(distribution), manifest_lifetime_ms_(manifest_lifetime_ms) {}

  // The files of a version that is about to be READY, and its own manifest.
  Status DistributeVersion(const VersionKey& key, std::int64_t created_unix_ms, const std::vector<Variant>& variants);
  // Makes the deltas that a move of the alias to `version` will need; nobody sees them yet.
  Status PrepareMove(const AliasKey& key, const Version& version);
  // Publishes the newest manifest of an alias, unless the origin has it.
  Status PublishAlias(const AliasKey& key);
  // Publishes what an earlier attempt could not, and signs anew what has passed half of its life.
  Status Maintain(std::int64_t now_unix_ms, Logger& logger);

 private:
  // With deltas from `former`; a delta that saves nothing is left out.
  Result<std::vector<ReleaseTarget>> TargetsOf(const Version& version, const std::vector<std::uint64_t>& former);

  MetadataStore& store_;
  ArtifactStore& artifacts_;
  Distribution& distribution_;
  const std::int64_t manifest_lifetime_ms_;
};

}  // namespace edgefleet::registry
