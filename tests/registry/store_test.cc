// The contract of MetadataStore, on SQLite and on PostgreSQL, each case from an empty database.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "registry/limits.h"
#include "registry/store/stores.h"
#include "tests/support/private_postgres.h"

namespace edgefleet::registry {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::int64_t kNow = 1'800'000'000'000;

Digest DigestOfText(std::string_view text) { return crypto::Sha256(AsBytes(text)); }
RequestKey Request(const std::string& id, std::string_view content = "same", std::int64_t now = kNow) {
  return {id, DigestOfText(content), now};
}

Session MakeSession(const std::string& upload_id, const std::string& model = "fashion") {
  return {upload_id,
          {.model = model,
           .artifacts = {{ArtifactKind::kOnnx, 10, DigestOfText("onnx")}, {ArtifactKind::kEvaluation, 7, DigestOfText("data")}},
           .tags = {{"team", "vision \"quoted\""}},
           .options = {.accuracy_drop_points_max = 2.5},
           .parent_version = 0},
          kNow + 1000,
          0};
}

NewVersion MakeVersion(const std::string& model = "fashion") {
  return {.model = model,
          .inputs = {.onnx = DigestOfText("onnx"),
                     .calibration = std::nullopt,
                     .evaluation = DigestOfText("data"),
                     .parameters = std::nullopt,
                     .options = {.accuracy_drop_points_max = 2.5}},
          .tags = {{"team", "vision"}},
          .lineage = {}};
}

Outcome Ready(std::string_view content = "efm") {
  return {.state = VersionState::kReady,
          .refusal = "",
          .variants = {{"fp32", "fp32", DigestOfText(content), 400, Metrics{10000, 0.91, 0.25}, true},
                       {"int8", "int8", DigestOfText(std::string(content) + "8"), 100, std::nullopt, false}},
          .parameter_count = 100,
          .layout_sha256 = DigestOfText("layout"),
          .report_json = "{\"ok\": true}"};
}

class StoreTest : public testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    auto started = test::PrivatePostgres::Start();
    ASSERT_TRUE(started) << started.error().ToString();
    cluster_ = std::move(*started).release();
  }
  static void TearDownTestSuite() { delete cluster_; }
  void SetUp() override {
    std::string folder = testing::TempDir() + "store-XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    if (GetParam()) {
      auto url = cluster_->NewDatabase();
      ASSERT_TRUE(url) << url.error().ToString();
      url_ = *url;
    }
    Reopen();
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Reopen() {
    store_.reset();
    auto opened = GetParam() ? OpenPostgresStore(url_) : OpenSqliteStore(folder_ / "registry.db");
    ASSERT_TRUE(opened) << opened.error().ToString();
    store_ = std::move(*opened);
  }

  // A READY version made the way a publish makes it.
  std::uint64_t Publish(const std::string& model = "fashion", std::string_view content = "efm") {
    const std::string id = "p" + std::to_string(++counter_);
    EXPECT_TRUE(store_->BeginSession(Request(id + "-begin"), MakeSession(id, model), 64));
    auto version = store_->CommitSession(Request(id + "-commit"), id, MakeVersion(model));
    EXPECT_TRUE(version) << version.error().ToString();
    EXPECT_TRUE(store_->Finish(version->key, Ready(content)).ok());
    return version->key.version;
  }

  static inline test::PrivatePostgres* cluster_ = nullptr;
  std::filesystem::path folder_;
  std::string url_;
  std::unique_ptr<MetadataStore> store_;
  int counter_ = 0;
};

TEST_P(StoreTest, SessionComesBackAsItWasBegun) {
  ASSERT_TRUE(store_->BeginSession(Request("r1"), MakeSession("u1"), 64));
  Reopen();
  const auto session = store_->GetSession("u1");
  ASSERT_TRUE(session) << session.error().ToString();
  EXPECT_EQ(session->request.model, "fashion");
  EXPECT_EQ(session->request.artifacts, MakeSession("u1").request.artifacts);
  EXPECT_EQ(session->request.tags, MakeSession("u1").request.tags);
  EXPECT_EQ(session->request.options.accuracy_drop_points_max, 2.5);
  EXPECT_EQ(session->expires_unix_ms, kNow + 1000);
  EXPECT_EQ(store_->GetSession("u2").error().reason(), "UPLOAD_UNKNOWN");
}

