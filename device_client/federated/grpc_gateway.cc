#include "device_client/federated/grpc_gateway.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "base/crypto/crypto.h"
#include "edgefleet/rounds/v1/rounds.grpc.pb.h"
#include "edgefleet/selection/v1/selection.grpc.pb.h"
#include "edgefleet/telemetry/v1/telemetry.grpc.pb.h"
#include "proto/rpc/status.h"

namespace edgefleet::device {
namespace {

namespace rounds = edgefleet::rounds::v1;
namespace selection = edgefleet::selection::v1;
namespace telemetry = edgefleet::telemetry::v1;

constexpr std::chrono::seconds kCallTimeout{30};
constexpr std::chrono::minutes kUploadTimeout{10};

class Channels final : public GrpcChannels {
 public:
  std::shared_ptr<grpc::Channel> Get(const std::string& address) {
    std::lock_guard lock(mutex_);
    auto& channel = channels_[address];
    if (!channel) {
      grpc::ChannelArguments arguments;
      arguments.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
      arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
      channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    }
    return channel;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_;
};

Bytes FromProto(const std::string& bytes) { return ToBytes(AsBytes(bytes)); }

TrainingPlan FromProto(const selection::TrainingPlan& plan) {
  return {.model = plan.model(),
          .base_version = plan.base_version(),
          .manifest_path = plan.manifest_path(),
          .layout_sha256 = FromProto(plan.layout_sha256()),
          .parameter_count = plan.parameter_count(),
          .epochs = plan.epochs(),
          .batch_size = plan.batch_size(),
          .learning_rate = plan.learning_rate(),
          .proximal_mu = plan.proximal_mu(),
          .example_count_max = plan.example_count_max(),
          .clip_norm = plan.clip_norm(),
          .value_bits = plan.value_bits()};
}

std::string RejectionName(selection::RejectionReason reason) {
  constexpr std::string_view kPrefix = "REJECTION_REASON_";
  const std::string name = selection::RejectionReason_Name(reason);
  return name.size() > kPrefix.size() ? name.substr(kPrefix.size()) : "UNSPECIFIED";
}

Result<CheckInOutcome> FromProto(const selection::CheckInResponse& response) {
  switch (response.outcome_case()) {
    case selection::CheckInResponse::kAssignment: {
      const auto& a = response.assignment();
      return Assignment{a.task_id(), a.round_id(), a.aggregator_address(), FromProto(a.token()), FromProto(a.plan())};
    }
    case selection::CheckInResponse::kRejection: {
      const auto& r = response.rejection();
      const auto retry = std::clamp<std::int64_t>(r.retry_after_ms(), 0, 24 * 3600 * 1000);
      return Rejection{RejectionName(r.reason()), r.detail(), std::chrono::milliseconds(retry)};
    }
    default:
      return Internal("BAD_ANSWER", "the selector's answer to a check-in is empty");
  }
}

Result<PhaseUpdate> FromProto(const rounds::PhaseUpdate& from) {
  if (from.phase() < rounds::PHASE_SELECTING || from.phase() > rounds::PHASE_FAILED) {
    return Internal("BAD_ANSWER", "the aggregator's answer names no known phase");
  }
  PhaseUpdate update;
  update.phase = static_cast<Phase>(from.phase());
  update.failure_reason = from.failure_reason();
  if (from.has_training()) {
    const auto& training = from.training();
    if (training.modulus_bits() != secagg::kModulusBits) {
      return Unimplemented("UNKNOWN_MODULUS", "this round adds masks in a way that this library does not know; update it");
    }
    update.setup = {training.index(), training.threshold(), training.vector_length(), {}};
    for (const auto& member : training.roster()) {
      update.setup.roster.push_back(
          {member.index(), FromProto(member.cipher_public_key()), FromProto(member.mask_public_key())});
    }
  }
  for (const auto& sealed : from.collecting().inbox()) {
    update.inbox.push_back({sealed.sender(), sealed.receiver(), FromProto(sealed.ciphertext())});
  }
  update.survivors.assign(from.unmasking().survivors().begin(), from.unmasking().survivors().end());
  return update;
}

// Runs one unary call with deadline and trace.
template <typename Stub, typename Request, typename Response>
Status Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), const Request& request,
            Response& response, std::chrono::milliseconds timeout = kCallTimeout) {
  grpc::ClientContext context;
  rpc::PrepareCall(context, timeout);
  return rpc::FromGrpc((stub.*method)(&context, request, &response), context);
}

class GrpcRound final : public RoundGateway {
 public:
  using Stub = rounds::RoundService::Stub;

