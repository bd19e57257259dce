// The built `edgefleet` command: usage errors, exit codes, and a publish that survives a broken upload.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <mutex>
#include <nlohmann/json.hpp>

#include "base/crypto/crypto.h"
#include "base/file.h"
#include "edgefleet/registry/v1/registry.grpc.pb.h"
#include "proto/rpc/status.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::cli {
namespace {

namespace pb = registry::v1;
using test::RunProgram;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kProgram = EDGEFLEET_PROGRAM;

test::RunResult RunCommand(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), kProgram);
  return RunProgram(arguments);
}

std::vector<std::string> SecaggParams(const char* clients, const char* corrupt, const char* dropout, const char* adversary,
                                      const char* correctness = "20") {
  return {"secagg",    "params", "--clients",   clients,   "--corrupt",     corrupt,
          "--dropout", dropout,  "--adversary", adversary, "--correctness", correctness};
}

struct UsageCase {
  std::vector<std::string> arguments;
  const char* message;
};
class UsageError : public testing::TestWithParam<UsageCase> {};

TEST_P(UsageError, ExitsWithTwoAndSaysWhatIsWrong) {
  const auto plain = RunCommand(GetParam().arguments);
  EXPECT_EQ(plain.exit_code, 2);
  EXPECT_THAT(plain.out, IsEmpty());
  EXPECT_THAT(plain.err,
              AllOf(HasSubstr("error: "), HasSubstr(GetParam().message), HasSubstr("[BAD_USAGE]"), HasSubstr("hint: ")));
  auto arguments = GetParam().arguments;
  arguments.push_back("--json");
  const auto json = RunCommand(arguments);
  EXPECT_EQ(json.exit_code, 2);
  const auto error = nlohmann::json::parse(json.out)["error"];
  EXPECT_EQ(error["reason"], "BAD_USAGE");
  EXPECT_EQ(error["code"], "INVALID_ARGUMENT");
}

INSTANTIATE_TEST_SUITE_P(
    Table, UsageError,
    testing::Values(UsageCase{{}, "subcommand is required"}, UsageCase{{"frobnicate"}, "'frobnicate' is unknown"},
                    UsageCase{{"model"}, "subcommand is required"}, UsageCase{{"model", "show"}, "MODEL is required"},
                    UsageCase{{"model", "show", "fashion@first"}, "'first' is not a version"},
                    UsageCase{{"model", "show", "fashion:"}, "names no alias"},
                    UsageCase{{"model", "report", "fashion"}, "names no version"},
                    UsageCase{{"model", "tag", "fashion@1", "novalue"}, "write KEY=VALUE"},
                    UsageCase{{"model", "tag", "fashion@1"}, "--clear"},
                    UsageCase{{"model", "alias", "fashion", "stable", "-1"}, "VERSION"},
                    UsageCase{{"model", "publish", "x", "/no/such.onnx"}, "does not exist"},
                    UsageCase{{"task", "create"}, "--model is required"},
                    UsageCase{{"task", "create", "--model", "m", "--rounds", "many"}, "--rounds"},
                    UsageCase{{"task", "create", "--model", "m@3"}, "starts from an alias"},
                    UsageCase{{"task", "create", "--model", "m", "--adversary", "evil"}, "--adversary"},
                    UsageCase{{"task", "create", "--model", "m", "--corrupt", "0"}, "--corrupt"},
                    UsageCase{{"task", "transcript", "t-1"}, "--out is required"},
                    UsageCase{{"device", "enroll", "--authority", "/no/such.key"}, "does not exist"},
                    UsageCase{{"device", "list", "--limit", "0"}, "--limit"}, UsageCase{{"secagg"}, "subcommand is required"},
                    UsageCase{{"secagg", "params"}, "is required"},
                    UsageCase{SecaggParams("ten", "0.1", "0.1", "active"), "--clients"},
                    UsageCase{SecaggParams("-5", "0.1", "0.1", "active"), "--clients"},
                    UsageCase{SecaggParams("10", "1", "0.1", "active"), "corrupt"},
                    UsageCase{SecaggParams("10", "0.1", "nan", "active"), "dropout"},
                    UsageCase{SecaggParams("10", "0.1", "0.1", "evil"), "--adversary"},
                    UsageCase{SecaggParams("10", "0.1", "0.1", "active", "25"), "20 or 30"},
                    UsageCase{{"model", "list", "--timeout", "0"}, "--timeout"}));

