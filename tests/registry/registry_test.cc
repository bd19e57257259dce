// The registry's domain on SQLite and files, with an origin in memory and a compiler that needs no network.
#include "registry/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>
#include <thread>

#include "registry/limits.h"
#include "registry/store/stores.h"
#include "tests/registry/fakes.h"

namespace edgefleet::registry {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class RegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "registry-XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    Start();
  }
  void TearDown() override {
    Kill();
    std::filesystem::remove_all(folder_);
  }
  void Start() {
    auto store = OpenSqliteStore(folder_ / "registry.db");
    ASSERT_TRUE(store) << store.error().ToString();
    store_ = std::move(*store);
    artifacts_ = std::move(*ArtifactStore::Open(folder_));
    RegistryOptions options{.upload_sessions_max = 8, .upload_session_lifetime_ms = 3'600'000, .manifest_lifetime_ms = 10'000};
    options.backoff = {std::chrono::milliseconds(1), std::chrono::milliseconds(5)};
    registry_ = std::make_unique<Registry>(
        RegistryDependencies{*store_, *artifacts_, distribution_, toolchain_, clock_, logger_, metrics_}, options);
    const Status started = registry_->Start();
    ASSERT_TRUE(started.ok()) << started.ToString();
  }
  // Compiles that were told to stop end as if the process had: nothing is written after this.
  void Kill() {
    compiler_.OpenGate();
    registry_.reset();
    artifacts_.reset();
    store_.reset();
  }

  static ArtifactSpec Spec(ArtifactKind kind, const std::string& content) {
    return {kind, content.size(), crypto::Sha256(AsBytes(content))};
  }
  static PublishRequest RequestFor(const std::string& onnx, const std::string& evaluation = "") {
    PublishRequest request{.model = "fashion", .artifacts = {Spec(ArtifactKind::kOnnx, onnx)}, .tags = {{"team", "vision"}}};
    if (!evaluation.empty()) request.artifacts.push_back(Spec(ArtifactKind::kEvaluation, evaluation));
    return request;
  }
  Status Upload(const std::string& upload_id, ArtifactKind kind, const std::string& content) {
    EF_ASSIGN_OR_RETURN(const ArtifactSpec spec, registry_->FindArtifact(upload_id, kind));
    if (!artifacts_->Has(spec.sha256)) EF_RETURN_IF_ERROR(registry_->Append(upload_id, spec, 0, AsBytes(content)));
    auto state = registry_->CompleteArtifact(upload_id, spec);
    return state ? OkStatus() : state.error();
  }
  std::string Id() { return "request-" + std::to_string(++counter_); }
  VersionKey Publish(const std::string& onnx, const std::string& evaluation = "") {
    const auto session = registry_->BeginPublish(Id(), RequestFor(onnx, evaluation));
    EXPECT_TRUE(session) << session.error().ToString();
    EXPECT_TRUE(Upload(session->upload_id, ArtifactKind::kOnnx, onnx).ok());
    if (!evaluation.empty()) {
      EXPECT_TRUE(Upload(session->upload_id, ArtifactKind::kEvaluation, evaluation).ok());
    }
    const auto version = registry_->CommitPublish(Id(), session->upload_id);
    EXPECT_TRUE(version) << version.error().ToString();
    return version->key;
  }
  Version Await(const VersionKey& key) {
    struct Shared {
      std::mutex mutex;
      std::condition_variable changed;
      std::optional<Version> last;
      std::vector<std::string> stages;
    };
    auto shared = std::make_shared<Shared>();
    EXPECT_TRUE(registry_
                    ->Watch({key.model, key.version, ""},
                            [shared](const Version& version) {
                              std::lock_guard lock(shared->mutex);
                              if (version.state != VersionState::kCompiling) shared->last = version;
                              shared->changed.notify_all();
                              return true;
                            })
                    .ok());
    std::unique_lock lock(shared->mutex);
    shared->changed.wait(lock, [&] { return shared->last.has_value(); });
    return *shared->last;
  }
  Version PublishReady(const std::string& onnx, const std::string& evaluation = "") {
    const Version version = Await(Publish(onnx, evaluation));
    EXPECT_EQ(version.state, VersionState::kReady) << version.refusal;
    return version;
  }
  CommitParametersRequest Trained(const std::string& id, std::vector<float> values) {
    return {.request_id = id,
            .parameters = {{"fashion", 1}, FakeToolchain::Layout(), std::move(values)},
            .lineage = {.parent_version = 1, .task_id = "task", .round_id = "round", .round_number = 3, .participants = 18},
            .tags = {}};
  }

  std::filesystem::path folder_;
  FakeDistribution distribution_;
  FakeToolchain compiler_;
  Toolchain toolchain_ = compiler_.Make();
  FakeClock clock_;
  NullLogger logger_;
  NullMetrics metrics_;
  std::unique_ptr<MetadataStore> store_;
  std::unique_ptr<ArtifactStore> artifacts_;
  std::unique_ptr<Registry> registry_;
  int counter_ = 0;
};

