// One block of memory for buffers that live at different times.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"

namespace edgefleet::runtime {

// A buffer needed from step `first` to step `last`, both included.
struct Lifetime {
  std::size_t bytes = 0;
  std::size_t first = 0;
  std::size_t last = 0;
};

struct ArenaPlan {
  std::vector<std::size_t> offsets;  // multiples of 64, in the order of the lifetimes
  std::size_t bytes = 0;
};

// Greedy by size (Pisarchyk and Lee 2020, section 4.3): buffers alive at the same time never overlap.
// RESOURCE_EXHAUSTED [ARENA_TOO_LARGE] above `bytes_max`.
Result<ArenaPlan> PlanArena(std::span<const Lifetime> lifetimes, std::size_t bytes_max);

// Zeroed memory aligned to 64 bytes.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // RESOURCE_EXHAUSTED [OUT_OF_MEMORY].
  static Result<AlignedBuffer> Allocate(std::size_t bytes);
  std::byte* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(std::byte* data) const;
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace edgefleet::runtime
