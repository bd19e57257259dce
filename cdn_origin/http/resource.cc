#include "cdn_origin/http/resource.h"

#include <algorithm>
#include <optional>

#include "cdn_origin/manifest/manifest.h"

namespace edgefleet::http {
namespace {

constexpr std::size_t kDigestCharacters = 64;

// Lower case only: one address per file.
std::optional<crypto::Sha256Digest> ParseDigest(std::string_view hex) {
  if (hex.size() != kDigestCharacters || std::any_of(hex.begin(), hex.end(), [](char c) { return c >= 'A' && c <= 'F'; })) {
    return std::nullopt;
  }
  const auto bytes = HexDecode(hex);
  if (!bytes) return std::nullopt;
  crypto::Sha256Digest digest{};
  std::copy(bytes->begin(), bytes->end(), digest.begin());
  return digest;
}

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

Result<Resource> ParseDelta(std::string_view rest) {
  if (rest.size() == 2 * kDigestCharacters + 1 && rest[kDigestCharacters] == '-') {
    const auto from = ParseDigest(rest.substr(0, kDigestCharacters));
    const auto to = ParseDigest(rest.substr(kDigestCharacters + 1));
    if (from && to) return Resource{ResourceKind::kDelta, *to, *from, ""};
  }
  return InvalidArgument("BAD_TARGET", "a delta is /deltas/<64 hex digits>-<64 hex digits>, lower case");
}

}  // namespace

std::string_view ResourceKindName(ResourceKind kind) {
  switch (kind) {
    case ResourceKind::kBlob:
      return "blob";
    case ResourceKind::kDelta:
      return "delta";
    case ResourceKind::kManifest:
      return "manifest";
  }
  return "other";
}

Result<Resource> ParseTarget(std::string_view target) {
  std::string_view rest = target;
  if (TakePrefix(rest, "/blobs/")) {
    if (const auto digest = ParseDigest(rest)) return Resource{ResourceKind::kBlob, *digest, {}, ""};
    return InvalidArgument("BAD_TARGET", "a blob is /blobs/<64 hex digits>, lower case");
  }
  if (TakePrefix(rest, "/deltas/")) return ParseDelta(rest);
  if (TakePrefix(rest, "/manifests/")) {
    if (!manifest::CheckPath(rest).ok()) return InvalidArgument("BAD_TARGET", "not the path of a manifest");
    return Resource{ResourceKind::kManifest, {}, {}, std::string(rest)};
  }
  if (!target.starts_with('/')) return InvalidArgument("BAD_TARGET", "the request target is not a path");
  return NotFound("NO_SUCH_RESOURCE", "this origin serves /blobs/, /deltas/ and /manifests/");
}

}  // namespace edgefleet::http
