// The CPU kernels against a scalar definition, over many random shapes. Buffers are exact but for the slack that the contract
// grants, so that AddressSanitizer sees reads beyond it; targets are checked on both sides.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "device_client/runtime/arena.h"
#include "device_client/runtime/kernels/int8_conv.h"

namespace edgefleet::runtime::kernels {
namespace {

constexpr std::uint8_t kGuard = 0xA5;

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  std::int64_t Between(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(engine_);
  }
  double Real(double low, double high) { return std::uniform_real_distribution<double>(low, high)(engine_); }
  std::int64_t Pick(const std::vector<std::int64_t>& from) {
    return from[static_cast<std::size_t>(Between(0, static_cast<std::int64_t>(from.size()) - 1))];
  }

 private:
  std::mt19937_64 engine_;
};

std::size_t Size(std::int64_t n) { return static_cast<std::size_t>(n); }

std::int32_t Saturate(double value, const ConvolutionValues& values) {
  const double shifted = std::nearbyint(value) + values.output_zero_point;
  return static_cast<std::int32_t>(std::clamp<double>(shifted, values.low, values.high));
}

struct Expected {
  std::vector<double> exact;  // before rounding
  std::vector<std::int32_t> q;
};

Expected Define(const Convolution& s, const ConvolutionValues& v, std::int64_t batch, const std::vector<std::uint8_t>& source) {
  Expected expected;
  const std::int64_t inputs = s.channels / s.groups;
  for (std::int64_t n = 0; n < batch; ++n) {
    for (std::int64_t oy = 0; oy < s.out_height; ++oy) {
      for (std::int64_t ox = 0; ox < s.out_width; ++ox) {
        for (std::int64_t o = 0; o < s.outputs; ++o) {
          const std::int64_t first = o / (s.outputs / s.groups) * inputs;
          std::int64_t sum = v.bias.empty() ? 0 : v.bias[Size(o)];
          for (std::int64_t i = 0; i < s.kernel_height; ++i) {
            for (std::int64_t j = 0; j < s.kernel_width; ++j) {
              const std::int64_t y = oy * s.stride_y - s.pad_top + i * s.dilation_y;
              const std::int64_t x = ox * s.stride_x - s.pad_left + j * s.dilation_x;
              if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
              for (std::int64_t c = 0; c < inputs; ++c) {
                const std::int64_t q = source[Size(((n * s.height + y) * s.width + x) * s.channels + first + c)] - 128;
                sum +=
                    (q - v.input_zero_point) * v.weights[Size(((o * inputs + c) * s.kernel_height + i) * s.kernel_width + j)];
              }
            }
          }
          const double exact = static_cast<double>(sum) * v.multipliers[v.multipliers.size() == 1 ? 0 : Size(o)];
          expected.exact.push_back(exact);
          expected.q.push_back(Saturate(exact, v));
        }
      }
    }
  }
  return expected;
}

// Outputs that differ from the definition, where the contract grants it; anything else fails.
std::int64_t CheckConvolution(const Convolution& s, std::int64_t batch, Random& random, const CpuFeatures& cpu = Cpu(),
                              bool power_of_two = false) {
  const std::int64_t window = s.channels / s.groups * s.kernel_height * s.kernel_width;
  std::vector<std::int8_t> weights(Size(s.outputs * window));
  for (auto& w : weights) w = static_cast<std::int8_t>(random.Between(-127, 127));
  std::vector<std::int32_t> bias(random.Between(0, 3) == 0 ? 0 : Size(s.outputs));
  for (auto& b : bias) b = static_cast<std::int32_t>(random.Between(-20000, 20000));
  std::vector<double> multipliers(random.Between(0, 3) == 0 ? 1 : Size(s.outputs));
  const double usual = 1.0 / (40.0 * std::sqrt(static_cast<double>(window)));
  for (auto& m : multipliers) m = power_of_two ? 1.0 / 512 : usual * random.Real(0.05, 1.5);
  ConvolutionValues values{weights, bias, multipliers};
  values.input_zero_point = static_cast<std::int32_t>(random.Between(-128, 127));
  values.output_zero_point = static_cast<std::int32_t>(random.Between(-128, 127));
  values.low = static_cast<std::int32_t>(random.Between(0, 1) == 0 ? -128 : random.Between(-128, 100));
  values.high = static_cast<std::int32_t>(random.Between(0, 1) == 0 ? 127 : random.Between(values.low, 127));

  std::vector<std::uint8_t> source(Size(batch * s.height * s.width * s.channels));
  for (auto& x : source) x = static_cast<std::uint8_t>(random.Between(0, 255));
  const Expected expected = Define(s, values, batch, source);
  source.resize(source.size() + kReadSlackBytes, kGuard);
  source.shrink_to_fit();
  std::vector<std::uint8_t> target(expected.q.size() + 128, kGuard);

  auto packed = AlignedBuffer::Allocate(PackedConvolutionBytes(s, cpu)).value();
  auto scratch = AlignedBuffer::Allocate(ConvolutionScratchBytes(s)).value();
  const Status status = PackConvolution(s, values, {packed.data(), packed.size()}, cpu);
  EXPECT_TRUE(status.ok()) << status.ToString();
  RunConvolution(s, packed.data(), batch, source.data(), target.data() + 64, scratch.data());

  std::int64_t steps = 0;
  for (std::size_t i = 0; i < expected.q.size(); ++i) {
    const std::int32_t difference = target[64 + i] - 128 - expected.q[i];
    if (difference == 0) continue;
    const double fraction = std::abs(std::abs(expected.exact[i] - std::trunc(expected.exact[i])) - 0.5);
    const bool tie = fraction <= std::abs(expected.exact[i]) * 0x1p-22;
    if (std::abs(difference) > 1 || !tie) {
      ADD_FAILURE() << "element " << i << ": " << target[64 + i] - 128 << " instead of " << expected.q[i] << " ("
                    << expected.exact[i] << ")";
      return -1;
    }
    ++steps;
  }
  for (std::size_t i = 0; i < 64; ++i) {
    EXPECT_EQ(target[i], kGuard);
    EXPECT_EQ(target[64 + expected.q.size() + i], kGuard);
  }
  return steps;
}

std::int64_t Outputs(std::int64_t size, std::int64_t kernel, std::int64_t stride, std::int64_t dilation, std::int64_t pads) {
  return (size + pads - (kernel - 1) * dilation - 1) / stride + 1;
}

std::string Name(const Convolution& s) {
  std::string name;
  for (const std::int64_t value :
       {s.channels, s.outputs, s.height, s.width, s.out_height, s.out_width, s.kernel_height, s.kernel_width, s.stride_y,
        s.stride_x, s.dilation_y, s.dilation_x, s.pad_top, s.pad_left, s.groups}) {
    name += std::to_string(value) + " ";
  }
  return name;
}

void FinishGeometry(Convolution& s, std::int64_t pad_bottom, std::int64_t pad_right) {
  s.out_height = Outputs(s.height, s.kernel_height, s.stride_y, s.dilation_y, s.pad_top + pad_bottom);
  s.out_width = Outputs(s.width, s.kernel_width, s.stride_x, s.dilation_x, s.pad_left + pad_right);
}

class Kernels : public testing::Test {
 protected:
  void SetUp() override {
    if (*PackingName() == '\0') GTEST_SKIP() << "this processor has no int8 kernels";
  }
};

TEST_F(Kernels, PointwiseEqualsItsDefinition) {
  Random random(1);
  for (int round = 0; round < 150; ++round) {
    Convolution s;
    s.channels = random.Pick({1, 3, 4, 16, 24, 33, 64, 96, 100, 160});
    s.outputs = random.Pick({1, 5, 16, 17, 24, 32, 40, 48, 63, 64, 65, 96, 130, 144, 200});
    s.height = random.Between(1, 9);
    s.width = random.Between(1, 9);
    FinishGeometry(s, 0, 0);
    SCOPED_TRACE(Name(s));
    const CpuFeatures without_tiles{.avx512_vnni = true};
    ASSERT_GE(CheckConvolution(s, random.Between(1, 3), random, round % 2 == 0 ? Cpu() : without_tiles), 0);
  }
}

TEST_F(Kernels, MatrixProductsEqualTheirDefinition) {
  Random random(2);
  for (const std::int64_t outputs : {10, 64, 200, 512, 1000}) {
    for (const std::int64_t channels : {49, 128, 784}) {
      for (const std::int64_t rows : {1, 2, 7, 32, 49, 100}) {
        Convolution s;
        s.channels = channels;
        s.outputs = outputs;
        SCOPED_TRACE(Name(s));
        ASSERT_GE(CheckConvolution(s, rows, random), 0);
        const CpuFeatures without_tiles{.avx512_vnni = true};
        ASSERT_GE(CheckConvolution(s, rows, random, without_tiles), 0);
      }
    }
  }
}

TEST_F(Kernels, ConvolutionEqualsItsDefinition) {
  Random random(3);
  for (int round = 0; round < 250; ++round) {
    Convolution s;
    s.groups = random.Pick({1, 1, 1, 2, 3});
    s.channels = s.groups * random.Pick({1, 2, 3, 8, 20});
    s.outputs = s.groups * random.Pick({1, 7, 16, 24, 33, 64, 70});
    s.kernel_height = random.Between(1, 5);
    s.kernel_width = random.Between(1, 5);
    s.stride_y = random.Between(1, 3);
    s.stride_x = random.Between(1, 3);
    s.dilation_y = random.Pick({1, 1, 2});
    s.dilation_x = random.Pick({1, 1, 2, 3});
    s.height = (s.kernel_height - 1) * s.dilation_y + random.Between(1, 8);
    s.width = (s.kernel_width - 1) * s.dilation_x + random.Between(1, 8);
    s.pad_top = random.Between(0, s.kernel_height);
    s.pad_left = random.Between(0, s.kernel_width);
    FinishGeometry(s, random.Between(0, s.kernel_height), random.Between(0, s.kernel_width));
    SCOPED_TRACE(Name(s));
    ASSERT_GE(CheckConvolution(s, random.Between(1, 2), random), 0);
  }
}

TEST_F(Kernels, DepthwiseEqualsItsDefinition) {
  Random random(4);
  for (int round = 0; round < 300; ++round) {
    Convolution s;
    s.channels = s.outputs = s.groups = random.Pick({2, 7, 8, 16, 17, 24, 32, 40, 64, 72, 96, 100, 144});
    s.kernel_height = random.Pick({1, 2, 3, 3, 3, 5, 7});
    s.kernel_width = random.Pick({1, 2, 3, 3, 3, 5});
    s.stride_y = random.Pick({1, 1, 2, 3});
    s.stride_x = random.Pick({1, 1, 2});
    s.dilation_y = random.Pick({1, 1, 1, 2});
    s.dilation_x = random.Pick({1, 1, 1, 2});
    s.height = (s.kernel_height - 1) * s.dilation_y + random.Between(1, 9);
    s.width = (s.kernel_width - 1) * s.dilation_x + random.Between(1, 9);
    s.pad_top = random.Between(0, s.kernel_height);
    s.pad_left = random.Between(0, s.kernel_width);
    FinishGeometry(s, random.Between(0, s.kernel_height), random.Between(0, s.kernel_width));
    SCOPED_TRACE(Name(s));
    ASSERT_GE(CheckConvolution(s, random.Between(1, 2), random), 0);
  }
}

// Half steps are frequent with such multipliers, and exact in fp32: they round to even in both.
TEST_F(Kernels, TiesRoundToEven) {
  Random random(5);
  for (const std::int64_t channels : {1, 4, 16}) {
    Convolution s;
    s.channels = channels;
    s.outputs = 80;
    s.height = s.width = 12;
    FinishGeometry(s, 0, 0);
    EXPECT_EQ(CheckConvolution(s, 1, random, Cpu(), true), 0);
  }
}

TEST_F(Kernels, SumsBeyondInt32AreRefused) {
  const std::vector<std::int8_t> weights(64, 127);
  const std::vector<std::int32_t> bias{2'147'000'000};
  const std::vector<double> small{1e-9};
  const std::vector<double> large{1e6};
  Convolution s;
  s.channels = 64;
  s.outputs = 1;
  std::vector<std::byte> packed(PackedConvolutionBytes(s));
  EXPECT_EQ(PackConvolution(s, {weights, bias, small}, packed).reason(), "INT8_RANGE");
  EXPECT_EQ(PackConvolution(s, {weights, {}, large}, packed).reason(), "INT8_RANGE");
  EXPECT_TRUE(PackConvolution(s, {weights, {}, small}, packed).ok());
}

}  // namespace
}  // namespace edgefleet::runtime::kernels
