// The built `edgefleet` command on tasks, their rounds and transcripts, and the enrolment of devices.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/crypto/crypto.h"
#include "base/file.h"
#include "edgefleet/rounds/v1/rounds.grpc.pb.h"
#include "secagg/identity.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::cli {
namespace {

namespace pb = rounds::v1;
using test::RunProgram;
using testing::AllOf;
using testing::HasSubstr;

test::RunResult RunCommand(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), EDGEFLEET_PROGRAM);
  return RunProgram(arguments);
}

// One task with one round; remembers what it was asked to create.
class MemoryTasks final : public pb::TaskService::Service {
 public:
  grpc::Status CreateTask(grpc::ServerContext*, const pb::CreateTaskRequest* request, pb::Task* out) override {
    created = request->spec();
    out->set_task_id("task");
    *out->mutable_spec() = created;
    out->set_state(pb::TASK_STATE_RUNNING);
    return grpc::Status::OK;
  }
  grpc::Status ListRounds(grpc::ServerContext*, const pb::ListRoundsRequest*, pb::ListRoundsResponse* out) override {
    auto* round = out->add_rounds();
    round->set_round_id("task-1");
    round->set_number(1);
    round->set_phase(pb::PHASE_UNMASKING);
    round->set_degree(100);
    round->set_threshold(57);
    round->set_adversary(selection::v1::ADVERSARY_ACTIVE);
    round->set_element_bits(19);
    round->set_blames(3);
    round->set_confirmed(4711);
    return grpc::Status::OK;
  }
  grpc::Status GetTranscript(grpc::ServerContext*, const pb::GetTranscriptRequest* request,
                             grpc::ServerWriter<pb::TranscriptChunk>* writer) override {
    pb::TranscriptChunk message;
    for (const char* chunk : {"{\"record\":1}\n", "{\"record\":2}\n"}) {
      message.set_chunk(chunk);
      writer->Write(message);
    }
    if (request->round_id() != "task-1") return {grpc::StatusCode::NOT_FOUND, "no such round"};
    return grpc::Status::OK;
  }

  pb::TaskSpec created;
};

class TaskCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&tasks_);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  void TearDown() override { server_->Shutdown(std::chrono::system_clock::now()); }
  test::RunResult Task(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "task");
    arguments.insert(arguments.end(), {"--server", address_});
    return RunCommand(arguments);
  }
  std::string PathOf(const char* name) const { return dir_.path() / name; }

  test::TempDir dir_;
  MemoryTasks tasks_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

TEST_F(TaskCommandTest, CreateAsksForTheDefaultsOfSecureAggregation) {
  ASSERT_EQ(Task({"create", "--model", "m"}).exit_code, 0);
  const auto& secure = tasks_.created.secure_aggregation();
  EXPECT_EQ(secure.adversary(), selection::v1::ADVERSARY_SEMI_HONEST);
  EXPECT_EQ(secure.corrupt_fraction(), 0.1);
  EXPECT_EQ(secure.dropout_fraction(), 0);
  EXPECT_EQ(secure.mask_cipher(), pb::MASK_CIPHER_AES_256);
  EXPECT_EQ(tasks_.created.compression().value_bits(), 0U);
  EXPECT_EQ(tasks_.created.compression().keep_fraction(), 1);
  EXPECT_FALSE(tasks_.created.compression().rotate());
}

