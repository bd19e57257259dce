#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "cdn_origin/blobs/file_blob_store.h"
#include "cdn_origin/delta/decoder.h"
#include "cdn_origin/delta/delta_store.h"
#include "cdn_origin/delta/encoder.h"
#include "cdn_origin/manifest/manifest.h"
#include "cdn_origin/manifest/manifest_store.h"
#include "tests/support/temp_dir.h"

namespace edgefleet {
namespace {

namespace fs = std::filesystem;
using crypto::Sha256;

// Like int8 weights of two rounds: the same but for some values moved by one.
std::pair<Bytes, Bytes> Versions(std::size_t size, std::uint64_t moved_of_1000) {
  SeededRandom random(7);
  Bytes from(size);
  random.Fill(from);
  Bytes to = from;
  for (auto& value : to) {
    if (random.Below(1000) < moved_of_1000) value = static_cast<std::byte>(std::to_integer<int>(value) + 1);
  }
  return {from, to};
}

class DeltaTest : public ::testing::Test {
 protected:
  Bytes Patch(const Bytes& from, const Bytes& to) {
    const auto encoded = delta::Encode(from, to, dir_.path() / "patch");
    EXPECT_TRUE(encoded);
    Bytes patch = *ReadFile(dir_.path() / "patch", 1 << 30);
    EXPECT_EQ(encoded->size, patch.size());
    EXPECT_EQ(encoded->sha256, Sha256(patch));
    return patch;
  }
  std::string Apply(const Bytes& base, const Bytes& patch, const Bytes& expected) {
    const fs::path out = dir_.path() / "out";
    const Status status = delta::Apply(base, patch, {expected.size(), Sha256(expected)}, out);
    EXPECT_EQ(fs::exists(out), status.ok()) << "no file, or a whole one";
    if (status.ok()) {
      EXPECT_EQ(*ReadFile(out, 1 << 30), expected);
    }
    return status.reason();
  }

