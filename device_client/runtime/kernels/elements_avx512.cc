// The element operators with AVX-512. Internal linkage throughout: see tiles_vnni.cc.
#include "device_client/runtime/kernels/cpu.h"
#include "device_client/runtime/kernels/elements.h"

#if defined(__AVX512VBMI__)

#include <immintrin.h>

#include "device_client/runtime/kernels/vectors.h"

namespace edgefleet::runtime::kernels {
namespace {

constexpr std::int64_t kBytes = 64;
constexpr float kIntMax = 1073741824.0F;  // what converts to an integer safely, and saturates later

// The result's zero point and bounds, for 16 channels or elements at a time.
class Rounder {
 public:
  explicit Rounder(const AffineResult& result)
      : zero_(_mm512_set1_epi32(result.affine.zero_point + 128)),
        low_(_mm512_set1_epi32(result.low + 128)),
        high_(_mm512_set1_epi32(result.high + 128)) {}
  // 32-bit integers in the range of a byte.
  __m512i operator()(__m512 values) const {
    // A value that is no number converts to the least integer; the order of the operands keeps it.
    const __m512i q =
        _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(kIntMax), _mm512_max_ps(_mm512_set1_ps(-kIntMax), values)));
    return _mm512_min_epi32(_mm512_max_epi32(_mm512_add_epi32(q, zero_), low_), high_);
  }

 private:
  __m512i zero_;
  __m512i low_;
  __m512i high_;
};

__m512i Widen(const std::uint8_t* from) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

void StoreNarrow(std::uint8_t* to, __m512i values, std::int64_t count) { StoreFirst(to, _mm512_cvtepi32_epi8(values), count); }

// Of 64 values; those beyond `count` are not read.
__m512i QuantizeVector(const float* source, std::int64_t count, __m512 inverse, const Rounder& round) {
  const auto sixteen = [&](std::int64_t first) EF_FLAT {
    const auto mask = static_cast<__mmask16>(FirstBytes(count > first ? count - first : 0));
    const __m512 values = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, source + first), inverse);
    return _mm512_cvtepi32_epi8(round(values));
  };
  const __m256i low = _mm256_set_m128i(sixteen(16), sixteen(0));
  const __m256i high = _mm256_set_m128i(sixteen(48), sixteen(32));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Byte i of output vector `part` of three interleaved planes comes from plane (64 * part + i) % 3, at (64 * part + i) / 3.
struct Interleaving {
  alignas(64) std::uint8_t first_two[3][kBytes];
  __mmask64 third[3];
  alignas(64) std::uint8_t from_third[3][kBytes];
};
Interleaving MakeInterleaving() {
  Interleaving how{};
  for (int part = 0; part < 3; ++part) {
    for (int i = 0; i < kBytes; ++i) {
      const int at = 64 * part + i;
      how.first_two[part][i] = static_cast<std::uint8_t>(at % 3 * 64 + at / 3);
      how.from_third[part][i] = static_cast<std::uint8_t>(at / 3);
      if (at % 3 == 2) how.third[part] |= __mmask64{1} << i;
    }
  }
  return how;
}

void Quantize(const Image& image, const float* source, Affine affine, std::uint8_t* target) {
  static const Interleaving three = MakeInterleaving();
  const Rounder round({affine});
  const __m512 inverse = _mm512_set1_ps(1.0F / affine.scale);
  const std::int64_t channels = image.channels;
  for (std::int64_t n = 0; n < image.batch; ++n, source += channels * image.pixels, target += channels * image.pixels) {
    for (std::int64_t pixel = 0; pixel < image.pixels; pixel += kBytes) {
      const std::int64_t count = image.pixels - pixel < kBytes ? image.pixels - pixel : kBytes;
      std::uint8_t* out = target + pixel * channels;
      if (channels == 1) {
        StoreFirst(out, QuantizeVector(source + pixel, count, inverse, round), count);
      } else if (channels == 3) {
        const __m512i a = QuantizeVector(source + pixel, count, inverse, round);
        const __m512i b = QuantizeVector(source + image.pixels + pixel, count, inverse, round);
        const __m512i c = QuantizeVector(source + 2 * image.pixels + pixel, count, inverse, round);
        for (int part = 0; part < 3 && part * kBytes < count * 3; ++part) {
          const __m512i two = _mm512_permutex2var_epi8(a, Zmm::Load(three.first_two[part]), b);
          const __m512i all = _mm512_mask_permutexvar_epi8(two, three.third[part], Zmm::Load(three.from_third[part]), c);
          StoreFirst(out + part * kBytes, all, count * 3 - part * kBytes);
        }
      } else {
        for (std::int64_t c = 0; c < channels; ++c) {
          alignas(64) std::uint8_t bytes[kBytes];
          _mm512_store_si512(bytes, QuantizeVector(source + c * image.pixels + pixel, count, inverse, round));
          for (std::int64_t i = 0; i < count; ++i) out[i * channels + c] = bytes[i];
        }
      }
    }
  }
}