TEST_P(StoreTest, RepeatedBeginFindsTheFirstSession) {
  ASSERT_TRUE(store_->BeginSession(Request("r1"), MakeSession("u1"), 64));
  const auto again = store_->BeginSession(Request("r1"), MakeSession("u2"), 64);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->upload_id, "u1");
  EXPECT_EQ(store_->BeginSession(Request("r1", "other"), MakeSession("u3"), 64).error().reason(), "REQUEST_ID_REUSED");
  EXPECT_FALSE(store_->GetSession("u3"));
}

TEST_P(StoreTest, OpenSessionsAreBounded) {
  ASSERT_TRUE(store_->BeginSession(Request("r1"), MakeSession("u1"), 2));
  ASSERT_TRUE(store_->BeginSession(Request("r2"), MakeSession("u2"), 2));
  const auto refused = store_->BeginSession(Request("r3"), MakeSession("u3"), 2);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), "TOO_MANY_UPLOADS");
  EXPECT_TRUE(refused.error().retry_after());
  ASSERT_TRUE(store_->CommitSession(Request("c1"), "u1", MakeVersion()));
  EXPECT_TRUE(store_->BeginSession(Request("r3"), MakeSession("u3"), 2));
}

TEST_P(StoreTest, ExpiredSessionsAndOldRequestsGo) {
  ASSERT_TRUE(store_->BeginSession(Request("r1"), MakeSession("u1"), 64));
  EXPECT_THAT(*store_->Expire(kNow + 1000), IsEmpty());
  EXPECT_TRUE(*store_->IsArtifactUsed(DigestOfText("data")));
  EXPECT_THAT(*store_->Expire(kNow + 1001), ElementsAre("u1"));
  EXPECT_FALSE(*store_->IsArtifactUsed(DigestOfText("data")));
  EXPECT_EQ(store_->GetSession("u1").error().reason(), "UPLOAD_UNKNOWN");
  ASSERT_TRUE(store_->Expire(kNow + kRequestLifetimeMs + 1));
  EXPECT_TRUE(store_->BeginSession(Request("r1", "another"), MakeSession("u2"), 64));
}

TEST_P(StoreTest, SessionYieldsOneVersionWhoeverAsks) {
  ASSERT_TRUE(store_->BeginSession(Request("r1"), MakeSession("u1"), 64));
  for (const char* id : {"c1", "c1", "c2"}) {
    const auto version = store_->CommitSession(Request(id), "u1", MakeVersion());
    ASSERT_TRUE(version) << version.error().ToString();
    EXPECT_EQ(version->key, (VersionKey{"fashion", 1}));
    EXPECT_EQ(version->state, VersionState::kCompiling);
  }
  EXPECT_EQ(store_->GetModel("fashion")->latest_version, 1u);
  EXPECT_EQ(store_->CommitSession(Request("c3"), "unknown", MakeVersion()).error().reason(), "UPLOAD_UNKNOWN");
}

TEST_P(StoreTest, UnknownParentIsRefusedAndLeavesNoTrace) {
  ASSERT_TRUE(store_->BeginSession(Request("r1"), MakeSession("u1"), 64));
  NewVersion version = MakeVersion();
  version.lineage.parent_version = 3;
  EXPECT_FALSE(store_->CommitSession(Request("c1"), "u1", version));
  EXPECT_EQ(store_->GetModel("fashion").error().reason(), "MODEL_UNKNOWN");
}

TEST_P(StoreTest, FinishedVersionShowsEverythingAndStaysFinished) {
  const VersionKey key{"fashion", Publish()};
  ASSERT_TRUE(store_->Finish(key, {.state = VersionState::kRefused, .refusal = "late"}).ok());
  ASSERT_TRUE(store_->SetStage(key, "import").ok());
  Reopen();
  const auto version = store_->GetVersion(key);
  ASSERT_TRUE(version);
  EXPECT_EQ(version->state, VersionState::kReady);
  EXPECT_EQ(version->stage, "");
  EXPECT_EQ(version->variants, Ready().variants);
  EXPECT_EQ(version->parameter_count, 100u);
  EXPECT_EQ(version->layout_sha256, DigestOfText("layout"));
  EXPECT_EQ(version->tags, MakeVersion().tags);
  EXPECT_EQ(version->inputs.onnx, DigestOfText("onnx"));
  EXPECT_EQ(version->inputs.evaluation, DigestOfText("data"));
  EXPECT_FALSE(version->inputs.calibration);
  EXPECT_EQ(version->created_unix_ms, kNow);
  EXPECT_EQ(*store_->GetReport(key), "{\"ok\": true}");
  EXPECT_TRUE(*store_->IsArtifactUsed(DigestOfText("efm8")));
  EXPECT_FALSE(*store_->IsArtifactUsed(DigestOfText("nothing")));
}

