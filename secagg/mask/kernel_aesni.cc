// Compiled with AES-NI: one cipher block in a register. See kernel.h for what must not be here.
#include <wmmintrin.h>

#include "secagg/mask/kernel_loop.h"

namespace edgefleet::secagg {
namespace {

struct Xmm {
  using Type = __m128i;
  static constexpr std::size_t kBytes = 16;
  static Type Load(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
  static void Store(void* to, Type a) { _mm_storeu_si128(static_cast<__m128i*>(to), a); }
  static Type Broadcast(__m128i a) { return a; }
  static Type Xor(Type a, Type b) { return _mm_xor_si128(a, b); }
  static Type Add(Type a, Type b) { return _mm_add_epi32(a, b); }
  static Type Subtract(Type a, Type b) { return _mm_sub_epi32(a, b); }
  static Type Round(Type state, Type key) { return _mm_aesenc_si128(state, key); }
  static Type LastRound(Type state, Type key) { return _mm_aesenclast_si128(state, key); }
};

void StoreRoundKey(AesSchedule* schedule, int round, __m128i key) {
  _mm_store_si128(reinterpret_cast<__m128i*>(schedule->round_keys[round]), key);
}

// Word w of the next round key is `last` xor words 0 to w of the previous one; `last` comes in all four words.
__m128i NextKey(__m128i key, __m128i last) {
  key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
  key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
  return _mm_xor_si128(key, last);
}

// The last word of `key` through the S-boxes, in all four words: rotated and with the round constant, or plain.
__m128i RotatedSubWord(__m128i key, int round_constant) {
  const __m128i assist = _mm_shuffle_epi32(_mm_aeskeygenassist_si128(key, 0), 0xFF);
  return _mm_xor_si128(assist, _mm_set1_epi32(round_constant));
}
__m128i SubWord(__m128i key) { return _mm_shuffle_epi32(_mm_aeskeygenassist_si128(key, 0), 0xAA); }

void Expand128(__m128i key, AesSchedule* schedule) {
  static constexpr int kConstants[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1B, 0x36};
  StoreRoundKey(schedule, 0, key);
  for (int round = 1; round <= 10; ++round) {
    key = NextKey(key, RotatedSubWord(key, kConstants[round - 1]));
    StoreRoundKey(schedule, round, key);
  }
}

void Expand256(__m128i even, __m128i odd, AesSchedule* schedule) {
  StoreRoundKey(schedule, 0, even);
  StoreRoundKey(schedule, 1, odd);
  for (int round = 2; round <= 14; round += 2) {
    even = NextKey(even, RotatedSubWord(odd, 1 << (round / 2 - 1)));
    StoreRoundKey(schedule, round, even);
    if (round == 14) return;
    odd = NextKey(odd, SubWord(even));
    StoreRoundKey(schedule, round + 1, odd);
  }
}

}  // namespace

void ExpandKeyAesNi(const std::uint8_t* key, AesKeySize size, AesSchedule* schedule) {
  if (size == AesKeySize::k256) {
    Expand256(Xmm::Load(key), Xmm::Load(key + 16), schedule);
  } else {
    Expand128(Xmm::Load(key), schedule);
  }
}

void MaskAesNi(const AesSchedule& schedule, AesKeySize size, WordOp op, std::uint64_t block, std::uint32_t* words,
               std::size_t count, KernelScratch* scratch) {
  LoopFor<Xmm>(schedule, size, op, block, words, count, scratch);
}

}  // namespace edgefleet::secagg
