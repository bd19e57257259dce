#include "device_client/runtime/arena.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>
#include <string>

namespace edgefleet::runtime {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t AlignUp(std::size_t value) { return (value + kAlignment - 1) / kAlignment * kAlignment; }

bool Together(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

}  // namespace

Result<ArenaPlan> PlanArena(std::span<const Lifetime> lifetimes, std::size_t bytes_max) {
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });

  ArenaPlan plan;
  plan.offsets.resize(lifetimes.size(), 0);
  std::vector<std::size_t> placed;  // by offset
  for (const std::size_t index : order) {
    std::size_t offset = 0;
    for (const std::size_t other : placed) {
      if (!Together(lifetimes[index], lifetimes[other])) continue;
      if (offset + lifetimes[index].bytes <= plan.offsets[other]) break;
      offset = std::max(offset, AlignUp(plan.offsets[other] + lifetimes[other].bytes));
    }
    if (lifetimes[index].bytes > bytes_max || offset > bytes_max - lifetimes[index].bytes) {
      return ResourceExhausted("ARENA_TOO_LARGE", "activations need more than " + std::to_string(bytes_max) +
                                                      " bytes; use a smaller batch or allow more memory");
    }
    plan.offsets[index] = offset;
    plan.bytes = std::max(plan.bytes, offset + lifetimes[index].bytes);
    placed.insert(std::ranges::upper_bound(placed, offset, {}, [&](std::size_t other) { return plan.offsets[other]; }), index);
  }
  return plan;
}

void AlignedBuffer::Free::operator()(std::byte* data) const { ::operator delete (data, std::align_val_t{kAlignment}); }

Result<AlignedBuffer> AlignedBuffer::Allocate(std::size_t bytes) {
  AlignedBuffer buffer;
  if (bytes == 0) return buffer;
  auto* data = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{kAlignment}, std::nothrow));
  if (data == nullptr) return ResourceExhausted("OUT_OF_MEMORY", "no " + std::to_string(bytes) + " bytes of memory are left");
  std::memset(data, 0, bytes);
  buffer.data_.reset(data);
  buffer.size_ = bytes;
  return buffer;
}

}  // namespace edgefleet::runtime
