#include "cdn_origin/http/responder.h"

#include "cdn_origin/http/range.h"

namespace edgefleet::http {
namespace {

constexpr char kImmutable[] = "public, max-age=31536000, immutable";
constexpr char kRevalidate[] = "no-cache";

int StatusOf(const Status& error) {
  switch (error.code()) {
    case StatusCode::kInvalidArgument:
      return 400;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kResourceExhausted:
    case StatusCode::kUnavailable:
      return 503;
    default:
      return 500;
  }
}

// JSON text of a message of ours: only quotes, backslashes and control characters need care.
std::string JsonText(std::string_view text) {
  std::string json = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') json += '\\';
    json += static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7E ? '?' : c;
  }
  return json + "\"";
}

Response JsonError(int status, std::string_view reason, std::string_view message) {
  Response response;
  response.status = status;
  response.fields = {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}};
  response.bytes = ToBytes(AsBytes("{\"reason\": " + JsonText(reason) + ", \"message\": " + JsonText(message) + "}\n"));
  response.length = response.bytes.size();
  return response;
}

Response MethodNotAllowed() {
  Response response = JsonError(405, "METHOD_NOT_ALLOWED", "this origin answers GET and HEAD");
  response.fields.emplace_back("Allow", "GET, HEAD");
  return response;
}

void DescribeContent(Response& response, const Resource& resource, const std::string& etag) {
  const bool manifest = resource.kind == ResourceKind::kManifest;
  response.fields = {{"ETag", etag},
                     {"Cache-Control", manifest ? kRevalidate : kImmutable},
                     {"Accept-Ranges", "bytes"},
                     {"Content-Type", manifest ? "application/json" : "application/octet-stream"}};
}

// If-Range (RFC 9110, section 13.1.5) needs a strong match; a date never matches, since no Last-Modified is sent.
bool RangeApplies(const RequestHead& request, const std::string& etag) {
  return request.method == "GET" && !request.range.empty() && (request.if_range.empty() || request.if_range == etag);
}

Response Deliver(const RequestHead& request, const Resource& resource, Content content) {
  Response response;
  DescribeContent(response, resource, content.etag);
  const std::uint64_t size = content.file.fd() >= 0 ? content.file.size() : content.bytes.size();
  const ByteRange range = RangeApplies(request, content.etag) ? ParseRange(request.range, size) : ByteRange{};
  if (range.kind == ByteRange::Kind::kUnsatisfiable) {
    response = JsonError(416, "BAD_RANGE", "the file has " + std::to_string(size) + " bytes");
    response.fields.emplace_back("Content-Range", "bytes */" + std::to_string(size));
    return response;
  }
  response.length = size;
  if (range.kind == ByteRange::Kind::kPart) {
    response.status = 206;
    response.offset = range.first;
    response.length = range.length;
    response.fields.emplace_back("Content-Range", "bytes " + std::to_string(range.first) + "-" +
                                                      std::to_string(range.first + range.length - 1) + "/" +
                                                      std::to_string(size));
  }
  response.file = std::move(content.file);
  response.bytes = std::move(content.bytes);
  return response;
}

// The order of RFC 9110, section 13.2.2.
Response Decide(const RequestHead& request, ContentSource& source, std::string_view& kind) {
  if (request.method != "GET" && request.method != "HEAD") return MethodNotAllowed();
  const auto resource = ParseTarget(request.target);
  if (!resource) return ErrorResponse(resource.error());
  kind = ResourceKindName(resource->kind);
  auto content = source.Open(*resource);
  if (!content) return ErrorResponse(content.error());
  if (!request.if_match.empty() && !AnyEtagMatches(request.if_match, content->etag)) {
    return JsonError(412, "PRECONDITION_FAILED", "the file has another ETag");
  }
  if (!request.if_none_match.empty() && AnyEtagMatches(request.if_none_match, content->etag)) {
    Response response;
    DescribeContent(response, *resource, content->etag);
    response.status = 304;
    response.has_body = false;
    return response;
  }
  return Deliver(request, *resource, std::move(*content));
}

}  // namespace

Response ErrorResponse(const Status& error) {
  Response response = JsonError(StatusOf(error), error.reason(), error.message());
  if (response.status == 503) response.fields.emplace_back("Retry-After", "5");
  return response;
}

Response Respond(const RequestHead& request, ContentSource& source) {
  std::string_view kind = "other";
  Response response = Decide(request, source, kind);
  response.kind = kind;
  if (request.method == "HEAD") response.has_body = false;
  return response;
}

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 206:
      return "Partial Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 416:
      return "Range Not Satisfiable";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Internal Server Error";
  }
}

}  // namespace edgefleet::http
