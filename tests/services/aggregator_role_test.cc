// The aggregator as a process serves it: devices and people over gRPC, a registry and a selector in memory behind gRPC.
#include "services/aggregator/aggregator_role.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <map>
#include <mutex>

#include "base/crypto/crypto.h"
#include "base/crypto/key_file.h"
#include "base/file.h"
#include "edgefleet/registry/v1/registry.grpc.pb.h"
#include "edgefleet/rounds/v1/rounds.grpc.pb.h"
#include "edgefleet/selection/v1/selection.grpc.pb.h"
#include "proto/rpc/status.h"
#include "secagg/client.h"
#include "secagg/encoding.h"
#include "secagg/packing.h"
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
    config_.aggregator.enrolment_keys = {folder_.path() / "authority.pub"};
    ASSERT_TRUE(crypto::WriteEd25519PublicKey(config_.aggregator.enrolment_keys.front(), authority_.public_key()).ok());
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
  Status Share(const pb::ShareKeysRequest& request) {
    pb::PhaseTicket ticket;
    return Call([&](auto* c, const auto& q, auto* s) { return rounds_->ShareKeys(c, q, s); }, request, ticket);
  }
  Status Confirm(const pb::ConfirmRequest& request) {
    pb::PhaseTicket ticket;
    return Call([&](auto* c, const auto& q, auto* s) { return rounds_->Confirm(c, q, s); }, request, ticket);
  }
  Status Unmask(const pb::UnmaskRequest& request) {
    pb::PhaseTicket ticket;
    return Call([&](auto* c, const auto& q, auto* s) { return rounds_->Unmask(c, q, s); }, request, ticket);
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
  const crypto::Ed25519SecretKey authority_ = crypto::Ed25519SecretKey::Generate();
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
  EXPECT_EQ(get("../transcripts/task-1").error().reason(), "BAD_ROUND_ID");
  EXPECT_EQ(get("").error().reason(), "BAD_ROUND_ID");
}

Bytes FieldBytes(const std::string& field) { return ToBytes(AsBytes(field)); }

secagg::RoundSetup SetupOf(const std::string& round_id, const pb::PhaseUpdate::Training& message) {
  secagg::RoundSetup setup{.config = {.round_id = round_id,
                                      .adversary = static_cast<secagg::Adversary>(message.adversary()),
                                      .cipher = static_cast<secagg::MaskCipher>(message.mask_cipher()),
                                      .vector_length = message.vector_length(),
                                      .element_bits = message.element_bits()},
                           .members = message.members(),
                           .graph = {.degree = message.degree(), .threshold = message.threshold()},
                           .survivors_min = message.survivors_min(),
                           .server_nonce = FieldBytes(message.server_nonce()),
                           .roster_digest = FieldBytes(message.roster_digest()),
                           .index = message.index(),
                           .identities = FieldBytes(message.identities()),
                           .neighbours = {}};
  const bool active = setup.config.adversary == secagg::Adversary::kActive;
  EXPECT_EQ(message.neighbour_keys().size(), 64 * message.degree());
  EXPECT_EQ(message.neighbour_credentials().size(), active ? 128 * message.degree() : 0);
  for (std::size_t i = 0; i < message.degree(); ++i) {
    secagg::KeyAdvert neighbour{.cipher_public_key = FieldBytes(message.neighbour_keys().substr(64 * i, 32)),
                                .mask_public_key = FieldBytes(message.neighbour_keys().substr(64 * i + 32, 32)),
                                .identity_key = {},
                                .certificate = {},
                                .signature = {}};
    if (active) {
      neighbour.certificate = FieldBytes(message.neighbour_credentials().substr(128 * i, 64));
      neighbour.signature = FieldBytes(message.neighbour_credentials().substr(128 * i + 64, 64));
    }
    setup.neighbours.push_back(std::move(neighbour));
  }
  return setup;
}

secagg::Encoding EncodingOf(const selection_pb::TrainingPlan& plan) {
  secagg::Encoding encoding{.clip_norm = plan.clip_norm(),
                            .example_count_max = plan.example_count_max(),
                            .participants_max = plan.participants_max(),
                            .value_bits = plan.value_bits(),
                            .keep_fraction = plan.keep_fraction(),
                            .rotate = plan.rotate()};
  EXPECT_EQ(plan.encoding_seed().size(), encoding.seed.size());
  std::memcpy(encoding.seed.data(), plan.encoding_seed().data(), encoding.seed.size());
  return encoding;
}

