// The element kernels against scalar definitions. Buffers are exact but for the slack that the contract grants.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "device_client/runtime/kernels/elements.h"
#include "device_client/runtime/kernels/int8_conv.h"

namespace edgefleet::runtime::kernels {
namespace {

using Bytes = std::vector<std::uint8_t>;

std::size_t Size(std::int64_t n) { return static_cast<std::size_t>(n); }

class Elements8 : public testing::Test {
 protected:
  void SetUp() override {
    if (Int8Elements() == nullptr) GTEST_SKIP() << "this processor has no int8 kernels";
  }
  std::int64_t Between(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  float Real(double low, double high) { return static_cast<float>(std::uniform_real_distribution<double>(low, high)(engine_)); }
  // With the slack of a source.
  Bytes Source(std::int64_t count) {
    Bytes bytes(Size(count) + kReadSlackBytes);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(Between(0, 255));
    return bytes;
  }
  Affine AnyAffine() { return {Real(0.01, 0.1), static_cast<std::int32_t>(Between(-128, 127))}; }
  AffineResult AnyResult() {
    const auto low = static_cast<std::int32_t>(Between(0, 1) == 0 ? -128 : Between(-128, 0));
    return {AnyAffine(), low, static_cast<std::int32_t>(Between(0, 1) == 0 ? 127 : Between(low, 127))};
  }

  std::mt19937_64 engine_{7};
};

double Value(std::uint8_t byte, Affine affine) { return static_cast<double>(affine.scale) * (byte - 128 - affine.zero_point); }

// `byte` stands for `value` in the result's quantization, but for a step where that is next to a tie.
void ExpectRepresents(std::uint8_t byte, double value, const AffineResult& result) {
  const double multiple = value / result.affine.scale;
  const auto expected = std::clamp<double>(std::nearbyint(multiple) + result.affine.zero_point, result.low, result.high);
  const double difference = std::abs(byte - 128 - expected);
  if (difference == 0) return;
  EXPECT_LE(difference, 1) << multiple;
  EXPECT_NEAR(std::abs(multiple - std::trunc(multiple)), 0.5, 1e-4) << multiple;
}

TEST_F(Elements8, Quantizing) {
  for (const std::int64_t channels : {1, 3, 4, 17}) {
    for (const std::int64_t pixels : {1, 5, 63, 64, 65, 200}) {
      const Image image{2, channels, pixels};
      const Affine affine = AnyAffine();
      std::vector<float> source(Size(2 * channels * pixels));
      for (auto& x : source) x = Real(-8, 8);
      Bytes target(source.size() + 1, 0xA5);
      Int8Elements()->quantize(image, source.data(), affine, target.data());
      for (std::int64_t n = 0; n < 2; ++n) {
        for (std::int64_t c = 0; c < channels; ++c) {
          for (std::int64_t p = 0; p < pixels; ++p) {
            ExpectRepresents(target[Size((n * pixels + p) * channels + c)], source[Size((n * channels + c) * pixels + p)],
                             {affine});
          }
        }
      }
      EXPECT_EQ(target.back(), 0xA5);
      target.resize(source.size() + kReadSlackBytes);
      std::vector<float> back(source.size());
      Int8Elements()->dequantize(image, target.data(), affine, back.data());
      for (std::int64_t n = 0; n < 2; ++n) {
        for (std::int64_t c = 0; c < channels; ++c) {
          for (std::int64_t p = 0; p < pixels; ++p) {
            EXPECT_EQ(
                back[Size((n * channels + c) * pixels + p)],
                affine.scale * static_cast<float>(target[Size((n * pixels + p) * channels + c)] - 128 - affine.zero_point));
          }
        }
      }
    }
  }
}

TEST_F(Elements8, QuantizingWhatIsNoNumber) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> source{std::nanf(""), infinity, -infinity, 3e38F, -3e38F, 0.5F, 1.5F, 2.5F, -0.5F};
  Bytes target(source.size());
  Int8Elements()->quantize({1, 1, 9}, source.data(), {1.0F, 0}, target.data());
  EXPECT_EQ(target, (Bytes{0, 255, 0, 255, 0, 128, 130, 130, 128}));
}

TEST_F(Elements8, Planes) {
  for (const std::int64_t channels : {1, 3, 33, 64}) {
    for (const std::int64_t pixels : {1, 7, 49, 100}) {
      const Image image{2, channels, pixels};
      std::vector<std::int8_t> planes(Size(2 * channels * pixels));
      for (auto& x : planes) x = static_cast<std::int8_t>(Between(-128, 127));
      Bytes bytes(planes.size());
      Int8Elements()->from_planes(image, planes.data(), bytes.data());
      EXPECT_EQ(bytes[Size(channels * pixels)], planes[Size(channels * pixels)] + 128);
      EXPECT_EQ(bytes[Size((pixels - 1) * channels)], planes[Size(pixels - 1)] + 128);
      std::vector<std::int8_t> back(planes.size());
      Int8Elements()->to_planes(image, bytes.data(), back.data());
      EXPECT_EQ(back, planes);
    }
  }
}

TEST_F(Elements8, Sums) {
  for (int round = 0; round < 50; ++round) {
    const std::int64_t count = Between(1, 300);
    const Bytes a = Source(count);
    const Bytes b = Source(count);
    const Affine a_affine = AnyAffine();
    const Affine b_affine = AnyAffine();
    const AffineResult result = AnyResult();
    Bytes target(Size(count) + 1, 0xA5);
    Int8Elements()->add(count, a.data(), a_affine, b.data(), b_affine, result, target.data());
    for (std::size_t i = 0; i < Size(count); ++i)
      ExpectRepresents(target[i], Value(a[i], a_affine) + Value(b[i], b_affine), result);
    EXPECT_EQ(target.back(), 0xA5);
  }
}

TEST_F(Elements8, Tables) {
  alignas(64) std::array<std::uint8_t, 256> table;
  for (auto& entry : table) entry = static_cast<std::uint8_t>(Between(0, 255));
  for (const std::int64_t count : {1, 63, 64, 65, 1000}) {
    const Bytes source = Source(count);
    Bytes target(Size(count) + 1, 0xA5);
    Int8Elements()->look_up(count, source.data(), table.data(), target.data());
    for (std::size_t i = 0; i < Size(count); ++i) EXPECT_EQ(target[i], table[source[i]]);
    EXPECT_EQ(target.back(), 0xA5);
  }
}

TEST_F(Elements8, Averages) {
  for (const std::int64_t channels : {1, 16, 40, 100}) {
    const Image image{2, channels, Between(1, 60)};
    const Bytes source = Source(2 * image.pixels * channels);
    const Affine affine = AnyAffine();
    const AffineResult result = AnyResult();
    Bytes target(Size(2 * channels) + 1, 0xA5);
    Int8Elements()->average(image, source.data(), affine, result, target.data());
    for (std::int64_t i = 0; i < 2 * channels; ++i) {
      double sum = 0;
      for (std::int64_t p = 0; p < image.pixels; ++p) {
        sum += Value(source[Size((i / channels * image.pixels + p) * channels + i % channels)], affine);
      }
      ExpectRepresents(target[Size(i)], sum / static_cast<double>(image.pixels), result);
    }
    EXPECT_EQ(target.back(), 0xA5);
  }
}

TEST_F(Elements8, Pools) {
  for (int round = 0; round < 100; ++round) {
    Pool pool;
    pool.batch = Between(1, 2);
    pool.channels = Between(1, 100);
    pool.height = Between(1, 9);
    pool.width = Between(1, 9);
    pool.kernel_height = Between(1, 4);
    pool.kernel_width = Between(1, 4);
    pool.stride_y = Between(1, 3);
    pool.stride_x = Between(1, 3);
    pool.pad_top = Between(0, pool.kernel_height - 1);
    pool.pad_left = Between(0, pool.kernel_width - 1);
    pool.out_height = (pool.height + 2 * pool.pad_top) / pool.stride_y;
    pool.out_width = (pool.width + 2 * pool.pad_left) / pool.stride_x;
    pool.count_padding = Between(0, 1) == 1;
    const Bytes source = Source(pool.batch * pool.height * pool.width * pool.channels);
    const Affine affine = AnyAffine();
    const AffineResult result = AnyResult();
    const std::int64_t count = pool.batch * pool.out_height * pool.out_width * pool.channels;
    Bytes most(Size(count) + 1, 0xA5);
    Bytes mean(Size(count) + 1, 0xA5);
    Int8Elements()->pool_max(pool, source.data(), most.data());
    Int8Elements()->pool_average(pool, source.data(), affine, result, mean.data());
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t c = i % pool.channels;
      const std::int64_t x = i / pool.channels % pool.out_width;
      const std::int64_t y = i / pool.channels / pool.out_width % pool.out_height;
      const std::int64_t n = i / pool.channels / pool.out_width / pool.out_height;
      std::uint8_t best = 0;
      double sum = 0;
      std::int64_t inside = 0;
      for (std::int64_t v = 0; v < pool.kernel_height; ++v) {
        for (std::int64_t h = 0; h < pool.kernel_width; ++h) {
          const std::int64_t row = y * pool.stride_y - pool.pad_top + v;
          const std::int64_t column = x * pool.stride_x - pool.pad_left + h;
          if (row < 0 || row >= pool.height || column < 0 || column >= pool.width) continue;
          const std::uint8_t byte = source[Size(((n * pool.height + row) * pool.width + column) * pool.channels + c)];
          best = std::max(best, byte);
          sum += Value(byte, affine);
          ++inside;
        }
      }
      const std::int64_t divisor =
          pool.count_padding ? pool.kernel_height * pool.kernel_width : std::max<std::int64_t>(inside, 1);
      EXPECT_EQ(most[Size(i)], best);
      ExpectRepresents(mean[Size(i)], sum / static_cast<double>(divisor), result);
    }
    EXPECT_EQ(most.back(), 0xA5);
    EXPECT_EQ(mean.back(), 0xA5);
  }
}

}  // namespace
}  // namespace edgefleet::runtime::kernels
