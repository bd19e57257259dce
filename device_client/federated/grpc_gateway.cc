#include "device_client/federated/grpc_gateway.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "base/crypto/crypto.h"
#include "device_client/federated/convert.h"
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

// The servers of a fleet are few, but the addresses of aggregators are whatever the selector says.
class Channels final : public GrpcChannels {
 public:
  std::shared_ptr<grpc::Channel> Get(const std::string& address) {
    std::lock_guard lock(mutex_);
    auto& entry = channels_[address];
    entry.used = ++uses_;
    if (!entry.channel) {
      grpc::ChannelArguments arguments;
      arguments.SetMaxReceiveMessageSize(rpc::kMessageBytesMax);
      arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
      entry.channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    }
    auto channel = entry.channel;
    // Whoever still uses the channel that is forgotten here keeps it.
    if (channels_.size() > kChannelsMax) {
      channels_.erase(std::ranges::min_element(channels_, {}, [](const auto& other) { return other.second.used; }));
    }
    return channel;
  }

 private:
  static constexpr std::size_t kChannelsMax = 16;
  struct Entry {
    std::shared_ptr<grpc::Channel> channel;
    std::uint64_t used = 0;  // the larger, the later
  };

  std::mutex mutex_;
  std::map<std::string, Entry> channels_;
  std::uint64_t uses_ = 0;
};

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
    const auto request = Request(ToProto(advert));
    rounds::PhaseTicket ticket;
    return Call(stub_, &Stub::AdvertiseKeys, request, ticket);
  }

  Result<PhaseUpdate> AwaitPhase(Phase after, std::chrono::milliseconds wait) override {
    auto request = Request(rounds::AwaitPhaseRequest());
    request.set_after_phase(static_cast<rounds::Phase>(after));
    request.set_wait_ms(static_cast<std::uint32_t>(wait.count()));
    rounds::PhaseUpdate update;
    EF_RETURN_IF_ERROR(Call(stub_, &Stub::AwaitPhase, request, update, wait + kCallTimeout));
    return FromProto(update, participant_.round_id());
  }

  Status ShareKeys(const secagg::SharedKeys& shared) override {
    const auto request = Request(ToProto(shared));
    rounds::PhaseTicket ticket;
    return Call(stub_, &Stub::ShareKeys, request, ticket);
  }

  Status UploadUpdate(ByteView packed, const secagg::UploadProof& proof) override {
    rounds::UploadState held;
    EF_RETURN_IF_ERROR(Call(stub_, &Stub::GetUpload, Request(rounds::GetUploadRequest()), held));
    if (held.complete()) return OkStatus();
    if (held.received() > packed.size()) return BadAnswer("it holds more of the update than there is");
    return Send(packed, held.received(), proof);
  }

  Status Confirm(const secagg::Confirmation& confirmation) override {
    const auto request = Request(ToProto(confirmation));
    rounds::PhaseTicket ticket;
    return Call(stub_, &Stub::Confirm, request, ticket);
  }

  Status Unmask(const secagg::UnmaskAnswer& answer) override {
    const auto request = Request(ToProto(answer));
    rounds::PhaseTicket ticket;
    return Call(stub_, &Stub::Unmask, request, ticket);
  }

  Status Leave(const std::string& reason) override {
    auto request = Request(rounds::LeaveRoundRequest());
    request.set_reason(reason.substr(0, 256));
    rounds::LeaveRoundResponse response;
    return Call(stub_, &Stub::LeaveRound, request, response);
  }

 private:
  // Says who speaks.
  template <typename Message>
  Message Request(Message message) const {
    *message.mutable_participant() = participant_;
    return message;
  }

  Status Send(ByteView bytes, std::uint64_t offset, const secagg::UploadProof& proof) {
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
    header->set_proof_signature(ToString(proof.signature));
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
    *request.mutable_profile() = ToProto(profile);
    selection::CheckInResponse response;
    EF_RETURN_IF_ERROR(Call(check_in_, &selection::CheckInService::Stub::CheckIn, request, response));
    return FromProto(response);
  }

  std::unique_ptr<RoundGateway> OpenRound(const Assignment& assignment) override {
    return std::make_unique<GrpcRound>(channels_->Get(assignment.aggregator_address), device_id_, assignment);
  }

  Status Report(const HealthReport& report) override {
    auto request = ToProto(report);
    request.set_request_id(crypto::RandomId());
    request.set_device_id(device_id_);
    request.set_device_class(device_class_);
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
