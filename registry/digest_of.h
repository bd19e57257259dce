// What a mutating call asks for, as a digest: tells a repeated call from another one with the same request id.
#pragma once

#include "registry/metadata_store.h"

namespace edgefleet::registry {

struct CommitParametersRequest;

Digest DigestOf(const PublishRequest& request);
Digest DigestOfCommit(const std::string& upload_id);
Digest DigestOf(const AliasKey& key, std::uint64_t version);
Digest DigestOf(const VersionKey& key, const Tags& tags);
Digest DigestOf(const CommitParametersRequest& request);

}  // namespace edgefleet::registry
