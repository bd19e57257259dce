#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

#include "device_client/runtime/cache/model_slot.h"
#include "tests/runtime/cache/models.h"

namespace edgefleet::runtime {
namespace {

using testing::ModelFiles;
using testing::ReferenceOptions;
using testing::RunOnes;

constexpr int kThreads = 8;

// Counts those that live.
struct Counted {
  static inline std::atomic<int> live{0};
  explicit Counted(int number) : first(number), second(number) { ++live; }
  ~Counted() {
    first = second = -1;
    --live;
  }
  int first;
  int second;
};

TEST(SwapCell, ReadersSeeWholeValuesAndNoneIsLeft) {
  const int swaps = testing::Repetitions(2'000);
  {
    SwapCell<Counted> cell;
    EXPECT_EQ(cell.Load(), nullptr);
    cell.Exchange(std::make_shared<Counted>(0));
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::jthread> readers;
    for (int i = 0; i < kThreads; ++i) {
      readers.emplace_back([&] {
        int newest = 0;
        while (!stop) {
          const auto value = cell.Load();
          if (value->first != value->second || value->first < newest) ++wrong;  // also never backwards
          newest = value->first;
        }
      });
    }
    for (int i = 1; i <= swaps; ++i) EXPECT_EQ(cell.Exchange(std::make_shared<Counted>(i))->first, i - 1);
    stop = true;
    readers.clear();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(Counted::live, 1);
  }
  EXPECT_EQ(Counted::live, 0);
}

TEST(ModelSlot, IsEmptyAtFirstAndKeepsTheCurrentVersionWhenASwapFails) {
  ModelFiles files;
  ModelCache cache(ReferenceOptions());
  const SystemClock clock;
  ModelSlot slot(cache, clock);
  EXPECT_EQ(slot.Borrow().error().reason(), "NO_MODEL");
  EXPECT_EQ(slot.current(), nullptr);
  EXPECT_EQ(slot.RollBack().reason(), "NO_LAST_GOOD");
  EXPECT_EQ(slot.Swap({"m", 1, {{}, files.path() / "none"}}).reason(), "FILE_MISSING");
  ASSERT_TRUE(slot.Swap({"m", 1, files.Write(1)}).ok());
  EXPECT_EQ(slot.Swap({"m", 2, files.Write(Bytes(100))}).reason(), "EFM_BAD_HEADER");
  EXPECT_EQ(slot.current()->version, 1);
  EXPECT_EQ(RunOnes(slot.Borrow()->session()), 1);
  EXPECT_EQ(slot.RollBack().reason(), "NO_LAST_GOOD");
}

TEST(ModelSlot, OldVersionsGoAfterGraceAndLastInferenceTheLastGoodStays) {
  ModelFiles files;
  ModelCache cache(ReferenceOptions());
  FakeClock clock;
  ModelSlot slot(cache, clock, {.grace_period = Millis(1000)});
  ASSERT_TRUE(slot.Swap({"m", 1, files.Write(1)}).ok());
  ASSERT_TRUE(slot.Swap({"m", 2, files.Write(2)}).ok());
  auto lease = std::make_unique<VersionLease>(slot.Borrow().value());
  ASSERT_TRUE(slot.Swap({"m", 3, files.Write(3)}).ok());  // 1 is retired, 2 is last good
  ASSERT_TRUE(slot.Swap({"m", 4, files.Write(4)}).ok());  // 2 is retired too
  EXPECT_EQ(slot.Collect(), 2);
  EXPECT_EQ(cache.stats().models, 4);
  clock.Advance(Millis(999));
  EXPECT_EQ(slot.Collect(), 2);
  clock.Advance(Millis(1));
  EXPECT_EQ(slot.Collect(), 0);
  EXPECT_EQ(cache.stats().models, 2);  // 4 and, pinned, 3
  EXPECT_GT(cache.stats().pinned_bytes, 0);
  const std::size_t bytes = cache.stats().bytes;
  EXPECT_EQ(lease->version().version, 2);
  EXPECT_EQ(RunOnes(lease->session()), 2);
  lease.reset();
  EXPECT_LT(cache.stats().bytes, bytes);

  ASSERT_TRUE(slot.RollBack().ok());
  EXPECT_EQ(cache.stats().misses, 4);  // none was needed
  EXPECT_EQ(RunOnes(slot.Borrow()->session()), 3);
  EXPECT_EQ(slot.RollBack().reason(), "NO_LAST_GOOD");
  clock.Advance(Millis(1000));
  slot.Collect();
  EXPECT_EQ(cache.stats().models, 1);
  EXPECT_EQ(cache.stats().pinned_bytes, 0);
}

TEST(ModelSlot, AVersionThatComesBackDuringGraceStays) {
  ModelFiles files;
  ModelCache cache(ReferenceOptions());
  FakeClock clock;
  ModelSlot slot(cache, clock, {.grace_period = Millis(1000)});
  const auto a = files.Write(1);
  ASSERT_TRUE(slot.Swap({"m", 1, a}).ok());
  ASSERT_TRUE(slot.Swap({"m", 2, files.Write(2)}, Former::kDropped).ok());
  ASSERT_TRUE(slot.Swap({"m", 3, a}, Former::kDropped).ok());
  clock.Advance(Millis(1000));
  EXPECT_EQ(slot.Collect(), 0);
  EXPECT_EQ(cache.stats().models, 1);
  EXPECT_EQ(cache.stats().misses, 2);
  // The same file under another version.
  ASSERT_TRUE(slot.Swap({"m", 4, a}).ok());
  EXPECT_EQ(slot.current()->version, 4);
  ASSERT_TRUE(slot.RollBack().ok());
  EXPECT_EQ(slot.current()->version, 3);
  EXPECT_EQ(RunOnes(slot.Borrow()->session()), 1);
}

TEST(ModelSlot, RollsBackFromDiskWhenTheLastGoodVersionCouldNotBePinned) {
  ModelFiles files;
  auto options = ReferenceOptions();
  options.pinned_bytes_max = 0;
  ModelCache cache(options);
  FakeClock clock;
  ModelSlot slot(cache, clock);
  const auto good = files.Write(1);
  ASSERT_TRUE(slot.Swap({"m", 1, good}).ok());
  ASSERT_TRUE(slot.Swap({"m", 2, files.Write(2)}).ok());
  ASSERT_TRUE(cache.Evict(good.sha256).ok());
  ASSERT_TRUE(slot.RollBack().ok());
  EXPECT_EQ(cache.stats().misses, 3);
  EXPECT_EQ(RunOnes(slot.Borrow()->session()), 1);
}

// The bar: ten thousand swaps under eight inferring threads, no torn result, no leak.
void SwapUnderLoad(int swaps, Former former, LoadMode mode) {
  ModelFiles files;
  const std::array sources{files.Write(1), files.Write(2)};
  auto options = ReferenceOptions(std::size_t{64} << 20, mode);
  options.model.sessions_max = kThreads;
  auto cache = std::make_unique<ModelCache>(options);
  const SystemClock clock;
  std::weak_ptr<LoadedModel> last;
  {
    ModelSlot slot(*cache, clock, {.grace_period = Millis(0)});
    ASSERT_TRUE(slot.Swap({"m", 0, sources[0]}, former).ok());
    std::atomic<bool> stop{false};
    std::atomic<std::int64_t> inferences{0};
    std::atomic<int> refused{0};
    std::atomic<int> torn{0};
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        while (!stop) {
          const auto lease = slot.Borrow();
          if (!lease) {
            ++refused;
            continue;
          }
          if (RunOnes(lease->session()) != static_cast<float>(lease->version().version % 2 + 1)) ++torn;
          ++inferences;
          inferences.notify_one();
        }
      });
    }
    std::int64_t seen = 0;
    for (int i = 1; i <= swaps; ++i) {
      // However the threads are scheduled, every ten swaps meet an inference.
      if (i % 10 == 0) {
        inferences.wait(seen);
        seen = inferences;
      }
      ASSERT_TRUE(slot.Swap({"m", static_cast<std::uint64_t>(i), sources[static_cast<std::size_t>(i % 2)]}, former).ok());
    }
    stop = true;
    threads.clear();
    EXPECT_EQ(refused, 0);
    EXPECT_EQ(torn, 0);
    EXPECT_GE(inferences, swaps / 10);
    slot.Collect();
    EXPECT_EQ(cache->stats().models, former == Former::kLastGood ? 2 : 1);
    last = cache->Acquire(sources[static_cast<std::size_t>(swaps % 2)]).value();
  }
  for (const auto& source : sources) EXPECT_TRUE(cache->Evict(source.sha256).ok());
  EXPECT_TRUE(last.expired());
  EXPECT_EQ(cache->stats().bytes, 0);  // no model lives: what a model counts goes with it
  if (former == Former::kLastGood) {
    EXPECT_EQ(cache->stats().misses, 2);
  }
}

TEST(HotSwap, TenThousandSwapsBetweenKeptVersions) {
  SwapUnderLoad(testing::Repetitions(10'000), Former::kLastGood, LoadMode::kMapped);
}
TEST(HotSwap, EverySwapLoads) { SwapUnderLoad(testing::Repetitions(2'000), Former::kDropped, LoadMode::kMapped); }
TEST(HotSwap, LazyModels) { SwapUnderLoad(testing::Repetitions(2'000), Former::kDropped, LoadMode::kLazy); }

}  // namespace
}  // namespace edgefleet::runtime
