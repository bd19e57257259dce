// What of a model is in memory in each mode, as /proc says.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/runtime/cache/models.h"

namespace edgefleet::runtime {
namespace {

using testing::ModelFiles;
using testing::ReferenceOptions;
using testing::RunOnes;

constexpr int kLayers = 256;  // of 4 KiB: 1 MiB of weights

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
  const auto source = files.Write(2, kLayers);
  const std::size_t size = std::filesystem::file_size(source.file);
  for (const Case& c : {Case{LoadMode::kEager, true, true, true}, Case{LoadMode::kMapped, false, true, true},
                        Case{LoadMode::kLazy, false, false, false}, Case{LoadMode::kStreaming, false, false, false}}) {
    ModelCache cache(ReferenceOptions(std::size_t{64} << 20, c.mode));
    const auto model = cache.Acquire(source).value();
    const int mode = static_cast<int>(c.mode);
    EXPECT_EQ(ResidentBytes(source.file) >= size, c.all_after_load) << mode << ": " << ResidentBytes(source.file);
    EXPECT_EQ(RunOnes(*model), 2);
    EXPECT_EQ(ResidentBytes(source.file) >= size, c.all_after_run) << mode << ": " << ResidentBytes(source.file);
    if (!c.all_after_run) {
      EXPECT_EQ(ResidentBytes(source.file), 0) << mode;
    }
    EXPECT_EQ(cache.stats().bytes - model->session_bytes() >= size, c.counts_when_idle) << mode;
    if (c.mode == LoadMode::kLazy) {
      const auto lease = model->Borrow().value();
      EXPECT_GE(cache.stats().bytes - model->session_bytes(), size);
    }
  }
}

// A lazy model's weights must fit while it runs, and need nothing while it does not.
TEST(Residency, LazyModelsShareTheBudgetInTurn) {
  ModelFiles files;
  const auto a = files.Write(1, kLayers);
  const auto b = files.Write(2, kLayers);
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
