#include "device_client/runtime/cache/model_cache.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "device_client/runtime/format/efm.h"

namespace edgefleet::runtime {
namespace {

using Digest = crypto::Sha256Digest;
using ModelResult = Result<std::shared_ptr<LoadedModel>>;

// A load under way, shared by those who wait for it.
struct Load {
  std::optional<ModelResult> result;
  bool keep = true;  // false once it was evicted: only those who wait get it
};

// Of `load` while it runs, then of `model`.
struct Entry {
  std::shared_ptr<Load> load;
  std::shared_ptr<LoadedModel> model;
  int pins = 0;
  std::uint64_t used = 0;  // order of the last Acquire

  // Under the cache's lock: others copy it only from here.
  bool Idle() const { return model && model.use_count() == 1 && pins == 0; }
};

}  // namespace

class ModelCache::State final : public MemoryAccount, public std::enable_shared_from_this<State> {
 public:
  State(ModelCacheOptions options, ModelLoader loader) : options_(std::move(options)), loader_(std::move(loader)) {}

  ModelResult Acquire(const ModelSource& source);
  Status Pin(const Digest& sha256);
  void Unpin(const Digest& sha256);
  Status Evict(const Digest& sha256);
  void Clear();
  ModelCacheStats stats() const;

  Status Reserve(std::size_t bytes) override;
  void GiveBack(std::size_t bytes) override;
  std::size_t Free() const override;
  bool MakeRoom() override;

 private:
  ModelResult LoadModel(const ModelSource& source);
  ModelResult Await(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Load>& load);
  // Frees the least recently used model that nobody holds, without the lock. False if there is none.
  bool FreeIdle(std::unique_lock<std::mutex>& lock);
  std::shared_ptr<LoadedModel> TakeIdle();
  std::string Situation() const;

  const ModelCacheOptions options_;
  const ModelLoader loader_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // a load ended, or a model was freed
  std::map<Digest, Entry> entries_;
  std::uint64_t acquired_ = 0;  // Acquires so far
  int freeing_ = 0;             // models on their way out
  ModelCacheStats stats_;
};

ModelResult ModelCache::State::Acquire(const ModelSource& source) {
  std::shared_ptr<Load> load;
  {
    std::unique_lock lock(mutex_);
    Entry& entry = entries_[source.sha256];
    entry.used = ++acquired_;
    if (entry.model) {
      ++stats_.hits;
      return entry.model;
    }
    if (entry.load) return Await(lock, entry.load);
    ++stats_.misses;
    load = entry.load = std::make_shared<Load>();
  }
  ModelResult result = LoadModel(source);
  {
    std::lock_guard lock(mutex_);
    load->result = result;
    if (!result) ++stats_.failures;
    if (load->keep) {
      if (result) {
        Entry& entry = entries_[source.sha256];
        entry.load = nullptr;
        entry.model = *result;
      } else {
        entries_.erase(source.sha256);
      }
    }
  }
  changed_.notify_all();
  return result;
}

ModelResult ModelCache::State::Await(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Load>& load) {
  const std::shared_ptr<Load> awaited = load;
  if (!changed_.wait_for(lock, options_.load_wait_max, [&] { return awaited->result.has_value(); })) {
    return DeadlineExceeded("MODEL_LOAD_WAIT", "another thread has been loading this model for too long; try again later");
  }
  if (*awaited->result) ++stats_.hits;
  return *awaited->result;
}

ModelResult ModelCache::State::LoadModel(const ModelSource& source) {
  EF_ASSIGN_OR_RETURN(auto file, MappedFile::Open(source.file));
  EF_ASSIGN_OR_RETURN(Graph graph, loader_ ? loader_(file) : LoadEfm(file));
  return LoadedModel::Create(source, std::move(file), std::move(graph), options_.model, shared_from_this());
}

Status ModelCache::State::Pin(const Digest& sha256) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(sha256);
  if (found == entries_.end() || !found->second.model) return NotFound("MODEL_NOT_LOADED", "load the model before pinning it");
  Entry& entry = found->second;
  if (entry.pins == 0) {
    const std::size_t bytes = entry.model->model_bytes();
    if (bytes > options_.pinned_bytes_max - stats_.pinned_bytes) {
      return ResourceExhausted("PIN_LIMIT", "pinning " + std::to_string(bytes) + " bytes would exceed the limit of " +
                                                std::to_string(options_.pinned_bytes_max) + "; unpin another model");
    }
    stats_.pinned_bytes += bytes;
  }
  ++entry.pins;
  return OkStatus();
}

