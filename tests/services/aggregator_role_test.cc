// The aggregator as a process serves it: devices and people over gRPC, a registry and a selector in memory behind gRPC.
#include "services/aggregator/aggregator_role.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <mutex>

#include "base/crypto/crypto.h"
#include "edgefleet/registry/v1/registry.grpc.pb.h"
#include "edgefleet/rounds/v1/rounds.grpc.pb.h"
#include "edgefleet/selection/v1/selection.grpc.pb.h"
#include "proto/rpc/status.h"
#include "secagg/client.h"
#include "secagg/encoding.h"
#include "services/runtime/bootstrap.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::services {
namespace {

namespace pb = edgefleet::rounds::v1;
namespace registry_pb = edgefleet::registry::v1;
namespace selection_pb = edgefleet::selection::v1;

constexpr std::uint32_t kDevices = 4;
constexpr std::size_t kParameters = 200'000;  // more than one chunk

class MemoryRegistry final : public registry_pb::RegistryService::Service {
 public:
  grpc::Status GetVersion(grpc::ServerContext*, const registry_pb::GetVersionRequest* request,
                          registry_pb::Version* response) override {
    if (request->model() != "fashion") return {grpc::StatusCode::NOT_FOUND, "no such model"};
    response->set_version(1);
    return grpc::Status::OK;
  }
  grpc::Status GetParameters(grpc::ServerContext*, const registry_pb::GetVersionRequest* request,
                             grpc::ServerWriter<registry_pb::ParameterChunk>* writer) override {
    registry_pb::ParameterChunk message;
    auto* header = message.mutable_header();
    header->set_model(request->model());
    header->set_version(request->version());
    header->set_parameter_count(kParameters);
    header->set_layout_sha256(std::string(32, 'l'));
    writer->Write(message);
    const std::string bytes(kParameters * sizeof(float), '\0');
    for (std::size_t at = 0; at < bytes.size(); at += rpc::kChunkBytes) {
      message.set_chunk(bytes.substr(at, rpc::kChunkBytes));
      if (!writer->Write(message)) break;
    }
    return grpc::Status::OK;
  }
  grpc::Status EvaluateParameters(grpc::ServerContext*, grpc::ServerReader<registry_pb::EvaluateParametersRequest>* reader,
                                  registry_pb::Metrics* response) override {
    registry_pb::EvaluateParametersRequest message;
    while (reader->Read(&message)) {
    }
    response->set_accuracy(0.5);
    response->set_loss(1);
    return grpc::Status::OK;
  }
  grpc::Status CommitParameters(grpc::ServerContext*, grpc::ServerReader<registry_pb::CommitParametersRequest>* reader,
                                registry_pb::Version* response) override {
    registry_pb::CommitParametersRequest message;
    std::string bytes;
    std::lock_guard lock(mutex_);
    while (reader->Read(&message)) {
      if (message.has_header()) lineage = message.header().lineage();
      bytes += message.chunk();
    }
    committed.resize(bytes.size() / sizeof(float));
    std::memcpy(committed.data(), bytes.data(), bytes.size());
    response->set_version(2);
    response->set_state(registry_pb::VERSION_STATE_READY);
    return grpc::Status::OK;
  }
  grpc::Status SetAlias(grpc::ServerContext*, const registry_pb::SetAliasRequest* request, registry_pb::Model*) override {
    std::lock_guard lock(mutex_);
    alias_version = request->version();
    return grpc::Status::OK;
  }

  std::vector<float> committed;
  registry_pb::Lineage lineage;
  std::uint64_t alias_version = 0;

 private:
  std::mutex mutex_;
};

class MemorySelector final : public selection_pb::CohortService::Service {
 public:
  grpc::Status OpenSelection(grpc::ServerContext*, const selection_pb::OpenSelectionRequest* request,
                             selection_pb::Selection* response) override {
    std::lock_guard lock(mutex_);
    opened[request->round_id()] = *request;
    response->set_state(selection_pb::SELECTION_STATE_GATHERING);
    return grpc::Status::OK;
  }
  grpc::Status GetSelection(grpc::ServerContext*, const selection_pb::GetSelectionRequest*,
                            selection_pb::Selection* response) override {
    response->set_state(selection_pb::SELECTION_STATE_SELECTED);
    for (std::uint32_t i = 0; i < kDevices; ++i) {
      auto* device = response->add_devices();
      device->set_device_id("device-" + std::to_string(i));
      device->set_token(std::string(16, static_cast<char>('a' + i)));
    }
    return grpc::Status::OK;
  }
  grpc::Status CloseSelection(grpc::ServerContext*, const selection_pb::CloseSelectionRequest*,
                              selection_pb::CloseSelectionResponse*) override {
    return grpc::Status::OK;
  }
  selection_pb::OpenSelectionRequest Opened(const std::string& round_id) {
    std::lock_guard lock(mutex_);
    return opened[round_id];
  }