  test::TempDir dir_;
};

TEST_F(DeltaTest, RoundTripsOfManyShapes) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{1000}, std::size_t{300'000}, std::size_t{3'000'000}}) {
    const auto [from, to] = Versions(size, 10);
    EXPECT_EQ(Apply(from, Patch(from, to), to), "") << size;
  }
  const auto [from, to] = Versions(100'000, 10);
  const Bytes shorter(from.begin(), from.begin() + 50'000);
  EXPECT_EQ(Apply(shorter, Patch(shorter, to), to), "");
  EXPECT_EQ(Apply(to, Patch(to, shorter), shorter), "");
}

TEST_F(DeltaTest, SmallChangesMakeSmallPatches) {
  const auto [from, to] = Versions(2'000'000, 10);
  EXPECT_LT(Patch(from, to).size(), to.size() / 4);
  EXPECT_EQ(Patch(from, to), Patch(from, to)) << "the same inputs give the same patch";
}

TEST_F(DeltaTest, WrongBase) {
  const auto [from, to] = Versions(100'000, 10);
  const Bytes patch = Patch(from, to);
  Bytes other = from;
  for (std::size_t i = 0; i < other.size(); i += 100) other[i] ^= std::byte{1};
  EXPECT_THAT(Apply(other, patch, to), ::testing::AnyOf("BAD_PATCH", "WRONG_DELTA_RESULT"));
  EXPECT_THAT(Apply({}, patch, to), ::testing::AnyOf("BAD_PATCH", "WRONG_DELTA_RESULT"));
}

TEST_F(DeltaTest, EveryTruncationAndManyFlippedBitsAreRefused) {
  const auto [from, to] = Versions(20'000, 10);
  const Bytes patch = Patch(from, to);
  for (std::size_t size = 0; size < patch.size(); size += 7) {
    EXPECT_EQ(Apply(from, Bytes(patch.begin(), patch.begin() + static_cast<std::ptrdiff_t>(size)), to), "BAD_PATCH") << size;
  }
  SeededRandom random(3);
  for (int i = 0; i < 300; ++i) {
    Bytes flipped = patch;
    flipped[random.Below(patch.size())] ^= static_cast<std::byte>(1 << random.Below(8));
    // A flip that zstd does not see must be one that changes nothing (a reserved bit); Apply compares the bytes.
    EXPECT_THAT(Apply(from, flipped, to), ::testing::AnyOf("BAD_PATCH", "WRONG_DELTA_RESULT", ""));
  }
}

TEST_F(DeltaTest, NeverMoreThanTheExpectedSize) {
  const Bytes zeros(10'000'000);
  const auto [from, to] = Versions(1000, 10);
  const Bytes bomb = Patch(from, zeros);
  EXPECT_LT(bomb.size(), 10'000u);
  EXPECT_EQ(Apply(from, bomb, to), "BAD_PATCH");
  Bytes twice = Patch(from, to);
  twice.insert(twice.end(), twice.begin(), twice.end());
  EXPECT_EQ(Apply(from, twice, to), "BAD_PATCH") << "a second frame";
}

TEST_F(DeltaTest, AnHonestPatchOfAnotherFile) {
  const auto [from, to] = Versions(1000, 10);
  const auto other = Versions(1000, 500).second;
  EXPECT_EQ(Apply(from, Patch(from, other), to), "WRONG_DELTA_RESULT");
}

TEST_F(DeltaTest, BadInputs) {
  EXPECT_EQ(delta::Encode({}, AsBytes("x"), dir_.path() / "p").error().reason(), "BAD_DELTA_INPUT");
  EXPECT_EQ(delta::Encode(AsBytes("x"), {}, dir_.path() / "p").error().reason(), "BAD_DELTA_INPUT");
  EXPECT_FALSE(delta::Encode(AsBytes("x"), AsBytes("y"), dir_.path() / "no folder" / "p"));
}

TEST_F(DeltaTest, StoreMakesOnceAndKeeps) {
  auto blobs = *blobs::FileBlobStore::Open(dir_.path() / "blobs");
  const auto [from, to] = Versions(50'000, 10);
  for (const Bytes& blob : {from, to}) {
    auto writer = *blobs->Put(Sha256(blob), blob.size(), 0);
    ASSERT_TRUE(writer->Append(blob).ok());
    ASSERT_TRUE(writer->Finish()->complete);
  }
  auto store = *delta::DeltaStore::Open(dir_.path() / "deltas", *blobs);
  EXPECT_EQ(store->Open(Sha256(from), Sha256(to)).error().reason(), "DELTA_UNKNOWN");
  EXPECT_EQ(store->Make(Sha256(from), Sha256(AsBytes("?"))).error().reason(), "BLOB_UNKNOWN");
  const auto made = store->Make(Sha256(from), Sha256(to));
  ASSERT_TRUE(made) << made.error().ToString();
  store = *delta::DeltaStore::Open(dir_.path() / "deltas", *blobs);
  const auto found = store->Make(Sha256(from), Sha256(to));
  EXPECT_EQ(found->sha256, made->sha256);
  const auto file = store->Open(Sha256(from), Sha256(to));
  ASSERT_TRUE(file);
  Bytes patch(file->size());
  ASSERT_EQ(::pread(file->fd(), patch.data(), patch.size(), 0), static_cast<ssize_t>(patch.size()));
  EXPECT_EQ(Apply(from, patch, to), "");
}

TEST(ManifestStoreTest, SequenceOnlyGrows) {
  test::TempDir dir;
  auto store = *manifest::ManifestStore::Open(dir.path());
  const std::vector keys{*crypto::Ed25519SecretKey::FromSeed(Bytes(32))};
  const auto sign = [&](std::uint64_t sequence, std::uint64_t version) {
    const manifest::Target target{"int8", "int8", false, Sha256(AsBytes("x")), 1, {}};
    return *manifest::Sign({"m", version, "stable", sequence, 1, 2, {target}}, keys);
  };
  EXPECT_EQ(store->Get("m/stable.json").error().reason(), "MANIFEST_UNKNOWN");
  EXPECT_EQ(store->Put("../m", 1, sign(1, 1)).error().reason(), "BAD_PATH");
  EXPECT_EQ(store->Put("m/stable.json", 1, AsBytes("garbage")).error().reason(), "BAD_MANIFEST");
  EXPECT_EQ(store->Put("m/stable.json", 2, sign(1, 1)).error().reason(), "BAD_MANIFEST");
  const auto etag = store->Put("m/stable.json", 5, sign(5, 1));
  ASSERT_TRUE(etag);
  EXPECT_EQ(*store->Put("m/stable.json", 5, sign(5, 1)), *etag);
  EXPECT_EQ(store->Put("m/stable.json", 5, sign(5, 2)).error().reason(), "STALE_SEQUENCE");
  EXPECT_EQ(store->Put("m/stable.json", 4, sign(4, 2)).error().reason(), "STALE_SEQUENCE");
  EXPECT_EQ(store->Get("m/stable.json")->envelope, sign(5, 1));
  ASSERT_TRUE(store->Put("m/stable.json", 6, sign(6, 2)));
  ASSERT_TRUE(store->Put("m", 1, sign(1, 1)));
  ASSERT_TRUE(WriteFileAtomic(dir.path() / "m%stable.json%.tmp-1-1", AsBytes("left over")).ok());
  store = *manifest::ManifestStore::Open(dir.path());
  EXPECT_FALSE(fs::exists(dir.path() / "m%stable.json%.tmp-1-1"));
  EXPECT_EQ(store->Get("m/stable.json")->envelope, sign(6, 2));
  EXPECT_NE(store->Get("m/stable.json")->etag, *etag);
}

}  // namespace
}  // namespace edgefleet
