// RegistryService over a real connection: a server with the registry's handlers, an origin in memory that speaks OriginService,
// and a compiler that needs no network.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <map>
#include <mutex>
#include <set>

#include "base/file.h"
#include "cdn_origin/manifest/manifest.h"
#include "proto/rpc/status.h"
#include "registry/store/stores.h"
#include "services/registry/handlers.h"
#include "services/registry/origin_distribution.h"
#include "services/runtime/signing_key.h"
#include "tests/registry/fakes.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::services {
namespace {

namespace pb = pb_registry;
namespace origin_pb = edgefleet::origin::v1;
using testing::IsEmpty;

constexpr std::chrono::seconds kPatience{60};

// Cuts the first `cuts` uploads after one chunk.
class MemoryOrigin final : public origin_pb::OriginService::Service {
 public:
  grpc::Status StatBlob(grpc::ServerContext*, const origin_pb::StatBlobRequest* request,
                        origin_pb::BlobState* response) override {
    std::lock_guard lock(mutex_);
    *response = StateOf(request->sha256());
    return grpc::Status::OK;
  }
  grpc::Status PutBlob(grpc::ServerContext*, grpc::ServerReader<origin_pb::PutBlobRequest>* reader,
                       origin_pb::BlobState* response) override {
    origin_pb::PutBlobRequest message;
    reader->Read(&message);
    const std::string sha256 = message.header().sha256();
    std::lock_guard lock(mutex_);
    Blob& blob = blobs_[sha256];
    blob.size = message.header().size();
    if (message.header().offset() != blob.content.size()) return {grpc::StatusCode::OUT_OF_RANGE, "offset"};
    while (reader->Read(&message)) {
      blob.content += message.chunk();
      if (cuts > 0 && cuts-- > 0) return {grpc::StatusCode::UNAVAILABLE, "cut"};
    }
    *response = StateOf(sha256);
    return grpc::Status::OK;
  }
  grpc::Status MakeDelta(grpc::ServerContext*, const origin_pb::MakeDeltaRequest* request,
                         origin_pb::DeltaInfo* response) override {
    response->set_from_sha256(request->from_sha256());
    response->set_to_sha256(request->to_sha256());
    response->set_sha256(AsText(crypto::Sha256(AsBytes(request->from_sha256() + request->to_sha256()))).data(), 32);
    response->set_size(1);
    return grpc::Status::OK;
  }
  grpc::Status PutManifest(grpc::ServerContext*, const origin_pb::PutManifestRequest* request,
                           origin_pb::PutManifestResponse*) override {
    std::lock_guard lock(mutex_);
    manifests_[request->path()] = request->envelope();
    return grpc::Status::OK;
  }

  std::string Manifest(const std::string& path) {
    std::lock_guard lock(mutex_);
    return manifests_[path];
  }
  std::atomic<int> cuts{0};

