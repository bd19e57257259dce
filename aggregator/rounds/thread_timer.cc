#include "aggregator/rounds/thread_timer.h"

#include <algorithm>

namespace edgefleet::rounds {
namespace {

// The wall clock may be set: look at it at least this often.
constexpr Millis kSleepMax{500};

}  // namespace

ThreadTimer::ThreadTimer(const Clock& clock) : clock_(clock), thread_([this] { Run(); }) {}

ThreadTimer::~ThreadTimer() { Stop(); }

Timer::Id ThreadTimer::At(WallTime when, std::function<void()> callback) {
  std::lock_guard lock(mutex_);
  const Id id = next_id_++;
  if (stopping_) return id;
  pending_.emplace(std::pair(when, id), std::move(callback));
  due_.emplace(id, when);
  changed_.notify_one();
  return id;
}

void ThreadTimer::Cancel(Id id) {
  std::function<void()> dropped;  // its captures go outside the lock
  std::lock_guard lock(mutex_);
  auto found = due_.find(id);
  if (found == due_.end()) return;
  auto entry = pending_.find({found->second, id});
  dropped = std::move(entry->second);
  pending_.erase(entry);
  due_.erase(found);
}

void ThreadTimer::Stop() {
  decltype(pending_) dropped;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(pending_);
    due_.clear();
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void ThreadTimer::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const WallTime now = clock_.Now();
    if (pending_.empty()) {
      changed_.wait(lock);
      continue;
    }
    auto first = pending_.begin();
    if (first->first.first > now) {
      const auto rest = std::chrono::ceil<Millis>(first->first.first - now);
      changed_.wait_for(lock, std::min(rest, kSleepMax));
      continue;
    }
    auto callback = std::move(first->second);
    due_.erase(first->first.second);
    pending_.erase(first);
    lock.unlock();
    callback();
    callback = nullptr;
    lock.lock();
  }
}

}  // namespace edgefleet::rounds
