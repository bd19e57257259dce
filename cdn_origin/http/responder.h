// The origin's HTTP semantics, without a network: what to answer to a request head. GET and HEAD, single ranges, conditions,
// caching rules (RFC 9110, RFC 9111).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/file_handle.h"
#include "base/status.h"
#include "cdn_origin/http/resource.h"

namespace edgefleet::http {

// The port behind the server: opens what a request names. Thread-safe. NOT_FOUND for what is not there.
struct Content {
  FileHandle file;   // blobs and deltas
  Bytes bytes;       // manifests
  std::string etag;  // strong, with its quotes
};
class ContentSource {
 public:
  virtual ~ContentSource() = default;
  virtual Result<Content> Open(const Resource& resource) = 0;
};

// Views into the request; an absent field is empty.
struct RequestHead {
  std::string_view method;
  std::string_view target;
  std::string_view range;
  std::string_view if_range;
  std::string_view if_match;
  std::string_view if_none_match;
};

struct Response {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> fields;  // without Content-Length, Connection, Date and Server
  FileHandle file;                                          // the body: `length` bytes of this from `offset` on, ...
  Bytes bytes;                                              // ... or of these
  std::uint64_t offset = 0;
  std::uint64_t length = 0;         // Content-Length
  bool has_body = true;             // false: HEAD and 304
  std::string_view kind = "other";  // blob, delta, manifest, other
};

Response Respond(const RequestHead& request, ContentSource& source);

// {"reason": ..., "message": ...} with the status that fits the error's code.
Response ErrorResponse(const Status& error);
// The reason phrase of a status code that the origin uses.
std::string_view ReasonPhrase(int status);

}  // namespace edgefleet::http