TEST_F(RegistryTest, PublishedNetworkBecomesReadyAndIsDistributed) {
  const Version version = PublishReady("net", "data");
  EXPECT_EQ(version.key.version, 1u);
  ASSERT_EQ(version.variants.size(), 2u);
  EXPECT_EQ(version.variants[0].metrics->accuracy, 0.9);
  EXPECT_EQ(version.parameter_count, 3u);
  EXPECT_EQ(version.tags.at("team"), "vision");
  EXPECT_EQ(*registry_->GetReport({"fashion", 1, ""}), "{\"network\": \"net\"}");
  const auto release = distribution_.Find("fashion/versions/1.json");
  ASSERT_TRUE(release);
  EXPECT_EQ(release->sequence, 1u);
  EXPECT_EQ(release->targets.size(), 2u);
}

TEST_F(RegistryTest, BadPublishesAreRefusedBeforeAnythingIsKept) {
  auto reason = [&](PublishRequest request) { return registry_->BeginPublish(Id(), std::move(request)).error().reason(); };
  PublishRequest request = RequestFor("net");
  request.model = "Fashion!";
  EXPECT_EQ(reason(request), "BAD_NAME");
  request = RequestFor("net");
  request.artifacts[0].size = kOnnxBytesMax + 1;
  EXPECT_EQ(reason(request), "TOO_LARGE");
  request.artifacts[0].size = 0;
  EXPECT_EQ(reason(request), "BAD_ARTIFACTS");
  request = RequestFor("net");
  request.artifacts.push_back(request.artifacts[0]);
  EXPECT_EQ(reason(request), "BAD_ARTIFACTS");
  request = RequestFor("net");
  request.artifacts[0].kind = ArtifactKind::kEvaluation;
  EXPECT_EQ(reason(request), "BAD_ARTIFACTS");
  request = RequestFor("net");
  request.options.accuracy_drop_points_max = std::nan("");
  EXPECT_EQ(reason(request), "BAD_OPTIONS");
  request = RequestFor("net");
  for (int i = 0; i < 40; ++i) request.tags["t" + std::to_string(i)] = "";
  EXPECT_EQ(reason(request), "BAD_TAGS");
  EXPECT_EQ(registry_->BeginPublish("no spaces", RequestFor("net")).error().reason(), "BAD_REQUEST_ID");
  EXPECT_THAT(registry_->ListModels(0, "")->items, IsEmpty());
}

TEST_F(RegistryTest, UploadGoesOnAfterACutAndARestart) {
  const std::string onnx = "a network of some length";
  const auto session = registry_->BeginPublish("begin", RequestFor(onnx));
  const ArtifactSpec spec = *registry_->FindArtifact(session->upload_id, ArtifactKind::kOnnx);
  ASSERT_TRUE(registry_->Append(session->upload_id, spec, 0, AsBytes(onnx.substr(0, 10))).ok());
  EXPECT_EQ(registry_->CommitPublish("commit", session->upload_id).error().reason(), "UPLOAD_INCOMPLETE");
  Kill();
  Start();
  const auto again = registry_->BeginPublish("begin", RequestFor(onnx));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->upload_id, session->upload_id);
  EXPECT_EQ(again->artifacts.at(0).received, 10u);
  EXPECT_FALSE(again->artifacts.at(0).complete);
  EXPECT_EQ(registry_->Append(session->upload_id, spec, 5, AsBytes("x")).reason(), "BAD_OFFSET");
  ASSERT_TRUE(registry_->Append(session->upload_id, spec, 10, AsBytes(onnx.substr(10))).ok());
  EXPECT_TRUE(registry_->CompleteArtifact(session->upload_id, spec)->complete);
  const auto version = registry_->CommitPublish("commit", session->upload_id);
  ASSERT_TRUE(version) << version.error().ToString();
  EXPECT_EQ(Await(version->key).state, VersionState::kReady);
}

