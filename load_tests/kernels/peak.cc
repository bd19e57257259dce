#include "load_tests/kernels/peak.h"

#include <algorithm>
#include <chrono>

namespace edgefleet::load_tests {

#if defined(__AVX512VNNI__)

double VnniMacsPerSecond() {
  constexpr int kLoops = 20'000;
  constexpr int kMacs = 20 * 64;
  double best = 1e9;
  for (int turn = 0; turn < 20; ++turn) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kLoops; ++i) {
      // Twenty independent chains hide the instruction's latency.
      asm volatile(
          ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19\n"
          "vpdpbusd %%zmm30, %%zmm31, %%zmm\\n\n"
          ".endr" ::
              : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
                "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19");
    }
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return static_cast<double>(kLoops) * kMacs / best;
}

#else

double VnniMacsPerSecond() { return 0; }

#endif

}  // namespace edgefleet::load_tests
