// What the kernels may use of the processor they run on.
#pragma once

namespace edgefleet::runtime::kernels {

struct CpuFeatures {
  bool avx512_vnni = false;  // with F, BW, DQ, VL and VBMI, and registers that the operating system saves
  bool amx_int8 = false;     // with the operating system's permission, which asking for the features requests
};

// Found once a process; thread-safe. Everything is false on other processors than x86-64.
const CpuFeatures& Cpu();

}  // namespace edgefleet::runtime::kernels
