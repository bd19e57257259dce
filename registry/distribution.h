// The registry's port towards the distribution origin. Implementation: services/registry.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"
#include "registry/model.h"

namespace edgefleet::registry {

// A patch that turns the file `from` into the target it belongs to.
struct Delta {
  Digest from{};
  Digest sha256{};  // of the patch
  std::uint64_t size = 0;
};

struct ReleaseTarget {
  Variant variant;
  std::vector<Delta> deltas;
};

// The content of one signed manifest. The same release always gives the same bytes.
struct Release {
  std::string path;
  VersionKey key;
  std::string alias;  // empty: of the version itself
  std::uint64_t sequence = 1;
  std::int64_t created_unix_ms = 0;
  std::int64_t expires_unix_ms = 0;
  std::vector<ReleaseTarget> targets;
};

// Thread-safe; every call may be repeated. UNAVAILABLE, RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED mean: try again later.
class Distribution {
 public:
  virtual ~Distribution() = default;
  // Stores a file under its digest, going on where a broken attempt ended.
  virtual Status PutBlob(const Digest& sha256, const std::filesystem::path& file) = 0;
  // Makes, or finds, the patch between two stored files.
  virtual Result<Delta> MakeDelta(const Digest& from, const Digest& to) = 0;
  // Signs and publishes. FAILED_PRECONDITION [STALE_SEQUENCE] when a newer manifest is there.
  virtual Status Publish(const Release& release) = 0;
};

}  // namespace edgefleet::registry