 private:
  struct Blob {
    std::uint64_t size = 0;
    std::string content;
  };
  origin_pb::BlobState StateOf(const std::string& sha256) {
    origin_pb::BlobState state;
    const auto found = blobs_.find(sha256);
    if (found == blobs_.end()) return state;
    state.set_received(found->second.content.size());
    state.set_size(found->second.size);
    state.set_complete(AsText(crypto::Sha256(AsBytes(found->second.content))) == sha256);
    return state;
  }
  std::mutex mutex_;
  std::map<std::string, Blob> blobs_;
  std::map<std::string, std::string> manifests_;
};

class RegistryServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto key = LoadSigningKey("", folder_.path(), "manifest");
    ASSERT_TRUE(key) << key.error().ToString();
    public_key_ = key->public_key();
    store_ = std::move(*registry::OpenSqliteStore(folder_.path() / "registry.db"));
    artifacts_ = std::move(*registry::ArtifactStore::Open(folder_.path()));
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    builder.RegisterService(&origin_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    auto channel =
        grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials(), arguments);
    stub_ = pb::RegistryService::NewStub(channel);
    distribution_ = std::make_unique<OriginDistribution>(channel, *key);
    registry::RegistryOptions options{.backoff = {std::chrono::milliseconds(1), std::chrono::milliseconds(5)}};
    registry_ = std::make_unique<registry::Registry>(
        registry::RegistryDependencies{*store_, *artifacts_, *distribution_, toolchain_, clock_, logger_, metrics_}, options);
    ASSERT_TRUE(registry_->Start().ok());
    service_.Attach(*registry_);
    handlers_.serving = transfers_.serving = true;
  }
  void TearDown() override {
    compiler_.OpenGate();
    if (registry_) registry_->Drain();
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
    pool_.Stop();
    transfer_pool_.Stop();
    if (registry_) registry_->Stop();
  }

  // One unary call: its message, or the error.
  template <typename Response, typename Request>
  Result<Response> Call(grpc::Status (pb::RegistryService::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                        const Request& request) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    Response response;
    const grpc::Status status = ((*stub_).*method)(&context, request, &response);
    if (!status.ok()) return MakeError(rpc::FromGrpc(status, context));
    return response;
  }

  static pb::BeginPublishRequest BeginRequest(const std::string& id, const std::string& onnx,
                                              const std::string& evaluation = "") {
    pb::BeginPublishRequest request;
    request.set_request_id(id);
    request.set_model("fashion");
    auto add = [&](pb::ArtifactKind kind, const std::string& content) {
      auto* artifact = request.add_artifacts();
      artifact->set_kind(kind);
      artifact->set_size(content.size());
      artifact->set_sha256(AsText(crypto::Sha256(AsBytes(content))).data(), 32);
    };
    add(pb::ARTIFACT_KIND_ONNX, onnx);
    if (!evaluation.empty()) add(pb::ARTIFACT_KIND_EVALUATION, evaluation);
    return request;
  }
  Result<pb::PublishSession> Begin(const pb::BeginPublishRequest& request) {
    return Call(&pb::RegistryService::Stub::BeginPublish, request);
  }
  Result<pb::ArtifactState> Upload(const std::string& upload_id, pb::ArtifactKind kind, std::uint64_t offset,
                                   const std::string& content) {
    pb::UploadArtifactRequest header;
    header.mutable_header()->set_upload_id(upload_id);
    header.mutable_header()->set_kind(kind);
    header.mutable_header()->set_offset(offset);
    pb::UploadArtifactRequest chunk;
    chunk.set_chunk(content);
    return Stream<pb::ArtifactState>(&pb::RegistryService::Stub::UploadArtifact, {header, chunk});
  }
  template <typename Response, typename Request>
  Result<Response> Stream(
      std::unique_ptr<grpc::ClientWriter<Request>> (pb::RegistryService::Stub::*method)(grpc::ClientContext*, Response*),
      const std::vector<Request>& messages) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    Response response;
    auto writer = ((*stub_).*method)(&context, &response);
    for (const Request& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    if (!status.ok()) return MakeError(rpc::FromGrpc(status, context));
    return response;
  }
  Result<pb::Version> Commit(const std::string& id, const std::string& upload_id) {
    pb::CommitPublishRequest request;
    request.set_request_id(id);
    request.set_upload_id(upload_id);
    return Call(&pb::RegistryService::Stub::CommitPublish, request);
  }
  // Every state that WatchVersion streams.
  std::vector<pb::Version> Watch(std::uint64_t version) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kPatience);
    pb::GetVersionRequest request;
    request.set_model("fashion");
    request.set_version(version);
    auto reader = stub_->WatchVersion(&context, request);
    std::vector<pb::Version> seen;
    for (pb::Version next; reader->Read(&next);) seen.push_back(next);
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return seen;
  }
  pb::Version Publish(const std::string& onnx, const std::string& evaluation = "") {
    const std::string id = "publish-" + std::to_string(++counter_);
    const auto session = Begin(BeginRequest(id, onnx, evaluation));
    EXPECT_TRUE(session) << session.error().ToString();
    EXPECT_TRUE(Upload(session->upload_id(), pb::ARTIFACT_KIND_ONNX, 0, onnx));
    if (!evaluation.empty()) {
      EXPECT_TRUE(Upload(session->upload_id(), pb::ARTIFACT_KIND_EVALUATION, 0, evaluation));
    }
    const auto version = Commit(id + "-commit", session->upload_id());
    EXPECT_TRUE(version) << version.error().ToString();
    const auto seen = Watch(version->version());
    return seen.empty() ? pb::Version() : seen.back();
  }
  Result<pb::Model> SetAlias(const std::string& id, std::uint64_t version) {
    pb::SetAliasRequest request;
    request.set_request_id(id);
    request.set_model("fashion");
    request.set_alias("stable");
    request.set_version(version);
    return Call(&pb::RegistryService::Stub::SetAlias, request);
  }
  static pb::ParameterHeader Header(std::uint64_t count = 3) {
    pb::ParameterHeader header;
    header.set_model("fashion");
    header.set_version(1);
    header.set_parameter_count(count);
    header.set_layout_sha256(AsText(registry::FakeToolchain::Layout()).data(), 32);
    return header;
  }
  static std::string Raw(const std::vector<float>& values) { return ToString(std::as_bytes(std::span(values))); }
  static std::vector<pb::CommitParametersRequest> CommitMessages(const std::string& id, const std::vector<float>& values) {
    std::vector<pb::CommitParametersRequest> messages(2);
    messages[0].mutable_header()->set_request_id(id);
    *messages[0].mutable_header()->mutable_parameters() = Header();
    messages[0].mutable_header()->mutable_lineage()->set_round_id("round-7");
    messages[1].set_chunk(Raw(values));
    return messages;
  }

  test::TempDir folder_;
  crypto::Ed25519PublicKey public_key_{};
  registry::FakeToolchain compiler_;
  registry::Toolchain toolchain_ = compiler_.Make();
  FakeClock clock_;
  NullLogger logger_;
  NullMetrics metrics_;
  std::unique_ptr<registry::MetadataStore> store_;
  std::unique_ptr<registry::ArtifactStore> artifacts_;
  std::unique_ptr<OriginDistribution> distribution_;
  std::unique_ptr<registry::Registry> registry_;
  ThreadPool pool_{"test", 3, 64};
  ThreadPool transfer_pool_{"test-transfers", kTransferThreads, 64};
  HandlerContext handlers_{pool_, metrics_, logger_, false};
  HandlerContext transfers_{transfer_pool_, metrics_, logger_, false};
  RegistryHandlers service_{handlers_, transfers_};
  MemoryOrigin origin_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<pb::RegistryService::Stub> stub_;
  int counter_ = 0;
};

