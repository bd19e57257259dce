// Brings one model of a device up to date: polls the signed manifest, fetches deltas or files, verifies, tests, swaps, rolls
// back. Until the swap, and after every error, the former version stays active.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/crypto/crypto.h"
#include "base/log.h"
#include "base/status.h"
#include "cdn_origin/manifest/manifest.h"
#include "device_client/update/http_fetcher.h"
#include "device_client/update/model_store.h"

namespace edgefleet::update {

struct UpdaterOptions {
  std::string model;
  std::string manifest_path;          // "fashion/stable.json"
  std::vector<std::string> variants;  // to install, e.g. {"int8"}; 1 to 16; all or nothing
  std::vector<crypto::Ed25519PublicKey> trusted_keys;
  std::uint64_t file_bytes_max = 1ULL << 30;   // larger targets are refused [TARGET_TOO_LARGE]
  std::uint64_t cache_bytes_max = 1ULL << 30;  // of the files that FetchTarget keeps
};

// Decides whether a fetched version works here, e.g. by loading it with every delegate in use and running sample inputs.
using SelfTest = std::function<Status(const InstalledVersion& candidate)>;

enum class UpdateOutcome {
  kUnchanged,   // nothing new, or only what was rejected before (`reason` VERSION_REJECTED)
  kInstalled,   // `to_version` is active
  kRolledBack,  // the new version failed its self-test, or RollBack() was asked: `from_version` was left again
  kFailed,      // see `reason`; the active version is the same as before
};
std::string_view UpdateOutcomeName(UpdateOutcome outcome);  // "INSTALLED" and so on

// What one Poll or RollBack did. Telemetry sends it as it is.
struct UpdateReport {
  std::string model;
  std::uint64_t from_version = 0;  // active before; 0: none
  std::uint64_t to_version = 0;    // what the manifest (or the roll-back) led to; 0: not known
  UpdateOutcome outcome = UpdateOutcome::kUnchanged;
  std::string reason;                   // stable; "" when unchanged or installed
  std::string message;                  // for people
  bool by_delta = false;                // every fetched file came as a delta
  std::uint64_t bytes_transferred = 0;  // bodies, manifest included
};

// A file fetched with FetchTarget.
struct FetchedTarget {
  InstalledVariant variant;  // `file` is complete and verified
  bool by_delta = false;
  std::uint64_t bytes_transferred = 0;  // 0: it was here
};

// Not thread-safe: one call at a time. What it is given outlives it; several updaters (one a model) may share a store.
class Updater {
 public:
  Updater(UpdaterOptions options, HttpFetcher& fetcher, ModelStore& store, const Clock& clock, Logger& logger,
          SelfTest self_test);

  // One update attempt, as far as it gets: a cut transfer is resumed at once while it makes progress, and by the next Poll
  // after that. Reasons of failure: those of http_fetcher.h, manifest.h and delta/decoder.h, and WRONG_MANIFEST (signed, but
  // for another alias or version), CHECKSUM_MISMATCH, SIZE_MISMATCH, CONTENT_CHANGED, BAD_RANGE, VARIANT_MISSING,
  // TARGET_TOO_LARGE, DISK_FULL; of a roll-back: SELF_TEST_FAILED, SELF_TEST_CRASHED. A delta that fails is followed by the
  // full file.
  UpdateReport Poll();

  // Goes back to the last good version; the one it leaves is not tried again until the manifest changes.
  UpdateReport RollBack();

  // One file of one version, for instance the training variant that a round starts from: from the installed versions or the
  // cache when it is there (no network), else fetched and verified like an update. `manifest_path` names that version's signed
  // manifest. FAILED_PRECONDITION [WRONG_VERSION] when the path is that of another version; otherwise the reasons of Poll.
  Result<FetchedTarget> FetchTarget(std::string_view manifest_path, std::uint64_t version, std::string_view variant);

 private:
  // What the files of one call cost.
  struct Traffic {
    std::uint64_t bytes = 0;
    int files = 0;
    int deltas = 0;
    bool by_delta() const { return files > 0 && deltas == files; }
  };
  Result<manifest::Manifest> FetchManifest(Traffic& traffic);
  Result<manifest::Manifest> FetchAndVerify(std::string_view path, std::string_view etag, Traffic& traffic);
  Result<manifest::Manifest> Verify(std::string_view path, ByteView envelope) const;
  Status Update(UpdateReport& report, Traffic& traffic);
  Status Install(const manifest::Manifest& manifest, UpdateReport& report, Traffic& traffic);
  bool IsInstalled(const manifest::Manifest& manifest) const;
  Result<std::vector<manifest::Target>> Wanted(const manifest::Manifest& manifest) const;
  Result<std::filesystem::path> ObtainAll(const std::string& scope, const std::vector<manifest::Target>& targets,
                                          Traffic& traffic);
  Status Obtain(const manifest::Target& target, const std::filesystem::path& pending, Traffic& traffic);
  Status ObtainByDelta(const manifest::Target& target, const manifest::Delta& delta, const std::filesystem::path& pending,
                       Traffic& traffic);
  const manifest::Delta* ChooseDelta(const manifest::Target& target) const;
  Status Test(const Trial& trial, UpdateReport& report);

  const UpdaterOptions options_;
  HttpFetcher& fetcher_;
  ModelStore& store_;
  const Clock& clock_;
  Logger& logger_;
  const SelfTest self_test_;
};

}  // namespace edgefleet::update
