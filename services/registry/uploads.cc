#include "services/registry/uploads.h"

#include <bit>
#include <cstring>

#include "proto/rpc/status.h"
#include "registry/limits.h"

namespace edgefleet::services {

namespace pb = pb_registry;

static_assert(std::endian::native == std::endian::little, "parameters travel little-endian and are used as they arrive");

namespace {

Error OutOfOrder() { return InvalidArgument("BAD_STREAM", "send one header first, then chunks"); }

class ArtifactSink final : public UploadSink<pb::UploadArtifactRequest, pb::ArtifactState> {
 public:
  explicit ArtifactSink(registry::Registry* registry) : registry_(registry) {}

  Status Write(const pb::UploadArtifactRequest& message) override {
    if (message.has_header() != !artifact_.has_value()) return OutOfOrder();
    if (message.has_header()) return Begin(message.header());
    const ByteView chunk = AsBytes(message.chunk());
    EF_RETURN_IF_ERROR(registry_->Append(upload_id_, *artifact_, offset_, chunk));
    offset_ += chunk.size();
    return OkStatus();
  }

  Status Close(pb::ArtifactState& response) override {
    if (!artifact_) return OutOfOrder();
    EF_ASSIGN_OR_RETURN(const registry::ArtifactState state, registry_->CompleteArtifact(upload_id_, *artifact_));
    response = ToProto(state);
    return OkStatus();
  }

 private:
  Status Begin(const pb::UploadArtifactRequest::Header& header) {
    if (header.kind() < pb::ARTIFACT_KIND_ONNX || header.kind() > pb::ARTIFACT_KIND_EVALUATION) {
      return InvalidArgument("BAD_ARTIFACTS", "an artifact's kind is ONNX, CALIBRATION or EVALUATION");
    }
    upload_id_ = header.upload_id();
    offset_ = header.offset();
    EF_ASSIGN_OR_RETURN(artifact_, registry_->FindArtifact(upload_id_, static_cast<registry::ArtifactKind>(header.kind())));
    return registry_->Append(upload_id_, *artifact_, offset_, {});  // a wrong offset is told before the bytes come
  }

  registry::Registry* const registry_;
  std::string upload_id_;
  std::uint64_t offset_ = 0;
  std::optional<registry::ArtifactSpec> artifact_;
};

// A parameter vector as it comes in. Memory grows with what arrives, not with what the header promises.
class IncomingParameters {
 public:
  IncomingParameters(registry::Registry* registry, TransferSlots& slots) : registry_(registry), slots_(slots) {}

  bool begun() const { return slot_ != nullptr; }

  Status Begin(const pb::ParameterHeader& header) {
    EF_ASSIGN_OR_RETURN(slot_, TakeSlot(slots_));
    parameters_.key = {header.model(), header.version()};
    EF_ASSIGN_OR_RETURN(parameters_.layout_sha256, ToDigest(header.layout_sha256()));
    count_ = header.parameter_count();
    return registry_->CheckParameters(parameters_.key, count_, parameters_.layout_sha256);
  }

  Status Add(const std::string& chunk) {
    if (chunk.size() > rpc::kChunkBytesMax || chunk.size() % sizeof(float) != 0) {
      return InvalidArgument("BAD_PARAMETERS", "a chunk has at most 1 MiB and a multiple of 4 bytes");
    }
    const std::size_t before = parameters_.values.size();
    const std::size_t added = chunk.size() / sizeof(float);
    if (added > count_ - before) {
      return InvalidArgument("BAD_PARAMETERS", "more than the " + std::to_string(count_) + " parameters that were announced");
    }
    if (added == 0) return OkStatus();
    parameters_.values.resize(before + added);
    std::memcpy(parameters_.values.data() + before, chunk.data(), chunk.size());
    return OkStatus();
  }

  // The vector, whole.
  Result<registry::Parameters> Take() {
    if (!begun()) return OutOfOrder();
    if (parameters_.values.size() != count_) {
      return InvalidArgument("BAD_PARAMETERS", "the stream ended after " + std::to_string(parameters_.values.size()) + " of " +
                                                   std::to_string(count_) + " parameters; send all of them");
    }
    return std::move(parameters_);
  }

 private:
  registry::Registry* const registry_;
  TransferSlots& slots_;
  std::shared_ptr<void> slot_;
  registry::Parameters parameters_;
  std::uint64_t count_ = 0;
};

class EvaluateSink final : public UploadSink<pb::EvaluateParametersRequest, pb::Metrics> {
 public:
  EvaluateSink(registry::Registry* registry, TransferSlots& slots) : registry_(registry), incoming_(registry, slots) {}

  Status Write(const pb::EvaluateParametersRequest& message) override {
    if (message.has_header() == incoming_.begun()) return OutOfOrder();
    return message.has_header() ? incoming_.Begin(message.header()) : incoming_.Add(message.chunk());
  }
  Status Close(pb::Metrics& response) override {
    EF_ASSIGN_OR_RETURN(const registry::Parameters parameters, incoming_.Take());
    EF_ASSIGN_OR_RETURN(const registry::Metrics metrics, registry_->EvaluateParameters(parameters));
    response = ToProto(metrics);
    return OkStatus();
  }

 private:
  registry::Registry* const registry_;
  IncomingParameters incoming_;
};

class CommitSink final : public UploadSink<pb::CommitParametersRequest, pb::Version> {
 public:
  CommitSink(registry::Registry* registry, TransferSlots& slots) : registry_(registry), incoming_(registry, slots) {}

  Status Write(const pb::CommitParametersRequest& message) override {
    if (message.has_header() == incoming_.begun()) return OutOfOrder();
    if (!message.has_header()) return incoming_.Add(message.chunk());
    request_.request_id = message.header().request_id();
    request_.lineage = FromProto(message.header().lineage());
    EF_ASSIGN_OR_RETURN(request_.tags, FromProto(message.header().tags()));
    return incoming_.Begin(message.header().parameters());
  }
  Status Close(pb::Version& response) override {
    EF_ASSIGN_OR_RETURN(request_.parameters, incoming_.Take());
    EF_ASSIGN_OR_RETURN(const registry::Version version, registry_->CommitParameters(request_));
    response = ToProto(version);
    return OkStatus();
  }

 private:
  registry::Registry* const registry_;
  IncomingParameters incoming_;
  registry::CommitParametersRequest request_;
};

}  // namespace

Result<std::shared_ptr<void>> TakeSlot(TransferSlots& slots) {
  if (auto slot = slots.Take()) return slot;
  return std::move(ResourceExhausted("OVERLOADED", "too many parameter vectors are on their way; retry later"))
      .RetryAfter(std::chrono::seconds(1));
}

std::unique_ptr<UploadSink<pb::UploadArtifactRequest, pb::ArtifactState>> MakeArtifactSink(registry::Registry* registry) {
  return std::make_unique<ArtifactSink>(registry);
}

std::unique_ptr<UploadSink<pb::EvaluateParametersRequest, pb::Metrics>> MakeEvaluateSink(registry::Registry* registry,
                                                                                         TransferSlots& slots) {
  return std::make_unique<EvaluateSink>(registry, slots);
}

std::unique_ptr<UploadSink<pb::CommitParametersRequest, pb::Version>> MakeCommitSink(registry::Registry* registry,
                                                                                     TransferSlots& slots) {
  return std::make_unique<CommitSink>(registry, slots);
}

}  // namespace edgefleet::services
