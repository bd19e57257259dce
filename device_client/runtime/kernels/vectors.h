// Vector registers of three widths under one interface, and how sums become bytes. Only for files that are compiled with
// AVX-512 VNNI.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <utility>

#include "device_client/runtime/kernels/tiles.h"

namespace edgefleet::runtime::kernels {
namespace {

#define EF_INLINE [[gnu::always_inline]] static inline
// After a lambda's parameters: its body becomes part of the caller, so that arrays it indexes by constants become registers.
#define EF_FLAT __attribute__((always_inline))

// body(0), body(1) ... body(N - 1), each index a constant.
template <int N, typename Body>
EF_INLINE void Unroll(Body&& body) {
  [&]<int... I>(std::integer_sequence<int, I...>) EF_FLAT { (body(std::integral_constant<int, I>{}), ...); }
  (std::make_integer_sequence<int, N>{});
}

struct Zmm {
  using Int = __m512i;
  static constexpr int kBytes = 64;
  EF_INLINE Int Load(const void* from) { return _mm512_loadu_si512(from); }
  EF_INLINE Int Broadcast4(const std::uint8_t* from) {
    std::int32_t four;
    __builtin_memcpy(&four, from, 4);
    return _mm512_set1_epi32(four);
  }
  EF_INLINE Int Set8(std::int32_t value) { return _mm512_set1_epi8(static_cast<char>(value)); }
  EF_INLINE Int Set16(std::int32_t value) { return _mm512_set1_epi16(static_cast<short>(value)); }
  EF_INLINE Int Dot(Int sums, Int bytes, Int weights) { return _mm512_dpbusd_epi32(sums, bytes, weights); }
  EF_INLINE Int UnpackLow8(Int a, Int b) { return _mm512_unpacklo_epi8(a, b); }
  EF_INLINE Int UnpackHigh8(Int a, Int b) { return _mm512_unpackhi_epi8(a, b); }
  EF_INLINE Int UnpackLow16(Int a, Int b) { return _mm512_unpacklo_epi16(a, b); }
  EF_INLINE Int UnpackHigh16(Int a, Int b) { return _mm512_unpackhi_epi16(a, b); }
  EF_INLINE Int Scaled(Int sums, const float* by) {
    return _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(by)));
  }
  EF_INLINE Int Pack32(Int a, Int b) { return _mm512_packs_epi32(a, b); }
  EF_INLINE Int Pack16(Int a, Int b) { return _mm512_packus_epi16(a, b); }
  EF_INLINE Int Add16(Int a, Int b) { return _mm512_adds_epi16(a, b); }
  EF_INLINE Int Clamp8(Int a, Int low, Int high) { return _mm512_min_epu8(_mm512_max_epu8(a, low), high); }
};

struct Ymm {
  using Int = __m256i;
  static constexpr int kBytes = 32;
  EF_INLINE Int Load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
  EF_INLINE Int Set8(std::int32_t value) { return _mm256_set1_epi8(static_cast<char>(value)); }
  EF_INLINE Int Set16(std::int32_t value) { return _mm256_set1_epi16(static_cast<short>(value)); }
  EF_INLINE Int Dot(Int sums, Int bytes, Int weights) { return _mm256_dpbusd_epi32(sums, bytes, weights); }
  EF_INLINE Int UnpackLow8(Int a, Int b) { return _mm256_unpacklo_epi8(a, b); }
  EF_INLINE Int UnpackHigh8(Int a, Int b) { return _mm256_unpackhi_epi8(a, b); }
  EF_INLINE Int UnpackLow16(Int a, Int b) { return _mm256_unpacklo_epi16(a, b); }
  EF_INLINE Int UnpackHigh16(Int a, Int b) { return _mm256_unpackhi_epi16(a, b); }
  EF_INLINE Int Scaled(Int sums, const float* by) {
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(by)));
  }
  EF_INLINE Int Pack32(Int a, Int b) { return _mm256_packs_epi32(a, b); }
  EF_INLINE Int Pack16(Int a, Int b) { return _mm256_packus_epi16(a, b); }
  EF_INLINE Int Add16(Int a, Int b) { return _mm256_adds_epi16(a, b); }
  EF_INLINE Int Clamp8(Int a, Int low, Int high) { return _mm256_min_epu8(_mm256_max_epu8(a, low), high); }
};