// A task of one round with all its devices, under either adversary.
class AggregatedRound : public AggregatorRoleTest, public testing::WithParamInterface<selection_pb::Adversary> {
 protected:
  static bool active() { return GetParam() == selection_pb::ADVERSARY_ACTIVE; }
  pb::Participant Device(std::size_t i) const { return Who(round_id_, static_cast<std::uint32_t>(i)); }

  void Create() {
    pb::CreateTaskRequest request = Request();
    request.mutable_spec()->mutable_secure_aggregation()->set_adversary(GetParam());
    request.mutable_spec()->mutable_compression()->set_value_bits(16);
    request.mutable_spec()->mutable_compression()->set_rotate(true);
    pb::Task task;
    const Status created = CreateTask(request, task);
    ASSERT_TRUE(created.ok()) << created.ToString();
    get_.set_task_id(task.task_id());
    round_id_ = task.task_id() + "-1";
  }

  void Join() {
    for (std::uint32_t i = 0; i < kDevices; ++i) {
      secagg::ClientOptions options{
          .round_id = round_id_, .adversary = static_cast<secagg::Adversary>(GetParam()), .policy = {}, .identity = {}};
      if (active()) {
        const auto key = crypto::Ed25519SecretKey::Generate();
        options.identity = secagg::DeviceIdentity{key, secagg::EnrolIdentity(authority_, key.public_key())};
        options.policy.authorities = {authority_.public_key()};
      }
      clients_.emplace_back(std::move(options), guards_[i], random_);
      const auto advert = clients_.back().AdvertiseKeys();
      ASSERT_TRUE(advert) << advert.error().ToString();
      pb::AdvertiseKeysRequest request;
      *request.mutable_participant() = Device(i);
      request.set_cipher_public_key(ToString(advert->cipher_public_key));
      request.set_mask_public_key(ToString(advert->mask_public_key));
      request.set_identity_key(ToString(advert->identity_key));
      request.set_certificate(ToString(advert->certificate));
      request.set_signature(ToString(advert->signature));
      Status status = Advertise(request);
      while (status.code() == StatusCode::kUnavailable || status.reason() == "NOT_ASSIGNED") status = Advertise(request);
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
  }

  void ShareAllKeys() {
    for (std::uint32_t i = 0; i < kDevices; ++i) {
      pb::PhaseUpdate update;
      ASSERT_TRUE(Await(Device(i), pb::PHASE_SELECTING, update).ok());
      ASSERT_TRUE(update.has_training()) << update.failure_reason();
      setup_ = update.training();
      const auto shared = clients_[i].ShareKeys(SetupOf(round_id_, update.training()));
      ASSERT_TRUE(shared) << shared.error().ToString();
      pb::ShareKeysRequest request;
      *request.mutable_participant() = Device(i);
      request.set_seed_commitment(ToString(shared->seed_commitment));
      request.set_sealed(ToString(shared->sealed));
      const Status status = Share(request);
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
  }

  void UploadUpdates() {
    const auto encoding = EncodingOf(selector_.Opened(round_id_).plan());
    std::vector<float> change(kParameters, 0.0F);
    change[0] = 0.25F;
    for (std::uint32_t i = 0; i < kDevices; ++i) {
      pb::PhaseUpdate update;
      ASSERT_TRUE(Await(Device(i), pb::PHASE_TRAINING, update).ok());
      ASSERT_TRUE(update.has_collecting()) << update.failure_reason();
      auto elements = secagg::EncodeUpdate(change, 10, encoding, random_);
      ASSERT_TRUE(elements) << elements.error().ToString();
      const secagg::Inbox inbox{FieldBytes(update.collecting().senders()), FieldBytes(update.collecting().sealed())};
      const Status masked = clients_[i].Mask(inbox, *elements);
      ASSERT_TRUE(masked.ok()) << masked.ToString();
      Bytes packed(secagg::PackedSize(elements->size(), setup_.element_bits()));
      secagg::Pack(*elements, setup_.element_bits(), packed);
      pb::UploadState state;
      if (i == 0) {
        EXPECT_EQ(Upload(Device(i), ByteView(packed).first(4), 4, state).reason(), "BAD_UPDATE");
      }
      const Status uploaded = Upload(Device(i), packed, rpc::kChunkBytes, state);
      ASSERT_TRUE(uploaded.ok()) << uploaded.ToString();
      EXPECT_TRUE(state.complete());
    }
  }

  void ConfirmSurvivors() {
    for (std::uint32_t i = 0; i < kDevices; ++i) {
      pb::PhaseUpdate update;
      ASSERT_TRUE(Await(Device(i), pb::PHASE_COLLECTING, update).ok());
      ASSERT_TRUE(update.has_confirming()) << update.failure_reason();
      const auto confirmation = clients_[i].Confirm(FieldBytes(update.confirming().survivors()));
      ASSERT_TRUE(confirmation) << confirmation.error().ToString();
      pb::ConfirmRequest request;
      *request.mutable_participant() = Device(i);
      request.set_signature(ToString(confirmation->signature));
      const Status status = Confirm(request);
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
  }

  void RevealShares() {
    for (std::uint32_t i = 0; i < kDevices; ++i) {
      pb::PhaseUpdate update;
      ASSERT_TRUE(Await(Device(i), active() ? pb::PHASE_CONFIRMING : pb::PHASE_COLLECTING, update).ok());
      ASSERT_TRUE(update.has_unmasking()) << update.failure_reason();
      const auto answer = clients_[i].Unmask({.survivors = FieldBytes(update.unmasking().survivors()),
                                              .signers = FieldBytes(update.unmasking().signers()),
                                              .signatures = FieldBytes(update.unmasking().signatures())});
      ASSERT_TRUE(answer) << answer.error().ToString();
      pb::UnmaskRequest request;
      *request.mutable_participant() = Device(i);
      request.set_survivors_digest(ToString(answer->survivors_digest));
      request.set_held(ToString(answer->held));
      request.set_shares(ToString(answer->shares));
      const Status status = Unmask(request);
      ASSERT_TRUE(status.ok()) << status.ToString();
    }
  }

  crypto::SecureRandom random_;
  std::array<secagg::MemoryGuard, kDevices> guards_;
  std::vector<secagg::Client> clients_;
  pb::GetTaskRequest get_;
  std::string round_id_;
  pb::PhaseUpdate::Training setup_;  // as one of them was told
};

TEST_P(AggregatedRound, OverTheWireEndsAsANewVersion) {
  ASSERT_NO_FATAL_FAILURE(Create());
  grpc::ClientContext watch_context;
  rpc::PrepareCall(watch_context, std::chrono::seconds(120));
  auto watch = tasks_->WatchTask(&watch_context, get_);
  ASSERT_NO_FATAL_FAILURE(Join());
  const auto opened = selector_.Opened(round_id_);
  EXPECT_EQ(opened.aggregator_address(), process_->addresses().grpc);
  EXPECT_EQ(opened.plan().manifest_path(), "fashion/versions/1.json");
  EXPECT_EQ(opened.plan().adversary(), GetParam());
  EXPECT_EQ(opened.plan().value_bits(), 16U);
  EXPECT_EQ(opened.plan().participants_max(), kDevices);
  EXPECT_TRUE(opened.plan().rotate());
  ASSERT_NO_FATAL_FAILURE(ShareAllKeys());
  ASSERT_NO_FATAL_FAILURE(UploadUpdates());
  if (active()) {
    ASSERT_NO_FATAL_FAILURE(ConfirmSurvivors());
  }
  ASSERT_NO_FATAL_FAILURE(RevealShares());
  pb::TaskEvent event;
  while (watch->Read(&event)) {
  }
  const Status watched = rpc::FromGrpc(watch->Finish(), watch_context);
  EXPECT_TRUE(watched.ok()) << watched.ToString();
  EXPECT_EQ(event.task().state(), pb::TASK_STATE_DONE) << event.task().detail();
  EXPECT_EQ(event.task().current_version(), 2U);
  EXPECT_EQ(event.round().phase(), pb::PHASE_COMMITTED) << event.round().failure_detail();
  EXPECT_EQ(event.round().adversary(), GetParam());
  EXPECT_EQ(event.round().degree(), setup_.degree());
  EXPECT_EQ(event.round().threshold(), setup_.threshold());
  EXPECT_EQ(event.round().element_bits(), setup_.element_bits());
  EXPECT_EQ(event.round().blamed(), 0U);
  EXPECT_EQ(registry_.alias_version, 2U);
  EXPECT_EQ(registry_.lineage.round_id(), round_id_);
  EXPECT_EQ(registry_.lineage.delta(), 0);  // no noise, no guarantee
  ASSERT_EQ(registry_.committed.size(), kParameters);
  EXPECT_NEAR(registry_.committed[0], 0.25, 1e-3);
  pb::PhaseUpdate update;
  EXPECT_EQ(Await(Device(0), pb::PHASE_UNMASKING, update).code(), StatusCode::kOk);
  EXPECT_EQ(update.phase(), pb::PHASE_COMMITTED);
}

INSTANTIATE_TEST_SUITE_P(Adversaries, AggregatedRound,
                         testing::Values(selection_pb::ADVERSARY_SEMI_HONEST, selection_pb::ADVERSARY_ACTIVE));

}  // namespace
}  // namespace edgefleet::services