  GrpcRound(std::shared_ptr<grpc::Channel> channel, std::string device_id, const Assignment& assignment) : stub_(channel) {
    participant_.set_round_id(assignment.round_id);
    participant_.set_device_id(std::move(device_id));
    participant_.set_token(ToString(assignment.token));
  }

  Status AdvertiseKeys(const secagg::KeyAdvert& advert) override {
    auto request = Request<rounds::AdvertiseKeysRequest>();
    request.set_cipher_public_key(ToString(advert.cipher_public_key));
    request.set_mask_public_key(ToString(advert.mask_public_key));
    rounds::PhaseTicket ticket;
    return Call(stub_, &Stub::AdvertiseKeys, request, ticket);
  }

  Result<PhaseUpdate> AwaitPhase(Phase after, std::chrono::milliseconds wait) override {
    auto request = Request<rounds::AwaitPhaseRequest>();
    request.set_after_phase(static_cast<rounds::Phase>(after));
    request.set_wait_ms(static_cast<std::uint32_t>(wait.count()));
    rounds::PhaseUpdate update;
    EF_RETURN_IF_ERROR(Call(stub_, &Stub::AwaitPhase, request, update, wait + kCallTimeout));
    return FromProto(update);
  }

  Status ShareKeys(const std::vector<secagg::SealedShares>& shares) override {
    auto request = Request<rounds::ShareKeysRequest>();
    for (const auto& sealed : shares) {
      auto* to = request.add_shares();
      to->set_sender(sealed.sender);
      to->set_receiver(sealed.receiver);
      to->set_ciphertext(ToString(sealed.ciphertext));
    }
    rounds::PhaseTicket ticket;
    return Call(stub_, &Stub::ShareKeys, request, ticket);
  }

  Status UploadUpdate(const std::vector<std::uint32_t>& words) override {
    const ByteView bytes = std::as_bytes(std::span(words));
    rounds::UploadState held;
    EF_RETURN_IF_ERROR(Call(stub_, &Stub::GetUpload, Request<rounds::GetUploadRequest>(), held));
    if (held.complete()) return OkStatus();
    if (held.received() > bytes.size()) return MakeError(StatusCode::kInternal, "BAD_ANSWER", "the aggregator holds too much");
    return Send(bytes, held.received());
  }

  Status Unmask(const secagg::UnmaskAnswer& answer) override {
    auto request = Request<rounds::UnmaskRequest>();
    const auto add = [](const secagg::RevealedShare& share, rounds::RevealedShare* to) {
      to->set_owner(share.owner);
      to->set_share(ToString(share.share));
    };
    for (const auto& share : answer.self_mask_shares) add(share, request.add_self_mask_shares());
    for (const auto& share : answer.mask_key_shares) add(share, request.add_mask_key_shares());
    rounds::PhaseTicket ticket;
    return Call(stub_, &Stub::Unmask, request, ticket);
  }

  Status Leave(const std::string& reason) override {
    auto request = Request<rounds::LeaveRoundRequest>();
    request.set_reason(reason.substr(0, 256));
    rounds::LeaveRoundResponse response;
    return Call(stub_, &Stub::LeaveRound, request, response);
  }

 private:
  template <typename Message>
  Message Request() const {
    Message request;
    *request.mutable_participant() = participant_;
    return request;
  }

