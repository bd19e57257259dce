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
constexpr std::size_t kNameBytesMax = 512;  // of what a server names: tasks, addresses, paths, reasons
constexpr std::size_t kDetailBytesMax = 4096;

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

Bytes FromProto(const std::string& bytes) { return ToBytes(AsBytes(bytes)); }

Error BadAnswer(const std::string& what) { return Internal("BAD_ANSWER", "the server's answer is malformed: " + what); }

Result<secagg::Adversary> FromProto(selection::Adversary adversary) {
  switch (adversary) {
    case selection::ADVERSARY_UNSPECIFIED:
    case selection::ADVERSARY_SEMI_HONEST:
      return secagg::Adversary::kSemiHonest;
    case selection::ADVERSARY_ACTIVE:
      return secagg::Adversary::kActive;
    default:
      return Unimplemented("UNKNOWN_ADVERSARY", "this round withstands a threat that this library does not know; update it");
  }
}

Result<secagg::MaskCipher> FromProto(rounds::MaskCipher cipher) {
  switch (cipher) {
    case rounds::MASK_CIPHER_UNSPECIFIED:
    case rounds::MASK_CIPHER_AES_256:
      return secagg::MaskCipher::kAes256Ctr;
    case rounds::MASK_CIPHER_AES_128:
      return secagg::MaskCipher::kAes128Ctr;
    default:
      return Unimplemented("UNKNOWN_MASK_CIPHER", "this round makes masks in a way that this library does not know; update it");
  }
}

Result<TrainingPlan> FromProto(const selection::TrainingPlan& plan) {
  if (plan.model().size() > kNameBytesMax || plan.manifest_path().size() > kNameBytesMax) return BadAnswer("long names");
  EF_ASSIGN_OR_RETURN(const auto adversary, FromProto(plan.adversary()));
  return TrainingPlan{.model = plan.model(),
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
                      .value_bits = plan.value_bits(),
                      .adversary = adversary,
                      .keep_fraction = plan.keep_fraction() == 0 ? 1 : plan.keep_fraction(),
                      .rotate = plan.rotate(),
                      .encoding_seed = FromProto(plan.encoding_seed()),
                      .participants_max = plan.participants_max()};
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
      if (a.round_id().empty() || a.round_id().size() > secagg::kRoundIdSizeMax || a.task_id().size() > kNameBytesMax ||
          a.aggregator_address().size() > kNameBytesMax || a.token().size() > kNameBytesMax) {
        return BadAnswer("the assignment's round, address or token");
      }
      EF_ASSIGN_OR_RETURN(auto plan, FromProto(a.plan()));
      return Assignment{a.task_id(), a.round_id(), a.aggregator_address(), FromProto(a.token()), std::move(plan)};
    }
    case selection::CheckInResponse::kRejection: {
      const auto& r = response.rejection();
      const auto retry = std::clamp<std::int64_t>(r.retry_after_ms(), 0, 24 * 3600 * 1000);
      return Rejection{RejectionName(r.reason()), r.detail().substr(0, kDetailBytesMax), std::chrono::milliseconds(retry)};
    }
    default:
      return BadAnswer("neither an assignment nor a rejection");
  }
}

// The i-th piece of `size` bytes.
Bytes Piece(const std::string& bytes, std::size_t i, std::size_t size) {
  return ToBytes(AsBytes(bytes).subspan(i * size, size));
}

// Refuses sizes that do not fit one another before it takes anything apart; what the values mean is secagg::Client's to check.
Result<secagg::RoundSetup> FromProto(const rounds::PhaseUpdate::Training& from, const std::string& round_id) {
  constexpr std::size_t kKeys = 2 * secagg::kKeySize;
  constexpr std::size_t kCredentials = 2 * secagg::kSignatureSize;
  EF_ASSIGN_OR_RETURN(const auto adversary, FromProto(from.adversary()));
  EF_ASSIGN_OR_RETURN(const auto cipher, FromProto(from.mask_cipher()));
  const bool active = adversary == secagg::Adversary::kActive;
  const std::size_t degree = from.degree();
  if (from.members() > secagg::kMembersMax || degree >= from.members()) return BadAnswer("members and degree");
  if (from.neighbour_keys().size() != degree * kKeys ||
      from.neighbour_credentials().size() != (active ? degree * kCredentials : 0) ||
      from.identities().size() != (active ? from.members() * secagg::kKeySize : 0)) {
    return BadAnswer("sizes of keys and credentials");
  }
  if (from.roster_path().size() > secagg::kRosterLevelsMax * secagg::kDigestSize) return BadAnswer("a long path in the roster");
  secagg::RoundSetup setup{
      .config = {round_id, adversary, cipher, from.vector_length(), from.element_bits()},
      .members = from.members(),
      .graph = {from.degree(), from.threshold()},
      .survivors_min = from.survivors_min(),
      .server_nonce = FromProto(from.server_nonce()),
      .roster_digest = FromProto(from.roster_digest()),
      .roster_path = FromProto(from.roster_path()),
      .index = from.index(),
      .identities = FromProto(from.identities()),
      .neighbours = std::vector<secagg::KeyAdvert>(degree),
  };
  for (std::size_t i = 0; i < degree; ++i) {
    auto& advert = setup.neighbours[i];
    advert.cipher_public_key = Piece(from.neighbour_keys(), 2 * i, secagg::kKeySize);
    advert.mask_public_key = Piece(from.neighbour_keys(), 2 * i + 1, secagg::kKeySize);
    if (!active) continue;
    advert.certificate = Piece(from.neighbour_credentials(), 2 * i, secagg::kSignatureSize);
    advert.signature = Piece(from.neighbour_credentials(), 2 * i + 1, secagg::kSignatureSize);
  }
  return setup;
}