 private:
  std::mutex mutex_;
  std::map<std::string, selection_pb::OpenSelectionRequest> opened;
};

class AggregatorRoleTest : public testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&registry_);
    builder.RegisterService(&selector_);
    neighbours_ = builder.BuildAndStart();
    config_.role = "aggregator";
    config_.data_dir = folder_.path();
    config_.listen.grpc = config_.listen.metrics = "127.0.0.1:0";
    config_.peers.registry = config_.peers.selector = "127.0.0.1:" + std::to_string(port);
    config_.log.level = "error";
    auto started = Process::Start(
        config_, {{"aggregator", [](RoleContext context) { return std::make_unique<AggregatorRole>(context); }}});
    ASSERT_TRUE(started) << started.error().ToString();
    process_ = std::move(*started);
    auto channel = grpc::CreateChannel(process_->addresses().grpc, grpc::InsecureChannelCredentials());
    tasks_ = pb::TaskService::NewStub(channel);
    rounds_ = pb::RoundService::NewStub(channel);
  }
  void TearDown() override {
    process_.reset();
    neighbours_->Shutdown();
  }

  static pb::CreateTaskRequest Request() {
    pb::CreateTaskRequest request;
    request.set_request_id("create-1");
    auto* spec = request.mutable_spec();
    spec->set_model("fashion");
    spec->set_alias("stable");
    spec->set_move_alias(true);
    spec->set_rounds(1);
    spec->mutable_selection()->set_cohort_size(kDevices);
    spec->mutable_selection()->set_over_provision(1);
    spec->set_participants_min(3);
    spec->set_epochs(1);
    spec->set_batch_size(10);
    spec->set_learning_rate(0.1);
    spec->set_example_count_max(10);
    spec->mutable_privacy()->set_clip_norm(1);
    spec->mutable_privacy()->set_delta(1e-5);
    return request;
  }
  static pb::Participant Who(const std::string& round_id, std::uint32_t number) {
    pb::Participant who;
    who.set_round_id(round_id);
    who.set_device_id("device-" + std::to_string(number));
    who.set_token(std::string(16, static_cast<char>('a' + number)));
    return who;
  }
  template <typename Method, typename Req, typename Res>
  Status Call(Method method, const Req& request, Res& response) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, std::chrono::seconds(60));
    return rpc::FromGrpc(method(&context, request, &response), context);
  }
  Status CreateTask(const pb::CreateTaskRequest& request, pb::Task& task) {
    return Call([&](auto* c, const auto& q, auto* s) { return tasks_->CreateTask(c, q, s); }, request, task);
  }
  Status Advertise(const pb::AdvertiseKeysRequest& request) {
    pb::PhaseTicket ticket;
    return Call([&](auto* c, const auto& q, auto* s) { return rounds_->AdvertiseKeys(c, q, s); }, request, ticket);
  }
  Status Await(const pb::Participant& who, pb::Phase after, pb::PhaseUpdate& update, std::uint32_t wait_ms = 30'000) {
    pb::AwaitPhaseRequest request;
    *request.mutable_participant() = who;
    request.set_after_phase(after);
    request.set_wait_ms(wait_ms);
    return Call([&](auto* c, const auto& q, auto* s) { return rounds_->AwaitPhase(c, q, s); }, request, update);
  }
  Status Upload(const pb::Participant& who, ByteView bytes, std::size_t chunk_bytes, pb::UploadState& state) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, std::chrono::seconds(60));
    auto writer = rounds_->UploadUpdate(&context, &state);
    pb::UploadUpdateRequest message;
    *message.mutable_header()->mutable_participant() = who;
    message.mutable_header()->set_size(bytes.size());
    message.mutable_header()->set_sha256(ToString(crypto::Sha256(bytes)));
    bool open = writer->Write(message);
    for (std::size_t at = 0; open && at < bytes.size(); at += chunk_bytes) {
      const ByteView chunk = bytes.subspan(at, std::min(chunk_bytes, bytes.size() - at));
      message.set_chunk(chunk.data(), chunk.size());
      open = writer->Write(message);
    }
    writer->WritesDone();
    return rpc::FromGrpc(writer->Finish(), context);
  }

  MemoryRegistry registry_;
  MemorySelector selector_;
  test::TempDir folder_;
  Config config_;
  std::unique_ptr<grpc::Server> neighbours_;
  std::unique_ptr<Process> process_;
  std::unique_ptr<pb::TaskService::Stub> tasks_;
  std::unique_ptr<pb::RoundService::Stub> rounds_;
};

