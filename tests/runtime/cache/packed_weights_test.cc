#include "device_client/runtime/cache/packed_weights.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/random.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kBytesMax = 1 << 20;

PackedKey Key(const std::string& part = "fc1") { return {{}, "onednn", "2.6.3/1", "avx512_vnni", part}; }

Bytes Random(std::size_t size, std::uint64_t seed = 1) {
  Bytes bytes(size);
  SeededRandom random(seed);
  random.Fill(bytes);
  return bytes;
}

std::unique_ptr<PackedWeightsCache> Open(const fs::path& folder, std::uint64_t bytes_max = kBytesMax) {
  auto cache = PackedWeightsCache::Open(folder, bytes_max);
  EXPECT_TRUE(cache) << cache.error().ToString();
  return *std::move(cache);
}

bool Holds(const std::shared_ptr<const PackedWeights>& packed, const Bytes& bytes) {
  return packed && std::ranges::equal(packed->bytes(), bytes);
}

fs::path OnlyFile(const fs::path& folder) {
  EXPECT_EQ(std::distance(fs::directory_iterator(folder), {}), 1);
  return fs::directory_iterator(folder)->path();
}

TEST(PackedWeights, AreFoundAgainAlsoByALaterProcess) {
  const test::TempDir dir;
  const Bytes packed = Random(10'000);
  {
    const auto cache = Open(dir.path());
    EXPECT_EQ(cache->Find(Key()), nullptr);
    const auto stored = cache->Store(Key(), packed);
    ASSERT_TRUE(stored) << stored.error().ToString();
    EXPECT_TRUE(Holds(*stored, packed));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>((*stored)->bytes().data()) % 64, 0);
    EXPECT_EQ(cache->Find(Key()), *stored);  // one mapping for all
  }
  const auto cache = Open(dir.path());
  const auto found = cache->Find(Key());
  EXPECT_TRUE(Holds(found, packed));
  ASSERT_TRUE(cache->Store(Key(), Random(50, 2)));
  EXPECT_TRUE(Holds(found, packed));  // who has it mapped keeps it
  EXPECT_TRUE(Holds(cache->Find(Key()), Random(50, 2)));
  EXPECT_EQ(cache->bytes(), fs::file_size(OnlyFile(dir.path())));
}

TEST(PackedWeights, EveryFieldOfTheKeyCounts) {
  const test::TempDir dir;
  const auto cache = Open(dir.path());
  ASSERT_TRUE(cache->Store(Key(), Random(10)));
  std::vector<PackedKey> others(5, Key());
  others[0].model[31] = std::byte{1};
  others[1].delegate = "other";
  others[2].delegate_version = "2.6.3/2";
  others[3].cpu = "avx2";
  others[4].part = "fc2";
  for (const PackedKey& other : others) EXPECT_EQ(cache->Find(other), nullptr);
  PackedKey shifted = Key();  // the same characters, cut differently
  shifted.delegate += "2";
  shifted.delegate_version = shifted.delegate_version.substr(1);
  EXPECT_EQ(cache->Find(shifted), nullptr);
}

TEST(PackedWeights, DamagedEntriesAreDiscardedAndRebuilt) {
  const Bytes packed = Random(1000);
  const auto flip = [](std::size_t at) {
    return [at](const fs::path& file) {
      std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
      stream.seekg(static_cast<std::streamoff>(at));
      const char byte = static_cast<char>(stream.get() ^ 1);
      stream.seekp(static_cast<std::streamoff>(at));
      stream.put(byte);
    };
  };
  const auto resize = [](std::int64_t by) {
    return [by](const fs::path& file) {
      fs::resize_file(file, by == 0 ? 0 : static_cast<std::uintmax_t>(static_cast<std::int64_t>(fs::file_size(file)) + by));
    };
  };
  const auto foreign = [](const fs::path& file) { std::ofstream(file, std::ios::trunc) << "something else altogether"; };
  const std::vector<std::pair<std::string, std::function<void(const fs::path&)>>> faults = {
      {"magic", flip(0)},        {"version", flip(4)}, {"key size", flip(8)}, {"packed size", flip(16)}, {"checksum", flip(24)},
      {"reserved", flip(60)},    {"key", flip(70)},    {"packed", flip(900)}, {"cut", resize(-1)},       {"longer", resize(1)},
      {"cut far", resize(-900)}, {"empty", resize(0)}, {"foreign", foreign}};
  for (const auto& [what, fault] : faults) {
    const test::TempDir dir;
    ASSERT_TRUE(Open(dir.path())->Store(Key(), packed));
    fault(OnlyFile(dir.path()));
    const auto cache = Open(dir.path());
    EXPECT_EQ(cache->Find(Key()), nullptr) << what;
    EXPECT_EQ(cache->bytes(), 0) << what;
    EXPECT_TRUE(fs::is_empty(dir.path())) << what;
    ASSERT_TRUE(cache->Store(Key(), packed)) << what;
    EXPECT_TRUE(Holds(Open(dir.path())->Find(Key()), packed)) << what;
  }
}

TEST(PackedWeights, StayBelowTheirLimitTheLongestUnusedGoFirst) {
  const test::TempDir dir;
  const auto cache = Open(dir.path(), 3 * 4096);
  const Bytes packed = Random(3500);
  for (const char* part : {"a", "b", "c"}) ASSERT_TRUE(cache->Store(Key(part), packed));
  ASSERT_TRUE(cache->Find(Key("a")));
  ASSERT_TRUE(cache->Store(Key("d"), packed));
  EXPECT_EQ(cache->Find(Key("b")), nullptr);
  EXPECT_TRUE(cache->Find(Key("a")));
  EXPECT_LE(cache->bytes(), 3 * 4096U);
  const auto refused = cache->Store(Key("e"), Random(3 * 4096));
  EXPECT_EQ(refused.error().reason(), "PACKED_TOO_LARGE");
  EXPECT_TRUE(cache->Find(Key("a")));  // and nothing was removed for it
  EXPECT_LE(Open(dir.path(), 4096)->bytes(), 4096U);
}

TEST(PackedWeights, LeftOversGoAndOtherFilesStay) {
  const test::TempDir dir;
  std::ofstream(dir.path() / (std::string(64, 'a') + ".tmp")) << "half";
  std::ofstream(dir.path() / "notes.txt") << "mine";
  const auto cache = Open(dir.path());
  EXPECT_EQ(OnlyFile(dir.path()).filename(), "notes.txt");
  EXPECT_EQ(cache->bytes(), 0);
  EXPECT_EQ(PackedWeightsCache::Open(dir.path() / "notes.txt", kBytesMax).error().reason(), "FILE_IO");
}

}  // namespace
}  // namespace edgefleet::runtime
