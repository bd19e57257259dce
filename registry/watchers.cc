#include "registry/watchers.h"

namespace edgefleet::registry {

Status Watchers::Add(const VersionKey& key, const std::function<Result<Version>()>& load, VersionListener listener) {
  std::lock_guard lock(mutex_);  // a Notify that comes meanwhile waits, and tells a later state
  if (listeners_.size() >= kListenersMax) {
    return std::move(ResourceExhausted("TOO_MANY_WATCHERS", "too many versions are watched; poll instead"))
        .RetryAfter(std::chrono::seconds(5));
  }
  EF_ASSIGN_OR_RETURN(const Version version, load());
  if (listener(version) && version.state == VersionState::kCompiling) listeners_.emplace(key, std::move(listener));
  return OkStatus();
}

Status Watchers::Notify(const VersionKey& key, const std::function<Result<Version>()>& load) {
  std::lock_guard lock(mutex_);
  if (listeners_.count(key) == 0) return OkStatus();
  EF_ASSIGN_OR_RETURN(const Version version, load());
  const bool last = version.state != VersionState::kCompiling;
  auto [at, end] = listeners_.equal_range(key);
  while (at != end) at = !at->second(version) || last ? listeners_.erase(at) : std::next(at);
  return OkStatus();
}

void Watchers::Clear() {
  std::multimap<VersionKey, VersionListener> dropped;
  std::lock_guard lock(mutex_);
  dropped.swap(listeners_);
}

}  // namespace edgefleet::registry
