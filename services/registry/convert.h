// Between RegistryService's messages and the domain's types.
#pragma once

#include "edgefleet/registry/v1/registry.pb.h"
#include "registry/registry.h"

namespace edgefleet::services {

namespace pb_registry = edgefleet::registry::v1;

pb_registry::ArtifactState ToProto(const registry::ArtifactState& state);
pb_registry::PublishSession ToProto(const registry::SessionState& session);
pb_registry::Version ToProto(const registry::Version& version);
pb_registry::Model ToProto(const registry::Model& model);
pb_registry::Metrics ToProto(const registry::Metrics& metrics);
pb_registry::ParameterHeader HeaderOf(const registry::Parameters& parameters);

// INVALID_ARGUMENT [BAD_DIGEST] unless 32 bytes.
Result<registry::Digest> ToDigest(const std::string& bytes);
// INVALID_ARGUMENT [BAD_DIGEST, BAD_ARTIFACTS, BAD_TAGS]; the domain checks the rest.
Result<registry::PublishRequest> FromProto(const pb_registry::BeginPublishRequest& request);
Result<registry::Tags> FromProto(const google::protobuf::Map<std::string, std::string>& tags);
registry::Lineage FromProto(const pb_registry::Lineage& lineage);
registry::VersionRef FromProto(const pb_registry::GetVersionRequest& request);

}  // namespace edgefleet::services
