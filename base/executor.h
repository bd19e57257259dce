// Bounded executors: a fixed pool of threads with a bounded queue, and a strand that runs its tasks one after another.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/status.h"
#include "base/trace.h"

namespace edgefleet {

using Task = std::function<void()>;

// Runs tasks on `threads` threads; at most `queue_max` wait. Tasks must not throw; each runs under the trace of its submitter.
// Thread-safe. Stop() (also called by the destructor) refuses new tasks, runs those that wait, and joins.
class ThreadPool {
 public:
  ThreadPool(std::string name, std::size_t threads, std::size_t queue_max);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // RESOURCE_EXHAUSTED [OVERLOADED] with retry-after when the queue is full, UNAVAILABLE [STOPPING] after Stop().
  Status Submit(Task task);
  void Stop();

 private:
  void Run();

  const std::string name_;
  const std::size_t queue_max_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::pair<Task, std::optional<TraceContext>>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// Runs its tasks in order, never two at once, on a pool that must outlive it. Thread-safe.
class Strand : public std::enable_shared_from_this<Strand> {
 public:
  Strand(ThreadPool& pool, std::size_t queue_max) : pool_(pool), queue_max_(queue_max) {}

  // RESOURCE_EXHAUSTED [OVERLOADED] when this strand's queue or the pool's is full.
  Status Submit(Task task);

 private:
  void Drain();

  ThreadPool& pool_;
  const std::size_t queue_max_;
  std::mutex mutex_;
  std::deque<Task> queue_;
  bool running_ = false;
};

}  // namespace edgefleet