TEST_F(RegistryTest, WrongContentIsDroppedAndCanBeSentAgain) {
  const auto session = registry_->BeginPublish(Id(), RequestFor("right"));
  EXPECT_EQ(Upload(session->upload_id, ArtifactKind::kOnnx, "wrong").reason(), "CHECKSUM_MISMATCH");
  EXPECT_EQ(registry_->GetSession(session->upload_id)->artifacts.at(0).received, 0u);
  const ArtifactSpec spec = *registry_->FindArtifact(session->upload_id, ArtifactKind::kOnnx);
  EXPECT_EQ(registry_->Append(session->upload_id, spec, 0, AsBytes("longer than announced")).reason(), "TOO_LARGE");
  EXPECT_EQ(registry_->Append(session->upload_id, spec, 0, Bytes(kChunkBytesMax + 1)).reason(), "TOO_LARGE");
  EXPECT_TRUE(Upload(session->upload_id, ArtifactKind::kOnnx, "right").ok());
  EXPECT_EQ(registry_->FindArtifact(session->upload_id, ArtifactKind::kCalibration).error().reason(), "UPLOAD_UNKNOWN");
  EXPECT_EQ(registry_->FindArtifact("unknown", ArtifactKind::kOnnx).error().reason(), "UPLOAD_UNKNOWN");
  EXPECT_EQ(registry_->GetSession("../../etc").error().reason(), "UPLOAD_UNKNOWN");
}

TEST_F(RegistryTest, SecondCommitGivesTheSameVersion) {
  const auto session = registry_->BeginPublish(Id(), RequestFor("net"));
  ASSERT_TRUE(Upload(session->upload_id, ArtifactKind::kOnnx, "net").ok());
  EXPECT_EQ(registry_->CommitPublish("c1", session->upload_id)->key.version, 1u);
  EXPECT_EQ(registry_->CommitPublish("c1", session->upload_id)->key.version, 1u);
  EXPECT_EQ(registry_->CommitPublish("c2", session->upload_id)->key.version, 1u);
  const auto other = registry_->BeginPublish(Id(), RequestFor("net2"));
  ASSERT_TRUE(Upload(other->upload_id, ArtifactKind::kOnnx, "net2").ok());
  EXPECT_EQ(registry_->CommitPublish("c1", other->upload_id).error().reason(), "REQUEST_ID_REUSED");
}

TEST_F(RegistryTest, RefusedNetworkSaysWhyAndIsNeverDistributed) {
  const Version lossy = Await(Publish("refuse"));
  EXPECT_EQ(lossy.state, VersionState::kRefused);
  EXPECT_EQ(lossy.refusal, "int8 loses 4.2 points; at most 1 is allowed");
  EXPECT_TRUE(registry_->GetReport({"fashion", 1, ""}));
  const Version bad = Await(Publish("bad bytes"));
  EXPECT_EQ(bad.state, VersionState::kRefused);
  EXPECT_EQ(bad.refusal, "INVALID_ARGUMENT [BAD_ONNX]: node '?\?' is not known");
  EXPECT_FALSE(distribution_.Find("fashion/versions/1.json"));
  EXPECT_EQ(registry_->SetAlias(Id(), {"fashion", "stable"}, 1).error().reason(), "VERSION_NOT_READY");
  EXPECT_EQ(registry_->GetParameters({"fashion", 1, ""}).error().reason(), "NOT_TRAINABLE");
}

TEST_F(RegistryTest, VersionLeftCompilingIsCompiledAfterARestart) {
  compiler_.CloseGate();
  const VersionKey key = Publish("net");
  compiler_.WaitUntilCompiling();
  EXPECT_EQ(registry_->GetVersion({"fashion", 1, ""})->stage, "import");
  distribution_.SetAway(-1);  // what the first process compiles, it cannot distribute
  registry_->Drain();
  Kill();
  auto store = OpenSqliteStore(folder_ / "registry.db");
  EXPECT_EQ((*store)->GetVersion(key)->state, VersionState::kCompiling);
  store->reset();
  distribution_.SetAway(0);
  Start();
  EXPECT_EQ(Await(key).state, VersionState::kReady);
  EXPECT_EQ(compiler_.compiles(), 2);
}