TEST_P(StoreTest, StageAndRefusalAreKept) {
  ASSERT_TRUE(store_->BeginSession(Request("r1"), MakeSession("u1"), 64));
  const VersionKey key = store_->CommitSession(Request("c1"), "u1", MakeVersion())->key;
  ASSERT_TRUE(store_->SetStage(key, "quantize").ok());
  EXPECT_EQ(store_->GetVersion(key)->stage, "quantize");
  EXPECT_EQ(store_->GetReport(key).error().reason(), "REPORT_MISSING");
  ASSERT_TRUE(store_->Finish(key, {.state = VersionState::kRefused, .refusal = "too lossy"}).ok());
  EXPECT_EQ(store_->GetVersion(key)->refusal, "too lossy");
  EXPECT_EQ(store_->GetReport(key).error().reason(), "REPORT_MISSING");
  EXPECT_EQ(store_->Finish({"fashion", 9}, Ready()).reason(), "VERSION_UNKNOWN");
}

TEST_P(StoreTest, CompilingVersionsAreListedOldestFirst) {
  for (const char* id : {"u1", "u2", "u3"}) {
    ASSERT_TRUE(store_->BeginSession(Request(std::string("r") + id), MakeSession(id), 64));
    ASSERT_TRUE(store_->CommitSession(Request(std::string("c") + id), id, MakeVersion()));
  }
  ASSERT_TRUE(store_->Finish({"fashion", 2}, Ready()).ok());
  EXPECT_THAT(*store_->ListCompiling(10), ElementsAre(VersionKey{"fashion", 1}, VersionKey{"fashion", 3}));
  EXPECT_THAT(*store_->ListCompiling(1), ElementsAre(VersionKey{"fashion", 1}));
}

TEST_P(StoreTest, AddedVersionHasItsLineageAndIsMadeOnce) {
  Publish();
  NewVersion added = MakeVersion();
  added.inputs.parameters = DigestOfText("parameters");
  added.lineage = {1, "task", "round", 4, 20, 2, 1.5, 1e-5};
  EXPECT_FALSE(*store_->FindAdded(Request("a1")));
  const auto first = store_->AddVersion(Request("a1"), added);
  ASSERT_TRUE(first) << first.error().ToString();
  EXPECT_EQ(first->key.version, 2u);
  EXPECT_EQ(first->lineage, added.lineage);
  EXPECT_EQ(first->inputs.parameters, DigestOfText("parameters"));
  EXPECT_EQ(store_->AddVersion(Request("a1"), added)->key.version, 2u);
  EXPECT_EQ((*store_->FindAdded(Request("a1")))->key.version, 2u);
  EXPECT_EQ(store_->FindAdded(Request("a1", "other")).error().reason(), "REQUEST_ID_REUSED");
  EXPECT_EQ(store_->AddVersion(Request("a2"), MakeVersion("unknown")).error().reason(), "MODEL_UNKNOWN");
}

TEST_P(StoreTest, UnknownNamesAreToldApart) {
  EXPECT_EQ(store_->GetVersion({"fashion", 1}).error().reason(), "MODEL_UNKNOWN");
  EXPECT_EQ(store_->ListVersions("fashion", 0, 10).error().reason(), "MODEL_UNKNOWN");
  Publish();
  EXPECT_EQ(store_->GetVersion({"fashion", 2}).error().reason(), "VERSION_UNKNOWN");
  EXPECT_EQ(store_->GetAlias({"fashion", "stable"}).error().reason(), "ALIAS_UNKNOWN");
}

TEST_P(StoreTest, PagesCoverEverythingOnce) {
  for (const char* model : {"b", "a.2", "a-1"}) Publish(model);
  for (int i = 0; i < 4; ++i) Publish("b");
  std::vector<std::string> names;
  std::string after;
  for (auto page = store_->ListModels(after, 2); !page->empty(); page = store_->ListModels(after, 2)) {
    EXPECT_LE(page->size(), 2u);
    for (const Model& model : *page) names.push_back(model.name);
    after = names.back();
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("a-1", "a.2", "b"));
  std::vector<std::uint64_t> versions;
  std::uint64_t below = 0;
  for (int i = 0; i < 3; ++i) {
    const auto page = store_->ListVersions("b", below, 2);
    for (const Version& version : *page) versions.push_back(below = version.key.version);
  }
  EXPECT_THAT(versions, ElementsAre(5, 4, 3, 2, 1));
}

