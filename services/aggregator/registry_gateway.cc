#include <cstring>

#include "edgefleet/registry/v1/registry.grpc.pb.h"
#include "services/aggregator/call_set.h"
#include "services/aggregator/gateways.h"

namespace edgefleet::services::aggregator {
namespace {

namespace pb = edgefleet::registry::v1;
using namespace std::chrono_literals;

constexpr auto kQuickTimeout = 10s;
constexpr auto kTransferTimeout = 5min;
constexpr auto kCompileTimeout = 15min;
constexpr std::uint64_t kParametersMax = 1ULL << 29;
constexpr std::size_t kDigestBytes = 32;

Bytes ToDigest(const std::string& text) { return ToBytes(AsBytes(text)); }

pb::ParameterHeader Header(const std::string& model, const rounds::ModelInfo& info) {
  pb::ParameterHeader header;
  header.set_model(model);
  header.set_version(info.version);
  header.set_parameter_count(info.parameter_count);
  header.set_layout_sha256(ToString(info.layout_sha256));
  return header;
}

Result<rounds::ModelInfo> ReadHeader(const pb::ParameterChunk& message) {
  if (!message.has_header()) return Internal("BAD_ANSWER", "the registry's parameters came without a header");
  const auto& header = message.header();
  if (header.parameter_count() == 0 || header.parameter_count() > kParametersMax ||
      header.layout_sha256().size() != kDigestBytes) {
    return Internal("BAD_ANSWER", "the registry described parameters that are empty, too many or without a layout");
  }
  return rounds::ModelInfo{.version = header.version(),
                           .parameter_count = header.parameter_count(),
                           .layout_sha256 = ToDigest(header.layout_sha256())};
}

// Writes the parameters in chunks. A broken stream shows in Finish.
template <typename Request, typename Writer>
void WriteParameters(Writer& writer, std::span<const float> parameters) {
  const ByteView bytes = std::as_bytes(parameters);
  Request message;
  for (std::size_t offset = 0; offset < bytes.size(); offset += rpc::kChunkBytes) {
    const ByteView chunk = bytes.subspan(offset, std::min(rpc::kChunkBytes, bytes.size() - offset));
    message.set_chunk(chunk.data(), chunk.size());
    if (!writer.Write(message)) return;
  }
  writer.WritesDone();
}

Result<rounds::CommittedVersion> FromVersion(const pb::Version& version) {
  switch (version.state()) {
    case pb::VERSION_STATE_READY:
      return rounds::CommittedVersion{.version = version.version()};
    case pb::VERSION_STATE_REFUSED:
      return rounds::CommittedVersion{.version = version.version(),
                                      .refusal = version.refusal().empty() ? "refused" : version.refusal()};
    case pb::VERSION_STATE_COMPILING:
      return Unavailable("STILL_COMPILING", "the registry is still compiling the version");
    default:
      return Internal("BAD_ANSWER", "the registry answered with a version in no known state");
  }
}

class GrpcRegistryGateway final : public RegistryGateway {
 public:
  explicit GrpcRegistryGateway(std::shared_ptr<grpc::Channel> channel)
      : stub_(pb::RegistryService::NewStub(std::move(channel))) {}

  void CancelAll() override { calls_.CancelAll(); }

  Result<std::uint64_t> Resolve(const std::string& model, const std::string& alias) override {
    OutgoingCall call(calls_, kQuickTimeout);
    pb::GetVersionRequest request;
    request.set_model(model);
    request.set_alias(alias);
    pb::Version version;
    EF_RETURN_IF_ERROR(call.Outcome(stub_->GetVersion(call.context(), request, &version)));
    if (version.version() == 0) return Internal("BAD_ANSWER", "the registry answered with version 0");
    return version.version();
  }

  Result<rounds::ModelInfo> Describe(const std::string& model, std::uint64_t version) override {
    OutgoingCall call(calls_, kQuickTimeout);
    auto reader = stub_->GetParameters(call.context(), VersionRequest(model, version));
    pb::ParameterChunk message;
    if (!reader->Read(&message)) {
      EF_RETURN_IF_ERROR(call.Outcome(reader->Finish()));
      return Internal("BAD_ANSWER", "the registry sent no parameters");
    }
    call.context()->TryCancel();  // the header is all that is wanted; the stream ends with CANCELLED
    pb::ParameterChunk rest;
    while (reader->Read(&rest)) {
    }
    reader->Finish();
    return ReadHeader(message);
  }

  Result<std::vector<float>> GetParameters(const std::string& model, const rounds::ModelInfo& info) override {
    OutgoingCall call(calls_, kTransferTimeout);
    auto reader = stub_->GetParameters(call.context(), VersionRequest(model, info.version));
    std::vector<float> parameters(info.parameter_count);
    auto left = std::as_writable_bytes(std::span(parameters));
    pb::ParameterChunk message;
    Status problem;
    for (bool first = true; problem.ok() && reader->Read(&message); first = false) {
      problem = first ? SameModel(message, info) : TakeChunk(message, left);
    }
    if (!problem.ok()) call.context()->TryCancel();
    const grpc::Status finished = reader->Finish();
    EF_RETURN_IF_ERROR(problem);
    EF_RETURN_IF_ERROR(call.Outcome(finished));
    if (!left.empty()) return Internal("BAD_ANSWER", "the registry sent fewer parameters than it described");
    return parameters;
  }