TEST(Cli, HelpHasExamplesForEveryCommand) {
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{{},
                                                                                       {"model", "publish"},
                                                                                       {"model", "fetch"},
                                                                                       {"model", "eval"},
                                                                                       {"task", "create"},
                                                                                       {"task", "watch"},
                                                                                       {"task", "transcript"},
                                                                                       {"device", "list"},
                                                                                       {"secagg", "params"},
                                                                                       {"secagg", "verify"},
                                                                                       {"privacy", "epsilon"},
                                                                                       {"privacy", "noise"},
                                                                                       {"device", "authority"},
                                                                                       {"device", "enroll"},
                                                                                       {"version"}}) {
    auto arguments = command;
    arguments.push_back("--help");
    const auto help = RunCommand(arguments);
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_THAT(help.out, AllOf(HasSubstr("Examples:"), HasSubstr("edgefleet")));
  }
  EXPECT_THAT(RunCommand({"--help"}).out, HasSubstr("Exit codes: 0 ok"));
  EXPECT_THAT(nlohmann::json::parse(RunCommand({"version", "--json"}).out)["version"].get<std::string>(),
              testing::Not(IsEmpty()));
}

TEST(Cli, DerivesSecureAggregationParametersWithoutAServer) {
  const auto json = RunCommand(
      {"secagg", "params", "--clients", "1000", "--corrupt", ".1", "--dropout", ".1", "--adversary", "semi-honest", "--json"});
  EXPECT_EQ(json.exit_code, 0);
  EXPECT_EQ(json.out, "{\"degree\":48,\"threshold\":27}\n");
  auto arguments = SecaggParams("1000", "0.1", "0.3", "active");
  const auto plain = RunCommand(arguments);
  EXPECT_EQ(plain.exit_code, 0);
  EXPECT_THAT(plain.out, AllOf(HasSubstr("414"), HasSubstr("247"), HasSubstr("up to 300 of 1000"), HasSubstr("2^-20.1")));
  arguments.push_back("--json");
  EXPECT_EQ(RunCommand(arguments).out, "{\"degree\":414,\"threshold\":247}\n");
  const auto stricter = RunCommand(SecaggParams("1000", "0.1", "0.3", "active", "30"));
  EXPECT_THAT(stricter.out, HasSubstr("2^-30"));
  EXPECT_NE(stricter.out, plain.out);
}

TEST(Cli, RefusesInfeasibleSecureAggregationWithTheReason) {
  auto arguments = SecaggParams("1000", "0.4", "0.3", "active");
  const auto plain = RunCommand(arguments);
  EXPECT_EQ(plain.exit_code, 5);
  EXPECT_THAT(plain.out, IsEmpty());
  EXPECT_THAT(plain.err, AllOf(HasSubstr("corrupt + 2 * dropout must stay below 1"), HasSubstr("[NO_SAFE_PARAMETERS]")));
  arguments.push_back("--json");
  const auto json = RunCommand(arguments);
  EXPECT_EQ(json.exit_code, 5);
  EXPECT_EQ(nlohmann::json::parse(json.out)["error"]["reason"], "NO_SAFE_PARAMETERS");
}

TEST(Cli, AnUnreachableServerIsExitCodeFour) {
  // A port that was free a moment ago, and on which nobody listens.
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  pb::RegistryService::Service unused;
  builder.RegisterService(&unused);
  builder.BuildAndStart()->Shutdown();
  const auto result = RunCommand({"model", "list", "--server", "127.0.0.1:" + std::to_string(port)});
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_THAT(result.err, AllOf(HasSubstr("the registry at 127.0.0.1:"), HasSubstr("[UNREACHABLE]"), HasSubstr("hint: ")));
}

