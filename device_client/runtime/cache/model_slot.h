// The model that a name stands for at the moment: replaced under load, with a way back.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/status.h"
#include "device_client/runtime/cache/model_cache.h"
#include "device_client/runtime/cache/swap_cell.h"

namespace edgefleet::runtime {

// A version of a model as its host calls it. Two versions may have the same file.
struct ModelVersion {
  std::string model;
  std::uint64_t version = 0;
  ModelSource source;
};

struct ModelSlotOptions {
  // A version that was replaced stays loaded this long, and until its last inference; memory pressure may shorten it.
  Millis grace_period{10'000};
};

// What becomes of the version that a swap replaces.
enum class Former {
  kLastGood,  // stays loaded and pinned, if the cache's limit allows, for RollBack()
  kDropped,   // goes after its last inference and the grace period
};

// A version and one of its sessions, on loan for inferences of one thread. What it computes belongs to this version, whatever
// is swapped in meanwhile.
class VersionLease {
 public:
  VersionLease(std::shared_ptr<const ModelVersion> version, SessionLease session)
      : version_(std::move(version)), session_(std::move(session)) {}
  const ModelVersion& version() const { return *version_; }
  Session& session() const { return session_.session(); }
  void Discard() { session_.Discard(); }  // the session failed

 private:
  std::shared_ptr<const ModelVersion> version_;
  SessionLease session_;
};

// Read-copy-update of one model: readers take the current version without waiting (SwapCell); the writer loads the next one
// beside it, makes as many sessions as are in use, and replaces the reference. The old version is freed by whoever needs it
// last. No thread is started: what has outlived its grace period goes at the next Swap, RollBack or Collect.
//
// Thread-safe. The cache and the clock outlive it.
class ModelSlot {
 public:
  ModelSlot(ModelCache& cache, const Clock& clock, ModelSlotOptions options = {});
  ~ModelSlot();
  ModelSlot(const ModelSlot&) = delete;
  ModelSlot& operator=(const ModelSlot&) = delete;

  // Waits for nobody. FAILED_PRECONDITION [NO_MODEL] before the first Swap, or an error of LoadedModel::Borrow.
  Result<VersionLease> Borrow() const;
  // Nothing before the first Swap.
  std::shared_ptr<const ModelVersion> current() const;

  // On failure (of ModelCache::Acquire) the current version stays.
  Status Swap(ModelVersion next, Former former = Former::kLastGood);
  // Back to the last good version; the current one is dropped. FAILED_PRECONDITION [NO_LAST_GOOD], or an error of Swap when the
  // last good version could not be kept in memory and does not load again.
  Status RollBack();
  // Gives up versions whose grace period is over. How many are left to it.
  std::size_t Collect();

 private:
  struct Loaded;

  Status SwapLocked(ModelVersion next, Former former);
  void Retire(const crypto::Sha256Digest& sha256);
  void SetLastGood(std::optional<ModelVersion> version);
  void CollectLocked();

  ModelCache& cache_;
  const Clock& clock_;
  const ModelSlotOptions options_;
  SwapCell<const Loaded> current_;
  std::mutex mutex_;  // of writers
  std::optional<ModelVersion> last_good_;
  bool last_good_pinned_ = false;
  std::map<crypto::Sha256Digest, WallTime> retired_;  // since when
};

}  // namespace edgefleet::runtime