  Status Send(ByteView bytes, std::uint64_t offset) {
    grpc::ClientContext context;
    rpc::PrepareCall(context, kUploadTimeout);
    rounds::UploadState state;
    auto writer = stub_.UploadUpdate(&context, &state);
    rounds::UploadUpdateRequest message;
    auto* header = message.mutable_header();
    *header->mutable_participant() = participant_;
    header->set_size(bytes.size());
    header->set_sha256(ToString(crypto::Sha256(bytes)));
    header->set_offset(offset);
    bool open = writer->Write(message);
    while (open && offset < bytes.size()) {
      const ByteView chunk = bytes.subspan(offset, std::min<std::size_t>(rpc::kChunkBytes, bytes.size() - offset));
      message.set_chunk(chunk.data(), chunk.size());
      open = writer->Write(message);
      offset += chunk.size();
    }
    writer->WritesDone();
    return rpc::FromGrpc(writer->Finish(), context);
  }

  Stub stub_;
  rounds::Participant participant_;
};

class GrpcFleet final : public FleetGateway {
 public:
  GrpcFleet(std::string address, std::string device_id, std::string device_class, std::shared_ptr<Channels> channels)
      : channels_(std::move(channels)),
        device_id_(std::move(device_id)),
        device_class_(std::move(device_class)),
        check_in_(channels_->Get(address)),
        telemetry_(channels_->Get(address)) {}

  Result<CheckInOutcome> CheckIn(const Profile& profile) override {
    selection::CheckInRequest request;
    request.set_request_id(crypto::RandomId());
    request.set_device_id(device_id_);
    auto* to = request.mutable_profile();
    to->set_device_class(profile.device_class);
    to->set_region(profile.region);
    to->set_os(profile.os);
    to->set_battery_percent(profile.conditions.battery_percent);
    to->set_charging(profile.conditions.charging);
    to->set_network(static_cast<selection::Network>(profile.conditions.network));
    to->set_idle(profile.conditions.idle);
    to->set_example_count(profile.example_count);
    to->set_model(profile.model);
    to->set_model_version(profile.model_version);
    selection::CheckInResponse response;
    EF_RETURN_IF_ERROR(Call(check_in_, &selection::CheckInService::Stub::CheckIn, request, response));
    return FromProto(response);
  }

  std::unique_ptr<RoundGateway> OpenRound(const Assignment& assignment) override {
    return std::make_unique<GrpcRound>(channels_->Get(assignment.aggregator_address), device_id_, assignment);
  }

  Status Report(const HealthReport& report) override {
    telemetry::ReportRequest request;
    request.set_request_id(crypto::RandomId());
    request.set_device_id(device_id_);
    request.set_device_class(device_class_);
    for (const auto& event : report.updates) {
      auto* to = request.add_updates();
      to->set_model(event.model);
      to->set_from_version(event.from_version);
      to->set_to_version(event.to_version);
      to->set_outcome(static_cast<telemetry::UpdateOutcome>(event.outcome));
      to->set_reason(event.reason);
      to->set_by_delta(event.by_delta);
      to->set_bytes_transferred(event.bytes_transferred);
    }
    for (const auto& summary : report.inferences) {
      auto* to = request.add_inferences();
      to->set_model(summary.model);
      to->set_version(summary.version);
      to->set_delegate(summary.delegate);
      to->set_inferences(summary.inferences);
      to->set_failures(summary.failures);
      to->set_latency_ms_p50(summary.latency_ms_p50);
      to->set_latency_ms_p99(summary.latency_ms_p99);
    }
    telemetry::ReportResponse response;
    return Call(telemetry_, &telemetry::TelemetryService::Stub::Report, request, response);
  }

 private:
  std::shared_ptr<Channels> channels_;
  std::string device_id_;
  std::string device_class_;
  selection::CheckInService::Stub check_in_;
  telemetry::TelemetryService::Stub telemetry_;
};

}  // namespace

std::shared_ptr<GrpcChannels> GrpcChannels::Create() { return std::make_shared<Channels>(); }

std::unique_ptr<FleetGateway> MakeGrpcFleetGateway(std::string fleet_address, std::string device_id, std::string device_class,
                                                   std::shared_ptr<GrpcChannels> channels) {
  return std::make_unique<GrpcFleet>(std::move(fleet_address), std::move(device_id), std::move(device_class),
                                     std::static_pointer_cast<Channels>(std::move(channels)));
}

}  // namespace edgefleet::device
