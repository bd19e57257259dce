#include "load_tests/runtime/peaks.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace edgefleet::load_tests {
namespace {

// A kernel makes `rounds` rounds of independent multiply-adds and says how many multiply-accumulates that were.
using Kernel = double (*)(std::int64_t rounds);

#ifdef __x86_64__

// Enough chains to hide the latency of 4 to 5 cycles at two instructions a cycle. Volatile assembly keeps the compiler from
// folding or reordering away what is measured.
#define EDGEFLEET_TWELVE(instruction)                                                                                      \
  instruction                                                                                                              \
      " %%zmm0,%%zmm0,%%zmm4\n" instruction " %%zmm0,%%zmm0,%%zmm5\n" instruction " %%zmm0,%%zmm0,%%zmm6\n" instruction    \
      " %%zmm0,%%zmm0,%%zmm7\n" instruction " %%zmm0,%%zmm0,%%zmm8\n" instruction " %%zmm0,%%zmm0,%%zmm9\n" instruction    \
      " %%zmm0,%%zmm0,%%zmm10\n" instruction " %%zmm0,%%zmm0,%%zmm11\n" instruction " %%zmm0,%%zmm0,%%zmm12\n" instruction \
      " %%zmm0,%%zmm0,%%zmm13\n" instruction " %%zmm0,%%zmm0,%%zmm14\n" instruction " %%zmm0,%%zmm0,%%zmm15\n"
#define EDGEFLEET_ZMM_CLOBBERS \
  "xmm0", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define EDGEFLEET_KERNEL(name, features, instruction, macs)                                               \
  __attribute__((target(features))) double name(std::int64_t rounds) {                                    \
    const std::int64_t total = rounds;                                                                    \
    __asm__ volatile("vpxorq %%zmm0,%%zmm0,%%zmm0\n1:\n" EDGEFLEET_TWELVE(instruction) "dec %0\njnz 1b\n" \
                     : "+r"(rounds)                                                                       \
                     :                                                                                    \
                     : "cc", EDGEFLEET_ZMM_CLOBBERS);                                                     \
    return static_cast<double>(total) * 12 * (macs);                                                      \
  }

EDGEFLEET_KERNEL(FmaRounds, "avx512f", "vfmadd231ps", 16)
EDGEFLEET_KERNEL(Bf16Rounds, "avx512f,avx512bf16", "vdpbf16ps", 32)
EDGEFLEET_KERNEL(VnniRounds, "avx512f,avx512vnni", "vpdpbusd", 64)

// The layout of a tile configuration of palette 1 (Intel SDM, volume 1, section 18.3).
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

// Two rows of A against two columns of B in four accumulators, as a matrix product would.
#define EDGEFLEET_AMX_KERNEL(name, instruction, macs)                                                                     \
  __attribute__((target("amx-tile,amx-int8,amx-bf16"))) double name(std::int64_t rounds) {                                \
    const std::int64_t total = rounds;                                                                                    \
    const TileConfig config;                                                                                              \
    __asm__ volatile(                                                                                                     \
        "ldtilecfg %1\n"                                                                                                  \
        "tilezero %%tmm0\ntilezero %%tmm1\ntilezero %%tmm2\ntilezero %%tmm3\n"                                            \
        "tilezero %%tmm4\ntilezero %%tmm5\ntilezero %%tmm6\ntilezero %%tmm7\n1:\n" instruction                            \
        " %%tmm6,%%tmm4,%%tmm0\n" instruction " %%tmm7,%%tmm4,%%tmm1\n" instruction " %%tmm6,%%tmm5,%%tmm2\n" instruction \
        " %%tmm7,%%tmm5,%%tmm3\ndec %0\njnz 1b\ntilerelease\n"                                                            \
        : "+r"(rounds)                                                                                                    \
        : "m"(config)                                                                                                     \
        : "cc");                                                                                                          \
    return static_cast<double>(total) * 4 * (macs);                                                                       \
  }

EDGEFLEET_AMX_KERNEL(AmxInt8Rounds, "tdpbusd", 16 * 16 * 64)
EDGEFLEET_AMX_KERNEL(AmxBf16Rounds, "tdpbf16ps", 16 * 16 * 32)

// CPUID leaf 7, sub-leaf 0: the feature's bit in EDX. GCC 12's __builtin_cpu_supports does not know AMX.
bool HasAmx(unsigned bit) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & (1U << bit)) == 0) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Kernel KernelOf(Unit unit) {
  __builtin_cpu_init();
  switch (unit) {
    case Unit::kFma:
      return __builtin_cpu_supports("avx512f") ? FmaRounds : nullptr;
    case Unit::kBf16:
      return __builtin_cpu_supports("avx512bf16") ? Bf16Rounds : nullptr;
    case Unit::kVnni:
      return __builtin_cpu_supports("avx512vnni") ? VnniRounds : nullptr;
    case Unit::kAmxInt8:
      return HasAmx(25) ? AmxInt8Rounds : nullptr;
    case Unit::kAmxBf16:
      return HasAmx(22) ? AmxBf16Rounds : nullptr;
  }
  return nullptr;
}

#else

Kernel KernelOf(Unit) { return nullptr; }

#endif

}  // namespace

std::string NameOf(Unit unit) {
  switch (unit) {
    case Unit::kFma:
      return "AVX-512 FMA";
    case Unit::kBf16:
      return "AVX-512 BF16";
    case Unit::kVnni:
      return "AVX-512 VNNI";
    case Unit::kAmxInt8:
      return "AMX int8";
    case Unit::kAmxBf16:
      break;
  }
  return "AMX bf16";
}

double Burst(Unit unit, std::int64_t rounds) {
  const Kernel kernel = KernelOf(unit);
  return kernel == nullptr ? 0 : kernel(rounds);
}

std::optional<double> PeakMacs(Unit unit, int turns) {
  constexpr std::int64_t kRounds = 500'000;
  double best = 0;
  for (int i = 0; i < turns; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double macs = Burst(unit, kRounds);
    if (macs == 0) return std::nullopt;
    best = std::max(best, macs / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

}  // namespace edgefleet::load_tests
