// Time as a dependency. Code that waits or compares times takes a Clock, so tests and simulations run on fake time.
#pragma once

#include <chrono>
#include <mutex>

namespace edgefleet {

using WallTime = std::chrono::system_clock::time_point;
using Millis = std::chrono::milliseconds;

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime Now() const = 0;
};

inline std::int64_t ToUnixMillis(WallTime time) { return std::chrono::duration_cast<Millis>(time.time_since_epoch()).count(); }
inline WallTime FromUnixMillis(std::int64_t millis) { return WallTime(Millis(millis)); }

class SystemClock final : public Clock {
 public:
  WallTime Now() const override { return std::chrono::system_clock::now(); }
};

// Moves only when told to.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(WallTime start = FromUnixMillis(1'800'000'000'000)) : now_(start) {}
  WallTime Now() const override {
    std::lock_guard lock(mutex_);
    return now_;
  }
  void Advance(Millis by) {
    std::lock_guard lock(mutex_);
    now_ += by;
  }

 private:
  mutable std::mutex mutex_;
  WallTime now_;
};

}  // namespace edgefleet
