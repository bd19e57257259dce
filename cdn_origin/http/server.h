// The HTTP/1.1 origin server (RFC 9112): what a CDN, or a device directly, fetches from. Plain TCP; TLS ends at the CDN or a
// proxy in front.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "base/metrics.h"
#include "base/status.h"
#include "cdn_origin/http/responder.h"

namespace edgefleet::http {

struct ServerOptions {
  std::string listen = "127.0.0.1:0";    // "host:port", "[v6]:port"; port 0: the kernel chooses
  std::uint32_t threads = 2;             // 1 to 64
  std::uint32_t connections_max = 4096;  // more are answered 503 with Retry-After and closed
  std::uint32_t header_bytes_max = 8192;
  std::chrono::milliseconds idle_timeout{60'000};    // between two requests
  std::chrono::milliseconds header_timeout{10'000};  // from a request's first byte to its last
  std::chrono::milliseconds stall_timeout{30'000};   // without progress of a body
  std::uint32_t body_bytes_per_second_min = 1024;    // a whole body may take stall_timeout plus its size at this rate
};

// Memory per connection is a header buffer; bodies go from the file to the socket in the kernel. Metrics:
// edgefleet_origin_http_requests_total{kind, code}, edgefleet_origin_http_sent_bytes_total{kind},
// edgefleet_origin_http_connections.
class Server {
 public:
  // Listens and serves at once. INVALID_ARGUMENT [BAD_ADDRESS], UNAVAILABLE [ADDRESS_IN_USE]. `source` and `metrics` outlive
  // it.
  static Result<std::unique_ptr<Server>> Start(const ServerOptions& options, ContentSource& source, Metrics& metrics);
  ~Server();  // Stop(0)
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // "host:port" as bound.
  const std::string& address() const;
  // Accepts no more connections; those that are idle are closed, answers under way go on. Thread-safe.
  void Drain();
  // Drains, waits at most `grace` for answers under way, closes what is left, and joins. Once; thread-safe against Drain.
  void Stop(std::chrono::milliseconds grace);

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace edgefleet::http