TEST_F(RegistryServiceTest, PublishedModelReachesTheOriginWithASignedManifest) {
  const pb::Version version = Publish("net", "data");
  ASSERT_EQ(version.state(), pb::VERSION_STATE_READY) << version.refusal();
  EXPECT_EQ(version.variants_size(), 2);
  EXPECT_EQ(version.variants(0).metrics().accuracy(), 0.9);
  const auto model = SetAlias("alias", 1);
  ASSERT_TRUE(model) << model.error().ToString();
  EXPECT_EQ(model->aliases(0).manifest_path(), "fashion/stable.json");
  Publish("net two");
  ASSERT_TRUE(SetAlias("alias2", 2));
  const std::string envelope = origin_.Manifest("fashion/stable.json");
  const auto manifest = manifest::Verify(AsBytes(envelope), std::span(&public_key_, 1), {.model = "fashion"}, clock_);
  ASSERT_TRUE(manifest) << manifest.error().ToString();
  EXPECT_EQ(manifest->version, 2u);
  EXPECT_EQ(manifest->sequence, 2u);
  ASSERT_EQ(manifest->targets.size(), 2u);
  ASSERT_EQ(manifest->targets[0].deltas.size(), 1u);
  EXPECT_EQ(AsText(manifest->targets[0].deltas[0].from_sha256), version.variants(0).sha256());
  const std::string of_version = origin_.Manifest("fashion/versions/1.json");
  EXPECT_TRUE(manifest::Verify(AsBytes(of_version), std::span(&public_key_, 1), {.model = "fashion"}, clock_));
}

