// The typed configuration of edgefleetd. One YAML file; every key has a default; unknown keys are refused. A new
// key also goes into the table at the head of services/runtime/config.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/status.h"

namespace edgefleet::services {

struct Config {
  std::string role = "all";  // all, registry, origin, selector, aggregator
  std::filesystem::path data_dir = "edgefleet-data";

  struct Listen {
    std::string grpc = "127.0.0.1:7070";  // port 0: the kernel chooses; see `port_file`
    std::string http = "127.0.0.1:7080";  // origin only
    std::string metrics = "127.0.0.1:7090";
    std::string advertise;       // "host:port" that others dial for gRPC; empty: the bound address
    std::string advertise_http;  // "http://host:port" that devices fetch from; empty: the bound address
  } listen;
  // Where the bound addresses are written as JSON {"grpc":..., "http":..., "metrics":...} once the process serves; empty:
  // nowhere.
  std::filesystem::path port_file;

  struct Peers {  // gRPC targets of the other roles; unused with role all
    std::string registry;
    std::string origin;
    std::string selector;
    std::string aggregator;
  } peers;

  std::string postgres_url;  // empty: SQLite below data_dir
  std::string redis_url;     // "redis://host:port/db" or "redis+unix:///path"; empty: memory

  struct Registry {
    std::filesystem::path
        signing_key_file;  // Ed25519 seed, 64 hex digits; empty: data_dir/keys/manifest.key, made at first start
    std::int64_t manifest_lifetime_s = 30 * 24 * 3600;
    std::uint32_t compile_threads = 1;
    std::uint32_t upload_sessions_max = 64;
    std::int64_t upload_session_lifetime_s = 24 * 3600;
  } registry;

  struct Origin {
    std::uint32_t http_threads = 2;
    std::uint32_t connections_max = 4096;
  } origin;

  struct Selector {
    std::int64_t presence_lifetime_ms = 60'000;  // a device that does not check in for this long is gone
    std::int64_t idle_retry_ms = 30'000;         // come-back time when there is no task
    std::int64_t waiting_retry_ms = 1'000;       // come-back time while a cohort gathers
    double retry_jitter = 0.2;                   // uniform in [1 - jitter, 1 + jitter]; below 1
    std::uint32_t devices_max = 2'000'000;
  } selector;

  struct Aggregator {
    std::uint32_t worker_threads = 2;
    std::uint32_t rounds_active_max = 64;
    std::int64_t lease_ms = 15'000;                     // of a task, across replicas
    std::vector<std::filesystem::path> enrolment_keys;  // Ed25519 public keys of authorities; active tasks need one
    std::filesystem::path
        transcript_key;  // Ed25519 seed, 64 hex digits; empty: data_dir/keys/transcript.key, made at first start
    std::int64_t transcripts_bytes_max = std::int64_t{10} << 30;  // the oldest of ended rounds are removed beyond it
  } aggregator;

  struct Server {
    std::uint32_t handler_threads = 4;  // of each role
    std::uint32_t handler_queue_max = 1024;
    std::int64_t readiness_spread_ms = 0;  // from NOT_SERVING to refusing work, so that balancers notice in between
    std::int64_t shutdown_grace_ms = 5'000;
  } server;

  struct Log {
    std::string level = "info";  // debug, info, warn, error
  } log;
};

// INVALID_ARGUMENT [BAD_CONFIG] names the line and key, and what would be right. At most 1 MiB.
Result<Config> LoadConfig(const std::filesystem::path& file);
// Ranges, addresses, and peers that the chosen role needs.
Status CheckConfig(const Config& config);
// The whole configuration as YAML, defaults included; passwords in URLs are replaced.
std::string PrintConfig(const Config& config);

}  // namespace edgefleet::services