Result<PhaseUpdate> FromProto(const rounds::PhaseUpdate& from, const std::string& round_id) {
  if (from.phase() < rounds::PHASE_SELECTING || from.phase() > rounds::PHASE_FAILED) return BadAnswer("no known phase");
  PhaseUpdate update;
  update.phase = static_cast<Phase>(from.phase());
  update.failure_reason = from.failure_reason().substr(0, kNameBytesMax);
  switch (from.need_case()) {
    case rounds::PhaseUpdate::kTraining: {
      EF_ASSIGN_OR_RETURN(update.setup, FromProto(from.training(), round_id));
      break;
    }
    case rounds::PhaseUpdate::kCollecting:
      if (from.collecting().sharers().size() > secagg::BitmapSize(secagg::kMembersMax)) return BadAnswer("a long bitmap");
      update.inbox = {FromProto(from.collecting().sharers()), FromProto(from.collecting().senders()),
                      FromProto(from.collecting().sealed())};
      break;
    case rounds::PhaseUpdate::kConfirming:
      update.survivors = FromProto(from.confirming().survivors());
      break;
    case rounds::PhaseUpdate::kUnmasking:
      if (from.unmasking().uploads().size() > secagg::kMembersMax * secagg::kSignatureSize) return BadAnswer("many signatures");
      update.request = {FromProto(from.unmasking().survivors()), FromProto(from.unmasking().signers()),
                        FromProto(from.unmasking().signatures()), FromProto(from.unmasking().uploads())};
      break;
    case rounds::PhaseUpdate::NEED_NOT_SET:
      break;
  }
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
    request.set_identity_key(ToString(advert.identity_key));
    request.set_certificate(ToString(advert.certificate));
    request.set_signature(ToString(advert.signature));
    rounds::PhaseTicket ticket;
    return Call(stub_, &Stub::AdvertiseKeys, request, ticket);
  }

  Result<PhaseUpdate> AwaitPhase(Phase after, std::chrono::milliseconds wait) override {
    auto request = Request<rounds::AwaitPhaseRequest>();
    request.set_after_phase(static_cast<rounds::Phase>(after));
    request.set_wait_ms(static_cast<std::uint32_t>(wait.count()));
    rounds::PhaseUpdate update;
    EF_RETURN_IF_ERROR(Call(stub_, &Stub::AwaitPhase, request, update, wait + kCallTimeout));
    return FromProto(update, participant_.round_id());
  }

  Status ShareKeys(const secagg::SharedKeys& shared) override {
    auto request = Request<rounds::ShareKeysRequest>();
    request.set_seed_commitment(ToString(shared.seed_commitment));
    request.set_sealed(ToString(shared.sealed));
    rounds::PhaseTicket ticket;
    return Call(stub_, &Stub::ShareKeys, request, ticket);
  }

  Status UploadUpdate(ByteView packed, const secagg::UploadProof& proof) override {
    rounds::UploadState held;
    EF_RETURN_IF_ERROR(Call(stub_, &Stub::GetUpload, Request<rounds::GetUploadRequest>(), held));
    if (held.complete()) return OkStatus();
    if (held.received() > packed.size()) return BadAnswer("it holds more of the update than there is");
    return Send(packed, held.received(), proof);
  }

  Status Confirm(const secagg::Confirmation& confirmation) override {
    auto request = Request<rounds::ConfirmRequest>();
    request.set_signature(ToString(confirmation.signature));
    rounds::PhaseTicket ticket;
    return Call(stub_, &Stub::Confirm, request, ticket);
  }

  Status Unmask(const secagg::UnmaskAnswer& answer) override {
    auto request = Request<rounds::UnmaskRequest>();
    request.set_survivors_digest(ToString(answer.survivors_digest));
    request.set_held(ToString(answer.held));
    request.set_shares(ToString(answer.shares));
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