TEST_F(AggregatorRoleTest, RefusesBadTasksAndRepeatsTheAnswerToARequest) {
  pb::Task task;
  pb::CreateTaskRequest request = Request();
  request.set_request_id("not an id");
  EXPECT_EQ(CreateTask(request, task).reason(), "BAD_REQUEST_ID");
  request = Request();
  request.mutable_spec()->clear_privacy();
  EXPECT_EQ(CreateTask(request, task).reason(), "BAD_TASK");
  request = Request();
  request.mutable_spec()->set_model("unknown");
  EXPECT_EQ(CreateTask(request, task).code(), StatusCode::kNotFound);
  ASSERT_TRUE(CreateTask(Request(), task).ok());
  EXPECT_EQ(task.spec().collecting_ms_max(), 120'000);
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
  pb::ShareKeysRequest shares;
  *shares.mutable_participant() = Who(round_id, 0);
  shares.add_shares()->set_ciphertext(std::string(513, 'x'));
  pb::PhaseTicket ticket;
  EXPECT_EQ(Call([&](auto* c, const auto& q, auto* s) { return rounds_->ShareKeys(c, q, s); }, shares, ticket).reason(),
            "BAD_SHARES");
  pb::LeaveRoundRequest leave;
  *leave.mutable_participant() = Who(round_id, 0);
  leave.set_reason(std::string(257, 'x'));
  pb::LeaveRoundResponse left;
  EXPECT_EQ(Call([&](auto* c, const auto& q, auto* s) { return rounds_->LeaveRound(c, q, s); }, leave, left).reason(),
            "BAD_REASON");
}

TEST_F(AggregatorRoleTest, ARoundOverTheWireEndsAsANewVersion) {
  pb::Task task;
  ASSERT_TRUE(CreateTask(Request(), task).ok());
  grpc::ClientContext watch_context;
  rpc::PrepareCall(watch_context, std::chrono::seconds(120));
  pb::GetTaskRequest get;
  get.set_task_id(task.task_id());
  auto watch = tasks_->WatchTask(&watch_context, get);
  const std::string round_id = task.task_id() + "-1";
  crypto::SecureRandom random;
  std::vector<secagg::Client> clients;
  for (std::uint32_t i = 0; i < kDevices; ++i) {
    clients.emplace_back(round_id, random);
    const auto advert = clients[i].AdvertiseKeys();
    ASSERT_TRUE(advert);
    pb::AdvertiseKeysRequest request;
    *request.mutable_participant() = Who(round_id, i);
    request.set_cipher_public_key(ToString(advert->cipher_public_key));
    request.set_mask_public_key(ToString(advert->mask_public_key));
    Status status = Advertise(request);
    while (status.code() == StatusCode::kUnavailable || status.reason() == "NOT_ASSIGNED") status = Advertise(request);
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  const auto plan = selector_.Opened(round_id).plan();
  EXPECT_EQ(selector_.Opened(round_id).aggregator_address(), process_->addresses().grpc);
  EXPECT_EQ(plan.manifest_path(), "fashion/versions/1.json");
  pb::PhaseUpdate update;
  for (std::uint32_t i = 0; i < kDevices; ++i) {
    ASSERT_TRUE(Await(Who(round_id, i), pb::PHASE_SELECTING, update).ok());
    ASSERT_TRUE(update.has_training());
    EXPECT_EQ(update.training().modulus_bits(), 32U);
    secagg::RoundSetup setup{update.training().index(), update.training().threshold(), update.training().vector_length(), {}};
    for (const auto& member : update.training().roster()) {
      setup.roster.push_back(
          {member.index(), ToBytes(AsBytes(member.cipher_public_key())), ToBytes(AsBytes(member.mask_public_key()))});
    }
    const auto sealed = clients[i].ShareKeys(setup);
    ASSERT_TRUE(sealed) << sealed.error().ToString();
    pb::ShareKeysRequest request;
    *request.mutable_participant() = Who(round_id, i);
    for (const auto& share : *sealed) {
      auto* to = request.add_shares();
      to->set_sender(share.sender);
      to->set_receiver(share.receiver);
      to->set_ciphertext(ToString(share.ciphertext));
    }
    pb::PhaseTicket ticket;
    const Status shared = Call([&](auto* c, const auto& q, auto* s) { return rounds_->ShareKeys(c, q, s); }, request, ticket);
    ASSERT_TRUE(shared.ok()) << shared.ToString();
  }
  const secagg::Encoding encoding{plan.clip_norm(), plan.example_count_max(), kDevices, plan.value_bits()};
  std::vector<float> change(kParameters, 0.0F);
  change[0] = 0.25F;
  for (std::uint32_t i = 0; i < kDevices; ++i) {
    ASSERT_TRUE(Await(Who(round_id, i), pb::PHASE_TRAINING, update).ok());
    std::vector<secagg::SealedShares> inbox;
    for (const auto& share : update.collecting().inbox()) {
      inbox.push_back({share.sender(), share.receiver(), ToBytes(AsBytes(share.ciphertext()))});
    }
    auto words = secagg::EncodeUpdate(change, 10, encoding, random);
    ASSERT_TRUE(words) << words.error().ToString();
    ASSERT_TRUE(clients[i].Mask(inbox, *words).ok());
    const ByteView bytes = std::as_bytes(std::span(*words));
    pb::UploadState state;
    if (i == 0) {
      EXPECT_EQ(Upload(Who(round_id, i), bytes.first(4), 4, state).reason(), "BAD_UPDATE");
    }
    const Status uploaded = Upload(Who(round_id, i), bytes, rpc::kChunkBytes, state);
    ASSERT_TRUE(uploaded.ok()) << uploaded.ToString();
    EXPECT_TRUE(state.complete());
  }
  for (std::uint32_t i = 0; i < kDevices; ++i) {
    ASSERT_TRUE(Await(Who(round_id, i), pb::PHASE_COLLECTING, update).ok());
    const std::vector<std::uint32_t> survivors(update.unmasking().survivors().begin(), update.unmasking().survivors().end());
    const auto answer = clients[i].Unmask(survivors);
    ASSERT_TRUE(answer) << answer.error().ToString();
    pb::UnmaskRequest request;
    *request.mutable_participant() = Who(round_id, i);
    for (const auto& share : answer->self_mask_shares) {
      auto* to = request.add_self_mask_shares();
      to->set_owner(share.owner);
      to->set_share(ToString(share.share));
    }
    pb::PhaseTicket ticket;
    ASSERT_TRUE(Call([&](auto* c, const auto& q, auto* s) { return rounds_->Unmask(c, q, s); }, request, ticket).ok());
  }
  pb::TaskEvent event;
  while (watch->Read(&event)) {
  }
  const Status watched = rpc::FromGrpc(watch->Finish(), watch_context);
  EXPECT_TRUE(watched.ok()) << watched.ToString();
  EXPECT_EQ(event.task().state(), pb::TASK_STATE_DONE) << event.task().detail();
  EXPECT_EQ(event.task().current_version(), 2U);
  EXPECT_EQ(event.round().phase(), pb::PHASE_COMMITTED) << event.round().failure_detail();
  EXPECT_EQ(registry_.alias_version, 2U);
  EXPECT_EQ(registry_.lineage.round_id(), round_id);
  EXPECT_EQ(registry_.lineage.delta(), 0);  // no noise, no guarantee
  ASSERT_EQ(registry_.committed.size(), kParameters);
  EXPECT_NEAR(registry_.committed[0], 0.25, 1e-3);
  EXPECT_EQ(Await(Who(round_id, 0), pb::PHASE_UNMASKING, update).code(), StatusCode::kOk);
  EXPECT_EQ(update.phase(), pb::PHASE_COMMITTED);
}

}  // namespace
}  // namespace edgefleet::services
