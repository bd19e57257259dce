// One model in memory: its graph over a mapped file, and the sessions that run it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <utility>

#include "base/bytes.h"
#include "base/crypto/crypto.h"
#include "base/file.h"
#include "base/status.h"
#include "device_client/runtime/cache/index_stack.h"
#include "device_client/runtime/cache/load_mode.h"
#include "device_client/runtime/session.h"

namespace edgefleet::runtime {

// A file and the digest that names it. The caller vouches for the digest: files of a model store were verified when they came.
struct ModelSource {
  crypto::Sha256Digest sha256{};
  std::filesystem::path file;
};

struct ModelSettings {
  LoadMode mode = LoadMode::kMapped;
  std::string delegate = "onednn";
  int threads = 1;                                         // of each session
  std::size_t session_bytes_max = std::size_t{512} << 20;  // activations and the delegate's memory of one session
  std::size_t block_weight_bytes = std::size_t{8} << 20;   // streaming: what a block may hold; see SessionOptions
  int sessions_max = 16;                                   // at work at once; 1 to kSessionsMax
};

inline constexpr int kSessionsMax = 64;

// Where a model's bytes are counted. Thread-safe; outlives the models that use it.
class MemoryAccount {
 public:
  virtual ~MemoryAccount() = default;
  // Counts `bytes`, making room if need be. RESOURCE_EXHAUSTED [CACHE_BUDGET].
  virtual Status Reserve(std::size_t bytes) = 0;
  virtual void GiveBack(std::size_t bytes) = 0;
  // What is not counted yet.
  virtual std::size_t Free() const = 0;
  // Gives up something that nobody uses, if there is such.
  virtual bool MakeRoom() = 0;
};

class SessionLease;

// Thread-safe. Lives as long as the cache or anybody holds it, and its bytes count that long.
class LoadedModel final : public std::enable_shared_from_this<LoadedModel>, private WeightPager {
 public:
  // Takes over `graph`, whose constants are views of `file`, and makes its first session. Errors of Session::Create, and
  // RESOURCE_EXHAUSTED [CACHE_BUDGET] when model and session do not fit.
  static Result<std::shared_ptr<LoadedModel>> Create(ModelSource source, std::shared_ptr<const MappedFile> file, Graph graph,
                                                     const ModelSettings& settings, std::shared_ptr<MemoryAccount> account);
  ~LoadedModel() override;
  LoadedModel(const LoadedModel&) = delete;
  LoadedModel& operator=(const LoadedModel&) = delete;

  // A session for one inference; waits for nobody. An idle one takes a few atomic steps (in lazy mode also a lock); otherwise
  // one is made. RESOURCE_EXHAUSTED [SESSIONS_BUSY] when `sessions_max` are at work, [CACHE_BUDGET], or an error of
  // Session::Create.
  Result<SessionLease> Borrow();

  // Makes sessions until there are `count`, or as many as the budget, `sessions_max` and KeepIdle allow.
  void Warm(int count);
  // Frees idle sessions above `count`, and later those that come back above it.
  void KeepIdle(int count);

  const ModelSource& source() const { return source_; }
  // Valid as long as the model.
  const Graph& graph() const { return *graph_; }
  // Without sessions.
  std::size_t model_bytes() const { return model_bytes_; }
  std::size_t session_bytes() const { return session_bytes_; }
  // Those at work and those that wait for work.
  int sessions() const { return sessions_.load(); }

 private:
  friend class SessionLease;

  LoadedModel(ModelSource source, std::shared_ptr<const MappedFile> file, Graph graph, const ModelSettings& settings,
              std::shared_ptr<MemoryAccount> account);
  Status Prepare();
  Status MakeFirstSession();
  Result<std::unique_ptr<Session>> MakeSession(std::size_t bytes_max);
  // A new session, counted. On failure the index is unused again.
  Status AddSession(std::uint32_t index);
  // An idle or a new session.
  Result<std::uint32_t> TakeSession();
  void PutBack(std::uint32_t index, bool usable);
  void Destroy(std::uint32_t index);
  // Around everything that reads weights: in lazy mode they count, and may be mapped, between the first Enter and the last
  // Leave.
  Status Enter();
  void Leave();
  void WillRead(std::span<const ByteView> constants) override;
  void DidRead(std::span<const ByteView> constants) override;
  void Advise(std::span<const ByteView> ranges, PageAdvice advice) const;

  const ModelSource source_;
  const ModelSettings settings_;
  const std::shared_ptr<MemoryAccount> account_;
  std::shared_ptr<const MappedFile> file_;
  std::shared_ptr<const Graph> graph_;
  std::size_t weight_bytes_ = 0;   // of all constants
  std::size_t model_bytes_ = 0;    // counted as long as this lives
  std::size_t session_bytes_ = 0;  // counted for each session
  // A session's index is in one of the stacks, or in a lease; whoever has it owns the session.
  IndexStack<kSessionsMax + 1> unused_;
  IndexStack<kSessionsMax + 1> idle_;
  std::array<std::unique_ptr<Session>, kSessionsMax + 1> pool_;
  std::atomic<int> sessions_{0};
  std::atomic<int> idle_count_{0};
  std::atomic<int> idle_max_{kSessionsMax};
  std::mutex spare_mutex_;  // of Warm and KeepIdle
  std::mutex users_mutex_;
  int users_ = 0;
};

// A session on loan; belongs to one thread at a time. Its model lives at least as long.
class SessionLease {
 public:
  SessionLease(SessionLease&& other) noexcept = default;
  SessionLease& operator=(SessionLease&&) = delete;
  ~SessionLease();

  Session& session() const { return *model_->pool_[index_]; }
  const std::shared_ptr<LoadedModel>& model() const { return model_; }
  // A session whose Run failed is not used again.
  void Discard() { usable_ = false; }

 private:
  friend class LoadedModel;
  SessionLease(std::shared_ptr<LoadedModel> model, std::uint32_t index) : model_(std::move(model)), index_(index) {}

  std::shared_ptr<LoadedModel> model_;
  std::uint32_t index_;
  bool usable_ = true;
};

}  // namespace edgefleet::runtime
