#include "device_client/runtime/cache/model_cache.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <fstream>
#include <future>
#include <latch>
#include <semaphore>
#include <thread>

#include "tests/runtime/cache/models.h"

namespace edgefleet::runtime {
namespace {

using testing::ModelBytes;
using testing::ModelFiles;
using testing::ReferenceOptions;
using testing::RunOnes;

// What one model with one session counts.
std::size_t Footprint(const ModelSource& source, LoadMode mode = LoadMode::kMapped) {
  ModelCache cache(ReferenceOptions(std::size_t{64} << 20, mode));
  const auto model = cache.Acquire(source);
  EXPECT_TRUE(model) << model.error().ToString();
  return cache.stats().bytes;
}

TEST(ModelCache, SecondAcquireIsAHitOnTheSameModel) {
  ModelFiles files;
  ModelCache cache(ReferenceOptions());
  const auto source = files.Write(3);
  const auto first = cache.Acquire(source).value();
  const auto second = cache.Acquire(source).value();
  EXPECT_EQ(first, second);
  EXPECT_EQ(RunOnes(*first), 3);
  EXPECT_EQ(cache.stats().hits, 1);
  EXPECT_EQ(cache.stats().misses, 1);
  EXPECT_EQ(cache.stats().models, 1);
}

TEST(ModelCache, LeastRecentlyUsedGoesFirst) {
  ModelFiles files;
  const std::array sources{files.Write(1), files.Write(2), files.Write(3)};
  ModelCache cache(ReferenceOptions(2 * Footprint(sources[0])));
  for (const int i : {0, 1, 0, 2}) ASSERT_TRUE(cache.Acquire(sources[static_cast<std::size_t>(i)]));
  EXPECT_EQ(cache.stats().evictions, 1);
  ASSERT_TRUE(cache.Acquire(sources[0]));
  EXPECT_EQ(cache.stats().hits, 2);  // 1 was evicted, not 0
  ASSERT_TRUE(cache.Acquire(sources[1]));
  EXPECT_EQ(cache.stats().misses, 4);
  EXPECT_LE(cache.stats().bytes_peak, 2 * Footprint(sources[0]));
}

TEST(ModelCache, HeldAndPinnedModelsAreNotGivenUp) {
  ModelFiles files;
  const auto a = files.Write(1);
  const auto b = files.Write(2);
  const auto c = files.Write(3);
  ModelCache cache(ReferenceOptions(2 * Footprint(a)));
  auto held = cache.Acquire(a).value();
  ASSERT_TRUE(cache.Acquire(b));
  ASSERT_TRUE(cache.Pin(b.sha256).ok());
  EXPECT_EQ(cache.Acquire(c).error().reason(), "CACHE_BUDGET");
  EXPECT_EQ(cache.Acquire(c).error().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(cache.stats().models, 2);
  EXPECT_EQ(cache.Evict(b.sha256).reason(), "MODEL_PINNED");

  held.reset();
  ASSERT_TRUE(cache.Acquire(c));  // a went
  EXPECT_EQ(cache.stats().evictions, 1);
  cache.Unpin(b.sha256);
  ASSERT_TRUE(cache.Acquire(a));  // b went
  EXPECT_EQ(cache.stats().evictions, 2);
}

TEST(ModelCache, PinningIsBounded) {
  ModelFiles files;
  const auto a = files.Write(1);
  const auto b = files.Write(2);
  auto options = ReferenceOptions();
  options.pinned_bytes_max = std::filesystem::file_size(a.file);
  ModelCache cache(options);
  EXPECT_EQ(cache.Pin(a.sha256).reason(), "MODEL_NOT_LOADED");
  ASSERT_TRUE(cache.Acquire(a));
  ASSERT_TRUE(cache.Acquire(b));
  ASSERT_TRUE(cache.Pin(a.sha256).ok());
  EXPECT_TRUE(cache.Pin(a.sha256).ok());  // counts once
  EXPECT_EQ(cache.Pin(b.sha256).reason(), "PIN_LIMIT");
  cache.Unpin(a.sha256);
  EXPECT_EQ(cache.Pin(b.sha256).reason(), "PIN_LIMIT");
  cache.Unpin(a.sha256);
  EXPECT_TRUE(cache.Pin(b.sha256).ok());
}

TEST(ModelCache, BytesOfAnEvictedModelCountUntilItsLastHolderLetsGo) {
  ModelFiles files;
  const auto source = files.Write(5);
  ModelCache cache(ReferenceOptions());
  auto model = cache.Acquire(source).value();
  auto lease = std::make_unique<SessionLease>(model->Borrow().value());
  const std::size_t bytes = cache.stats().bytes;
  ASSERT_TRUE(cache.Evict(source.sha256).ok());
  model.reset();
  EXPECT_EQ(cache.stats().models, 0);
  EXPECT_EQ(cache.stats().bytes, bytes);
  EXPECT_EQ(RunOnes(lease->session()), 5);
  lease.reset();
  EXPECT_EQ(cache.stats().bytes, 0);
}

TEST(ModelCache, ModelsOutliveTheirCache) {
  ModelFiles files;
  auto cache = std::make_unique<ModelCache>(ReferenceOptions());
  const auto model = cache->Acquire(files.Write(7)).value();
  cache.reset();
  EXPECT_EQ(RunOnes(*model), 7);
}

TEST(ModelCache, SessionsCountAndAreBounded) {
  ModelFiles files;
  auto options = ReferenceOptions();
  options.model.sessions_max = 2;
  ModelCache cache(options);
  const auto model = cache.Acquire(files.Write(1)).value();
  const std::size_t one = cache.stats().bytes;
  {
    const auto first = model->Borrow().value();
    const auto second = model->Borrow().value();
    EXPECT_NE(&first.session(), &second.session());
    EXPECT_EQ(cache.stats().bytes, one + model->session_bytes());
    const auto spare = model->Borrow().value();  // one above sessions_max: see the next test
    EXPECT_EQ(model->Borrow().error().reason(), "SESSIONS_BUSY");
  }
  EXPECT_EQ(model->sessions(), 3);
  model->KeepIdle(1);
  EXPECT_EQ(model->sessions(), 1);
  EXPECT_EQ(cache.stats().bytes, one);
  {
    auto failed = model->Borrow().value();
    failed.Discard();
  }
  EXPECT_EQ(model->sessions(), 0);
  EXPECT_EQ(RunOnes(*model), 1);
  EXPECT_EQ(model->sessions(), 1);
}

TEST(ModelCache, WarmingTakesNoSessionFromAnInference) {
  ModelFiles files;
  auto options = ReferenceOptions();
  options.model.sessions_max = 1;
  ModelCache cache(options);
  const auto model = cache.Acquire(files.Write(1)).value();
  std::atomic<bool> stop{false};
  std::atomic<int> refused{0};
  std::jthread reader([&] {
    while (!stop) refused += model->Borrow() ? 0 : 1;
  });
  for (int i = 0; i < testing::Repetitions(2'000); ++i) {
    model->KeepIdle(0);
    model->KeepIdle(kSessionsMax);
    model->Warm(1);
  }
  stop = true;
  reader.join();
  EXPECT_EQ(refused, 0);
}

TEST(ModelCache, ASessionThatDoesNotFitIsRefused) {
  ModelFiles files;
  const auto source = files.Write(1);
  const std::size_t one = Footprint(source);
  ModelCache cache(ReferenceOptions(one));
  const auto model = cache.Acquire(source).value();
  const auto lease = model->Borrow().value();
  EXPECT_EQ(model->Borrow().error().reason(), "CACHE_BUDGET");
  EXPECT_EQ(ModelCache(ReferenceOptions(one - 1)).Acquire(source).error().reason(), "CACHE_BUDGET");
  EXPECT_EQ(ModelCache(ReferenceOptions(100)).Acquire(source).error().reason(), "CACHE_BUDGET");
}

TEST(ModelCache, FaultyFilesFailWithTheirOwnErrorAndLeaveNothing) {
  ModelFiles files;
  const Bytes good = ModelBytes(1);
  Bytes bad_magic = good;
  bad_magic[0] = std::byte{'X'};
  const std::vector<std::pair<Bytes, std::string>> cases = {
      {{}, "EFM_TRUNCATED"},
      {Bytes(good.begin(), good.begin() + 100), "EFM_TRUNCATED"},
      {bad_magic, "EFM_BAD_HEADER"},
  };
  ModelCache cache(ReferenceOptions());
  for (const auto& [bytes, reason] : cases) {
    const auto source = files.Write(bytes);
    EXPECT_EQ(cache.Acquire(source).error().reason(), reason);
    EXPECT_EQ(cache.Acquire(source).error().reason(), reason);  // tried again, not remembered
  }
  EXPECT_EQ(cache.Acquire({{}, files.path() / "none"}).error().reason(), "FILE_MISSING");
  EXPECT_EQ(cache.Acquire({{}, files.path()}).error().reason(), "NOT_A_FILE");
  EXPECT_EQ(cache.stats().failures, 8);
  EXPECT_EQ(cache.stats().models, 0);
  EXPECT_EQ(cache.stats().bytes, 0);
}

TEST(ModelCache, ABadSettingIsRefused) {
  ModelFiles files;
  const auto source = files.Write(1);
  for (const int sessions : {0, kSessionsMax + 1}) {
    auto options = ReferenceOptions();
    options.model.sessions_max = sessions;
    EXPECT_EQ(ModelCache(options).Acquire(source).error().reason(), "BAD_SESSIONS");
  }
  auto options = ReferenceOptions();
  options.model.delegate = "none";
  EXPECT_EQ(ModelCache(options).Acquire(source).error().reason(), "DELEGATE_UNKNOWN");
}

// A loader that says when it has begun and goes on when it is told to.
struct HeldLoader {
  std::counting_semaphore<> begun{0};
  std::counting_semaphore<> go{0};
  std::atomic<int> loads{0};

  ModelLoader loader() {
    return [this](std::shared_ptr<const MappedFile> file) {
      ++loads;
      begun.release();
      go.acquire();
      return LoadEfm(std::move(file));
    };
  }
};

TEST(ModelCache, OneOfManyThreadsLoads) {
  constexpr int kThreads = 8;
  ModelFiles files;
  HeldLoader held;
  ModelCache cache(ReferenceOptions(), held.loader());
  for (const bool good : {true, false}) {
    const auto source = good ? files.Write(4) : files.Write(Bytes(200));
    std::vector<std::future<Result<std::shared_ptr<LoadedModel>>>> results;
    const int before = held.loads;
    for (int i = 0; i < kThreads; ++i) results.push_back(std::async(std::launch::async, [&] { return cache.Acquire(source); }));
    held.begun.acquire();
    held.go.release(kThreads);
    std::vector<std::shared_ptr<LoadedModel>> models;
    for (auto& result : results) {
      auto model = result.get();
      ASSERT_EQ(model.has_value(), good);
      if (good) models.push_back(*model);
    }
    for (const auto& model : models) EXPECT_EQ(model, models[0]);
    if (good) {
      EXPECT_EQ(held.loads, before + 1);
    }
    while (held.go.try_acquire()) {
    }
    while (held.begun.try_acquire()) {
    }
  }
}

TEST(ModelCache, WaitingForALoadIsBounded) {
  ModelFiles files;
  const auto source = files.Write(1);
  HeldLoader held;
  auto options = ReferenceOptions();
  options.load_wait_max = std::chrono::milliseconds(1);
  ModelCache cache(options, held.loader());
  auto loading = std::async(std::launch::async, [&] { return cache.Acquire(source); });
  held.begun.acquire();
  EXPECT_EQ(cache.Acquire(source).error().reason(), "MODEL_LOAD_WAIT");
  EXPECT_EQ(cache.Acquire(source).error().code(), StatusCode::kDeadlineExceeded);
  held.go.release();
  EXPECT_TRUE(loading.get());
}

TEST(ModelCache, AModelEvictedWhileItLoadsServesThoseWhoWait) {
  ModelFiles files;
  const auto source = files.Write(6);
  HeldLoader held;
  ModelCache cache(ReferenceOptions(), held.loader());
  auto loading = std::async(std::launch::async, [&] { return cache.Acquire(source); });
  held.begun.acquire();
  ASSERT_TRUE(cache.Evict(source.sha256).ok());
  auto again = std::async(std::launch::async, [&] { return cache.Acquire(source); });
  held.begun.acquire();  // a load of its own: the first is forgotten
  held.go.release(2);
  auto first = loading.get().value();
  const auto second = again.get().value();
  EXPECT_NE(first, second);
  EXPECT_EQ(RunOnes(*first), 6);
  EXPECT_EQ(cache.Acquire(source).value(), second);
  EXPECT_EQ(cache.stats().bytes, 2 * Footprint(source));
  first.reset();
  EXPECT_EQ(cache.stats().bytes, Footprint(source));
}

// Eight threads take models at random, run them, and evict others; the budget holds three of the five.
TEST(ModelCache, EvictionUnderLoadsAndInferencesKeepsTheBudget) {
  constexpr int kThreads = 8;
  const int rounds = testing::Repetitions(300);
  for (const LoadMode mode : {LoadMode::kEager, LoadMode::kMapped, LoadMode::kLazy, LoadMode::kStreaming}) {
    ModelFiles files;
    std::vector<ModelSource> sources;
    for (int i = 0; i < 5; ++i) sources.push_back(files.Write(static_cast<float>(i + 1)));
    const std::size_t budget = 3 * Footprint(sources[0]) + std::filesystem::file_size(sources[0].file);
    auto cache = std::make_unique<ModelCache>(ReferenceOptions(budget, mode));
    std::atomic<int> inferences{0};
    std::atomic<int> wrong{0};
    const auto work = [&](int thread) {
      SeededRandom random(static_cast<std::uint64_t>(thread));
      for (int round = 0; round < rounds; ++round) {
        const std::size_t index = random.Below(sources.size());
        if (random.Below(4) == 0) static_cast<void>(cache->Evict(sources[random.Below(sources.size())].sha256));
        const auto model = cache->Acquire(sources[index]);
        if (!model) {
          if (model.error().reason() != "CACHE_BUDGET") ++wrong;
          continue;
        }
        const auto lease = (*model)->Borrow();
        if (!lease) {
          if (lease.error().reason() != "CACHE_BUDGET") ++wrong;
          continue;
        }
        ++inferences;
        if (RunOnes(lease->session()) != static_cast<float>(index + 1)) ++wrong;
      }
    };
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) threads.emplace_back(work, i);
    threads.clear();
    EXPECT_EQ(wrong, 0);
    EXPECT_GT(inferences, rounds);
    const auto stats = cache->stats();
    EXPECT_LE(stats.bytes_peak, budget);
    EXPECT_GT(stats.evictions, 0);
    for (const auto& source : sources) EXPECT_TRUE(cache->Evict(source.sha256).ok());
    EXPECT_EQ(cache->stats().bytes, 0);
  }
}

}  // namespace
}  // namespace edgefleet::runtime
