// The registry and origin roles in a process of their own, with the real compiler, on SQLite and on PostgreSQL.
#include "services/registry/registry_role.h"

#include <gtest/gtest.h>

#include <optional>

#include "base/arrays/npz.h"
#include "cdn_origin/manifest/manifest.h"
#include "edgefleet/origin/v1/origin.grpc.pb.h"
#include "edgefleet/registry/v1/registry.grpc.pb.h"
#include "load_tests/fashion/fashion_network.h"
#include "proto/rpc/status.h"
#include "services/origin/origin_role.h"
#include "services/runtime/bootstrap.h"
#include "tests/support/private_postgres.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::services {
namespace {

namespace pb = edgefleet::registry::v1;
namespace origin_pb = edgefleet::origin::v1;

constexpr std::chrono::seconds kPatience{120};
constexpr std::int64_t kExamples = 64;

// Noise with labels that mean nothing: enough to calibrate and to measure.
Bytes MakeData(bool with_labels) {
  SeededRandom random(7);
  std::vector<float> pixels(static_cast<std::size_t>(kExamples) * 28 * 28);
  for (float& pixel : pixels) pixel = static_cast<float>(random.Unit() * 2 - 1);
  arrays::Archive archive;
  archive["image"] = arrays::MakeArray<float>({kExamples, 1, 28, 28}, pixels);
  if (with_labels) {
    std::vector<std::int64_t> labels(static_cast<std::size_t>(kExamples));
    for (auto& label : labels) label = static_cast<std::int64_t>(random.Below(10));
    archive["labels"] = arrays::MakeArray<std::int64_t>({kExamples}, labels);
  }
  return *arrays::WriteNpz(archive);
}

class RegistryRoleTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    config_.data_dir = folder_.path();
    config_.listen = {.grpc = "127.0.0.1:0", .http = "127.0.0.1:0", .metrics = "127.0.0.1:0"};
    config_.log.level = "warn";
    if (GetParam()) {
      auto started = test::PrivatePostgres::Start();
      ASSERT_TRUE(started) << started.error().ToString();
      postgres_ = std::move(*started);
      config_.postgres_url = postgres_->Url();
    }
    Start();
  }
  void Start() {
    auto process =
        Process::Start(config_, {{"origin", [](RoleContext context) { return std::make_unique<OriginRole>(context); }},
                                 {"registry", [](RoleContext context) { return std::make_unique<RegistryRole>(context); }}});
    ASSERT_TRUE(process) << process.error().ToString();
    process_ = std::move(*process);
    auto channel = grpc::CreateChannel(process_->addresses().grpc, grpc::InsecureChannelCredentials());
    registry_ = pb::RegistryService::NewStub(channel);
    origin_ = origin_pb::OriginService::NewStub(channel);
  }

  // The end of a call that must succeed.
  static void Expect(const grpc::Status& status, const grpc::ClientContext& context) {
    ASSERT_TRUE(status.ok()) << rpc::FromGrpc(status, context).ToString();
  }
  pb::PublishSession Begin(const std::vector<Bytes>& artifacts) {
    pb::BeginPublishRequest request;
    request.set_request_id("begin");
    request.set_model("fashion");
    request.mutable_options()->set_accuracy_drop_points_max(100);
    for (std::size_t i = 0; i < artifacts.size(); ++i) {
      auto* artifact = request.add_artifacts();
      artifact->set_kind(static_cast<pb::ArtifactKind>(i + 1));
      artifact->set_size(artifacts[i].size());
      artifact->set_sha256(AsText(crypto::Sha256(artifacts[i])).data(), 32);
    }
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    pb::PublishSession session;
    Expect(registry_->BeginPublish(&context, request, &session), context);
    return session;
  }
  void Upload(const std::string& upload_id, pb::ArtifactKind kind, const Bytes& content) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    pb::ArtifactState state;
    auto writer = registry_->UploadArtifact(&context, &state);
    pb::UploadArtifactRequest message;
    message.mutable_header()->set_upload_id(upload_id);
    message.mutable_header()->set_kind(kind);
    writer->Write(message);
    for (ByteView rest = content; !rest.empty();) {
      const ByteView chunk = rest.first(std::min(rest.size(), rpc::kChunkBytes));
      message.set_chunk(chunk.data(), chunk.size());
      writer->Write(message);
      rest = rest.subspan(chunk.size());
    }
    writer->WritesDone();
    Expect(writer->Finish(), context);
    EXPECT_TRUE(state.complete());
  }
  pb::Version Publish() {
    const std::vector<Bytes> artifacts{fashion::MakeFashionCnn(1), MakeData(false), MakeData(true)};
    const pb::PublishSession session = Begin(artifacts);
    for (std::size_t i = 0; i < artifacts.size(); ++i) {
      Upload(session.upload_id(), static_cast<pb::ArtifactKind>(i + 1), artifacts[i]);
    }
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    pb::CommitPublishRequest request;
    request.set_request_id("commit");
    request.set_upload_id(session.upload_id());
    pb::Version version;
    Expect(registry_->CommitPublish(&context, request, &version), context);
    return Await(version.version());
  }
  pb::Version Await(std::uint64_t number) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    pb::GetVersionRequest request;
    request.set_model("fashion");
    request.set_version(number);
    auto reader = registry_->WatchVersion(&context, request);
    pb::Version version;
    while (reader->Read(&version)) {
    }
    Expect(reader->Finish(), context);
    return version;
  }
  void SetAlias(std::uint64_t version) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    pb::SetAliasRequest request;
    request.set_request_id("alias-" + std::to_string(version));
    request.set_model("fashion");
    request.set_alias("stable");
    request.set_version(version);
    pb::Model model;
    Expect(registry_->SetAlias(&context, request, &model), context);
  }
  std::pair<pb::ParameterHeader, std::string> GetParameters(std::uint64_t version) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    pb::GetVersionRequest request;
    request.set_model("fashion");
    request.set_version(version);
    auto reader = registry_->GetParameters(&context, request);
    pb::ParameterChunk message;
    pb::ParameterHeader header;
    std::string values;
    while (reader->Read(&message)) {
      if (message.has_header()) header = message.header();
      values += message.chunk();
    }
    Expect(reader->Finish(), context);
    return {header, values};
  }
  pb::Version Commit(const pb::ParameterHeader& header, const std::string& values) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    pb::Version version;
    auto writer = registry_->CommitParameters(&context, &version);
    pb::CommitParametersRequest message;
    message.mutable_header()->set_request_id("round-1");
    *message.mutable_header()->mutable_parameters() = header;
    message.mutable_header()->mutable_lineage()->set_round_id("r1");
    writer->Write(message);
    message.set_chunk(values);
    writer->Write(message);
    writer->WritesDone();
    Expect(writer->Finish(), context);
    return version;
  }
  Bytes GetBlob(const std::string& sha256) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    origin_pb::GetBlobRequest request;
    request.set_sha256(sha256);
    auto reader = origin_->GetBlob(&context, request);
    Bytes content;
    for (origin_pb::BlobChunk chunk; reader->Read(&chunk);) {
      const ByteView bytes = AsBytes(chunk.chunk());
      content.insert(content.end(), bytes.begin(), bytes.end());
    }
    Expect(reader->Finish(), context);
    return content;
  }

  test::TempDir folder_;
  std::unique_ptr<test::PrivatePostgres> postgres_;
  Config config_;
  std::unique_ptr<Process> process_;
  std::unique_ptr<pb::RegistryService::Stub> registry_;
  std::unique_ptr<origin_pb::OriginService::Stub> origin_;
};