void Dequantize(const Image& image, const std::uint8_t* source, Affine affine, float* target) {
  const std::int64_t size = image.channels * image.pixels;
  const __m512 scale = _mm512_set1_ps(affine.scale);
  const __m512i zero = _mm512_set1_epi32(affine.zero_point + 128);
  if (image.channels == 1 || image.pixels == 1) {
    for (std::int64_t i = 0; i < image.batch * size; i += 16) {
      const auto mask = static_cast<__mmask16>(FirstBytes(image.batch * size - i));
      const __m512 values = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(Widen(source + i), zero)), scale);
      _mm512_mask_storeu_ps(target + i, mask, values);
    }
    return;
  }
  for (std::int64_t n = 0; n < image.batch; ++n, source += size, target += size) {
    for (std::int64_t c = 0; c < image.channels; ++c) {
      for (std::int64_t p = 0; p < image.pixels; ++p) {
        target[c * image.pixels + p] =
            affine.scale * static_cast<float>(source[p * image.channels + c] - 128 - affine.zero_point);
      }
    }
  }
}

// Rows to columns in squares that stay in the first cache.
template <typename From, typename To>
void Transpose(std::int64_t rows, std::int64_t columns, const From* source, To* target) {
  constexpr std::int64_t kSide = 32;
  for (std::int64_t r = 0; r < rows; r += kSide) {
    const std::int64_t row_end = rows - r < kSide ? rows : r + kSide;
    for (std::int64_t c = 0; c < columns; c += kSide) {
      const std::int64_t column_end = columns - c < kSide ? columns : c + kSide;
      for (std::int64_t i = r; i < row_end; ++i) {
        for (std::int64_t j = c; j < column_end; ++j) {
          target[j * rows + i] = static_cast<To>(static_cast<std::uint8_t>(source[i * columns + j]) ^ 0x80U);
        }
      }
    }
  }
}

// Bytes that keep their order.
void Flip(std::int64_t count, const void* source, void* target) {
  const auto* from = static_cast<const std::uint8_t*>(source);
  auto* to = static_cast<std::uint8_t*>(target);
  for (std::int64_t i = 0; i < count; i += kBytes) {
    const __mmask64 mask = FirstBytes(count - i);
    _mm512_mask_storeu_epi8(to + i, mask, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, from + i), Zmm::Set8(0x80)));
  }
}

void FromPlanes(const Image& image, const std::int8_t* source, std::uint8_t* target) {
  const std::int64_t size = image.channels * image.pixels;
  if (image.channels == 1 || image.pixels == 1) return Flip(image.batch * size, source, target);
  for (std::int64_t n = 0; n < image.batch; ++n) Transpose(image.channels, image.pixels, source + n * size, target + n * size);
}

void ToPlanes(const Image& image, const std::uint8_t* source, std::int8_t* target) {
  const std::int64_t size = image.channels * image.pixels;
  if (image.channels == 1 || image.pixels == 1) return Flip(image.batch * size, source, target);
  for (std::int64_t n = 0; n < image.batch; ++n) Transpose(image.pixels, image.channels, source + n * size, target + n * size);
}

void Add(std::int64_t count, const std::uint8_t* a, Affine a_affine, const std::uint8_t* b, Affine b_affine,
         const AffineResult& result, std::uint8_t* target) {
  const Rounder round(result);
  const __m512 a_scale = _mm512_set1_ps(a_affine.scale / result.affine.scale);
  const __m512 b_scale = _mm512_set1_ps(b_affine.scale / result.affine.scale);
  const __m512i a_zero = _mm512_set1_epi32(a_affine.zero_point + 128);
  const __m512i b_zero = _mm512_set1_epi32(b_affine.zero_point + 128);
  for (std::int64_t i = 0; i < count; i += 16) {
    const __m512 left = _mm512_cvtepi32_ps(_mm512_sub_epi32(Widen(a + i), a_zero));
    const __m512 right = _mm512_cvtepi32_ps(_mm512_sub_epi32(Widen(b + i), b_zero));
    StoreNarrow(target + i, round(_mm512_fmadd_ps(left, a_scale, _mm512_mul_ps(right, b_scale))), count - i);
  }
}

void LookUp(std::int64_t count, const std::uint8_t* source, const std::uint8_t* table, std::uint8_t* target) {
  const __m512i t[4] = {Zmm::Load(table), Zmm::Load(table + 64), Zmm::Load(table + 128), Zmm::Load(table + 192)};
  for (std::int64_t i = 0; i < count; i += kBytes) {
    const __m512i x = Zmm::Load(source + i);
    const __m512i lower = _mm512_permutex2var_epi8(t[0], x, t[1]);
    const __m512i upper = _mm512_permutex2var_epi8(t[2], x, t[3]);
    StoreFirst(target + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), lower, upper), count - i);
  }
}

