#include "device_client/update/curl_fetcher.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include "base/clock.h"

namespace edgefleet::update {
namespace {

constexpr std::size_t kHeaderBytesMax = 64 * 1024;
constexpr long kBufferBytes = 64 * 1024;
constexpr std::int64_t kRetryAfterSecondsMax = 24 * 3600;

Error BadResponse(const std::string& what) {
  return DataLoss("BAD_HTTP_RESPONSE", "the origin's answer makes no sense: " + what);
}

std::string_view Trim(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

std::optional<std::uint64_t> ParseNumber(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool NameIs(std::string_view name, std::string_view lower_case) {
  return std::ranges::equal(name, lower_case, [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

// One transfer: what curl's callbacks see. Nothing here throws into curl but bad_alloc, which the callbacks turn into an abort.
class Transfer {
 public:
  Transfer(FetchSink& sink, std::uint64_t body_bytes_max) : sink_(sink), body_left_(body_bytes_max) {}

  bool Header(std::string_view line) {
    header_bytes_ += line.size();
    if (header_bytes_ > kHeaderBytesMax) return Abort(BadResponse("too many header bytes"));
    if (line.starts_with("HTTP/")) return StatusLine(line);
    line = Trim(line);
    if (line.empty()) return HeadersEnd();
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return Abort(BadResponse("a header without a colon"));
    return Field(line.substr(0, colon), Trim(line.substr(colon + 1)));
  }

  bool Body(ByteView bytes) {
    if (!delivering_) return (discarded_ += bytes.size()) <= kHeaderBytesMax;  // of an error page
    if (bytes.size() > body_left_)
      return Abort(DataLoss("BODY_TOO_LARGE", "the origin sends more bytes than the file may have"));
    body_left_ -= bytes.size();
    Status status = sink_.OnBody(bytes);
    return status.ok() || Abort(std::move(status));
  }

  // What the finished transfer amounts to.
  Status Outcome(CURLcode code, const char* detail) const {
    if (!aborted_.ok()) return aborted_;
    if (refused_) return StatusError();
    switch (code) {
      case CURLE_OK:
        return head_passed_ ? OkStatus() : Status(Unavailable("CONNECTION_LOST", "the answer was cut in its head"));
      case CURLE_COULDNT_RESOLVE_HOST:
      case CURLE_COULDNT_RESOLVE_PROXY:
      case CURLE_COULDNT_CONNECT:
        return Unavailable("ORIGIN_UNREACHABLE", detail);
      case CURLE_OPERATION_TIMEDOUT:
        return Unavailable(head_.status == 0 ? "ORIGIN_UNREACHABLE" : "CONNECTION_LOST", detail);
      case CURLE_UNSUPPORTED_PROTOCOL:  // not HTTP/1.x
      case CURLE_WEIRD_SERVER_REPLY:
      case CURLE_RANGE_ERROR:
      case CURLE_BAD_CONTENT_ENCODING:
        return BadResponse(detail);
      case CURLE_SSL_CONNECT_ERROR:
      case CURLE_PEER_FAILED_VERIFICATION:
      case CURLE_SSL_CACERT_BADFILE:
        return Unavailable("TLS_FAILED", detail);
      case CURLE_OUT_OF_MEMORY:
        return ResourceExhausted("OUT_OF_MEMORY", detail);
      default:
        return Unavailable("CONNECTION_LOST", detail);
    }
  }

 private:
  bool Abort(Status status) {
    if (aborted_.ok()) aborted_ = std::move(status);
    return false;
  }

  bool StatusLine(std::string_view line) {
    head_ = {};
    const std::size_t space = line.find(' ');
    const auto status = space == std::string_view::npos ? std::nullopt : ParseNumber(line.substr(space + 1, 3));
    if (!status || *status < 100) return Abort(BadResponse("a malformed status line"));
    head_.status = static_cast<int>(*status);
    return true;
  }

  bool Field(std::string_view name, std::string_view value) {
    if (NameIs(name, "etag")) head_.etag = value;
    if (NameIs(name, "retry-after")) {
      retry_after_s_ =
          std::min<std::int64_t>(static_cast<std::int64_t>(ParseNumber(value).value_or(0) & INT32_MAX), kRetryAfterSecondsMax);
    }
    if (NameIs(name, "content-encoding")) return Abort(BadResponse("an encoded body, which was not asked for"));
    if (NameIs(name, "content-length") && head_.status == 200) {
      head_.total_size = ParseNumber(value);
      if (!head_.total_size) return Abort(BadResponse("a malformed Content-Length"));
    }
    if (NameIs(name, "content-range") && head_.status == 206) return ContentRange(value);
    return true;
  }

  // "bytes 100-199/1000" or "bytes 100-199/*" (RFC 9110, section 14.4).
  bool ContentRange(std::string_view value) {
    constexpr std::string_view kUnit = "bytes ";
    const std::size_t dash = value.find('-');
    const std::size_t slash = value.find('/');
    if (!value.starts_with(kUnit) || dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) {
      return Abort(BadResponse("a malformed Content-Range"));
    }
    const auto first = ParseNumber(value.substr(kUnit.size(), dash - kUnit.size()));
    const auto last = ParseNumber(value.substr(dash + 1, slash - dash - 1));
    const auto total = value.substr(slash + 1);
    if (!first || !last || *last < *first) return Abort(BadResponse("a malformed Content-Range"));
    head_.offset = *first;
    if (total != "*") {
      head_.total_size = ParseNumber(total);
      if (!head_.total_size || *last >= *head_.total_size) return Abort(BadResponse("a malformed Content-Range"));
    }
    has_range_ = true;
    return true;
  }

  bool HeadersEnd() {
    if (head_.status < 200) return true;  // an interim answer; the real one follows
    delivering_ = head_.status == 200 || head_.status == 206;
    refused_ = !delivering_ && head_.status != 304;
    if (refused_) return true;
    if (head_.status == 206 && !has_range_) return Abort(BadResponse("a part without Content-Range"));
    head_passed_ = true;
    Status status = sink_.OnHead(head_);
    return status.ok() || Abort(std::move(status));
  }

  Status StatusError() const {
    const std::string text = "the origin answered " + std::to_string(head_.status);
    if (head_.status == 404 || head_.status == 410) return NotFound("FILE_UNKNOWN", text);
    if (head_.status == 416) return MakeError(StatusCode::kOutOfRange, "BAD_RANGE", text);
    if (head_.status != 429 && head_.status < 500) return BadResponse(text);
    Status busy = Unavailable("ORIGIN_BUSY", text + "; retry later");
    return retry_after_s_ > 0 ? std::move(busy).WithRetryAfter(std::chrono::seconds(retry_after_s_)) : busy;
  }

  FetchSink& sink_;
  std::uint64_t body_left_;
  FetchHead head_;
  Status aborted_;
  std::size_t header_bytes_ = 0;
  std::size_t discarded_ = 0;
  std::int64_t retry_after_s_ = 0;
  bool has_range_ = false;
  bool head_passed_ = false;  // the sink has seen it
  bool delivering_ = false;   // the head was good; what follows goes to the sink
  bool refused_ = false;      // the head told of an error
};

std::size_t OnHeader(char* data, std::size_t, std::size_t size, void* transfer) noexcept {
  return static_cast<Transfer*>(transfer)->Header({data, size}) ? size : 0;
}

std::size_t OnBody(char* data, std::size_t, std::size_t size, void* transfer) noexcept {
  return static_cast<Transfer*>(transfer)->Body(AsBytes({data, size})) ? size : CURL_WRITEFUNC_ERROR;
}

class CurlFetcher final : public HttpFetcher {
 public:
  CurlFetcher(CurlOptions options, CURL* curl) : options_(std::move(options)), curl_(curl) {}
  ~CurlFetcher() override { curl_easy_cleanup(curl_); }

  Status Fetch(const FetchRequest& request, FetchSink& sink) override {
    Transfer transfer(sink, request.body_bytes_max);
    curl_easy_reset(curl_);  // keeps connections
    char detail[CURL_ERROR_SIZE] = "";
    curl_slist* fields = Fields(request);
    Configure(request, transfer, fields, detail);
    const CURLcode code = curl_easy_perform(curl_);
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, nullptr);
    curl_slist_free_all(fields);
    return transfer.Outcome(code, detail[0] != 0 ? detail : curl_easy_strerror(code));
  }

 private:
  static curl_slist* Fields(const FetchRequest& request) {
    curl_slist* fields = curl_slist_append(nullptr, "User-Agent: edgefleet-device");
    if (request.offset > 0)
      fields = curl_slist_append(fields, ("Range: bytes=" + std::to_string(request.offset) + "-").c_str());
    if (!request.if_range.empty()) fields = curl_slist_append(fields, ("If-Range: " + request.if_range).c_str());
    if (!request.if_none_match.empty()) fields = curl_slist_append(fields, ("If-None-Match: " + request.if_none_match).c_str());
    return fields;
  }

  void Configure(const FetchRequest& request, Transfer& transfer, curl_slist* fields, char* detail) {
    const auto set = [this](CURLoption option, auto value) { curl_easy_setopt(curl_, option, value); };
    set(CURLOPT_URL, (options_.base_url + request.path).c_str());
    set(CURLOPT_HTTPHEADER, fields);
    set(CURLOPT_HEADERFUNCTION, &OnHeader);
    set(CURLOPT_HEADERDATA, static_cast<void*>(&transfer));
    set(CURLOPT_WRITEFUNCTION, &OnBody);
    set(CURLOPT_WRITEDATA, static_cast<void*>(&transfer));
    set(CURLOPT_ERRORBUFFER, detail);
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(CURLOPT_FOLLOWLOCATION, 0L);
    set(CURLOPT_PATH_AS_IS, 1L);
    set(CURLOPT_PROXY, "");
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_BUFFERSIZE, kBufferBytes);
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.connect_timeout.count()));
    set(CURLOPT_LOW_SPEED_LIMIT, static_cast<long>(options_.low_speed_bytes));
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.low_speed_time.count()));
    if (!options_.ca_file.empty()) set(CURLOPT_CAINFO, options_.ca_file.c_str());
  }

  const CurlOptions options_;
  CURL* const curl_;
};

// "http://host[:port]" with nothing after it.
bool IsOrigin(std::string_view url) {
  if (url.starts_with("http://")) {
    url.remove_prefix(7);
  } else if (url.starts_with("https://")) {
    url.remove_prefix(8);
  } else {
    return false;
  }
  return !url.empty() && url.find_first_of("/?#@\\ \t\r\n") == std::string_view::npos;
}

}  // namespace

Result<std::unique_ptr<HttpFetcher>> MakeCurlFetcher(CurlOptions options) {
  if (!IsOrigin(options.base_url)) {
    return InvalidArgument("BAD_URL", "'" + options.base_url + "' is not http://host:port or https://host:port");
  }
  static std::once_flag once;
  static CURLcode global = CURLE_FAILED_INIT;
  std::call_once(once, [] { global = curl_global_init(CURL_GLOBAL_DEFAULT); });
  CURL* curl = global == CURLE_OK ? curl_easy_init() : nullptr;
  if (curl == nullptr) return Internal("CURL_INIT", "libcurl cannot be started");
  return std::make_unique<CurlFetcher>(std::move(options), curl);
}

}  // namespace edgefleet::update
