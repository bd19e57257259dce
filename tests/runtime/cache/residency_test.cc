// What of a model is in memory in each mode, as /proc says.
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <numeric>
#include <thread>
#include <utility>

#include "tests/runtime/cache/models.h"

namespace edgefleet::runtime {
namespace {

using testing::LargeModelBytes;
using testing::ModelFiles;
using testing::ReferenceOptions;
using testing::RunOnes;

// Resident bytes of this process's mappings of a file.
std::size_t ResidentBytes(const std::filesystem::path& file) {
  std::ifstream maps("/proc/self/smaps");
  std::size_t bytes = 0;
  bool ours = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(file.filename().string()) != std::string::npos) ours = true;
    std::size_t kilobytes = 0;
    if (ours && std::sscanf(line.c_str(), "Rss: %zu kB", &kilobytes) == 1) {
      bytes += kilobytes * 1024;
      ours = false;
    }
  }
  return bytes;
}

struct Case {
  LoadMode mode;
  bool all_after_load;
  bool all_after_run;
  bool counts_when_idle;
};

TEST(Residency, FollowsTheMode) {
  ModelFiles files;
  const auto source = files.Write(LargeModelBytes(2, 8));
  const std::size_t size = std::filesystem::file_size(source.file);
  for (const Case& c : {Case{LoadMode::kEager, true, true, true}, Case{LoadMode::kMapped, false, true, true},
                        Case{LoadMode::kLazy, false, false, false}, Case{LoadMode::kStreaming, false, false, false}}) {
    auto options = ReferenceOptions(std::size_t{64} << 20, c.mode);
    options.model.block_weight_bytes = 1 << 20;
    ModelCache cache(options);
    const auto model = cache.Acquire(source).value();
    const int mode = static_cast<int>(c.mode);
    EXPECT_EQ(ResidentBytes(source.file) >= size, c.all_after_load) << mode << ": " << ResidentBytes(source.file);
    EXPECT_EQ(RunOnes(*model), 2);
    EXPECT_EQ(ResidentBytes(source.file) >= size, c.all_after_run) << mode << ": " << ResidentBytes(source.file);
    if (!c.all_after_run) {
      EXPECT_LE(ResidentBytes(source.file), 2 * kFolioBytesMax) << mode;  // the graph's pages
    }
    EXPECT_EQ(cache.stats().bytes - model->session_bytes() >= size, c.counts_when_idle) << mode;
    if (c.mode == LoadMode::kLazy) {
      const auto lease = model->Borrow().value();
      EXPECT_GE(cache.stats().bytes - model->session_bytes(), size);
    }
  }
}

// A model of twice its memory runs, and at no time are more than the blocks of its sessions resident.
TEST(Residency, AModelLargerThanItsMemoryStreams) {
  constexpr int kThreads = 2;
  ModelFiles files;
  const auto source = files.Write(LargeModelBytes(3, 32));
  const std::size_t size = std::filesystem::file_size(source.file);
  const std::size_t budget = size / 2;
  EXPECT_EQ(ModelCache(ReferenceOptions(budget)).Acquire(source).error().reason(), "CACHE_BUDGET");

  auto options = ReferenceOptions(budget, LoadMode::kStreaming);
  options.model.block_weight_bytes = 1 << 20;
  ModelCache cache(options);
  const auto model = cache.Acquire(source).value();
  std::atomic<int> wrong{0};
  std::atomic<int> running{kThreads};
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&] {
      for (int run = 0; run < 5; ++run) wrong += RunOnes(*model) == 3 ? 0 : 1;
      --running;
    });
  }
  std::size_t peak = 0;
  while (running > 0) peak = std::max(peak, ResidentBytes(source.file));
  threads.clear();
  EXPECT_EQ(wrong, 0);
  EXPECT_LT(peak, budget);
  EXPECT_LE(cache.stats().bytes_peak, budget);
}

// What a session says to a pager.
class Recorder final : public WeightPager {
 public:
  void WillRead(std::span<const ByteView> constants) override {
    EXPECT_TRUE(open_.empty());
    open_.assign(constants.begin(), constants.end());
  }
  void DidRead(std::span<const ByteView> constants) override {
    EXPECT_TRUE(std::ranges::equal(open_, constants, {}, &ByteView::data, &ByteView::data));
    std::size_t bytes = 0;
    for (const ByteView constant : std::exchange(open_, {})) bytes += constant.size();
    blocks.push_back(bytes);
  }
  std::vector<std::size_t> blocks;

 private:
  std::vector<ByteView> open_;
};

TEST(WeightPager, SeesBlocksOfBoundedSizeAtCompilationAndInEachRun) {
  constexpr std::size_t kLayer = testing::kWidth * testing::kWidth * sizeof(float);
  const auto graph = std::make_shared<const Graph>(*LoadEfm(testing::ModelBytes(2, 10)));
  const std::vector<std::pair<std::size_t, std::size_t>> cases = {{kLayer, 10}, {3 * kLayer, 4}, {1, 10}, {100 * kLayer, 1}};
  for (const auto& [block, partitions] : cases) {
    Recorder recorder;
    auto session = Session::Create(graph, {.delegate = "reference", .pager = &recorder, .block_weight_bytes = block});
    ASSERT_TRUE(session) << session.error().ToString();
    EXPECT_EQ((*session)->info().partitions, partitions);
    EXPECT_EQ(recorder.blocks.size(), partitions);
    EXPECT_EQ(RunOnes(**session), 2);
    ASSERT_EQ(recorder.blocks.size(), 2 * partitions);
    const std::size_t largest = *std::ranges::max_element(recorder.blocks);
    EXPECT_EQ((*session)->info().block_weight_bytes, largest);
    EXPECT_LE(largest, std::max(block, kLayer));
    EXPECT_EQ(std::accumulate(recorder.blocks.begin(), recorder.blocks.end(), std::size_t{0}), 2 * 10 * kLayer);
  }
}

// A lazy model's weights must fit while it runs, and need nothing while it does not.
TEST(Residency, LazyModelsShareTheBudgetInTurn) {
  ModelFiles files;
  const auto a = files.Write(LargeModelBytes(1, 1));
  const auto b = files.Write(LargeModelBytes(2, 1));
  const std::size_t size = std::filesystem::file_size(a.file);
  ModelCache cache(ReferenceOptions(size * 3 / 2, LoadMode::kLazy));
  const auto first = cache.Acquire(a).value();
  const auto second = cache.Acquire(b).value();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(RunOnes(*first), 1);
    EXPECT_EQ(RunOnes(*second), 2);
  }
  const auto lease = first->Borrow().value();
  EXPECT_EQ(second->Borrow().error().reason(), "CACHE_BUDGET");
  EXPECT_LE(cache.stats().bytes_peak, size * 3 / 2);
}

}  // namespace
}  // namespace edgefleet::runtime
