#include "secagg/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace edgefleet::secagg {
namespace {

// A helper that comes after the caller has finished finds the door closed, so helpers may sit in a full queue for as long as
// they like.
class SharedLoop {
 public:
  SharedLoop(std::size_t count, const std::function<void(std::size_t)>& fn) : count_(count), fn_(fn) {}

  void Help() {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return;
      ++helpers_;
    }
    Run();
    std::lock_guard lock(mutex_);
    --helpers_;
    left_.notify_all();
  }

  void RunToTheEnd() {
    Run();
    std::unique_lock lock(mutex_);
    closed_ = true;
    left_.wait(lock, [this] { return helpers_ == 0; });
  }

 private:
  void Run() {
    for (;;) {
      const std::size_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= count_) return;
      fn_(i);
    }
  }

  const std::size_t count_;
  const std::function<void(std::size_t)>& fn_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::condition_variable left_;
  int helpers_ = 0;
  bool closed_ = false;
};

}  // namespace

void ParallelFor(ThreadPool* pool, std::size_t count, const std::function<void(std::size_t)>& fn) {
  if (pool == nullptr || count < 2) {
    for (std::size_t i = 0; i < count; ++i) fn(i);
    return;
  }
  const auto loop = std::make_shared<SharedLoop>(count, fn);
  const std::size_t threads = std::min<std::size_t>(count, std::thread::hardware_concurrency());
  for (std::size_t helper = 1; helper < threads; ++helper) {
    if (!pool->Submit([loop] { loop->Help(); }).ok()) break;
  }
  loop->RunToTheEnd();
}

}  // namespace edgefleet::secagg
