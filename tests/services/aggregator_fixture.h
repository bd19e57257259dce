// An aggregator as a process serves it, between a registry and a selector in memory behind gRPC. The selector's cohort is
// always the same kDevices devices.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <mutex>

#include "base/crypto/crypto.h"
#include "base/crypto/key_file.h"
#include "edgefleet/registry/v1/registry.grpc.pb.h"
#include "edgefleet/rounds/v1/rounds.grpc.pb.h"
#include "edgefleet/selection/v1/selection.grpc.pb.h"
#include "proto/rpc/status.h"
#include "services/aggregator/aggregator_role.h"
#include "services/runtime/bootstrap.h"
#include "tests/support/temp_dir.h"

namespace edgefleet::services {

namespace pb = edgefleet::rounds::v1;
namespace registry_pb = edgefleet::registry::v1;
namespace selection_pb = edgefleet::selection::v1;

inline constexpr std::uint32_t kDevices = 4;
inline constexpr std::size_t kParameters = 200'000;  // more than one chunk

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
    ASSERT_NO_FATAL_FAILURE(StartAggregator());
  }
  void StartAggregator() {
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
  Status Upload(const pb::Participant& who, ByteView bytes, ByteView proof, std::size_t chunk_bytes, pb::UploadState& state) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, std::chrono::seconds(60));
    auto writer = rounds_->UploadUpdate(&context, &state);
    pb::UploadUpdateRequest message;
    *message.mutable_header()->mutable_participant() = who;
    message.mutable_header()->set_size(bytes.size());
    message.mutable_header()->set_sha256(ToString(crypto::Sha256(bytes)));
    message.mutable_header()->set_proof_signature(ToString(proof));
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

}  // namespace edgefleet::services
