// The origin role in a process of its own making: OriginService over gRPC, what it stores over HTTP.
#include "services/origin/origin_role.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/crypto/crypto.h"
#include "cdn_origin/manifest/manifest.h"
#include "edgefleet/origin/v1/origin.grpc.pb.h"
#include "proto/rpc/status.h"
#include "services/runtime/bootstrap.h"
#include "tests/support/raw_socket.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::services {
namespace {

namespace v1 = origin::v1;
using ::testing::EndsWith;
using ::testing::StartsWith;

constexpr auto kTimeout = std::chrono::seconds(60);

class OriginRoleTest : public ::testing::Test {
 protected:
  OriginRoleTest() {
    config_.role = "origin";
    config_.data_dir = dir_.path();
    config_.listen.grpc = config_.listen.http = config_.listen.metrics = "127.0.0.1:0";
    Restart();
  }
  void Restart() {
    process_.reset();
    auto started =
        Process::Start(config_, {{"origin", [](RoleContext context) { return std::make_unique<OriginRole>(context); }}});
    ASSERT_TRUE(started) << started.error().ToString();
    process_ = std::move(*started);
    stub_ = v1::OriginService::NewStub(grpc::CreateChannel(process_->addresses().grpc, grpc::InsecureChannelCredentials()));
  }
  static std::string Digest(const std::string& text) { return ToString(crypto::Sha256(AsBytes(text))); }

  template <typename Req, typename Res>
  Status Call(grpc::Status (v1::OriginService::Stub::*method)(grpc::ClientContext*, const Req&, Res*), const Req& request,
              Res& response) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kTimeout);
    return rpc::FromGrpc((*stub_.*method)(&context, request, &response), context);
  }
  Status Put(const std::string& sha256, const std::string& bytes, std::uint64_t size, std::uint64_t offset,
             v1::BlobState& state) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kTimeout);
    auto stream = stub_->PutBlob(&context, &state);
    v1::PutBlobRequest message;
    message.mutable_header()->set_sha256(sha256);
    message.mutable_header()->set_size(size);
    message.mutable_header()->set_offset(offset);
    stream->Write(message);
    if (!bytes.empty()) {
      message.set_chunk(bytes);
      stream->Write(message);
    }
    stream->WritesDone();
    return rpc::FromGrpc(stream->Finish(), context);
  }
  Status PutWhole(const std::string& text) {
    v1::BlobState state;
    Status status = Put(Digest(text), text, text.size(), 0, state);
    EXPECT_EQ(state.complete(), status.ok());
    return status;
  }
  v1::BlobState Stat(const std::string& text) {
    v1::StatBlobRequest request;
    request.set_sha256(Digest(text));
    v1::BlobState state;
    EXPECT_TRUE(Call(&v1::OriginService::Stub::StatBlob, request, state).ok());
    return state;
  }
  std::string HttpGet(const std::string& path) {
    test::RawClient client(process_->addresses().http);
    client.Send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    return client.ReadAll();
  }
  Status MakeDelta(const std::string& from, const std::string& to, v1::DeltaInfo& info) {
    v1::MakeDeltaRequest request;
    request.set_request_id("r1");
    request.set_from_sha256(Digest(from));
    request.set_to_sha256(Digest(to));
    return Call(&v1::OriginService::Stub::MakeDelta, request, info);
  }
  Status PutManifest(const std::string& path, std::uint64_t sequence, const std::string& envelope) {
    v1::PutManifestRequest request;
    request.set_request_id("r2");
    request.set_path(path);
    request.set_sequence(sequence);
    request.set_envelope(envelope);
    v1::PutManifestResponse response;
    return Call(&v1::OriginService::Stub::PutManifest, request, response);
  }

  test::TempDir dir_;
  Config config_;
  std::unique_ptr<Process> process_;
  std::unique_ptr<v1::OriginService::Stub> stub_;
};

