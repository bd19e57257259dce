// A Timer with a thread of its own.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "aggregator/rounds/ports.h"

namespace edgefleet::rounds {

// Thread-safe. Who schedules bounds what waits: a few callbacks a round, one a waiting device.
class ThreadTimer final : public Timer {
 public:
  explicit ThreadTimer(const Clock& clock);
  ~ThreadTimer() override;
  Id At(WallTime when, std::function<void()> callback) override;
  void Cancel(Id id) override;
  // Drops what waits and joins.
  void Stop();

 private:
  void Run();

  const Clock& clock_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::pair<WallTime, Id>, std::function<void()>> pending_;
  std::map<Id, WallTime> due_;
  Id next_id_ = 1;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace edgefleet::rounds
