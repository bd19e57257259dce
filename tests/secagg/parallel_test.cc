#include "secagg/parallel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <vector>

namespace edgefleet::secagg {
namespace {

TEST(ParallelFor, CallsEachPieceOnce) {
  for (const std::size_t count : {0, 1, 2, 3, 100, 10'000}) {
    for (std::size_t threads = 0; threads <= 4; ++threads) {
      const auto pool = threads == 0 ? nullptr : std::make_unique<ThreadPool>("parallel", threads, 16);
      std::vector<std::atomic<int>> calls(count);
      ParallelFor(pool.get(), count, [&](std::size_t i) { ++calls[i]; });
      EXPECT_TRUE(std::ranges::all_of(calls, [](const auto& n) { return n == 1; })) << count << " pieces, " << threads;
    }
  }
}

TEST(ParallelFor, WaitsForHelpersAndLeavesLateOnesNothing) {
  for (int repetition = 0; repetition < 200; ++repetition) {
    ThreadPool pool("parallel", 2, 16);
    auto pieces = std::make_unique<std::vector<int>>(5);  // gone when a late helper comes
    ParallelFor(&pool, pieces->size(), [&](std::size_t i) { (*pieces)[i] = 1; });
    EXPECT_EQ(*pieces, std::vector<int>(5, 1));
    pieces.reset();
  }
}

TEST(ParallelFor, ABusyPoolDoesNotHoldItUp) {
  std::latch release(1);
  int done = 0;
  {
    ThreadPool pool("busy", 1, 1);
    ASSERT_TRUE(pool.Submit([&] { release.wait(); }).ok());
    ParallelFor(&pool, 10, [&](std::size_t) { ++done; });  // its helper waits in the queue, or finds it full
    ParallelFor(&pool, 10, [&](std::size_t) { ++done; });
    EXPECT_EQ(done, 20);
    release.count_down();
  }  // the pool runs what waited
  EXPECT_EQ(done, 20);
}

}  // namespace
}  // namespace edgefleet::secagg
