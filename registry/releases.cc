#include "registry/releases.h"

#include <algorithm>

#include "registry/backoff.h"

namespace edgefleet::registry {
namespace {

constexpr std::size_t kMaintainedMax = 100;

}  // namespace

Status Releases::DistributeVersion(const VersionKey& key, std::int64_t created_unix_ms, const std::vector<Variant>& variants) {
  Release release{.path = VersionManifestPath(key),
                  .key = key,
                  .alias = "",
                  .sequence = 1,
                  .created_unix_ms = created_unix_ms,
                  .expires_unix_ms = created_unix_ms + kVersionManifestLifetimeMs,
                  .targets = {}};
  for (const Variant& variant : variants) {
    EF_RETURN_IF_ERROR(distribution_.PutBlob(variant.sha256, artifacts_.PathOf(variant.sha256)));
    release.targets.push_back({variant, {}});
  }
  return distribution_.Publish(release);
}

Status Releases::PrepareMove(const AliasKey& key, const Version& version) {
  EF_ASSIGN_OR_RETURN(std::vector<std::uint64_t> former, store_.FormerTargets(key, kDeltaSourcesMax));
  auto alias = store_.GetAlias(key);
  if (!alias && alias.error().code() != StatusCode::kNotFound) return alias.error();
  if (alias && alias->version != version.key.version) former.insert(former.begin(), alias->version);
  auto targets = TargetsOf(version, former);
  return targets ? OkStatus() : targets.error();
}

Status Releases::PublishAlias(const AliasKey& key) {
  EF_ASSIGN_OR_RETURN(const Alias alias, store_.GetAlias(key));
  if (alias.published_sequence >= alias.sequence) return OkStatus();
  EF_ASSIGN_OR_RETURN(const Version version, store_.GetVersion({key.model, alias.version}));
  EF_ASSIGN_OR_RETURN(const auto former, store_.FormerTargets(key, kDeltaSourcesMax));
  Release release{.path = AliasManifestPath(key.model, key.alias),
                  .key = version.key,
                  .alias = key.alias,
                  .sequence = alias.sequence,
                  .created_unix_ms = alias.signed_unix_ms,
                  .expires_unix_ms = alias.signed_unix_ms + manifest_lifetime_ms_,
                  .targets = {}};
  EF_ASSIGN_OR_RETURN(release.targets, TargetsOf(version, former));
  Status published = distribution_.Publish(release);
  if (published.reason() == "STALE_SEQUENCE") {
    // Another move came between; its own call publishes it. Otherwise the origin is ahead of this store.
    EF_ASSIGN_OR_RETURN(const Alias now, store_.GetAlias(key));
    if (now.sequence > alias.sequence) return OkStatus();
  }
  if (!published.ok()) return published;
  return store_.MarkPublished(key, alias.sequence);
}

Result<std::vector<ReleaseTarget>> Releases::TargetsOf(const Version& version, const std::vector<std::uint64_t>& former) {
  std::vector<ReleaseTarget> targets;
  for (const Variant& variant : version.variants) targets.push_back({variant, {}});
  for (const std::uint64_t number : former) {
    if (number == version.key.version) continue;
    EF_ASSIGN_OR_RETURN(const Version from, store_.GetVersion({version.key.model, number}));
    for (ReleaseTarget& target : targets) {
      const Variant* source = from.FindVariant(target.variant.name);
      const bool known = source == nullptr || source->sha256 == target.variant.sha256 ||
                         std::any_of(target.deltas.begin(), target.deltas.end(),
                                     [&](const Delta& delta) { return delta.from == source->sha256; });
      if (known) continue;
      EF_ASSIGN_OR_RETURN(const Delta delta, distribution_.MakeDelta(source->sha256, target.variant.sha256));
      if (delta.size < target.variant.size) target.deltas.push_back(delta);
    }
  }
  return targets;
}

Status Releases::Maintain(std::int64_t now_unix_ms, Logger& logger) {
  EF_ASSIGN_OR_RETURN(const auto aging, store_.ListSignedBefore(now_unix_ms - manifest_lifetime_ms_ / 2, kMaintainedMax));
  for (const AliasKey& key : aging) {
    EF_ASSIGN_OR_RETURN(const Alias alias, store_.GetAlias(key));
    EF_RETURN_IF_ERROR(store_.RenewAlias(key, alias.sequence, now_unix_ms));
    logger.Info("manifest renewed", {{"model", key.model}, {"alias", key.alias}, {"sequence", alias.sequence + 1}});
  }
  EF_ASSIGN_OR_RETURN(const auto unpublished, store_.ListUnpublished(kMaintainedMax));
  Status first = OkStatus();  // one alias that cannot be published does not hold up the others
  for (const AliasKey& key : unpublished) {
    Status status = PublishAlias(key);
    if (first.ok()) first = status;
    if (IsTransient(status)) break;
  }
  return first;
}

}  // namespace edgefleet::registry
