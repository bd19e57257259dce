#include "registry/digest_of.h"

#include <bit>

#include "registry/registry.h"

namespace edgefleet::registry {
namespace {

// Every field goes in with its length, so that no two different calls look alike.
class Fields {
 public:
  explicit Fields(std::string_view operation) { Add(operation); }
  Fields& Add(std::string_view text) { return Add(AsBytes(text)); }
  Fields& Add(ByteView bytes) {
    Add(std::uint64_t{bytes.size()});
    hash_.Update(bytes);
    return *this;
  }
  Fields& Add(std::uint64_t number) {
    hash_.Update(std::as_bytes(std::span(&number, 1)));
    return *this;
  }
  Fields& Add(double number) { return Add(std::bit_cast<std::uint64_t>(number)); }
  Fields& Add(const Tags& tags) {
    Add(std::uint64_t{tags.size()});
    for (const auto& [key, value] : tags) Add(key).Add(value);
    return *this;
  }
  Digest Finish() { return hash_.Finish(); }

 private:
  crypto::Sha256Stream hash_;
};

}  // namespace

Digest DigestOf(const PublishRequest& request) {
  Fields fields("publish");
  fields.Add(request.model).Add(request.tags).Add(request.options.accuracy_drop_points_max).Add(request.parent_version);
  for (const ArtifactSpec& artifact : request.artifacts) {
    fields.Add(static_cast<std::uint64_t>(artifact.kind)).Add(artifact.size).Add(ByteView(artifact.sha256));
  }
  return fields.Finish();
}

Digest DigestOfCommit(const std::string& upload_id) { return Fields("commit").Add(upload_id).Finish(); }

Digest DigestOf(const AliasKey& key, std::uint64_t version) {
  return Fields("alias").Add(key.model).Add(key.alias).Add(version).Finish();
}

Digest DigestOf(const VersionKey& key, const Tags& tags) {
  return Fields("tags").Add(key.model).Add(key.version).Add(tags).Finish();
}

Digest DigestOf(const CommitParametersRequest& request) {
  const Lineage& lineage = request.lineage;
  return Fields("parameters")
      .Add(request.parameters.key.model)
      .Add(request.parameters.key.version)
      .Add(ByteView(request.parameters.layout_sha256))
      .Add(std::as_bytes(std::span(request.parameters.values)))
      .Add(lineage.parent_version)
      .Add(lineage.task_id)
      .Add(lineage.round_id)
      .Add(lineage.round_number)
      .Add(std::uint64_t{lineage.participants})
      .Add(std::uint64_t{lineage.dropouts})
      .Add(lineage.epsilon_spent)
      .Add(lineage.delta)
      .Add(request.tags)
      .Finish();
}

}  // namespace edgefleet::registry