TEST_P(StoreTest, TagsAreReplaced) {
  const VersionKey key{"fashion", Publish()};
  const auto tagged = store_->SetTags(Request("t1"), key, {{"stage", "canary"}});
  ASSERT_TRUE(tagged);
  EXPECT_EQ(tagged->tags, (Tags{{"stage", "canary"}}));
  ASSERT_TRUE(store_->SetTags(Request("t2"), key, {}));
  ASSERT_TRUE(store_->SetTags(Request("t1"), key, {{"stage", "canary"}}));  // a repetition does not bring it back
  EXPECT_THAT(store_->GetVersion(key)->tags, IsEmpty());
  EXPECT_EQ(store_->SetTags(Request("t1", "other"), key, {}).error().reason(), "REQUEST_ID_REUSED");
}

TEST_P(StoreTest, AliasMovesWithAGrowingSequence) {
  Publish();
  Publish();
  const AliasKey key{"fashion", "stable"};
  ASSERT_TRUE(store_->MoveAlias(Request("m1"), key, 1).ok());
  EXPECT_EQ(store_->GetAlias(key)->sequence, 1u);
  EXPECT_EQ(store_->GetAlias(key)->published_sequence, 0u);
  ASSERT_TRUE(store_->MoveAlias(Request("m2", "x", kNow + 5), key, 2).ok());
  ASSERT_TRUE(store_->MoveAlias(Request("m2", "x", kNow + 9), key, 2).ok());
  const auto alias = store_->GetAlias(key);
  EXPECT_EQ(alias->version, 2u);
  EXPECT_EQ(alias->sequence, 2u);
  EXPECT_EQ(alias->signed_unix_ms, kNow + 5);
  EXPECT_THAT(store_->GetVersion({"fashion", 2})->aliases, ElementsAre("stable"));
  EXPECT_THAT(store_->GetVersion({"fashion", 1})->aliases, IsEmpty());
  EXPECT_EQ(store_->GetModel("fashion")->aliases.size(), 1u);
  EXPECT_EQ(store_->MoveAlias(Request("m2", "y"), key, 1).reason(), "REQUEST_ID_REUSED");
  EXPECT_EQ(store_->MoveAlias(Request("m3"), key, 7).reason(), "VERSION_UNKNOWN");
  EXPECT_EQ(store_->GetAlias(key)->sequence, 2u);
}

TEST_P(StoreTest, AliasNeverPointsAtWhatIsNotReady) {
  ASSERT_TRUE(store_->BeginSession(Request("r1"), MakeSession("u1"), 64));
  const VersionKey key = store_->CommitSession(Request("c1"), "u1", MakeVersion())->key;
  EXPECT_EQ(store_->MoveAlias(Request("m1"), {"fashion", "stable"}, 1).reason(), "VERSION_NOT_READY");
  ASSERT_TRUE(store_->Finish(key, {.state = VersionState::kRefused, .refusal = "no"}).ok());
  EXPECT_EQ(store_->MoveAlias(Request("m1"), {"fashion", "stable"}, 1).reason(), "VERSION_NOT_READY");
  EXPECT_THAT(store_->GetModel("fashion")->aliases, IsEmpty());
}

TEST_P(StoreTest, AliasesOfAModelAreBounded) {
  Publish();
  for (std::size_t i = 0; i < kAliasesMax; ++i) {
    ASSERT_TRUE(store_->MoveAlias(Request("m" + std::to_string(i)), {"fashion", "a" + std::to_string(i)}, 1).ok());
  }
  EXPECT_EQ(store_->MoveAlias(Request("more"), {"fashion", "more"}, 1).reason(), "TOO_MANY_ALIASES");
  EXPECT_TRUE(store_->MoveAlias(Request("again"), {"fashion", "a0"}, 1).ok());
}

TEST_P(StoreTest, FormerTargetsAreDistinctAndLatestFirst) {
  for (int i = 0; i < 4; ++i) Publish();
  const AliasKey key{"fashion", "stable"};
  int n = 0;
  for (const std::uint64_t version : {1, 2, 1, 3, 2, 4}) {
    ASSERT_TRUE(store_->MoveAlias(Request("m" + std::to_string(n++)), key, version).ok());
  }
  EXPECT_THAT(*store_->FormerTargets(key, 10), ElementsAre(2, 3, 1));
  EXPECT_THAT(*store_->FormerTargets(key, 2), ElementsAre(2, 3));
  EXPECT_THAT(*store_->FormerTargets({"fashion", "other"}, 10), IsEmpty());
}

