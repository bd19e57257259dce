#include "services/registry/convert.h"

#include <algorithm>

#include "registry/limits.h"

namespace edgefleet::services {

namespace pb = pb_registry;

namespace {

std::string ToField(const registry::Digest& digest) { return std::string(AsText(digest)); }

pb::Variant VariantToProto(const registry::Variant& variant) {
  pb::Variant message;
  message.set_name(variant.name);
  message.set_precision(variant.precision);
  message.set_sha256(ToField(variant.sha256));
  message.set_size(variant.size);
  if (variant.metrics) *message.mutable_metrics() = ToProto(*variant.metrics);
  message.set_trainable(variant.trainable);
  return message;
}

pb::Lineage LineageToProto(const registry::Lineage& lineage) {
  pb::Lineage message;
  message.set_parent_version(lineage.parent_version);
  message.set_task_id(lineage.task_id);
  message.set_round_id(lineage.round_id);
  message.set_round_number(lineage.round_number);
  message.set_participants(lineage.participants);
  message.set_dropouts(lineage.dropouts);
  message.set_epsilon_spent(lineage.epsilon_spent);
  message.set_delta(lineage.delta);
  return message;
}

}  // namespace

pb::ArtifactState ToProto(const registry::ArtifactState& state) {
  pb::ArtifactState message;
  message.set_kind(static_cast<pb::ArtifactKind>(state.kind));
  message.set_received(state.received);
  message.set_size(state.size);
  message.set_complete(state.complete);
  return message;
}

pb::PublishSession ToProto(const registry::SessionState& session) {
  pb::PublishSession message;
  message.set_upload_id(session.upload_id);
  message.set_model(session.model);
  for (const auto& artifact : session.artifacts) *message.add_artifacts() = ToProto(artifact);
  message.set_expires_unix_ms(session.expires_unix_ms);
  return message;
}

pb::Version ToProto(const registry::Version& version) {
  pb::Version message;
  message.set_model(version.key.model);
  message.set_version(version.key.version);
  message.set_state(static_cast<pb::VersionState>(version.state));
  message.set_stage(version.stage);
  message.set_refusal(version.refusal);
  for (const auto& variant : version.variants) *message.add_variants() = VariantToProto(variant);
  for (const auto& [key, value] : version.tags) (*message.mutable_tags())[key] = value;
  *message.mutable_lineage() = LineageToProto(version.lineage);
  for (const auto& alias : version.aliases) message.add_aliases(alias);
  message.set_created_unix_ms(version.created_unix_ms);
  message.set_parameter_count(version.parameter_count);
  return message;
}

pb::Model ToProto(const registry::Model& model) {
  pb::Model message;
  message.set_name(model.name);
  for (const auto& alias : model.aliases) {
    pb::Alias* added = message.add_aliases();
    added->set_name(alias.name);
    added->set_version(alias.version);
    added->set_manifest_sequence(alias.sequence);
    added->set_manifest_path(registry::AliasManifestPath(model.name, alias.name));
  }
  message.set_latest_version(model.latest_version);
  message.set_created_unix_ms(model.created_unix_ms);
  return message;
}

pb::Metrics ToProto(const registry::Metrics& metrics) {
  pb::Metrics message;
  message.set_examples(metrics.examples);
  message.set_accuracy(metrics.accuracy);
  message.set_loss(metrics.loss);
  return message;
}

pb::ParameterHeader HeaderOf(const registry::Parameters& parameters) {
  pb::ParameterHeader header;
  header.set_model(parameters.key.model);
  header.set_version(parameters.key.version);
  header.set_parameter_count(parameters.values.size());
  header.set_layout_sha256(ToField(parameters.layout_sha256));
  return header;
}

Result<registry::Digest> ToDigest(const std::string& bytes) {
  registry::Digest digest{};
  if (bytes.size() != digest.size()) return InvalidArgument("BAD_DIGEST", "a SHA-256 digest has 32 bytes");
  std::ranges::copy(AsBytes(bytes), digest.begin());
  return digest;
}

Result<registry::Tags> FromProto(const google::protobuf::Map<std::string, std::string>& tags) {
  if (tags.size() > registry::kTagsMax) return InvalidArgument("BAD_TAGS", "at most 32 tags");
  return registry::Tags(tags.begin(), tags.end());
}

Result<registry::PublishRequest> FromProto(const pb::BeginPublishRequest& request) {
  if (request.artifacts_size() > 3) return InvalidArgument("BAD_ARTIFACTS", "1 to 3 artifacts, one of each kind at most");
  registry::PublishRequest publish{.model = request.model(),
                                   .artifacts = {},
                                   .tags = {},
                                   .options = {request.options().accuracy_drop_points_max()},
                                   .parent_version = request.parent_version()};
  EF_ASSIGN_OR_RETURN(publish.tags, FromProto(request.tags()));
  for (const pb::ArtifactSpec& artifact : request.artifacts()) {
    if (artifact.kind() < pb::ARTIFACT_KIND_ONNX || artifact.kind() > pb::ARTIFACT_KIND_EVALUATION) {
      return InvalidArgument("BAD_ARTIFACTS", "an artifact's kind is ONNX, CALIBRATION or EVALUATION");
    }
    EF_ASSIGN_OR_RETURN(const registry::Digest sha256, ToDigest(artifact.sha256()));
    publish.artifacts.push_back({static_cast<registry::ArtifactKind>(artifact.kind()), artifact.size(), sha256});
  }
  return publish;
}

registry::Lineage FromProto(const pb::Lineage& lineage) {
  return {lineage.parent_version(), lineage.task_id(),  lineage.round_id(),      lineage.round_number(),
          lineage.participants(),   lineage.dropouts(), lineage.epsilon_spent(), lineage.delta()};
}

registry::VersionRef FromProto(const pb::GetVersionRequest& request) {
  return {request.model(), request.version(), request.alias()};
}

}  // namespace edgefleet::services
