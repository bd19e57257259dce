// The updater against the real origin, over HTTP.
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/support/origin_in_process.h"
#include "tests/update/update_fixture.h"

namespace edgefleet::update {
namespace {

namespace fs = std::filesystem;

class UpdaterTest : public ::testing::Test {
 protected:
  manifest::Manifest ManifestOf(std::uint64_t version, std::uint64_t sequence) {
    const std::int64_t now = ToUnixMillis(device_.clock().Now());
    manifest::Manifest manifest{kModel, version, "stable", sequence, now, now + 3'600'000, {}};
    for (const char* variant : {"int8", "fp32"}) {
      manifest::Target target = TargetOf(version, variant);
      origin_.PutBlob(FileOf(version, variant));
      manifest.targets.push_back(std::move(target));
    }
    return manifest;
  }
  void AddDeltas(manifest::Manifest& manifest, std::uint64_t from_version) {
    for (auto& target : manifest.targets) {
      const auto from = TargetOf(from_version, target.name).sha256;
      const auto made = origin_.deltas->Make(from, target.sha256);
      ASSERT_TRUE(made);
      target.deltas.push_back({from, made->sha256, made->size});
    }
  }
  void Publish(const manifest::Manifest& manifest, const std::string& path = kPath) {
    const auto put = origin_.manifests->Put(path, manifest.sequence, Envelope(manifest));
    ASSERT_TRUE(put) << put.error().ToString();
  }
  void Publish(std::uint64_t version, std::uint64_t sequence, std::uint64_t delta_from = 0) {
    auto manifest = ManifestOf(version, sequence);
    if (delta_from > 0) AddDeltas(manifest, delta_from);
    Publish(manifest);
    manifest.alias.clear();
    manifest.sequence = 1;
    if (!origin_.manifests->Get(VersionPath(version))) Publish(manifest, VersionPath(version));
  }
  static std::string VersionPath(std::uint64_t version) { return "fashion/versions/" + std::to_string(version) + ".json"; }
  UpdateReport Poll() { return device_.Poll(origin_.url()); }

