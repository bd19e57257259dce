// Trying again until it works, for what runs in the background and must not give up because a server is away for a while.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "base/status.h"

namespace edgefleet::registry {

struct BackoffOptions {
  std::chrono::milliseconds initial{100};
  std::chrono::milliseconds max{5000};
};

// Whether an error says "not now" rather than "no".
inline bool IsTransient(const Status& status) {
  switch (status.code()) {
    case StatusCode::kUnavailable:
    case StatusCode::kResourceExhausted:
    case StatusCode::kAborted:
    case StatusCode::kDeadlineExceeded:
    case StatusCode::kCancelled:
      return true;
    default:
      return false;
  }
}

// Thread-safe.
class Backoff {
 public:
  explicit Backoff(const BackoffOptions& options) : options_(options) {}

  // Runs `attempt` (returning Status) until it succeeds or fails for good. UNAVAILABLE [STOPPING] after Stop().
  template <typename Attempt>
  Status Run(Attempt attempt) {
    for (auto pause = options_.initial;; pause = std::min(pause * 2, options_.max)) {
      {
        std::lock_guard lock(mutex_);
        if (stopped_) return Unavailable("STOPPING", "the registry is stopping");
      }
      Status status = attempt();
      if (!IsTransient(status)) return status;
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, pause, [this] { return stopped_; });
    }
  }
  void Stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    wake_.notify_all();
  }

 private:
  const BackoffOptions options_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopped_ = false;
};

}  // namespace edgefleet::registry
