// The port through which a device fetches files from the origin: one GET, resumable and conditional, streamed to a sink.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace edgefleet::update {

struct FetchRequest {
  std::string path;           // "/blobs/<hex>": below the origin's address
  std::uint64_t offset = 0;   // above 0: the bytes from here on (RFC 9110, section 14)
  std::string if_range;       // a strong ETag; with an offset: the whole file instead, if it has changed since
  std::string if_none_match;  // an ETag; 304 if the file still has it
  std::uint64_t body_bytes_max = 0;
};

struct FetchHead {
  int status = 0;  // 200, 206 or 304; everything else is an error of Fetch
  std::string etag;
  std::uint64_t offset = 0;                 // of the body's first byte in the file; 0 with status 200
  std::optional<std::uint64_t> total_size;  // of the whole file, where the origin tells
};

// Takes the answer as it comes in; an error ends the transfer and becomes Fetch's.
class FetchSink {
 public:
  virtual ~FetchSink() = default;
  virtual Status OnHead(const FetchHead& head) = 0;
  virtual Status OnBody(ByteView bytes) = 0;
};

// Not thread-safe: one transfer at a time; connections are kept between calls.
class HttpFetcher {
 public:
  virtual ~HttpFetcher() = default;
  // OK when the whole body went to the sink. Errors of its own:
  //   UNAVAILABLE [ORIGIN_UNREACHABLE] no connection; [CONNECTION_LOST] cut, or too slow; [ORIGIN_BUSY] 429 and 5xx, with the
  //   origin's Retry-After; NOT_FOUND [FILE_UNKNOWN] 404 and 410; OUT_OF_RANGE [BAD_RANGE] 416;
  //   DATA_LOSS [BAD_HTTP_RESPONSE] other answers, redirects and garbage; [BODY_TOO_LARGE] beyond body_bytes_max.
  virtual Status Fetch(const FetchRequest& request, FetchSink& sink) = 0;
};

}  // namespace edgefleet::update
