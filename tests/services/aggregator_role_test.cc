// What the aggregator answers to people, and to devices that do not keep to the contract.
#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/services/aggregator_fixture.h"

namespace edgefleet::services {
namespace {

TEST_F(AggregatorRoleTest, RefusesBadTasksAndRepeatsTheAnswerToARequest) {
  pb::Task task;
  pb::CreateTaskRequest request = Request();
  request.set_request_id("not an id");
  EXPECT_EQ(CreateTask(request, task).reason(), "BAD_REQUEST_ID");
  request = Request();
  request.mutable_spec()->clear_privacy();
  EXPECT_EQ(CreateTask(request, task).reason(), "BAD_TASK");
  request = Request();
  request.mutable_spec()->mutable_secure_aggregation()->set_adversary(static_cast<selection_pb::Adversary>(3));
  EXPECT_EQ(CreateTask(request, task).reason(), "BAD_TASK");
  request = Request();
  request.mutable_spec()->mutable_secure_aggregation()->set_mask_cipher(static_cast<pb::MaskCipher>(3));
  EXPECT_EQ(CreateTask(request, task).reason(), "BAD_TASK");
  request = Request();
  request.mutable_spec()->set_model("unknown");
  EXPECT_EQ(CreateTask(request, task).code(), StatusCode::kNotFound);
  ASSERT_TRUE(CreateTask(Request(), task).ok());
  EXPECT_EQ(task.spec().collecting_ms_max(), 120'000);
  EXPECT_EQ(task.spec().secure_aggregation().adversary(), selection_pb::ADVERSARY_SEMI_HONEST);
  EXPECT_EQ(task.spec().secure_aggregation().corrupt_fraction(), 0.1);
  EXPECT_EQ(task.spec().secure_aggregation().mask_cipher(), pb::MASK_CIPHER_AES_256);
  pb::Task again;
  ASSERT_TRUE(CreateTask(Request(), again).ok());
  EXPECT_EQ(again.task_id(), task.task_id());
  request = Request();
  request.mutable_spec()->set_rounds(2);
  EXPECT_EQ(CreateTask(request, again).reason(), "REQUEST_ID_REUSED");
  pb::ListTasksRequest list;
  list.set_page_size(201);
  pb::ListTasksResponse page;
  auto list_tasks = [&](auto* c, const auto& q, auto* s) { return tasks_->ListTasks(c, q, s); };
  EXPECT_EQ(Call(list_tasks, list, page).reason(), "BAD_PAGE_SIZE");
  list.set_page_size(0);
  ASSERT_TRUE(Call(list_tasks, list, page).ok());
  EXPECT_EQ(page.tasks_size(), 1);
}

TEST_F(AggregatorRoleTest, DeviceMessagesBeyondTheContractAreRefused) {
  pb::Task task;
  ASSERT_TRUE(CreateTask(Request(), task).ok());
  const std::string round_id = task.task_id() + "-1";
  pb::PhaseUpdate update;
  pb::Participant who = Who(round_id, 0);
  for (Status known = Await(who, pb::PHASE_SELECTING, update, 0); !known.ok();) {  // until the round has begun
    known = Await(who, pb::PHASE_SELECTING, update, 0);
  }
  EXPECT_EQ(Await(who, pb::PHASE_UNSPECIFIED, update, 30'001).reason(), "BAD_WAIT");
  EXPECT_EQ(Await(who, static_cast<pb::Phase>(99), update, 0).reason(), "BAD_PHASE");
  who.set_token("short");
  EXPECT_EQ(Await(who, pb::PHASE_SELECTING, update, 0).reason(), "BAD_PARTICIPANT");
  EXPECT_EQ(Await(Who("nothing-1", 0), pb::PHASE_SELECTING, update, 0).reason(), "NOT_ASSIGNED");
  pb::AdvertiseKeysRequest keys;
  *keys.mutable_participant() = Who(round_id, 0);
  keys.set_cipher_public_key("short");
  EXPECT_EQ(Advertise(keys).reason(), "BAD_KEY");
  keys.set_cipher_public_key(std::string(32, 'c'));
  keys.set_mask_public_key(std::string(32, 'm'));
  keys.set_signature(std::string(64, 's'));
  EXPECT_EQ(Advertise(keys).reason(), "BAD_SIGNATURE") << "without an identity";
  pb::ShareKeysRequest shares;
  *shares.mutable_participant() = Who(round_id, 0);
  EXPECT_EQ(Share(shares).reason(), "BAD_SHARES");
  shares.set_seed_commitment(std::string(32, 'c'));
  shares.set_sealed(std::string(16'384 * 80 + 1, 'x'));
  EXPECT_EQ(Share(shares).reason(), "BAD_SHARES");
  pb::ConfirmRequest confirm;
  *confirm.mutable_participant() = Who(round_id, 0);
  confirm.set_signature("short");
  EXPECT_EQ(Confirm(confirm).reason(), "BAD_SIGNATURE");
  pb::UnmaskRequest answer;
  *answer.mutable_participant() = Who(round_id, 0);
  EXPECT_EQ(Unmask(answer).reason(), "BAD_ANSWER");
  answer.set_survivors_digest(std::string(32, 'd'));
  answer.set_shares(std::string(16'384 * 32 + 1, 'x'));
  EXPECT_EQ(Unmask(answer).reason(), "BAD_ANSWER");
  pb::LeaveRoundRequest leave;
  *leave.mutable_participant() = Who(round_id, 0);
  leave.set_reason(std::string(257, 'x'));
  pb::LeaveRoundResponse left;
  EXPECT_EQ(Call([&](auto* c, const auto& q, auto* s) { return rounds_->LeaveRound(c, q, s); }, leave, left).reason(),
            "BAD_REASON");
}

TEST_F(AggregatorRoleTest, AnEnrolmentKeyThatCannotBeReadKeepsItFromStarting) {
  const test::TempDir folder;
  Config config = config_;
  config.data_dir = folder.path();
  config.aggregator.enrolment_keys.push_back(folder.path() / "absent.pub");
  const auto started =
      Process::Start(config, {{"aggregator", [](RoleContext context) { return std::make_unique<AggregatorRole>(context); }}});
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().reason(), "FILE_MISSING");
  EXPECT_NE(started.error().message().find("aggregator.enrolment_keys"), std::string::npos) << started.error().message();
}

TEST_F(AggregatorRoleTest, TranscriptsAreStreamedByTheirRoundsId) {
  const std::string content(rpc::kChunkBytes + 10, 't');
  ASSERT_TRUE(WriteFileAtomic(folder_.path() / "aggregator" / "transcripts" / "task-1.jsonl", AsBytes(content)).ok());
  auto get = [&](const std::string& round_id) -> Result<std::string> {
    pb::GetTranscriptRequest request;
    request.set_round_id(round_id);
    grpc::ClientContext context;
    rpc::PrepareCall(context, std::chrono::seconds(60));
    auto reader = tasks_->GetTranscript(&context, request);
    std::string got;
    for (pb::TranscriptChunk chunk; reader->Read(&chunk);) got += chunk.chunk();
    EF_RETURN_IF_ERROR(rpc::FromGrpc(reader->Finish(), context));
    return got;
  };
  EXPECT_EQ(*get("task-1"), content);
  EXPECT_EQ(get("task-2").error().reason(), "TRANSCRIPT_UNKNOWN");
  EXPECT_NE(get("task-2").error().message().find("was removed"), std::string::npos);
  EXPECT_EQ(get("../transcripts/task-1").error().reason(), "BAD_ROUND_ID");
  EXPECT_EQ(get("").error().reason(), "BAD_ROUND_ID");
}

}  // namespace
}  // namespace edgefleet::services