// Keeps what arrives, and cuts the first upload after its first chunk.
class FlakyRegistry final : public pb::RegistryService::Service {
 public:
  grpc::Status BeginPublish(grpc::ServerContext*, const pb::BeginPublishRequest* request, pb::PublishSession* out) override {
    const std::lock_guard lock(mutex_);
    begun.push_back(*request);
    FillSession(*out);
    return grpc::Status::OK;
  }
  grpc::Status GetPublishSession(grpc::ServerContext*, const pb::GetPublishSessionRequest*, pb::PublishSession* out) override {
    const std::lock_guard lock(mutex_);
    FillSession(*out);
    return grpc::Status::OK;
  }
  grpc::Status UploadArtifact(grpc::ServerContext*, grpc::ServerReader<pb::UploadArtifactRequest>* reader,
                              pb::ArtifactState* out) override {
    const std::lock_guard lock(mutex_);
    pb::UploadArtifactRequest message;
    reader->Read(&message);
    offsets.push_back(message.header().offset());
    content.resize(message.header().offset());
    while (reader->Read(&message)) {
      content += message.chunk();
      if (!std::exchange(cut, true)) return {grpc::StatusCode::UNAVAILABLE, "the connection broke"};
    }
    out->set_kind(pb::ARTIFACT_KIND_ONNX);
    out->set_received(content.size());
    out->set_complete(content.size() == begun.front().artifacts(0).size());
    return grpc::Status::OK;
  }
  grpc::Status CommitPublish(grpc::ServerContext*, const pb::CommitPublishRequest*, pb::Version* out) override {
    FillVersion(*out, pb::VERSION_STATE_COMPILING);
    return grpc::Status::OK;
  }
  grpc::Status WatchVersion(grpc::ServerContext*, const pb::GetVersionRequest*,
                            grpc::ServerWriter<pb::Version>* writer) override {
    pb::Version version;
    FillVersion(version, pb::VERSION_STATE_COMPILING);
    writer->Write(version);
    FillVersion(version, final_state);
    writer->Write(version);
    return grpc::Status::OK;
  }

  std::vector<pb::BeginPublishRequest> begun;
  std::vector<std::uint64_t> offsets;
  std::string content;
  bool cut = false;
  pb::VersionState final_state = pb::VERSION_STATE_READY;

 private:
  void FillSession(pb::PublishSession& out) {
    const std::uint64_t size = begun.front().artifacts(0).size();
    out.set_upload_id("u1");
    auto& state = *out.add_artifacts();
    state.set_kind(pb::ARTIFACT_KIND_ONNX);
    state.set_received(content.size());
    state.set_size(size);
    state.set_complete(content.size() == size);
  }
  void FillVersion(pb::Version& out, pb::VersionState state) {
    out.set_model("fashion");
    out.set_version(3);
    out.set_state(state);
    if (state == pb::VERSION_STATE_REFUSED) out.set_refusal("int8 lost 3.1 points");
  }
  std::mutex mutex_;
};

class PublishTest : public testing::Test {
 protected:
  void SetUp() override {
    network_.assign(3 * rpc::kChunkBytes + 17, 'n');
    for (std::size_t i = 0; i < network_.size(); ++i) network_[i] = static_cast<char>(i * 31 >> 3);
    file_ = dir_.path() / "net.onnx";
    ASSERT_TRUE(WriteFileAtomic(file_, AsBytes(network_)).ok());
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&registry_);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  void TearDown() override { server_->Shutdown(std::chrono::system_clock::now()); }
  test::RunResult Publish(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"model", "publish", "fashion", file_, "--server", address_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return RunCommand(arguments);
  }

  test::TempDir dir_;
  std::string network_;
  std::string file_;
  FlakyRegistry registry_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

TEST_F(PublishTest, ResumesABrokenUploadWhereTheServerHasIt) {
  const auto result = Publish({"--json"});
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_EQ(registry_.content, network_);
  EXPECT_THAT(registry_.offsets, testing::ElementsAre(0, rpc::kChunkBytes));
  const auto version = nlohmann::json::parse(result.out);
  EXPECT_EQ(version["version"], 3);
  EXPECT_EQ(version["state"], "READY");
  EXPECT_EQ(registry_.begun.front().artifacts(0).sha256(), ToString(crypto::Sha256(AsBytes(network_))));
}

TEST_F(PublishTest, TheSameCommandIsTheSameRequest) {
  ASSERT_EQ(Publish().exit_code, 0);
  ASSERT_EQ(Publish().exit_code, 0);
  ASSERT_EQ(Publish({"--tag", "team=vision"}).exit_code, 0);
  ASSERT_EQ(registry_.begun.size(), 3u);
  EXPECT_EQ(registry_.begun[0].request_id(), registry_.begun[1].request_id());
  EXPECT_NE(registry_.begun[0].request_id(), registry_.begun[2].request_id());
  EXPECT_EQ(registry_.offsets.size(), 2u);  // what is there is not sent again
}

TEST_F(PublishTest, ARefusedVersionIsExitCodeFiveWithItsReason) {
  registry_.final_state = pb::VERSION_STATE_REFUSED;
  const auto result = Publish();
  EXPECT_EQ(result.exit_code, 5);
  EXPECT_THAT(result.err, AllOf(HasSubstr("int8 lost 3.1 points"), HasSubstr("[VERSION_REFUSED]"), HasSubstr("hint: ")));
}

}  // namespace
}  // namespace edgefleet::cli
