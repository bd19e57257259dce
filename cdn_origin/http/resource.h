// What a request names. Everything below the three prefixes is digests or checked names, so no path of the filesystem can be
// reached.
#pragma once

#include <string>
#include <string_view>

#include "base/crypto/crypto.h"
#include "base/status.h"

namespace edgefleet::http {

enum class ResourceKind { kBlob, kDelta, kManifest };
std::string_view ResourceKindName(ResourceKind kind);  // "blob", "delta", "manifest"

struct Resource {
  ResourceKind kind = ResourceKind::kBlob;
  crypto::Sha256Digest sha256{};       // blob; what a delta yields
  crypto::Sha256Digest from_sha256{};  // delta
  std::string path;                    // manifest
};

// Of a request target in origin form (RFC 9112, section 3.2.1); a query is refused, for it would split caches.
// NOT_FOUND [NO_SUCH_RESOURCE], INVALID_ARGUMENT [BAD_TARGET].
Result<Resource> ParseTarget(std::string_view target);

}  // namespace edgefleet::http
