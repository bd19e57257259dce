// Loaded models under a byte budget.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/crypto/crypto.h"
#include "base/status.h"
#include "device_client/runtime/cache/loaded_model.h"

namespace edgefleet::runtime {

// What makes a graph of a mapped file: LoadEfm.
using ModelLoader = std::function<Result<Graph>(std::shared_ptr<const MappedFile>)>;

struct ModelCacheOptions {
  std::size_t bytes_max = std::size_t{512} << 20;  // weights, by the mode's rule (LoadMode), and the sessions' memory
  std::size_t pinned_bytes_max = std::size_t{256} << 20;
  std::chrono::milliseconds load_wait_max{30'000};  // for a load that another thread has begun
  ModelSettings model;
};

struct ModelCacheStats {
  std::uint64_t hits = 0;       // the model was there, or another thread's load yielded it
  std::uint64_t misses = 0;     // loads begun
  std::uint64_t failures = 0;   // loads that failed
  std::uint64_t evictions = 0;  // models given up, asked for or to make room
  std::size_t models = 0;       // in the cache
  std::size_t bytes = 0;        // of all models that live, those given up but still held too
  std::size_t bytes_peak = 0;   // never above bytes_max
  std::size_t pinned_bytes = 0;
};

// Models by digest. A model that nobody holds stays until its memory is needed; the least recently acquired goes first. Models
// that somebody holds, and pinned ones, are never given up to make room: `bytes_max` is kept strictly, and whoever comes too
// late gets RESOURCE_EXHAUSTED [CACHE_BUDGET]. Only the first session of a model is made before its size can be counted; it is
// bounded by what is free when its making begins.
//
// Thread-safe. Models may outlive their cache.
class ModelCache {
 public:
  // An empty `loader` stands for LoadEfm.
  explicit ModelCache(ModelCacheOptions options, ModelLoader loader = {});
  ~ModelCache();
  ModelCache(const ModelCache&) = delete;
  ModelCache& operator=(const ModelCache&) = delete;

  // The model with this digest; loads it unless it is there. Of several callers one loads and the others wait, and get the
  // same model or error. A failed load leaves nothing behind; the next call tries again. RESOURCE_EXHAUSTED [CACHE_BUDGET],
  // DEADLINE_EXCEEDED [MODEL_LOAD_WAIT], errors of MappedFile::Open, LoadEfm and Session::Create.
  Result<std::shared_ptr<LoadedModel>> Acquire(const ModelSource& source);

  // Keeps the model until as many Unpin(). NOT_FOUND [MODEL_NOT_LOADED]; RESOURCE_EXHAUSTED [PIN_LIMIT] when pinned models
  // (without their sessions) would take more than `pinned_bytes_max`.
  Status Pin(const crypto::Sha256Digest& sha256);
  void Unpin(const crypto::Sha256Digest& sha256);

  // Forgets the model now; whoever holds it, or waits for its load, keeps it. FAILED_PRECONDITION [MODEL_PINNED].
  Status Evict(const crypto::Sha256Digest& sha256);

  ModelCacheStats stats() const;

 private:
  class State;
  const std::shared_ptr<State> state_;
};

}  // namespace edgefleet::runtime
