// How a host steers the library's blocking work: stop it, follow it, and wait in a way that a stop ends at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stop_token>

namespace edgefleet::device {

// What a device has just done in a round, in this order; it confirms in active rounds only.
enum class RoundStep { kAdvertisedKeys, kSharedKeys, kTrained, kUploaded, kConfirmed, kUnmasked };

// `stop` may be requested from any thread. `on_step` runs on the calling thread; while it blocks, the round goes on without
// this device.
struct Control {
  std::stop_token stop;
  std::function<void(RoundStep)> on_step;

  void Step(RoundStep step) const {
    if (on_step) on_step(step);
  }
  // False when the wait was cut short by a stop.
  bool Wait(std::chrono::milliseconds duration) const {
    std::mutex mutex;
    std::condition_variable_any woken;
    std::unique_lock lock(mutex);
    woken.wait_for(lock, stop, duration, [] { return false; });
    return !stop.stop_requested();
  }
};

}  // namespace edgefleet::device