TEST_F(RegistryTest, LostInputsRefuseAVersionRatherThanHangIt) {
  compiler_.CloseGate();
  const VersionKey key = Publish("net");
  compiler_.WaitUntilCompiling();
  distribution_.SetAway(-1);
  registry_->Drain();
  Kill();
  std::filesystem::remove_all(folder_ / "artifacts");
  Start();
  const Version version = Await(key);
  EXPECT_EQ(version.state, VersionState::kRefused);
  EXPECT_THAT(version.refusal, testing::HasSubstr("ARTIFACT_MISSING"));
}

TEST_F(RegistryTest, OriginThatIsAwayOnlyDelaysAVersion) {
  distribution_.SetAway(7);
  EXPECT_EQ(Await(Publish("net")).state, VersionState::kReady);
  EXPECT_TRUE(distribution_.Find("fashion/versions/1.json"));
}

TEST_F(RegistryTest, UnusedFilesAreSweptAtStartAndUsedOnesStay) {
  PublishReady("net");
  const auto abandoned = registry_->BeginPublish(Id(), RequestFor("abandoned"));
  ASSERT_TRUE(Upload(abandoned->upload_id, ArtifactKind::kOnnx, "abandoned").ok());
  const Digest orphan = *artifacts_->Put(AsBytes("orphan"));
  Kill();
  Start();
  EXPECT_FALSE(artifacts_->Has(orphan));
  EXPECT_TRUE(artifacts_->Has(crypto::Sha256(AsBytes("abandoned"))));
  EXPECT_TRUE(artifacts_->Has(crypto::Sha256(AsBytes("net"))));
  clock_.Advance(std::chrono::hours(2));
  Kill();
  Start();
  EXPECT_FALSE(artifacts_->Has(crypto::Sha256(AsBytes("abandoned"))));
  EXPECT_EQ(registry_->GetSession(abandoned->upload_id).error().reason(), "UPLOAD_UNKNOWN");
  EXPECT_TRUE(registry_->GetParameters({"fashion", 1, ""}));
}

TEST_F(RegistryTest, AliasPublishesAManifestWithDeltasFromWhatItWas) {
  for (const char* net : {"one", "two", "three"}) PublishReady(net);
  const AliasKey key{"fashion", "stable"};
  ASSERT_TRUE(registry_->SetAlias(Id(), key, 1));
  EXPECT_THAT(distribution_.Find("fashion/stable.json")->targets.at(0).deltas, IsEmpty());
  ASSERT_TRUE(registry_->SetAlias(Id(), key, 2));
  const auto model = registry_->SetAlias(Id(), key, 3);
  ASSERT_TRUE(model) << model.error().ToString();
  EXPECT_EQ(model->aliases.at(0).sequence, 3u);
  const auto release = distribution_.Find("fashion/stable.json");
  EXPECT_EQ(release->key.version, 3u);
  EXPECT_EQ(release->alias, "stable");
  EXPECT_EQ(release->sequence, 3u);
  EXPECT_EQ(release->expires_unix_ms, release->created_unix_ms + 10'000);
  for (const ReleaseTarget& target : release->targets) {
    std::vector<Digest> from;
    for (const Delta& delta : target.deltas) from.push_back(delta.from);
    const Version two = *registry_->GetVersion({"fashion", 2, ""}), one = *registry_->GetVersion({"fashion", 1, ""});
    EXPECT_THAT(from, ElementsAre(two.FindVariant(target.variant.name)->sha256, one.FindVariant(target.variant.name)->sha256));
  }
  EXPECT_EQ(registry_->GetVersion({"fashion", 0, "stable"})->key.version, 3u);
}

TEST_F(RegistryTest, DeltasThatSaveNothingAreLeftOut) {
  PublishReady("one");
  PublishReady("two");
  distribution_.delta_size = 1 << 20;
  ASSERT_TRUE(registry_->SetAlias(Id(), {"fashion", "stable"}, 1));
  ASSERT_TRUE(registry_->SetAlias(Id(), {"fashion", "stable"}, 2));
  EXPECT_THAT(distribution_.Find("fashion/stable.json")->targets.at(0).deltas, IsEmpty());
}

TEST_F(RegistryTest, RepeatedSetAliasMovesOnce) {
  PublishReady("one");
  ASSERT_TRUE(registry_->SetAlias("move", {"fashion", "stable"}, 1));
  const auto again = registry_->SetAlias("move", {"fashion", "stable"}, 1);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->aliases.at(0).sequence, 1u);
  EXPECT_EQ(registry_->SetAlias("move", {"fashion", "canary"}, 1).error().reason(), "REQUEST_ID_REUSED");
  EXPECT_EQ(registry_->SetAlias(Id(), {"fashion", "stable"}, 9).error().reason(), "VERSION_UNKNOWN");
  EXPECT_EQ(registry_->SetAlias(Id(), {"shoes", "stable"}, 1).error().reason(), "MODEL_UNKNOWN");
  EXPECT_EQ(registry_->SetAlias(Id(), {"fashion", "Not Good"}, 1).error().reason(), "BAD_NAME");
}

