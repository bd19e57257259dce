#include "device_client/device/inference.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/runtime/cache/models.h"

namespace edgefleet::device {
namespace {

using runtime::Former;
using runtime::testing::kWidth;
using runtime::testing::ModelFiles;

constexpr char kVariant[] = "fp32";

class Inference : public ::testing::Test {
 protected:
  update::InstalledVersion Version(std::uint64_t number, float value) {
    const auto source = files_.Write(value);
    return {"m", number, {{.name = kVariant, .precision = kVariant, .sha256 = source.sha256, .file = source.file}}};
  }
  InferenceEngine Engine(std::size_t memory_bytes_max = std::size_t{64} << 20) {
    return InferenceEngine({.delegate = "reference", .memory_bytes_max = memory_bytes_max}, clock_);
  }
  static float First(InferenceEngine& engine) {
    const auto output = engine.Infer(std::vector<float>(kWidth, 1.0F));
    return output ? (*output)[0] : -1;
  }

  ModelFiles files_;
  FakeClock clock_;
};

TEST_F(Inference, TriesOutTakesIntoUseAndCounts) {
  InferenceEngine engine = Engine();
  EXPECT_EQ(engine.Infer(std::vector<float>(kWidth)).error().reason(), "NO_MODEL");
  const auto version = Version(3, 2);
  ASSERT_TRUE(engine.SelfTest(version, kVariant).ok());
  ASSERT_TRUE(engine.Load(version, kVariant, Former::kLastGood).ok());
  EXPECT_EQ(engine.memory().misses, 1);  // the tried-out model is the one in use
  EXPECT_EQ(First(engine), 2);
  EXPECT_EQ(engine.Infer(std::vector<float>(kWidth + 1)).error().reason(), "BAD_INPUT_SIZE");
  EXPECT_EQ(engine.Load(version, "int8", Former::kLastGood).reason(), "VARIANT_MISSING");
  const auto summary = engine.TakeSummary();
  ASSERT_TRUE(summary);
  EXPECT_EQ(summary->version, 3);
  EXPECT_EQ(summary->inferences, 1);
  EXPECT_FALSE(engine.TakeSummary());
}

TEST_F(Inference, AVersionThatYieldsNoNumbersFailsTheTestAndIsForgotten) {
  InferenceEngine engine = Engine();
  const auto bad = Version(1, std::numeric_limits<float>::infinity());
  EXPECT_EQ(engine.SelfTest(bad, kVariant).reason(), "SELF_TEST_FAILED");
  EXPECT_EQ(engine.memory().models, 0);
  EXPECT_EQ(engine.memory().bytes, 0);
}

TEST_F(Inference, TheLastGoodVersionStaysLoadedOthersGo) {
  InferenceEngine engine = Engine();
  const auto first = Version(1, 1);
  ASSERT_TRUE(engine.Load(first, kVariant, Former::kLastGood).ok());
  ASSERT_TRUE(engine.Load(Version(2, 2), kVariant, Former::kLastGood).ok());
  EXPECT_GT(engine.memory().pinned_bytes, 0);
  EXPECT_EQ(First(engine), 2);
  ASSERT_TRUE(engine.Load(first, kVariant, Former::kDropped).ok());  // rolled back
  EXPECT_EQ(engine.memory().misses, 2);
  EXPECT_EQ(First(engine), 1);
  clock_.Advance(std::chrono::minutes(1));
  engine.Collect();
  EXPECT_EQ(engine.memory().models, 1);
}

TEST_F(Inference, AVersionThatDoesNotFitBesideTheActiveOneIsRefused) {
  std::size_t one = 0;
  {
    InferenceEngine engine = Engine();
    ASSERT_TRUE(engine.Load(Version(1, 1), kVariant, Former::kLastGood).ok());
    one = engine.memory().bytes;
  }
  InferenceEngine engine = Engine(2 * one - 1);
  ASSERT_TRUE(engine.Load(Version(1, 1), kVariant, Former::kLastGood).ok());
  EXPECT_EQ(engine.SelfTest(Version(2, 2), kVariant).reason(), "CACHE_BUDGET");
  EXPECT_EQ(engine.Load(Version(2, 2), kVariant, Former::kLastGood).reason(), "CACHE_BUDGET");
  EXPECT_EQ(First(engine), 1);
}

TEST_F(Inference, SwapsUnderEightThreads) {
  InferenceEngine engine = Engine();
  const auto first = Version(1, 1);
  const auto second = Version(2, 2);
  ASSERT_TRUE(engine.Load(first, kVariant, Former::kLastGood).ok());
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const float value = First(engine);
        if (value != 1 && value != 2) ++wrong;
      }
    });
  }
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(engine.SelfTest(i % 2 == 0 ? second : first, kVariant).ok());
    ASSERT_TRUE(engine.Load(i % 2 == 0 ? second : first, kVariant, Former::kLastGood).ok());
  }
  stop = true;
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace edgefleet::device
