// state.json of the model store: its content in memory, and its form on disk.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "device_client/update/model_store.h"

namespace edgefleet::update {

inline constexpr std::uint64_t kStateBytesMax = 4 * 1024 * 1024;
inline constexpr std::size_t kStateModelsMax = 64;
inline constexpr std::size_t kStateManifestsMax = 64;
inline constexpr std::size_t kStateCacheMax = 256;

struct ModelState {
  std::optional<InstalledVersion> active;
  std::optional<InstalledVersion> last_good;
  std::optional<Trial> trial;
  std::optional<RejectedVersion> rejected;
};

struct CacheEntry {
  std::string model;
  std::uint64_t version = 0;
  InstalledVariant variant;
  std::uint64_t used = 0;  // the larger, the later
};

// `file` members of variants are not kept on disk; ParseState leaves them empty.
struct StoreState {
  std::map<std::string, ModelState, std::less<>> models;
  std::map<std::string, ManifestMark, std::less<>> manifests;  // by the manifest's path
  std::vector<CacheEntry> cache;
};

std::string StateText(const StoreState& state);
// DATA_LOSS [BAD_STATE], FAILED_PRECONDITION [STATE_TOO_NEW].
Result<StoreState> ParseState(ByteView text);

}  // namespace edgefleet::update