void ModelCache::State::Unpin(const Digest& sha256) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(sha256);
  if (found == entries_.end() || found->second.pins == 0) return;
  if (--found->second.pins == 0) stats_.pinned_bytes -= found->second.model->model_bytes();
}

Status ModelCache::State::Evict(const Digest& sha256) {
  std::shared_ptr<LoadedModel> freed;  // after the lock
  std::lock_guard lock(mutex_);
  const auto found = entries_.find(sha256);
  if (found == entries_.end()) return OkStatus();
  if (found->second.pins > 0) return FailedPrecondition("MODEL_PINNED", "unpin the model before evicting it");
  if (found->second.load) found->second.load->keep = false;
  freed = std::move(found->second.model);
  entries_.erase(found);
  ++stats_.evictions;
  return OkStatus();
}

void ModelCache::State::Clear() {
  std::map<Digest, Entry> freed;
  std::lock_guard lock(mutex_);
  freed.swap(entries_);
}

ModelCacheStats ModelCache::State::stats() const {
  std::lock_guard lock(mutex_);
  ModelCacheStats stats = stats_;
  stats.models =
      static_cast<std::size_t>(std::ranges::count_if(entries_, [](const auto& e) { return e.second.model != nullptr; }));
  return stats;
}

Status ModelCache::State::Reserve(std::size_t bytes) {
  std::unique_lock lock(mutex_);
  while (bytes > options_.bytes_max - stats_.bytes) {
    if (bytes > options_.bytes_max || !FreeIdle(lock)) {
      return ResourceExhausted("CACHE_BUDGET", std::to_string(bytes) + " bytes do not fit: " + Situation() +
                                                   "; raise the budget, or load models lazily or streaming");
    }
  }
  stats_.bytes += bytes;
  stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes);
  return OkStatus();
}

void ModelCache::State::GiveBack(std::size_t bytes) {
  std::lock_guard lock(mutex_);
  stats_.bytes -= bytes;
}

std::size_t ModelCache::State::Free() const {
  std::lock_guard lock(mutex_);
  return options_.bytes_max - stats_.bytes;
}

bool ModelCache::State::MakeRoom() {
  std::unique_lock lock(mutex_);
  return FreeIdle(lock);
}

bool ModelCache::State::FreeIdle(std::unique_lock<std::mutex>& lock) {
  if (std::shared_ptr<LoadedModel> model = TakeIdle()) {
    ++freeing_;
    lock.unlock();
    model.reset();
    lock.lock();
    --freeing_;
    changed_.notify_all();
    return true;
  }
  if (freeing_ == 0) return false;
  changed_.wait(lock);  // for the thread that frees one
  return true;
}

std::shared_ptr<LoadedModel> ModelCache::State::TakeIdle() {
  auto oldest = entries_.end();
  for (auto it = entries_.begin(); it != entries_.end(); ++it) {
    if (it->second.Idle() && (oldest == entries_.end() || it->second.used < oldest->second.used)) oldest = it;
  }
  if (oldest == entries_.end()) return nullptr;
  std::shared_ptr<LoadedModel> model = std::move(oldest->second.model);
  entries_.erase(oldest);
  ++stats_.evictions;
  return model;
}

std::string ModelCache::State::Situation() const {
  return "of " + std::to_string(options_.bytes_max) + " bytes " + std::to_string(stats_.bytes) +
         " are held by models in use or pinned (" + std::to_string(stats_.pinned_bytes) + ")";
}

ModelCache::ModelCache(ModelCacheOptions options, ModelLoader loader)
    : state_(std::make_shared<State>(std::move(options), std::move(loader))) {}
ModelCache::~ModelCache() { state_->Clear(); }

Result<std::shared_ptr<LoadedModel>> ModelCache::Acquire(const ModelSource& source) { return state_->Acquire(source); }
Status ModelCache::Pin(const crypto::Sha256Digest& sha256) { return state_->Pin(sha256); }
void ModelCache::Unpin(const crypto::Sha256Digest& sha256) { state_->Unpin(sha256); }
Status ModelCache::Evict(const crypto::Sha256Digest& sha256) { return state_->Evict(sha256); }
ModelCacheStats ModelCache::stats() const { return state_->stats(); }

}  // namespace edgefleet::runtime
