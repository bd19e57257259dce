// Who wants to hear of changes of a version.
#pragma once

#include <functional>
#include <map>
#include <mutex>

#include "base/status.h"
#include "registry/model.h"

namespace edgefleet::registry {

// Called with the version after each change; the last call has a state other than COMPILING. Must be quick and must not call
// back into the registry. False: no more calls.
using VersionListener = std::function<bool(const Version&)>;

// Thread-safe.
class Watchers {
 public:
  // Calls `listener` with what `load` yields now, then after each Notify of that version. No change is missed between the two.
  // RESOURCE_EXHAUSTED [TOO_MANY_WATCHERS]; errors of `load`.
  Status Add(const VersionKey& key, const std::function<Result<Version>()>& load, VersionListener listener);
  // Tells those who watch; `load` is asked only when there are any. Errors of `load`: nobody was told, notify again.
  Status Notify(const VersionKey& key, const std::function<Result<Version>()>& load);
  // Forgets all listeners, without a last call.
  void Clear();

 private:
  static constexpr std::size_t kListenersMax = 4096;

  std::mutex mutex_;
  std::multimap<VersionKey, VersionListener> listeners_;
};

}  // namespace edgefleet::registry