TEST_F(OriginRoleTest, BlobsArriveInPiecesAcrossRestarts) {
  const std::string text(300'000, 'm');
  v1::BlobState state;
  ASSERT_TRUE(Put(Digest(text), text.substr(0, 100'000), text.size(), 0, state).ok());
  EXPECT_EQ(state.received(), 100'000u);
  EXPECT_FALSE(state.complete());
  Restart();
  EXPECT_EQ(Stat(text).received(), 100'000u);
  EXPECT_EQ(Put(Digest(text), "", text.size(), 5, state).reason(), "BAD_OFFSET");
  ASSERT_TRUE(Put(Digest(text), text.substr(100'000), text.size(), 100'000, state).ok());
  EXPECT_TRUE(state.complete());
  EXPECT_THAT(HttpGet("/blobs/" + HexEncode(AsBytes(Digest(text)))),
              AllOf(StartsWith("HTTP/1.1 200"), EndsWith("\r\n\r\n" + text)));
  grpc::ClientContext context;
  rpc::PrepareCall(context, kTimeout);
  v1::GetBlobRequest request;
  request.set_sha256(Digest(text));
  request.set_offset(1000);
  auto stream = stub_->GetBlob(&context, request);
  std::string got;
  for (v1::BlobChunk chunk; stream->Read(&chunk);) got += chunk.chunk();
  EXPECT_TRUE(stream->Finish().ok());
  EXPECT_EQ(got, text.substr(1000));
}

TEST_F(OriginRoleTest, BadUploads) {
  v1::BlobState state;
  EXPECT_EQ(Put("short", "x", 1, 0, state).reason(), "BAD_DIGEST");
  EXPECT_EQ(Put(Digest("x"), "y", 1, 0, state).reason(), "CHECKSUM_MISMATCH");
  EXPECT_EQ(Put(Digest("x"), "xx", 1, 0, state).reason(), "TOO_LARGE");
  EXPECT_EQ(Put(Digest("x"), "", (4ULL << 30) + 1, 0, state).reason(), "TOO_LARGE");
  EXPECT_EQ(Put(Digest("x"), std::string((1 << 20) + 1, 'x'), 2 << 20, 0, state).reason(), "TOO_LARGE");
  grpc::ClientContext context;
  auto stream = stub_->PutBlob(&context, &state);
  v1::PutBlobRequest message;
  message.set_chunk("no header");
  stream->Write(message);
  stream->WritesDone();
  EXPECT_EQ(rpc::FromGrpc(stream->Finish(), context).reason(), "BAD_STREAM");
  EXPECT_TRUE(PutWhole("x").ok());
  EXPECT_TRUE(PutWhole("x").ok()) << "what is there already succeeds";
}

TEST_F(OriginRoleTest, DeltasAndManifestsLast) {
  const std::string from(50'000, 'a');
  const std::string to = from + "b";
  ASSERT_TRUE(PutWhole(from).ok());
  v1::DeltaInfo info;
  EXPECT_EQ(MakeDelta(from, to, info).reason(), "BLOB_UNKNOWN");
  ASSERT_TRUE(PutWhole(to).ok());
  ASSERT_TRUE(MakeDelta(from, to, info).ok());
  EXPECT_EQ(info.full_size(), to.size());
  EXPECT_LT(info.size(), 1000u);
  const std::vector keys{crypto::Ed25519SecretKey::Generate()};
  const manifest::Target target{"int8", "int8", false, crypto::Sha256(AsBytes(to)), to.size(), {}};
  const auto envelope = [&](std::uint64_t sequence) {
    return ToString(*manifest::Sign({"m", 1, "stable", sequence, 1, 2, {target}}, keys));
  };
  EXPECT_EQ(PutManifest("../x", 1, envelope(1)).reason(), "BAD_PATH");
  EXPECT_EQ(PutManifest("m/stable.json", 1, "garbage").reason(), "BAD_MANIFEST");
  ASSERT_TRUE(PutManifest("m/stable.json", 2, envelope(2)).ok());
  Restart();
  EXPECT_EQ(PutManifest("m/stable.json", 1, envelope(1)).reason(), "STALE_SEQUENCE");
  EXPECT_TRUE(PutManifest("m/stable.json", 2, envelope(2)).ok());
  EXPECT_THAT(HttpGet("/manifests/m/stable.json"), EndsWith(envelope(2)));
  v1::DeltaInfo again;
  ASSERT_TRUE(MakeDelta(from, to, again).ok());
  EXPECT_EQ(again.sha256(), info.sha256());
}

TEST_F(OriginRoleTest, TellsItsHttpAddress) {
  v1::Endpoint endpoint;
  ASSERT_TRUE(Call(&v1::OriginService::Stub::GetEndpoint, v1::GetEndpointRequest(), endpoint).ok());
  EXPECT_EQ(endpoint.base_url(), "http://" + process_->addresses().http);
  config_.listen.advertise_http = "https://cdn.example";
  Restart();
  ASSERT_TRUE(Call(&v1::OriginService::Stub::GetEndpoint, v1::GetEndpointRequest(), endpoint).ok());
  EXPECT_EQ(endpoint.base_url(), "https://cdn.example");
}

}  // namespace
}  // namespace edgefleet::services
