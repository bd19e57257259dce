// Compiled with AVX-512 and VAES: four cipher blocks in a register. See kernel.h for what must not be here.
#include <immintrin.h>

#include "secagg/mask/kernel_loop.h"

namespace edgefleet::secagg {
namespace {

struct Zmm {
  using Type = __m512i;
  static constexpr std::size_t kBytes = 64;
  static Type Load(const void* from) { return _mm512_loadu_si512(from); }
  static void Store(void* to, Type a) { _mm512_storeu_si512(to, a); }
  // Under a full mask: GCC 12 warns of its own definition of the plain one.
  static Type Broadcast(__m128i a) { return _mm512_maskz_broadcast_i32x4(0xFFFF, a); }
  static Type Xor(Type a, Type b) { return _mm512_xor_si512(a, b); }
  static Type Add(Type a, Type b) { return _mm512_add_epi32(a, b); }
  static Type Subtract(Type a, Type b) { return _mm512_sub_epi32(a, b); }
  static Type Round(Type state, Type key) { return _mm512_aesenc_epi128(state, key); }
  static Type LastRound(Type state, Type key) { return _mm512_aesenclast_epi128(state, key); }
};

}  // namespace

void MaskVaes512(const AesSchedule& schedule, AesKeySize size, WordOp op, std::uint64_t block, std::uint32_t* words,
                 std::size_t count, KernelScratch* scratch) {
  LoopFor<Zmm>(schedule, size, op, block, words, count, scratch);
}

}  // namespace edgefleet::secagg
