#include "base/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

namespace edgefleet {
namespace {

TEST(ThreadPool, RefusesWithARetryHintWhenFullAndRunsTheRest) {
  std::atomic<int> ran = 0;
  std::promise<void> started;
  std::promise<void> release;
  ThreadPool pool("test", 1, 2);
  ASSERT_TRUE(pool.Submit([&] {
                    started.set_value();
                    release.get_future().wait();
                    ++ran;
                  })
                  .ok());
  started.get_future().wait();
  EXPECT_TRUE(pool.Submit([&] { ++ran; }).ok());
  EXPECT_TRUE(pool.Submit([&] { ++ran; }).ok());
  const Status refused = pool.Submit([&] { ++ran; });
  EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.reason(), "OVERLOADED");
  EXPECT_TRUE(refused.retry_after().has_value());
  release.set_value();
  pool.Stop();
  EXPECT_EQ(ran, 3);
  EXPECT_EQ(pool.Submit([] {}).reason(), "STOPPING");
}

TEST(ThreadPool, TasksRunUnderTheirSubmittersTrace) {
  ThreadPool pool("test", 1, 4);
  SeededRandom random(3);
  const auto trace = TraceContext::Generate(random);
  std::promise<std::string> seen;
  {
    TraceScope scope(trace);
    ASSERT_TRUE(pool.Submit([&] { seen.set_value(CurrentTrace() ? CurrentTrace()->TraceIdHex() : ""); }).ok());
  }
  EXPECT_EQ(seen.get_future().get(), trace.TraceIdHex());
}

TEST(Strand, KeepsOrderAndNeverOverlaps) {
  constexpr int kTasks = 2000;
  ThreadPool pool("test", 4, 64);
  auto strand = std::make_shared<Strand>(pool, kTasks);
  std::vector<int> order;  // unguarded: ThreadSanitizer sees any overlap
  std::promise<void> done;
  for (int i = 0; i < kTasks; ++i) {
    ASSERT_TRUE(strand
                    ->Submit([&, i] {
                      order.push_back(i);
                      if (i == kTasks - 1) done.set_value();
                    })
                    .ok());
  }
  done.get_future().wait();
  pool.Stop();
  ASSERT_EQ(order.size(), static_cast<std::size_t>(kTasks));
  for (int i = 0; i < kTasks; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(Strand, RefusesWhenItsQueueIsFullAndRecovers) {
  ThreadPool pool("test", 1, 8);
  auto strand = std::make_shared<Strand>(pool, 1);
  std::promise<void> started;
  std::promise<void> release;
  std::promise<void> finished;
  ASSERT_TRUE(strand
                  ->Submit([&] {
                    started.set_value();
                    release.get_future().wait();
                  })
                  .ok());
  started.get_future().wait();
  EXPECT_TRUE(strand->Submit([&] { finished.set_value(); }).ok());
  EXPECT_EQ(strand->Submit([] {}).reason(), "OVERLOADED");
  release.set_value();
  finished.get_future().wait();
  std::promise<void> again;
  EXPECT_TRUE(strand->Submit([&] { again.set_value(); }).ok());
  again.get_future().wait();
}

}  // namespace
}  // namespace edgefleet