TEST_F(RegistryTest, MoveThatCouldNotBePublishedIsPublishedLater) {
  PublishReady("one");
  PublishReady("two");
  ASSERT_TRUE(registry_->SetAlias(Id(), {"fashion", "stable"}, 1));
  distribution_.SetAway(-1);
  EXPECT_EQ(registry_->SetAlias("m", {"fashion", "stable"}, 2).error().code(), StatusCode::kUnavailable);
  EXPECT_EQ(registry_->GetVersion({"fashion", 0, "stable"})->key.version, 1u);  // nothing changed
  distribution_.SetAway(0);
  ASSERT_TRUE(registry_->SetAlias("m", {"fashion", "stable"}, 2));
  EXPECT_EQ(distribution_.Find("fashion/stable.json")->sequence, 2u);
  // A crash between the move and its publication: the store is ahead.
  ASSERT_TRUE(store_->MoveAlias({"raw", {}, ToUnixMillis(clock_.Now())}, {"fashion", "stable"}, 1).ok());
  ASSERT_TRUE(registry_->Maintain().ok());
  EXPECT_EQ(distribution_.Find("fashion/stable.json")->sequence, 3u);
  EXPECT_EQ(distribution_.Find("fashion/stable.json")->key.version, 1u);
}

TEST_F(RegistryTest, AgingManifestsAreSignedAnew) {
  PublishReady("one");
  ASSERT_TRUE(registry_->SetAlias(Id(), {"fashion", "stable"}, 1));
  const auto first = distribution_.Find("fashion/stable.json");
  clock_.Advance(Millis(4'999));
  ASSERT_TRUE(registry_->Maintain().ok());
  EXPECT_EQ(distribution_.Find("fashion/stable.json")->sequence, 1u);
  clock_.Advance(Millis(2));
  ASSERT_TRUE(registry_->Maintain().ok());
  const auto renewed = distribution_.Find("fashion/stable.json");
  EXPECT_EQ(renewed->sequence, 2u);
  EXPECT_EQ(renewed->key.version, 1u);
  EXPECT_GT(renewed->expires_unix_ms, first->expires_unix_ms);
}

TEST_F(RegistryTest, ParametersComeOutAndGoInWithTheirLineage) {
  PublishReady("net", "data");
  const auto parameters = registry_->GetParameters({"fashion", 1, ""});
  ASSERT_TRUE(parameters) << parameters.error().ToString();
  EXPECT_THAT(parameters->values, ElementsAre(1, 2, 3));
  EXPECT_EQ(parameters->layout_sha256, FakeToolchain::Layout());
  Parameters better = *parameters;
  better.values = {4, 5, 6};
  EXPECT_EQ(registry_->EvaluateParameters(better)->loss, 4.0);
  const auto version = registry_->CommitParameters(Trained("commit", {4, 5, 6}));
  ASSERT_TRUE(version) << version.error().ToString();
  EXPECT_EQ(version->key.version, 2u);
  EXPECT_EQ(version->state, VersionState::kReady);
  EXPECT_EQ(version->lineage.parent_version, 1u);
  EXPECT_EQ(version->lineage.participants, 18u);
  EXPECT_EQ(version->variants.at(0).metrics->examples, 10u);  // the parent's evaluation data
  EXPECT_THAT(registry_->GetParameters({"fashion", 2, ""})->values, ElementsAre(4, 5, 6));
  EXPECT_TRUE(distribution_.Find("fashion/versions/2.json"));
}

TEST_F(RegistryTest, CommittedParametersCountOnceAlsoAcrossARestart) {
  PublishReady("net");
  ASSERT_TRUE(registry_->CommitParameters(Trained("commit", {4, 5, 6})));
  Kill();
  Start();
  const auto again = registry_->CommitParameters(Trained("commit", {4, 5, 6}));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->key.version, 2u);
  EXPECT_EQ(registry_->GetModel("fashion")->latest_version, 2u);
  EXPECT_EQ(registry_->CommitParameters(Trained("commit", {7, 8, 9})).error().reason(), "REQUEST_ID_REUSED");
}

TEST_F(RegistryTest, BadParametersAreRefusedAndMakeNoVersion) {
  PublishReady("net", "data");
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const std::vector<float>& bad :
       {std::vector<float>{1, nan, 3}, {1, 2, infinity}, {-infinity, 2, 3}, {1, 2}, {1, 2, 3, 4}}) {
    EXPECT_EQ(registry_->CommitParameters(Trained(Id(), bad)).error().reason(), "BAD_PARAMETERS");
    EXPECT_EQ(registry_->EvaluateParameters(Trained("", bad).parameters).error().reason(), "BAD_PARAMETERS");
  }
  CommitParametersRequest request = Trained(Id(), {1, 2, 3});
  request.parameters.layout_sha256 = {};
  EXPECT_EQ(registry_->CommitParameters(request).error().reason(), "BAD_PARAMETERS");
  request = Trained(Id(), {1, 2, 3});
  request.lineage.epsilon_spent = std::nan("");
  EXPECT_EQ(registry_->CommitParameters(request).error().reason(), "BAD_LINEAGE");
  request = Trained(Id(), {1, 2, 3});
  request.lineage.parent_version = 2;
  EXPECT_EQ(registry_->CommitParameters(request).error().reason(), "BAD_LINEAGE");
  request = Trained(Id(), {1, 2, 3});
  request.parameters.key.version = 9;
  request.lineage.parent_version = 9;
  EXPECT_EQ(registry_->CommitParameters(request).error().reason(), "VERSION_UNKNOWN");
  EXPECT_EQ(registry_->GetModel("fashion")->latest_version, 1u);
}