TEST_F(RegistryServiceTest, TransferToTheOriginGoesOnAfterCuts) {
  origin_.cuts = 3;
  EXPECT_EQ(Publish(std::string(800'000, 'n')).state(), pb::VERSION_STATE_READY);
}

TEST_F(RegistryServiceTest, BrokenUploadGoesOnWhereItStopped) {
  const std::string onnx = "a network";
  const auto session = Begin(BeginRequest("b", onnx));
  ASSERT_TRUE(session);
  const auto part = Upload(session->upload_id(), pb::ARTIFACT_KIND_ONNX, 0, onnx.substr(0, 4));
  ASSERT_TRUE(part);
  EXPECT_FALSE(part->complete());
  EXPECT_EQ(part->received(), 4u);
  EXPECT_EQ(Commit("c", session->upload_id()).error().reason(), "UPLOAD_INCOMPLETE");
  const auto early = Upload(session->upload_id(), pb::ARTIFACT_KIND_ONNX, 2, onnx.substr(2));
  EXPECT_EQ(early.error().code(), StatusCode::kOutOfRange);
  EXPECT_EQ(early.error().reason(), "BAD_OFFSET");
  pb::GetPublishSessionRequest request;
  request.set_upload_id(session->upload_id());
  const auto state = Call(&pb::RegistryService::Stub::GetPublishSession, request);
  ASSERT_TRUE(state);
  EXPECT_EQ(state->artifacts(0).received(), 4u);
  EXPECT_TRUE(Upload(session->upload_id(), pb::ARTIFACT_KIND_ONNX, 4, onnx.substr(4))->complete());
  EXPECT_TRUE(Commit("c", session->upload_id()));
}

TEST_F(RegistryServiceTest, BadUploadsAreRefused) {
  const auto session = Begin(BeginRequest("b", "net"));
  const std::string& id = session->upload_id();
  EXPECT_EQ(Upload(id, pb::ARTIFACT_KIND_ONNX, 0, "ten").error().reason(), "CHECKSUM_MISMATCH");
  EXPECT_EQ(Upload(id, pb::ARTIFACT_KIND_ONNX, 0, "nets").error().reason(), "TOO_LARGE");
  EXPECT_EQ(Upload(id, pb::ARTIFACT_KIND_ONNX, 0, std::string((1 << 20) + 1, 'x')).error().reason(), "TOO_LARGE");
  EXPECT_EQ(Upload("nobody", pb::ARTIFACT_KIND_ONNX, 0, "net").error().reason(), "UPLOAD_UNKNOWN");
  EXPECT_EQ(Upload(id, static_cast<pb::ArtifactKind>(257), 0, "net").error().reason(), "BAD_ARTIFACTS");
  pb::UploadArtifactRequest chunk;
  chunk.set_chunk("net");
  EXPECT_EQ(Stream<pb::ArtifactState>(&pb::RegistryService::Stub::UploadArtifact, {chunk}).error().reason(), "BAD_STREAM");
  EXPECT_EQ(Stream<pb::ArtifactState>(&pb::RegistryService::Stub::UploadArtifact, {}).error().reason(), "BAD_STREAM");
  EXPECT_TRUE(Upload(id, pb::ARTIFACT_KIND_ONNX, 0, "net")->complete());
}

TEST_F(RegistryServiceTest, BadRequestsNameTheirReason) {
  pb::BeginPublishRequest request = BeginRequest("b", "net");
  request.set_model("No Name");
  EXPECT_EQ(Begin(request).error().reason(), "BAD_NAME");
  request = BeginRequest("b", "net");
  request.mutable_artifacts(0)->set_sha256("short");
  EXPECT_EQ(Begin(request).error().reason(), "BAD_DIGEST");
  request = BeginRequest("b", "net");
  request.mutable_artifacts(0)->set_size(std::uint64_t{1} << 31);
  EXPECT_EQ(Begin(request).error().reason(), "TOO_LARGE");
  request = BeginRequest("b", "net");
  for (int i = 0; i < 33; ++i) (*request.mutable_tags())["t" + std::to_string(i)] = "v";
  EXPECT_EQ(Begin(request).error().reason(), "BAD_TAGS");
  request = BeginRequest("b", "net");
  request.mutable_options()->set_accuracy_drop_points_max(-1);
  EXPECT_EQ(Begin(request).error().reason(), "BAD_OPTIONS");
  request = BeginRequest("", "net");
  EXPECT_EQ(Begin(request).error().reason(), "BAD_REQUEST_ID");
  ASSERT_TRUE(Begin(BeginRequest("b", "net")));
  const auto reused = Begin(BeginRequest("b", "another"));
  EXPECT_EQ(reused.error().code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(reused.error().reason(), "REQUEST_ID_REUSED");
  pb::GetVersionRequest version;
  version.set_model("unknown");
  version.set_version(1);
  EXPECT_EQ(Call(&pb::RegistryService::Stub::GetVersion, version).error().reason(), "MODEL_UNKNOWN");
  EXPECT_EQ(Call(&pb::RegistryService::Stub::GetReport, version).error().reason(), "MODEL_UNKNOWN");
  EXPECT_EQ(SetAlias("a", 1).error().reason(), "MODEL_UNKNOWN");
}

TEST_F(RegistryServiceTest, WatchStreamsUntilTheEnd) {
  compiler_.CloseGate();
  const auto session = Begin(BeginRequest("b", "net"));
  ASSERT_TRUE(Upload(session->upload_id(), pb::ARTIFACT_KIND_ONNX, 0, "net"));
  ASSERT_TRUE(Commit("c", session->upload_id()));
  compiler_.WaitUntilCompiling();
  grpc::ClientContext context;
  rpc::PrepareCall(context, kPatience);
  pb::GetVersionRequest request;
  request.set_model("fashion");
  request.set_version(1);
  auto reader = stub_->WatchVersion(&context, request);
  pb::Version seen;
  ASSERT_TRUE(reader->Read(&seen));
  EXPECT_EQ(seen.state(), pb::VERSION_STATE_COMPILING);
  EXPECT_EQ(seen.stage(), "import");
  compiler_.OpenGate();
  while (reader->Read(&seen)) {
  }
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(seen.state(), pb::VERSION_STATE_READY);
}

TEST_F(RegistryServiceTest, ParametersTravelBothWays) {
  Publish("net", "data");
  grpc::ClientContext context;
  rpc::PrepareCall(context, kPatience);
  pb::GetVersionRequest request;
  request.set_model("fashion");
  request.set_version(1);
  auto reader = stub_->GetParameters(&context, request);
  pb::ParameterChunk message;
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.header().parameter_count(), 3u);
  EXPECT_EQ(message.header().layout_sha256(), Header().layout_sha256());
  ASSERT_TRUE(reader->Read(&message));
  EXPECT_EQ(message.chunk(), Raw({1, 2, 3}));
  EXPECT_FALSE(reader->Read(&message));
  EXPECT_TRUE(reader->Finish().ok());

  std::vector<pb::EvaluateParametersRequest> evaluate(2);
  *evaluate[0].mutable_header() = Header();
  evaluate[1].set_chunk(Raw({4, 5, 6}));
  const auto metrics = Stream<pb::Metrics>(&pb::RegistryService::Stub::EvaluateParameters, evaluate);
  ASSERT_TRUE(metrics) << metrics.error().ToString();
  EXPECT_EQ(metrics->loss(), 4.0);

  for (int i = 0; i < 2; ++i) {  // the second is a repetition
    const auto version = Stream<pb::Version>(&pb::RegistryService::Stub::CommitParameters, CommitMessages("c", {4, 5, 6}));
    ASSERT_TRUE(version) << version.error().ToString();
    EXPECT_EQ(version->version(), 2u);
    EXPECT_EQ(version->state(), pb::VERSION_STATE_READY);
    EXPECT_EQ(version->lineage().round_id(), "round-7");
    EXPECT_EQ(version->lineage().parent_version(), 1u);
  }
  EXPECT_EQ(Stream<pb::Version>(&pb::RegistryService::Stub::CommitParameters, CommitMessages("c", {4, 5, 7})).error().reason(),
            "REQUEST_ID_REUSED");
}

TEST_F(RegistryServiceTest, BadParameterStreamsAreRefused) {
  Publish("net", "data");
  auto reason = [&](std::vector<pb::EvaluateParametersRequest> messages) {
    return Stream<pb::Metrics>(&pb::RegistryService::Stub::EvaluateParameters, messages).error().reason();
  };
  pb::EvaluateParametersRequest header, chunk;
  *header.mutable_header() = Header();
  chunk.set_chunk(Raw({1, 2, 3}));
  EXPECT_EQ(reason({}), "BAD_STREAM");
  EXPECT_EQ(reason({chunk}), "BAD_STREAM");
  EXPECT_EQ(reason({header, header}), "BAD_STREAM");
  EXPECT_EQ(reason({header}), "BAD_PARAMETERS");
  EXPECT_EQ(reason({header, chunk, chunk}), "BAD_PARAMETERS");
  pb::EvaluateParametersRequest odd = chunk, infinite = chunk, large = chunk, other = header;
  odd.set_chunk("12345");
  EXPECT_EQ(reason({header, odd}), "BAD_PARAMETERS");
  large.set_chunk(std::string((1 << 20) + 4, '\0'));
  EXPECT_EQ(reason({header, large}), "BAD_PARAMETERS");
  infinite.set_chunk(Raw({1, std::numeric_limits<float>::infinity(), 3}));
  EXPECT_EQ(reason({header, infinite}), "BAD_PARAMETERS");
  other.mutable_header()->set_parameter_count(std::uint64_t{1} << 60);
  EXPECT_EQ(reason({other, chunk}), "BAD_PARAMETERS");
  other = header;
  other.mutable_header()->set_layout_sha256(std::string(32, 'x'));
  EXPECT_EQ(reason({other, chunk}), "BAD_PARAMETERS");
  other.mutable_header()->set_layout_sha256("x");
  EXPECT_EQ(reason({other, chunk}), "BAD_DIGEST");
  other = header;
  other.mutable_header()->set_version(5);
  EXPECT_EQ(reason({other, chunk}), "VERSION_UNKNOWN");
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(
      Stream<pb::Version>(&pb::RegistryService::Stub::CommitParameters, CommitMessages("c", {1, nan, 3})).error().reason(),
      "BAD_PARAMETERS");
  EXPECT_EQ(Watch(1).back().state(), pb::VERSION_STATE_READY);  // and the service goes on
}

TEST_F(RegistryServiceTest, ParameterTransfersAreBounded) {
  Publish("net", "data");
  pb::EvaluateParametersRequest header, chunk;
  *header.mutable_header() = Header();
  chunk.set_chunk(Raw({1, 2, 3}));
  compiler_.CloseGate();
  std::vector<std::thread> commits;
  for (int i = 0; i < kParameterTransfersMax; ++i) {
    commits.emplace_back([this, i] {
      const auto version = Stream<pb::Version>(&pb::RegistryService::Stub::CommitParameters,
                                               CommitMessages("c" + std::to_string(i), {1, 2, static_cast<float>(i)}));
      EXPECT_TRUE(version) << version.error().ToString();
    });
  }
  pb::GetModelRequest model;
  model.set_model("fashion");
  // All of them hold their slot once each has made its version.
  while (Call(&pb::RegistryService::Stub::GetModel, model)->latest_version() < 1 + kParameterTransfersMax) {
  }
  const auto refused = Stream<pb::Metrics>(&pb::RegistryService::Stub::EvaluateParameters,
                                           std::vector<pb::EvaluateParametersRequest>{header, chunk});
  EXPECT_EQ(refused.error().reason(), "OVERLOADED");
  EXPECT_TRUE(refused.error().retry_after());
  compiler_.OpenGate();
  for (auto& commit : commits) commit.join();
  const auto again = Stream<pb::Metrics>(&pb::RegistryService::Stub::EvaluateParameters,
                                         std::vector<pb::EvaluateParametersRequest>{header, chunk});
  EXPECT_TRUE(again) << again.error().ToString();
}

TEST_F(RegistryServiceTest, TagsAndListsOverTheWire) {
  Publish("net");
  pb::SetTagsRequest tags;
  tags.set_request_id("t");
  tags.set_model("fashion");
  tags.set_version(1);
  (*tags.mutable_tags())["stage"] = "canary";
  EXPECT_EQ(Call(&pb::RegistryService::Stub::SetTags, tags)->tags().at("stage"), "canary");
  (*tags.mutable_tags())["bad\n"] = "x";
  tags.set_request_id("t2");
  EXPECT_EQ(Call(&pb::RegistryService::Stub::SetTags, tags).error().reason(), "BAD_TAGS");
  EXPECT_EQ(Call(&pb::RegistryService::Stub::ListModels, pb::ListModelsRequest())->models_size(), 1);
  pb::ListVersionsRequest list;
  list.set_model("fashion");
  list.set_page_size(500);
  EXPECT_EQ(Call(&pb::RegistryService::Stub::ListVersions, list).error().reason(), "BAD_PAGE_SIZE");
  list.set_page_size(0);
  EXPECT_EQ(Call(&pb::RegistryService::Stub::ListVersions, list)->versions_size(), 1);
}

TEST(SigningKeyTest, IsMadeOnceSecretAndReadAgain) {
  const test::TempDir folder;
  const auto first = LoadSigningKey("", folder.path(), "manifest");
  ASSERT_TRUE(first) << first.error().ToString();
  const auto file = folder.path() / "keys" / "manifest.key";
  EXPECT_EQ(std::filesystem::status(file).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_EQ(LoadSigningKey("", folder.path(), "manifest")->public_key(), first->public_key());
  EXPECT_EQ(ToString(*ReadFile(folder.path() / "keys" / "manifest.pub", 100)), HexEncode(first->public_key()) + "\n");
  ASSERT_TRUE(WriteFileAtomic(folder.path() / "other", AsBytes("not hex")).ok());
  EXPECT_EQ(LoadSigningKey(folder.path() / "other", folder.path(), "manifest").error().reason(), "BAD_KEY");
  EXPECT_EQ(LoadSigningKey(folder.path() / "absent", folder.path(), "manifest").error().reason(), "FILE_MISSING");
}

}  // namespace
}  // namespace edgefleet::services
