// What the kernels of the x86-64 paths share with their callers. Kernel files are compiled for more than the baseline
// processor, so neither they nor this header may hold an inline function that another file could end up calling: plain types
// only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace edgefleet::secagg {

struct alignas(16) AesSchedule {
  std::uint8_t round_keys[15][16];  // AES-128 uses 11
};

enum class AesKeySize { k128, k256 };

enum class WordOp {
  kAdd,
  kSubtract,
  kStore,  // the bare key stream: what masks are measured against
};

// Secret intermediate results; the caller wipes it when it is done. `rounds` is kernel_loop.h's table with room for one load
// beyond it.
struct alignas(64) KernelScratch {
  std::uint8_t rounds[256 * 16 + 64];
  std::uint32_t tail[16];
};

// Expands the first 16 or all 32 bytes of `key` (FIPS 197, section 5.2) with AES-NI, which takes the same time for every key.
void ExpandKeyAesNi(const std::uint8_t* key, AesKeySize size, AesSchedule* schedule);

// Combines `count` words with the key stream from cipher block `block` on; blocks stay below 2^40.
using MaskKernel = void (*)(const AesSchedule& schedule, AesKeySize size, WordOp op, std::uint64_t block, std::uint32_t* words,
                            std::size_t count, KernelScratch* scratch);
void MaskAesNi(const AesSchedule& schedule, AesKeySize size, WordOp op, std::uint64_t block, std::uint32_t* words,
               std::size_t count, KernelScratch* scratch);
void MaskVaes512(const AesSchedule& schedule, AesKeySize size, WordOp op, std::uint64_t block, std::uint32_t* words,
                 std::size_t count, KernelScratch* scratch);

}  // namespace edgefleet::secagg