TEST_F(TaskCommandTest, CreateAsksForWhatTheOptionsSay) {
  const auto result = Task({"create", "--model", "m", "--adversary", "active", "--corrupt", "0.2", "--dropout", "0.3",
                            "--mask-cipher", "aes-128", "--value-bits", "8", "--keep-fraction", "0.25", "--rotate"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto& secure = tasks_.created.secure_aggregation();
  EXPECT_EQ(secure.adversary(), selection::v1::ADVERSARY_ACTIVE);
  EXPECT_EQ(secure.corrupt_fraction(), 0.2);
  EXPECT_EQ(secure.dropout_fraction(), 0.3);
  EXPECT_EQ(secure.mask_cipher(), pb::MASK_CIPHER_AES_128);
  EXPECT_EQ(tasks_.created.compression().value_bits(), 8U);
  EXPECT_EQ(tasks_.created.compression().keep_fraction(), 0.25);
  EXPECT_TRUE(tasks_.created.compression().rotate());
  EXPECT_THAT(result.out, AllOf(HasSubstr("active adversary, 20.00 % may be corrupt, 30.00 % may drop out, AES-128 masks"),
                                HasSubstr("8 bits a coordinate, 25.00 % of the coordinates, rotated")));
}

TEST_F(TaskCommandTest, RoundsShowTheirSecureAggregation) {
  EXPECT_THAT(Task({"rounds", "task"}).out,
              AllOf(HasSubstr("active k=100 t=57 b=19"), HasSubstr("CONFIRMED"), HasSubstr("4711"), HasSubstr("BLAMES")));
  const auto round = nlohmann::json::parse(Task({"rounds", "task", "--json"}).out)["rounds"][0];
  EXPECT_EQ(round["degree"], 100);
  EXPECT_EQ(round["threshold"], 57);
  EXPECT_EQ(round["adversary"], "ACTIVE");
  EXPECT_EQ(round["element_bits"], 19);
  EXPECT_EQ(round["blames"], 3);
  EXPECT_EQ(round["confirmed"], 4711);
}

TEST_F(TaskCommandTest, ATranscriptIsThereWholeOrNotAtAll) {
  const std::string file = PathOf("round.jsonl");
  const auto good = Task({"transcript", "task-1", "--out", file});
  ASSERT_EQ(good.exit_code, 0) << good.err;
  EXPECT_EQ(ToString(*ReadFile(file, 1000)), "{\"record\":1}\n{\"record\":2}\n");
  const auto bad = Task({"transcript", "task-2", "--out", PathOf("other.jsonl")});
  EXPECT_EQ(bad.exit_code, 3);
  EXPECT_FALSE(std::filesystem::exists(PathOf("other.jsonl")));
  EXPECT_FALSE(std::filesystem::exists(PathOf("other.jsonl.part")));
}

TEST(DeviceCommand, AnAuthorityEnrolsADeviceByItsPublicKey) {
  const test::TempDir dir;
  const std::string authority = dir.path() / "authority.key";
  ASSERT_EQ(RunCommand({"device", "authority", "--out", authority}).exit_code, 0);
  EXPECT_EQ(RunCommand({"device", "authority", "--out", authority}).exit_code, 2) << "overwritten";
  const auto trusted = crypto::ReadEd25519PublicKey(authority + ".pub");
  ASSERT_TRUE(trusted) << trusted.error().ToString();

  const auto device = crypto::Ed25519SecretKey::Generate().public_key();
  const std::string identity = dir.path() / "identity.pub";
  const std::string certificate = dir.path() / "identity.cert";
  ASSERT_TRUE(WriteFileAtomic(identity, AsBytes(HexEncode(device) + "\n")).ok());
  const auto by_file = RunCommand({"device", "enroll", "--authority", authority, "--identity", identity, "--out", certificate});
  ASSERT_EQ(by_file.exit_code, 0) << by_file.err;
  EXPECT_EQ(ToString(*ReadFile(certificate, 1000)), by_file.out);
  const auto by_hex = RunCommand({"device", "enroll", "--authority", authority, "--identity", HexEncode(device)});
  EXPECT_EQ(by_hex.out, by_file.out);
  const auto bytes = HexDecode(std::string_view(by_file.out).substr(0, by_file.out.size() - 1));
  ASSERT_TRUE(bytes) << by_file.out;
  EXPECT_TRUE(secagg::IsEnrolled({{*trusted}}, device, *bytes));

  EXPECT_EQ(RunCommand({"device", "enroll", "--authority", authority, "--identity", "12"}).exit_code, 2);
  EXPECT_EQ(RunCommand({"device", "enroll", "--authority", identity + "x", "--identity", identity}).exit_code, 2);
}

}  // namespace
}  // namespace edgefleet::cli
