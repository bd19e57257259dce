#include "services/runtime/bootstrap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "proto/rpc/status.h"
#include "services/runtime/address.h"
#include "tests/services/handler_server.h"
#include "tests/services/health_watch.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::services {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// What the fake role did, and what it is told to do.
struct Script {
  std::vector<std::string> events;
  Status register_result;
  Status start_result;
  std::function<void(const PeerChannels&)> on_start = [](const PeerChannels&) {};
};

Status CallStat(const std::shared_ptr<grpc::Channel>& channel, std::size_t request_bytes = 0) {
  grpc::ClientContext context;
  rpc::PrepareCall(context, std::chrono::minutes(1));
  context.set_wait_for_ready(true);
  pb::StatBlobRequest request;
  request.mutable_sha256()->assign(request_bytes, 'x');
  pb::BlobState response;
  const grpc::Status status = pb::OriginService::NewStub(channel)->StatBlob(&context, request, &response);
  return rpc::FromGrpc(status, context);
}

class FakeRole final : public Role {
 public:
  FakeRole(RoleContext context, Script& script) : script_(script), service_(context.handlers) {
    service_.stat = [](const pb::StatBlobRequest&, pb::BlobState&) -> Status { return {}; };
  }
  std::string_view name() const override { return "origin"; }
  Status RegisterServices(grpc::ServerBuilder& builder) override {
    script_.events.push_back("register");
    if (script_.register_result.ok()) builder.RegisterService(&service_);
    return script_.register_result;
  }
  Status Start(const PeerChannels& peers) override {
    script_.events.push_back("start");
    script_.on_start(peers);
    return script_.start_result;
  }
  void Drain() override { script_.events.push_back("drain"); }
  void Stop() override { script_.events.push_back("stop"); }
  std::string http_address() const override { return "127.0.0.1:8080"; }

 private:
  Script& script_;
  PluggableOrigin service_;
};

class BootstrapTest : public testing::Test {
 protected:
  BootstrapTest() {
    config_.listen.grpc = "127.0.0.1:0";
    config_.listen.metrics = "127.0.0.1:0";
    config_.log.level = "error";
    config_.port_file = dir_.path() / "ports.json";
    config_.server.shutdown_grace_ms = 100;
  }
  Result<std::unique_ptr<Process>> Start() {
    return Process::Start(config_, {{"origin", [this](RoleContext c) { return std::make_unique<FakeRole>(c, script_); }}});
  }
  static std::shared_ptr<grpc::Channel> Dial(const std::string& target) {
    return grpc::CreateChannel(target, grpc::InsecureChannelCredentials());
  }

  test::TempDir dir_;
  Config config_;
  Script script_;
};

TEST_F(BootstrapTest, RunsTheRoleThroughItsLifeInOrder) {
  auto process = Start();
  ASSERT_TRUE(process.has_value()) << process.error().message();
  EXPECT_TRUE(CallStat(Dial((*process)->addresses().grpc)).ok());
  (*process)->Stop();
  EXPECT_THAT(script_.events, ElementsAre("register", "start", "drain", "stop"));
}

TEST_F(BootstrapTest, WritesThePortFileOnceItServes) {
  bool early = true;
  script_.on_start = [&](const PeerChannels&) { early = std::filesystem::exists(config_.port_file); };
  auto process = Start();
  ASSERT_TRUE(process.has_value());
  EXPECT_FALSE(early);
  const auto content = ReadFile(config_.port_file, 1000);
  ASSERT_TRUE(content.has_value());
  const auto ports = nlohmann::json::parse(AsText(*content));
  EXPECT_EQ(ports["grpc"], (*process)->addresses().grpc);
  EXPECT_EQ(ports["metrics"], (*process)->addresses().metrics);
  EXPECT_EQ(ports["http"], "127.0.0.1:8080");
  EXPECT_GT(ParseHostPort((*process)->addresses().grpc)->port, 0);
}

