#include "cdn_origin/http/origin_content.h"

namespace edgefleet::http {

Result<Content> OriginContent::Open(const Resource& resource) {
  Content content;
  switch (resource.kind) {
    case ResourceKind::kBlob: {
      EF_ASSIGN_OR_RETURN(content.file, blobs_.Open(resource.sha256));
      content.etag = "\"" + HexEncode(resource.sha256) + "\"";
      return content;
    }
    case ResourceKind::kDelta: {
      EF_ASSIGN_OR_RETURN(content.file, deltas_.Open(resource.from_sha256, resource.sha256));
      content.etag = "\"" + HexEncode(resource.from_sha256) + "-" + HexEncode(resource.sha256) + "\"";
      return content;
    }
    case ResourceKind::kManifest: {
      EF_ASSIGN_OR_RETURN(auto stored, manifests_.Get(resource.path));
      content.bytes = std::move(stored.envelope);
      content.etag = std::move(stored.etag);
      return content;
    }
  }
  return Internal("NO_SUCH_KIND", "a resource of no kind");
}

}  // namespace edgefleet::http
