// A shared pointer that many threads read while one replaces it.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace edgefleet::runtime {

// Readers never wait for a writer or for one another: a reader takes a reference with three atomic steps, and tries again only
// when a replacement came in between. The writer waits for the few instructions that readers need to copy the pointer. Two
// sides with a count of readers each, as in the left-right technique (Ramalhete and Correia 2015), but without its second
// count, since readers here can turn back.
//
// Not std::atomic<std::shared_ptr>: libstdc++ 12's is a spin lock on one bit of the control block's address, so a reader that
// is preempted while it holds the bit stops all others; and its load() unlocks with relaxed order, which is a data race with
// the next store.
//
// Thread-safe.
template <typename T>
class SwapCell {
 public:
  SwapCell() = default;
  explicit SwapCell(std::shared_ptr<T> value) { sides_[0].value = std::move(value); }
  SwapCell(const SwapCell&) = delete;
  SwapCell& operator=(const SwapCell&) = delete;

  std::shared_ptr<T> Load() const {
    while (true) {
      const unsigned current = current_.load();
      const Side& side = sides_[current];
      side.readers.fetch_add(1);
      // Sequential consistency: either this load sees a replacement, or its writer sees this reader and waits.
      const bool valid = current_.load() == current;
      std::shared_ptr<T> value = valid ? side.value : nullptr;
      side.readers.fetch_sub(1);
      if (valid) return value;
    }
  }

  // Returns the former value. Readers that began before may still hold it.
  std::shared_ptr<T> Exchange(std::shared_ptr<T> next) {
    std::lock_guard lock(writer_);
    const unsigned former = current_.load();
    // No reader looks at the other side's value: the last Exchange waited for those that did.
    sides_[1 - former].value = std::move(next);
    current_.store(1 - former);
    while (sides_[former].readers.load() != 0) std::this_thread::yield();
    return std::exchange(sides_[former].value, nullptr);
  }

 private:
  struct alignas(64) Side {
    mutable std::atomic<unsigned> readers{0};
    std::shared_ptr<T> value;
  };

  std::mutex writer_;
  std::atomic<unsigned> current_{0};
  std::array<Side, 2> sides_;
};

}  // namespace edgefleet::runtime