// Means of `count` positions in units of the source's scale, as the result's bytes. The division comes first: where both scales
// are equal, ties are then exact.
void StoreMean(__m512i sum, std::int64_t inside, std::int64_t count, Affine affine, const AffineResult& result,
               const Rounder& round, std::uint8_t* target, std::int64_t channels) {
  const auto zeros = static_cast<std::int32_t>(inside * (affine.zero_point + 128));
  const __m512 total = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(zeros)));
  const __m512 mean = _mm512_div_ps(total, _mm512_set1_ps(static_cast<float>(count)));
  StoreNarrow(target, round(_mm512_mul_ps(mean, _mm512_set1_ps(affine.scale / result.affine.scale))), channels);
}

void Average(const Image& image, const std::uint8_t* source, Affine affine, const AffineResult& result, std::uint8_t* target) {
  const Rounder round(result);
  for (std::int64_t n = 0; n < image.batch; ++n, source += image.pixels * image.channels, target += image.channels) {
    for (std::int64_t c = 0; c < image.channels; c += 16) {
      __m512i sum = _mm512_setzero_si512();
      for (std::int64_t p = 0; p < image.pixels; ++p) sum = _mm512_add_epi32(sum, Widen(source + p * image.channels + c));
      StoreMean(sum, image.pixels, image.pixels, affine, result, round, target + c, image.channels - c);
    }
  }
}

// The part of a window that lies inside the image.
struct Window {
  std::int64_t begin;
  std::int64_t end;
};
Window Inside(std::int64_t out, std::int64_t stride, std::int64_t pad, std::int64_t kernel, std::int64_t size) {
  const std::int64_t begin = out * stride - pad;
  return {begin < 0 ? 0 : begin, begin + kernel > size ? size : begin + kernel};
}

// Calls body(window of rows, window of columns, image, target pixel) for every output pixel.
template <typename Body>
void EachWindow(const Pool& pool, const std::uint8_t* source, std::uint8_t* target, const Body& body) {
  for (std::int64_t n = 0; n < pool.batch; ++n, source += pool.height * pool.width * pool.channels) {
    for (std::int64_t y = 0; y < pool.out_height; ++y) {
      const Window rows = Inside(y, pool.stride_y, pool.pad_top, pool.kernel_height, pool.height);
      for (std::int64_t x = 0; x < pool.out_width; ++x, target += pool.channels) {
        body(rows, Inside(x, pool.stride_x, pool.pad_left, pool.kernel_width, pool.width), source, target);
      }
    }
  }
}

void PoolMax(const Pool& pool, const std::uint8_t* source, std::uint8_t* target) {
  EachWindow(pool, source, target, [&](Window rows, Window columns, const std::uint8_t* from, std::uint8_t* to) {
    for (std::int64_t c = 0; c < pool.channels; c += kBytes) {
      __m512i best = _mm512_setzero_si512();
      for (std::int64_t y = rows.begin; y < rows.end; ++y) {
        for (std::int64_t x = columns.begin; x < columns.end; ++x) {
          best = _mm512_max_epu8(best, Zmm::Load(from + (y * pool.width + x) * pool.channels + c));
        }
      }
      StoreFirst(to + c, best, pool.channels - c);
    }
  });
}

void PoolAverage(const Pool& pool, const std::uint8_t* source, Affine affine, const AffineResult& result,
                 std::uint8_t* target) {
  const Rounder round(result);
  EachWindow(pool, source, target, [&](Window rows, Window columns, const std::uint8_t* from, std::uint8_t* to) {
    const std::int64_t height = rows.end > rows.begin ? rows.end - rows.begin : 0;
    const std::int64_t width = columns.end > columns.begin ? columns.end - columns.begin : 0;
    const std::int64_t inside = height * width;
    const std::int64_t whole = pool.count_padding ? pool.kernel_height * pool.kernel_width : inside;
    for (std::int64_t c = 0; c < pool.channels; c += 16) {
      __m512i sum = _mm512_setzero_si512();
      for (std::int64_t y = rows.begin; y < rows.end; ++y) {
        for (std::int64_t x = columns.begin; x < columns.end; ++x) {
          sum = _mm512_add_epi32(sum, Widen(from + (y * pool.width + x) * pool.channels + c));
        }
      }
      StoreMean(sum, inside, whole > 0 ? whole : 1, affine, result, round, to + c, pool.channels - c);
    }
  });
}

constexpr Elements kElements{Quantize, Dequantize, FromPlanes, ToPlanes, Add, LookUp, Average, PoolMax, PoolAverage};

}  // namespace

const Elements* Int8Elements() { return Cpu().avx512_vnni ? &kElements : nullptr; }

}  // namespace edgefleet::runtime::kernels

#else

namespace edgefleet::runtime::kernels {
const Elements* Int8Elements() { return nullptr; }
}  // namespace edgefleet::runtime::kernels

#endif
