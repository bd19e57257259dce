#include "load_tests/kernels/peak.h"

namespace edgefleet::load_tests {

#if defined(__AVX512VNNI__)

double VnniBurst(int loops) {
  for (int i = 0; i < loops; ++i) {
    // Twenty independent chains hide the instruction's latency.
    asm volatile(
        ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19\n"
        "vpdpbusd %%zmm30, %%zmm31, %%zmm\\n\n"
        ".endr" ::
            : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
              "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19");
  }
  return loops * 20.0 * 64.0;
}

#else

double VnniBurst(int) { return 0; }

#endif

}  // namespace edgefleet::load_tests