  test::OriginInProcess origin_;
  Device device_;
};

TEST_F(UpdaterTest, InstallsInFullThenByDeltaAndKeepsTheLastGood) {
  Publish(1, 1);
  auto report = Poll();
  EXPECT_EQ(report.outcome, UpdateOutcome::kInstalled) << report.reason << report.message;
  EXPECT_EQ(report.from_version, 0u);
  EXPECT_EQ(report.to_version, 1u);
  EXPECT_FALSE(report.by_delta);
  EXPECT_GT(report.bytes_transferred, FileOf(1).size());
  EXPECT_EQ(device_.ActiveVersion(), 1u);

  Publish(2, 2, 1);
  report = Poll();
  EXPECT_EQ(report.outcome, UpdateOutcome::kInstalled) << report.reason << report.message;
  EXPECT_TRUE(report.by_delta);
  EXPECT_LT(report.bytes_transferred, FileOf(2).size());
  EXPECT_EQ(device_.ActiveVersion(), 2u);
  EXPECT_EQ(device_.store().LastGood(kModel)->version, 1u);

  Publish(3, 3, 1);
  report = Poll();
  EXPECT_TRUE(report.by_delta) << "the last good version serves as base, too";
  EXPECT_EQ(device_.ActiveVersion(), 3u);
  EXPECT_EQ(device_.FileCount("files"), 2u) << "active and last good, nothing else";
  EXPECT_EQ(device_.FileCount("pending"), 0u);
}

TEST_F(UpdaterTest, UnchangedManifestCostsNothing) {
  Publish(1, 1);
  Poll();
  const auto report = Poll();
  EXPECT_EQ(report.outcome, UpdateOutcome::kUnchanged);
  EXPECT_EQ(report.reason, "");
  EXPECT_EQ(report.bytes_transferred, 0u) << "304";
}

TEST_F(UpdaterTest, WorksOfflineFromWhatIsOnDisk) {
  Publish(1, 1);
  Poll();
  origin_.server->Stop(std::chrono::milliseconds(0));
  device_.Restart();
  EXPECT_EQ(device_.ActiveVersion(), 1u);
  const auto report = Poll();
  EXPECT_EQ(report.outcome, UpdateOutcome::kFailed);
  EXPECT_EQ(report.reason, "ORIGIN_UNREACHABLE");
  EXPECT_EQ(device_.ActiveVersion(), 1u);
}

TEST_F(UpdaterTest, FailedSelfTestKeepsTheOldAndIsNotTriedAgainUntilTheManifestChanges) {
  Publish(1, 1);
  Poll();
  Publish(2, 2, 1);
  int tests = 0;
  device_.set_self_test([&](const InstalledVersion& candidate) -> Status {
    ++tests;
    EXPECT_EQ(*ReadFile(candidate.Find("int8")->file, 1 << 30), FileOf(2));
    return Internal("NAN", "outputs are not numbers");
  });
  auto report = Poll();
  EXPECT_EQ(report.outcome, UpdateOutcome::kRolledBack);
  EXPECT_EQ(report.reason, "SELF_TEST_FAILED");
  EXPECT_EQ(device_.ActiveVersion(), 1u);
  device_.Restart();
  report = Poll();
  EXPECT_EQ(report.outcome, UpdateOutcome::kUnchanged);
  EXPECT_EQ(report.reason, "VERSION_REJECTED");
  EXPECT_EQ(tests, 1);
  EXPECT_EQ(device_.FileCount("files"), 1u);

  device_.set_self_test([](const InstalledVersion&) { return OkStatus(); });
  Publish(2, 3, 1);
  EXPECT_EQ(Poll().outcome, UpdateOutcome::kInstalled);
  EXPECT_EQ(device_.ActiveVersion(), 2u);
}

TEST_F(UpdaterTest, RollsBackOnRequest) {
  EXPECT_EQ(device_.RollBack(origin_.url()).reason, "NO_LAST_GOOD");
  Publish(1, 1);
  Poll();
  Publish(2, 2, 1);
  Poll();
  const auto report = device_.RollBack(origin_.url());
  EXPECT_EQ(report.outcome, UpdateOutcome::kRolledBack);
  EXPECT_EQ(report.from_version, 2u);
  EXPECT_EQ(report.to_version, 1u);
  EXPECT_EQ(device_.ActiveVersion(), 1u);
  EXPECT_EQ(Poll().reason, "VERSION_REJECTED");
  Publish(3, 3, 1);
  EXPECT_EQ(Poll().outcome, UpdateOutcome::kInstalled);
  EXPECT_EQ(device_.RollBack(origin_.url()).to_version, 1u);
}

TEST_F(UpdaterTest, TheOperatorMayPointBackToAnOlderVersion) {
  Publish(1, 1);
  Poll();
  Publish(2, 2, 1);
  Poll();
  Publish(1, 3);
  const auto report = Poll();
  EXPECT_EQ(report.outcome, UpdateOutcome::kInstalled);
  EXPECT_EQ(device_.ActiveVersion(), 1u);
  EXPECT_LT(report.bytes_transferred, 5000u) << "its file was still here";
}

TEST_F(UpdaterTest, ExpiredManifestAlsoWhenUnchanged) {
  Publish(1, 1);
  Poll();
  device_.clock().Advance(Millis(3'600'000));
  EXPECT_EQ(Poll().reason, "MANIFEST_EXPIRED");
  EXPECT_EQ(device_.ActiveVersion(), 1u);
  Publish(1, 2);
  EXPECT_EQ(Poll().outcome, UpdateOutcome::kUnchanged);
}

TEST_F(UpdaterTest, SeveralVariantsAllOrNothing) {
  Device both({"int8", "fp32"});
  Publish(1, 1);
  EXPECT_EQ(both.Poll(origin_.url()).outcome, UpdateOutcome::kInstalled);
  EXPECT_EQ(both.store().Active(kModel)->variants.size(), 2u);
  EXPECT_EQ(both.ActiveVersion(), 1u);
  auto manifest = ManifestOf(2, 2);
  manifest.targets.pop_back();
  Publish(manifest);
  EXPECT_EQ(both.Poll(origin_.url()).reason, "VARIANT_MISSING");
  EXPECT_EQ(both.ActiveVersion(), 1u);
}

TEST_F(UpdaterTest, FetchTargetCachesWithinItsBound) {
  Publish(1, 1);
  Poll();
  auto fetched = device_.Fetch(origin_.url(), 1, "fp32");
  ASSERT_TRUE(fetched) << fetched.error().ToString();
  EXPECT_EQ(*ReadFile(fetched->variant.file, 1 << 30), FileOf(1, "fp32"));
  EXPECT_TRUE(fetched->variant.trainable);
  EXPECT_GT(fetched->bytes_transferred, 40'000u);
  device_.Restart();
  EXPECT_EQ(device_.Fetch(origin_.url(), 1, "fp32")->bytes_transferred, 0u);
  EXPECT_EQ(device_.Fetch(origin_.url(), 1, "int8")->bytes_transferred, 0u) << "installed";

  Publish(2, 2, 1);
  fetched = device_.Fetch(origin_.url(), 2, "fp32");
  ASSERT_TRUE(fetched) << fetched.error().ToString();
  EXPECT_TRUE(fetched->by_delta) << "from the cached one";
  EXPECT_EQ(*ReadFile(fetched->variant.file, 1 << 30), FileOf(2, "fp32"));
  EXPECT_EQ(device_.FileCount("files"), 3u);

  device_.set_cache_bytes_max(90'000);
  Publish(3, 3);
  ASSERT_TRUE(device_.Fetch(origin_.url(), 3, "fp32"));
  EXPECT_EQ(device_.FileCount("files"), 3u) << "version 1's went";
  device_.set_cache_bytes_max(100);
  Publish(4, 4);
  EXPECT_EQ(device_.Fetch(origin_.url(), 4, "fp32").error().reason(), "CACHE_TOO_SMALL");
  EXPECT_EQ(device_.ActiveVersion(), 1u);
}

TEST_F(UpdaterTest, FetchTargetRefusesTheWrongVersionOrVariant) {
  Publish(1, 1);
  auto manifest = ManifestOf(2, 1);
  Publish(manifest, VersionPath(3));
  EXPECT_EQ(device_.Fetch(origin_.url(), 3, "int8").error().reason(), "WRONG_MANIFEST");
  EXPECT_EQ(device_.Fetch(origin_.url(), 1, "bf16").error().reason(), "VARIANT_MISSING");
  EXPECT_EQ(device_.Fetch(origin_.url(), 9, "int8").error().reason(), "FILE_UNKNOWN");
}

TEST_F(UpdaterTest, AProcessThatDiesInTheSelfTestGivesUpOnTheVersion) {
  Publish(1, 1);
  Poll();
  Publish(2, 2, 1);
  const auto url = origin_.url();
  for (std::uint64_t started = 1; started <= 2; ++started) {
    // What is on disk when a process ends in the middle of the self-test: a staged trial.
    const fs::path pending = *device_.store().PreparePending(kModel, {HexEncode(TargetOf(2).sha256)});
    if (started == 1) {
      ASSERT_TRUE(WriteFileAtomic(pending / HexEncode(TargetOf(2).sha256), FileOf(2)).ok());
    }
    const auto trial =
        device_.store().Stage({kModel, 2, {{"int8", "int8", false, TargetOf(2).sha256, 40'000, {}}}}, 2, pending);
    ASSERT_TRUE(trial);
    EXPECT_EQ(trial->starts, started);
    device_.Restart();
    EXPECT_EQ(device_.ActiveVersion(), 1u);
  }
  const auto report = Poll();
  EXPECT_EQ(report.outcome, UpdateOutcome::kRolledBack);
  EXPECT_EQ(report.reason, "SELF_TEST_CRASHED");
  EXPECT_EQ(Poll().reason, "VERSION_REJECTED");
  EXPECT_EQ(device_.ActiveVersion(), 1u);
}

TEST_F(UpdaterTest, AKilledSelfTestIsTriedOnceMore) {
  Publish(1, 1);
  Poll();
  Publish(2, 2, 1);
  const fs::path pending = *device_.store().PreparePending(kModel, {HexEncode(TargetOf(2).sha256)});
  ASSERT_TRUE(WriteFileAtomic(pending / HexEncode(TargetOf(2).sha256), FileOf(2)).ok());
  ASSERT_TRUE(device_.store().Stage({kModel, 2, {{"int8", "int8", false, TargetOf(2).sha256, 40'000, {}}}}, 2, pending));
  device_.Restart();
  EXPECT_EQ(Poll().outcome, UpdateOutcome::kInstalled);
  EXPECT_EQ(device_.ActiveVersion(), 2u);
}

// Cuts the power, so to speak, after each of an update's changes to the state folder, by keeping a copy of the folder as it
// was.
TEST_F(UpdaterTest, EveryMomentOfAnUpdateIsAWholeState) {
  Publish(1, 1);
  Poll();
  Publish(2, 2, 1);
  test::TempDir copies;
  int count = 0;
  const auto snapshot = [&] { fs::copy(device_.dir(), copies.path() / std::to_string(count++), fs::copy_options::recursive); };
  snapshot();
  device_.set_self_test([&](const InstalledVersion&) {
    snapshot();
    return OkStatus();
  });
  Poll();
  snapshot();
  for (int i = 0; i < count; ++i) {
    for (const char* lost : {"", "files", "pending", "manifests"}) {
      const fs::path dir = copies.path() / (std::to_string(i) + "-" + lost);
      fs::copy(copies.path() / std::to_string(i), dir, fs::copy_options::recursive);
      if (*lost != 0) fs::remove_all(dir / lost);
      std::ofstream(dir / "state.json.tmp-1-1") << "{half";
      auto store = ModelStore::Open(dir);
      ASSERT_TRUE(store) << i << lost << store.error().ToString();
      const auto active = (*store)->Active(kModel);
      if (std::string(lost) == "files") {
        EXPECT_FALSE(active);
      } else {
        ASSERT_TRUE(active) << i << lost;
        EXPECT_EQ(active->version, i == count - 1 ? 2u : 1u);
        EXPECT_EQ(*ReadFile(active->variants[0].file, 1 << 30), FileOf(active->version));
      }
      EXPECT_FALSE(fs::exists(dir / "state.json.tmp-1-1"));
    }
  }
}

TEST_F(UpdaterTest, DamagedStateIsAClearError) {
  Publish(1, 1);
  Poll();
  const fs::path copy = device_.dir() / "copy";
  fs::create_directories(copy);
  const auto reason = [&](const std::string& text) {
    std::ofstream(copy / "state.json", std::ios::trunc) << text;
    const auto store = ModelStore::Open(copy);
    return store ? "" : store.error().reason();
  };
  const std::string good = ToString(*ReadFile(device_.dir() / "state.json", 1 << 20));
  EXPECT_EQ(reason(good), "");
  for (std::size_t size = 0; size + 1 < good.size(); size += 13) EXPECT_EQ(reason(good.substr(0, size)), "BAD_STATE") << size;
  EXPECT_EQ(reason("{\"format\": 2}"), "STATE_TOO_NEW");
  EXPECT_EQ(reason("{\"format\": 1, \"models\": 7, \"manifests\": {}, \"cache\": []}"), "BAD_STATE");
  EXPECT_EQ(ModelStore::Open(device_.dir()).error().reason(), "STATE_DIR_IN_USE");
}

// Kills its own process at the n-th thing that arrives.
class KillingFetcher final : public HttpFetcher {
 public:
  KillingFetcher(HttpFetcher& inner, int events_left) : inner_(inner), events_left_(events_left) {}
  Status Fetch(const FetchRequest& request, FetchSink& sink) override {
    Sink killing(*this, sink);
    return inner_.Fetch(request, killing);
  }

 private:
  struct Sink final : FetchSink {
    Sink(KillingFetcher& owner, FetchSink& inner) : owner_(owner), inner_(inner) {}
    Status OnHead(const FetchHead& head) override { return owner_.Event(), inner_.OnHead(head); }
    Status OnBody(ByteView bytes) override {
      for (; !bytes.empty(); bytes = bytes.subspan(std::min<std::size_t>(bytes.size(), 5000))) {
        owner_.Event();
        EF_RETURN_IF_ERROR(inner_.OnBody(bytes.first(std::min<std::size_t>(bytes.size(), 5000))));
      }
      return OkStatus();
    }
    KillingFetcher& owner_;
    FetchSink& inner_;
  };
  void Event() {
    if (events_left_-- == 0) ::kill(::getpid(), SIGKILL);
  }

  HttpFetcher& inner_;
  int events_left_;
};

// A device process is killed at each thing that arrives during its update; the state is whole each time, and the update ends.
TEST_F(UpdaterTest, SurvivesKillsAnywhere) {
  Publish(1, 1);
  Poll();
  Publish(2, 2);
  const std::string url = origin_.url();
  device_.Close();
  int kills = 0;
  for (int event = 0;; event = event % 3 + 1) {
    const pid_t child = ::fork();
    if (child == 0) {
      device_.Restart();
      const auto inner = MakeCurlFetcher({.base_url = url});
      KillingFetcher killing(**inner, event);
      const auto report = device_.PollWith(killing);
      ::_exit(report.outcome == UpdateOutcome::kInstalled ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_NO_FATAL_FAILURE(device_.Restart());
    const std::uint64_t active = device_.ActiveVersion();
    device_.Close();
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      EXPECT_EQ(active, 2u);
      break;
    }
    ASSERT_LT(++kills, 100);
    EXPECT_EQ(active, 1u);
  }
  EXPECT_GT(kills, 5);
}

}  // namespace
}  // namespace edgefleet::update