TEST_P(RegistryRoleTest, NetworkIsPublishedTrainedAndDistributedAcrossARestart) {
  const pb::Version first = Publish();
  ASSERT_EQ(first.state(), pb::VERSION_STATE_READY) << first.refusal();
  ASSERT_EQ(first.variants_size(), 2);
  for (const pb::Variant& variant : first.variants()) {
    EXPECT_EQ(AsText(crypto::Sha256(GetBlob(variant.sha256()))), variant.sha256());
    EXPECT_EQ(variant.metrics().examples(), static_cast<std::uint64_t>(kExamples));
  }
  SetAlias(1);

  process_->Stop();
  Start();
  EXPECT_EQ(Await(1).state(), pb::VERSION_STATE_READY);

  const auto [header, values] = GetParameters(1);
  EXPECT_EQ(header.parameter_count(), first.parameter_count());
  ASSERT_EQ(values.size(), header.parameter_count() * 4);
  std::vector<float> parameters(header.parameter_count());
  std::memcpy(parameters.data(), values.data(), values.size());
  for (float& parameter : parameters) parameter *= 1.001F;
  const std::string trained = ToString(std::as_bytes(std::span(parameters)));
  const pb::Version second = Commit(header, trained);
  ASSERT_EQ(second.state(), pb::VERSION_STATE_READY) << second.refusal();
  EXPECT_EQ(second.lineage().parent_version(), 1u);
  EXPECT_EQ(GetParameters(2).second, trained);
  EXPECT_EQ(GetParameters(2).first.layout_sha256(), header.layout_sha256());
  SetAlias(2);
  EXPECT_EQ(Await(2).aliases(0), "stable");
}

INSTANTIATE_TEST_SUITE_P(Sqlite, RegistryRoleTest, testing::Values(false));
INSTANTIATE_TEST_SUITE_P(Postgres, RegistryRoleTest, testing::Values(true));

}  // namespace
}  // namespace edgefleet::services