TEST_F(RegistryTest, EvaluationNeedsEvaluationData) {
  PublishReady("net");
  EXPECT_EQ(registry_->EvaluateParameters(Trained("", {1, 2, 3}).parameters).error().reason(), "NO_EVALUATION_DATA");
}

TEST_F(RegistryTest, CommitThatWaitsIsReleasedByDrain) {
  PublishReady("net");
  compiler_.CloseGate();
  std::thread waiting([&] { EXPECT_EQ(registry_->CommitParameters(Trained("c", {4, 5, 6})).error().reason(), "STOPPING"); });
  compiler_.WaitUntilCompiling();
  registry_->Drain();
  waiting.join();
}

TEST_F(RegistryTest, ListsComeInPages) {
  for (int i = 0; i < 5; ++i) PublishReady("net " + std::to_string(i));
  std::vector<std::uint64_t> numbers;
  std::string token;
  do {
    const auto page = registry_->ListVersions("fashion", 2, token);
    ASSERT_TRUE(page) << page.error().ToString();
    for (const Version& version : page->items) numbers.push_back(version.key.version);
    token = page->next_token;
  } while (!token.empty());
  EXPECT_THAT(numbers, ElementsAre(5, 4, 3, 2, 1));
  EXPECT_EQ(registry_->ListVersions("fashion", 201, "").error().reason(), "BAD_PAGE_SIZE");
  for (const char* bad : {"0", "x", "1x", "-1", "99999999999999999999999"}) {
    EXPECT_EQ(registry_->ListVersions("fashion", 0, bad).error().reason(), "BAD_PAGE_TOKEN") << bad;
  }
  EXPECT_EQ(registry_->ListModels(0, "No!").error().reason(), "BAD_PAGE_TOKEN");
  EXPECT_EQ(registry_->ListModels(1, "")->items.size(), 1u);
  EXPECT_EQ(registry_->ListModels(1, "")->next_token, "");
}

TEST_F(RegistryTest, WatchTellsEachStageInOrder) {
  compiler_.CloseGate();
  const VersionKey key = Publish("net");
  compiler_.WaitUntilCompiling();
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> seen;
  ASSERT_TRUE(registry_
                  ->Watch({"fashion", 1, ""},
                          [&](const Version& version) {
                            std::lock_guard lock(mutex);
                            seen.push_back(version.state == VersionState::kReady ? "READY" : version.stage);
                            changed.notify_all();
                            return true;
                          })
                  .ok());
  compiler_.OpenGate();
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return !seen.empty() && seen.back() == "READY"; });
  EXPECT_THAT(seen, ElementsAre("import", "distribute", "READY"));
  lock.unlock();
  EXPECT_EQ(registry_->Watch({"fashion", 7, ""}, [](const Version&) { return true; }).reason(), "VERSION_UNKNOWN");
}

}  // namespace
}  // namespace edgefleet::registry