struct Xmm {
  using Int = __m128i;
  static constexpr int kBytes = 16;
  EF_INLINE Int Load(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
  EF_INLINE Int Set8(std::int32_t value) { return _mm_set1_epi8(static_cast<char>(value)); }
  EF_INLINE Int Set16(std::int32_t value) { return _mm_set1_epi16(static_cast<short>(value)); }
  EF_INLINE Int Dot(Int sums, Int bytes, Int weights) { return _mm_dpbusd_epi32(sums, bytes, weights); }
  EF_INLINE Int UnpackLow8(Int a, Int b) { return _mm_unpacklo_epi8(a, b); }
  EF_INLINE Int UnpackHigh8(Int a, Int b) { return _mm_unpackhi_epi8(a, b); }
  EF_INLINE Int UnpackLow16(Int a, Int b) { return _mm_unpacklo_epi16(a, b); }
  EF_INLINE Int UnpackHigh16(Int a, Int b) { return _mm_unpackhi_epi16(a, b); }
  EF_INLINE Int Scaled(Int sums, const float* by) {
    return _mm_cvtps_epi32(_mm_mul_ps(_mm_cvtepi32_ps(sums), _mm_loadu_ps(by)));
  }
  EF_INLINE Int Pack32(Int a, Int b) { return _mm_packs_epi32(a, b); }
  EF_INLINE Int Pack16(Int a, Int b) { return _mm_packus_epi16(a, b); }
  EF_INLINE Int Add16(Int a, Int b) { return _mm_adds_epi16(a, b); }
  EF_INLINE Int Clamp8(Int a, Int low, Int high) { return _mm_min_epu8(_mm_max_epu8(a, low), high); }
};

// The first `count` bytes, or all if there are more.
EF_INLINE __mmask64 FirstBytes(std::int64_t count) { return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1; }
EF_INLINE void StoreFirst(std::uint8_t* to, __m512i bytes, std::int64_t count) {
  _mm512_mask_storeu_epi8(to, FirstBytes(count), bytes);
}
EF_INLINE void StoreFirst(std::uint8_t* to, __m256i bytes, std::int64_t count) {
  _mm256_mask_storeu_epi8(to, static_cast<__mmask32>(FirstBytes(count)), bytes);
}
EF_INLINE void StoreFirst(std::uint8_t* to, __m128i bytes, std::int64_t count) {
  _mm_mask_storeu_epi8(to, static_cast<__mmask16>(FirstBytes(count)), bytes);
}

// Sums to bytes: times the channel's multiplier, rounded half to even (the processor's default mode), saturated to 16 bits,
// plus the zero point, saturated to 8 bits and clamped. Packs saturate within 128-bit lanes; ChannelOf() undoes their order.
class Scaler {
 public:
  [[gnu::always_inline]] inline explicit Scaler(const Finish& finish) : finish_(finish) {}

  template <typename V>
  [[gnu::always_inline]] inline typename V::Int Four(typename V::Int s0, typename V::Int s1, typename V::Int s2,
                                                     typename V::Int s3, const float* by) const {
    constexpr int kElements = V::kBytes / 4;
    const auto zero = V::Set16(finish_.target_zero);
    const auto a = V::Pack32(V::Scaled(s0, by), V::Scaled(s1, by + kElements));
    const auto b = V::Pack32(V::Scaled(s2, by + 2 * kElements), V::Scaled(s3, by + 3 * kElements));
    return V::Clamp8(V::Pack16(V::Add16(a, zero), V::Add16(b, zero)), V::Set8(finish_.low), V::Set8(finish_.high));
  }
  [[gnu::always_inline]] inline __m256i Two(__m512i a, __m512i b, const float* multipliers) const {
    const __m512i words = _mm512_packs_epi32(Zmm::Scaled(a, multipliers), Zmm::Scaled(b, multipliers + 16));
    const __m512i shifted = _mm512_adds_epi16(words, Zmm::Set16(finish_.target_zero));
    return _mm512_cvtepi16_epi8(_mm512_min_epi16(_mm512_max_epi16(shifted, Zmm::Set16(finish_.low)), Zmm::Set16(finish_.high)));
  }
  [[gnu::always_inline]] inline __m128i One(__m512i a, const float* multipliers) const {
    const __m256i words = _mm512_cvtsepi32_epi16(Zmm::Scaled(a, multipliers));
    const __m256i shifted = _mm256_adds_epi16(words, Ymm::Set16(finish_.target_zero));
    return _mm256_cvtepi16_epi8(_mm256_min_epi16(_mm256_max_epi16(shifted, Ymm::Set16(finish_.low)), Ymm::Set16(finish_.high)));
  }

 private:
  const Finish finish_;
};

}  // namespace
}  // namespace edgefleet::runtime::kernels