TEST_F(BootstrapTest, IsNotServingUntilStartedAndNoLongerAfterwards) {
  std::optional<int> during_start;
  Status call_during_start;
  script_.on_start = [&](const PeerChannels& peers) {
    during_start = HealthWatch(peers.advertised_address, "").Next();
    call_during_start = CallStat(Dial(peers.advertised_address));
  };
  auto process = Start();
  ASSERT_TRUE(process.has_value());
  EXPECT_EQ(during_start, HealthWatch::kNotServing);
  EXPECT_EQ(call_during_start.reason(), "STARTING");
  HealthWatch whole((*process)->addresses().grpc, "");
  HealthWatch role((*process)->addresses().grpc, "origin");
  EXPECT_EQ(whole.Next(), HealthWatch::kServing);
  EXPECT_EQ(role.Next(), HealthWatch::kServing);
  (*process)->ReportNotServing();
  EXPECT_EQ(whole.Next(), HealthWatch::kNotServing);
  EXPECT_EQ(role.Next(), HealthWatch::kNotServing);
  EXPECT_TRUE(CallStat(Dial((*process)->addresses().grpc)).ok());
}

TEST_F(BootstrapTest, PeersOfRoleAllLeadBackIntoTheProcess) {
  PeerChannels peers;
  script_.on_start = [&](const PeerChannels& given) { peers = given; };
  auto process = Start();
  ASSERT_TRUE(process.has_value());
  EXPECT_EQ(peers.advertised_address, (*process)->addresses().grpc);
  for (const auto& channel : {peers.registry, peers.origin, peers.selector, peers.aggregator}) {
    ASSERT_NE(channel, nullptr);
    EXPECT_TRUE(CallStat(channel).ok());
  }
}

TEST_F(BootstrapTest, MessagesAboveTheLimitAreRefused) {
  auto process = Start();
  ASSERT_TRUE(process.has_value());
  const auto channel = Dial((*process)->addresses().grpc);
  EXPECT_TRUE(CallStat(channel, rpc::kMessageBytesMax - 1024).ok());
  EXPECT_EQ(CallStat(channel, rpc::kMessageBytesMax + 1024).code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(CallStat(channel).ok());
}

TEST_F(BootstrapTest, CompressedMessagesAreRefused) {
  auto process = Start();
  ASSERT_TRUE(process.has_value());
  grpc::ChannelArguments args;
  args.SetCompressionAlgorithm(GRPC_COMPRESS_GZIP);
  const auto channel = grpc::CreateCustomChannel((*process)->addresses().grpc, grpc::InsecureChannelCredentials(), args);
  EXPECT_EQ(CallStat(channel, 100'000).code(), StatusCode::kUnimplemented);
}

TEST_F(BootstrapTest, FailuresAtStartAreToldAndUndone) {
  script_.register_result = FailedPrecondition("STORE_BROKEN", "cannot open the store");
  auto process = Start();
  ASSERT_FALSE(process.has_value());
  EXPECT_EQ(process.error().reason(), "STORE_BROKEN");
  EXPECT_THAT(process.error().message(), HasSubstr("role origin"));
  EXPECT_THAT(script_.events, ElementsAre("register", "stop"));

  script_ = {};
  script_.start_result = Unavailable("NO_LUCK", "not today");
  process = Start();
  ASSERT_FALSE(process.has_value());
  EXPECT_EQ(process.error().reason(), "NO_LUCK");
  EXPECT_THAT(script_.events, ElementsAre("register", "start", "drain", "stop"));
  EXPECT_FALSE(std::filesystem::exists(config_.port_file));
}

TEST_F(BootstrapTest, ATakenPortIsAnError) {
  auto first = Start();
  ASSERT_TRUE(first.has_value());
  config_.listen.grpc = (*first)->addresses().grpc;
  auto second = Start();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().reason(), "CANNOT_LISTEN");
  EXPECT_THAT(second.error().message(), HasSubstr(config_.listen.grpc));
  config_.listen.grpc = "127.0.0.1:0";
  config_.listen.metrics = (*first)->addresses().metrics;
  auto third = Start();
  ASSERT_FALSE(third.has_value());
  EXPECT_EQ(third.error().reason(), "CANNOT_LISTEN");
}

}  // namespace
}  // namespace edgefleet::services
