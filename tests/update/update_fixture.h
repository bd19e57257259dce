// Versions of a model that an origin holds, and a device that follows them.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "cdn_origin/manifest/manifest.h"
#include "device_client/update/curl_fetcher.h"
#include "device_client/update/updater.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::update {

inline constexpr char kModel[] = "fashion";
inline constexpr char kPath[] = "fashion/stable.json";

inline crypto::Ed25519SecretKey SigningKey(int seed = 1) {
  return *crypto::Ed25519SecretKey::FromSeed(Bytes(32, static_cast<std::byte>(seed)));
}

// The file of one variant of one version: half of it differs from version to version.
inline Bytes FileOf(std::uint64_t version, const std::string& variant = "int8", std::size_t size = 40'000) {
  const auto seed = static_cast<std::uint64_t>(variant.front());
  SeededRandom common(seed);
  SeededRandom own(version * 1000 + seed);
  Bytes bytes(size);
  common.Fill(bytes);
  own.Fill(std::span(bytes).first(size / 2));
  return bytes;
}

inline manifest::Target TargetOf(std::uint64_t version, const std::string& variant = "int8") {
  const Bytes file = FileOf(version, variant);
  return {variant, variant, variant == "fp32", crypto::Sha256(file), file.size(), {}};
}

inline Bytes Envelope(const manifest::Manifest& manifest, int key = 1) {
  const std::vector keys{SigningKey(key)};
  return *manifest::Sign(manifest, keys);
}

// A device: a state folder, a clock and what its self-test says.
class Device {
 public:
  explicit Device(std::vector<std::string> variants = {"int8"}) : variants_(std::move(variants)) { Restart(); }

  // As after the end of the process.
  void Restart() {
    store_.reset();
    auto opened = ModelStore::Open(dir_.path());
    ASSERT_TRUE(opened) << opened.error().ToString();
    store_ = std::move(*opened);
  }
  // Until Restart().
  void Close() { store_.reset(); }
  UpdateReport Poll(const std::string& url) { return PollWith(*Fetcher(url)); }
  UpdateReport PollWith(HttpFetcher& fetcher) { return Make(fetcher).Poll(); }
  UpdateReport RollBack(const std::string& url) {
    const auto fetcher = Fetcher(url);
    return Make(*fetcher).RollBack();
  }
  Result<FetchedTarget> Fetch(const std::string& url, std::uint64_t version, const std::string& variant) {
    const auto fetcher = Fetcher(url);
    return Make(*fetcher).FetchTarget("fashion/versions/" + std::to_string(version) + ".json", version, variant);
  }
  // 0: none. Also checks that its files hold what they should.
  std::uint64_t ActiveVersion() const {
    const auto active = store_->Active(kModel);
    if (!active) return 0;
    for (const auto& variant : active->variants) {
      EXPECT_EQ(*ReadFile(variant.file, 1 << 30), FileOf(active->version, variant.name));
    }
    return active->version;
  }
  std::size_t FileCount(const std::string& folder) const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path() / folder))
      count += entry.is_regular_file();
    return count;
  }

  ModelStore& store() { return *store_; }
  const std::filesystem::path& dir() const { return dir_.path(); }
  FakeClock& clock() { return clock_; }
  void set_self_test(SelfTest test) { self_test_ = std::move(test); }
  void set_cache_bytes_max(std::uint64_t bytes) { cache_bytes_max_ = bytes; }

 private:
  static std::unique_ptr<HttpFetcher> Fetcher(const std::string& url) { return *MakeCurlFetcher({.base_url = url}); }
  Updater Make(HttpFetcher& fetcher) {
    UpdaterOptions options;
    options.model = kModel;
    options.manifest_path = kPath;
    options.variants = variants_;
    options.trusted_keys = {SigningKey().public_key()};
    options.file_bytes_max = 10'000'000;
    options.cache_bytes_max = cache_bytes_max_;
    return Updater(options, fetcher, *store_, clock_, logger_, self_test_);
  }

  test::TempDir dir_;
  FakeClock clock_;
  NullLogger logger_;
  const std::vector<std::string> variants_;
  std::uint64_t cache_bytes_max_ = 1'000'000;
  SelfTest self_test_ = [](const InstalledVersion&) { return OkStatus(); };
  std::unique_ptr<ModelStore> store_;
};

}  // namespace edgefleet::update