  Result<rounds::ModelMetrics> Evaluate(const std::string& model, const rounds::ModelInfo& info,
                                        std::span<const float> parameters) override {
    OutgoingCall call(calls_, kCompileTimeout);
    pb::Metrics metrics;
    auto writer = stub_->EvaluateParameters(call.context(), &metrics);
    pb::EvaluateParametersRequest first;
    *first.mutable_header() = Header(model, info);
    if (writer->Write(first)) WriteParameters<pb::EvaluateParametersRequest>(*writer, parameters);
    EF_RETURN_IF_ERROR(call.Outcome(writer->Finish()));
    return rounds::ModelMetrics{.examples = metrics.examples(), .accuracy = metrics.accuracy(), .loss = metrics.loss()};
  }

  Result<rounds::CommittedVersion> Commit(const std::string& request_id, const std::string& model,
                                          const rounds::ModelInfo& parent, std::span<const float> parameters,
                                          const rounds::RoundLineage& lineage) override {
    OutgoingCall call(calls_, kCompileTimeout);
    pb::Version version;
    auto writer = stub_->CommitParameters(call.context(), &version);
    pb::CommitParametersRequest first;
    auto* header = first.mutable_header();
    header->set_request_id(request_id);
    *header->mutable_parameters() = Header(model, parent);
    auto* to = header->mutable_lineage();
    to->set_parent_version(parent.version);
    to->set_task_id(lineage.task_id);
    to->set_round_id(lineage.round_id);
    to->set_round_number(lineage.round_number);
    to->set_participants(lineage.participants);
    to->set_dropouts(lineage.dropouts);
    to->set_epsilon_spent(lineage.epsilon_spent);
    to->set_delta(lineage.delta);
    if (writer->Write(first)) WriteParameters<pb::CommitParametersRequest>(*writer, parameters);
    EF_RETURN_IF_ERROR(call.Outcome(writer->Finish()));
    return FromVersion(version);
  }

  Result<std::optional<rounds::CommittedVersion>> FindCommitted(const std::string& model,
                                                                const std::string& round_id) override {
    OutgoingCall call(calls_, kQuickTimeout);
    pb::ListVersionsRequest request;
    request.set_model(model);
    request.set_page_size(200);
    pb::ListVersionsResponse response;
    EF_RETURN_IF_ERROR(call.Outcome(stub_->ListVersions(call.context(), request, &response)));
    for (const auto& version : response.versions()) {
      if (version.lineage().round_id() != round_id) continue;
      EF_ASSIGN_OR_RETURN(auto committed, FromVersion(version));
      return std::optional(std::move(committed));
    }
    return std::optional<rounds::CommittedVersion>();
  }

  Status SetAlias(const std::string& request_id, const std::string& model, const std::string& alias,
                  std::uint64_t version) override {
    OutgoingCall call(calls_, kCompileTimeout);
    pb::SetAliasRequest request;
    request.set_request_id(request_id);
    request.set_model(model);
    request.set_alias(alias);
    request.set_version(version);
    pb::Model response;
    return call.Outcome(stub_->SetAlias(call.context(), request, &response));
  }

 private:
  static pb::GetVersionRequest VersionRequest(const std::string& model, std::uint64_t version) {
    pb::GetVersionRequest request;
    request.set_model(model);
    request.set_version(version);
    return request;
  }

  static Status SameModel(const pb::ParameterChunk& message, const rounds::ModelInfo& info) {
    EF_ASSIGN_OR_RETURN(const rounds::ModelInfo header, ReadHeader(message));
    if (header.parameter_count == info.parameter_count && header.layout_sha256 == info.layout_sha256) return OkStatus();
    return FailedPrecondition("LAYOUT_CHANGED", "the registry's parameters have another layout than when the round began");
  }

  static Status TakeChunk(const pb::ParameterChunk& message, std::span<std::byte>& left) {
    const std::string& chunk = message.chunk();
    if (chunk.size() > left.size()) return Internal("BAD_ANSWER", "the registry sent more parameters than it described");
    std::memcpy(left.data(), chunk.data(), chunk.size());
    left = left.subspan(chunk.size());
    return OkStatus();
  }

  CallSet calls_;
  const std::unique_ptr<pb::RegistryService::Stub> stub_;
};

}  // namespace

std::unique_ptr<RegistryGateway> MakeRegistryGateway(std::shared_ptr<grpc::Channel> channel) {
  return std::make_unique<GrpcRegistryGateway>(std::move(channel));
}

}  // namespace edgefleet::services::aggregator
