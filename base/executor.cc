#include "base/executor.h"

#include <utility>

namespace edgefleet {
namespace {

constexpr std::chrono::milliseconds kOverloadRetryAfter{1000};

Status Overloaded(const std::string& what) {
  return std::move(ResourceExhausted("OVERLOADED", what + " is full; retry later")).RetryAfter(kOverloadRetryAfter);
}

}  // namespace

ThreadPool::ThreadPool(std::string name, std::size_t threads, std::size_t queue_max)
    : name_(std::move(name)), queue_max_(queue_max) {
  threads_.reserve(threads);
  for (std::size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

ThreadPool::~ThreadPool() { Stop(); }

Status ThreadPool::Submit(Task task) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return Unavailable("STOPPING", "pool " + name_ + " is stopping");
    if (queue_.size() >= queue_max_) return Overloaded("pool " + name_);
    queue_.emplace_back(std::move(task), CurrentTrace());
  }
  ready_.notify_one();
  return OkStatus();
}

void ThreadPool::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_all();
  for (auto& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void ThreadPool::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    ready_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    auto [task, trace] = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    {
      TraceScope scope(trace);
      task();
      task = nullptr;  // destroy captures outside the lock
    }
    lock.lock();
  }
}

Status Strand::Submit(Task task) {
  std::lock_guard lock(mutex_);
  if (queue_.size() >= queue_max_) return Overloaded("work queue");
  queue_.push_back([task = std::move(task), trace = CurrentTrace()] {
    TraceScope scope(trace);
    task();
  });
  if (running_) return OkStatus();
  Status submitted = pool_.Submit([self = shared_from_this()] { self->Drain(); });
  if (!submitted.ok()) {
    queue_.pop_back();
    return submitted;
  }
  running_ = true;
  return OkStatus();
}

void Strand::Drain() {
  while (true) {
    Task task;
    {
      std::lock_guard lock(mutex_);
      if (queue_.empty()) {
        running_ = false;
        return;
      }
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task();
  }
}

}  // namespace edgefleet