TEST_P(StoreTest, UnpublishedAndAgingManifestsAreFound) {
  Publish();
  const AliasKey key{"fashion", "stable"};
  ASSERT_TRUE(store_->MoveAlias(Request("m1"), key, 1).ok());
  EXPECT_EQ(store_->ListUnpublished(10)->size(), 1u);
  ASSERT_TRUE(store_->MarkPublished(key, 1).ok());
  EXPECT_THAT(*store_->ListUnpublished(10), IsEmpty());
  EXPECT_THAT(*store_->ListSignedBefore(kNow, 10), IsEmpty());
  EXPECT_EQ(store_->ListSignedBefore(kNow + 1, 10)->size(), 1u);
  ASSERT_TRUE(store_->RenewAlias(key, 1, kNow + 100).ok());
  ASSERT_TRUE(store_->RenewAlias(key, 1, kNow + 200).ok());  // somebody else was quicker
  EXPECT_EQ(store_->GetAlias(key)->sequence, 2u);
  EXPECT_EQ(store_->GetAlias(key)->signed_unix_ms, kNow + 100);
  EXPECT_EQ(store_->ListUnpublished(10)->size(), 1u);
  ASSERT_TRUE(store_->MarkPublished(key, 2).ok());
  ASSERT_TRUE(store_->MarkPublished(key, 1).ok());  // late
  EXPECT_EQ(store_->GetAlias(key)->published_sequence, 2u);
  EXPECT_THAT(*store_->FormerTargets(key, 10), IsEmpty());
}

TEST_P(StoreTest, ConcurrentMovesEachGetASequence) {
  Publish();
  Publish();
  constexpr int kThreads = 4, kEach = 5;
  std::atomic<int> moved{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const std::string id = "m" + std::to_string(t) + "-" + std::to_string(i);
        Status status = Aborted("STORE_CONFLICT", "first");
        while (status.reason() == "STORE_CONFLICT") status = store_->MoveAlias(Request(id), {"fashion", "stable"}, 1 + (i & 1));
        if (status.ok()) ++moved;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(moved.load(), kThreads * kEach);
  EXPECT_EQ(store_->GetAlias({"fashion", "stable"})->sequence, static_cast<std::uint64_t>(kThreads * kEach));
}

TEST_P(StoreTest, ConcurrentCommitsNumberVersionsWithoutGaps) {
  constexpr int kThreads = 4;
  std::vector<std::thread> threads;
  std::vector<std::uint64_t> numbers(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string id = "u" + std::to_string(t);
      while (!store_->BeginSession(Request("r" + id), MakeSession(id), 64)) {
      }
      auto version = store_->CommitSession(Request("c" + id), id, MakeVersion());
      while (!version && version.error().reason() == "STORE_CONFLICT") {
        version = store_->CommitSession(Request("c" + id), id, MakeVersion());
      }
      ASSERT_TRUE(version) << version.error().ToString();
      numbers[static_cast<std::size_t>(t)] = version->key.version;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(numbers, testing::UnorderedElementsAre(1, 2, 3, 4));
}

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreTest, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Postgres, StoreTest, testing::Values(true));

TEST(StoreFaultTest, KilledServerLosesNothingCommittedAndTheStoreComesBack) {
  auto cluster = test::PrivatePostgres::Start();
  ASSERT_TRUE(cluster) << cluster.error().ToString();
  auto store = OpenPostgresStore((*cluster)->Url());
  ASSERT_TRUE(store) << store.error().ToString();
  ASSERT_TRUE((*store)->BeginSession(Request("r1"), MakeSession("u1"), 64));
  const auto committed = (*store)->CommitSession(Request("c1"), "u1", MakeVersion());
  ASSERT_TRUE(committed);
  (*cluster)->Kill9();
  EXPECT_EQ((*store)->Finish(committed->key, Ready()).reason(), "STORE_UNREACHABLE");
  EXPECT_EQ((*store)->GetModel("fashion").error().reason(), "STORE_UNREACHABLE");
  const Status restarted = (*cluster)->Restart();
  ASSERT_TRUE(restarted.ok()) << restarted.ToString();
  EXPECT_EQ((*store)->GetVersion(committed->key)->state, VersionState::kCompiling);
  EXPECT_TRUE((*store)->Finish(committed->key, Ready()).ok());
  EXPECT_EQ((*store)->CommitSession(Request("c1"), "u1", MakeVersion())->key, committed->key);
}

}  // namespace
}  // namespace edgefleet::registry
