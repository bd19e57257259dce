// A lock-free stack of small indices.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

namespace edgefleet::runtime {

// Treiber's stack (IBM RJ 5118, 1986) over a fixed array; a counter beside the head keeps a stale compare-and-swap from
// succeeding. What a thread wrote before it pushed an index is seen by the thread that pops it. An index is in the stack once
// at most. Thread-safe.
template <std::uint32_t kCapacity>
class IndexStack {
 public:
  void Push(std::uint32_t index) {
    std::uint64_t head = head_.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    do {
      next_[index].store(Top(head), std::memory_order_relaxed);
      next = Advanced(head, index + 1);
    } while (!head_.compare_exchange_weak(head, next, std::memory_order_acq_rel, std::memory_order_relaxed));
  }

  std::optional<std::uint32_t> Pop() {
    std::uint64_t head = head_.load(std::memory_order_acquire);
    while (Top(head) != 0) {
      const std::uint64_t next = Advanced(head, next_[Top(head) - 1].load(std::memory_order_relaxed));
      if (head_.compare_exchange_weak(head, next, std::memory_order_acq_rel, std::memory_order_acquire)) return Top(head) - 1;
    }
    return std::nullopt;
  }

 private:
  // The head: a counter, and below it the top's index + 1, or 0 for none.
  static std::uint32_t Top(std::uint64_t head) { return static_cast<std::uint32_t>(head); }
  static std::uint64_t Advanced(std::uint64_t head, std::uint32_t top) { return (((head >> 32) + 1) << 32) | top; }

  std::atomic<std::uint64_t> head_{0};
  std::array<std::atomic<std::uint32_t>, kCapacity> next_{};
};

}  // namespace edgefleet::runtime
