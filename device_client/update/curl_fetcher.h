// HttpFetcher on libcurl.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

#include "device_client/update/http_fetcher.h"

namespace edgefleet::update {

struct CurlOptions {
  std::string base_url;  // "http://host:port" or "https://host"; no redirect leads away from it
  std::chrono::milliseconds connect_timeout{10'000};
  // A transfer below this many bytes a second for this long counts as cut.
  std::uint32_t low_speed_bytes = 256;
  std::chrono::seconds low_speed_time{20};
  std::filesystem::path ca_file;  // PEM; empty: the system's
};

// INVALID_ARGUMENT [BAD_URL] unless base_url is http or https with a host and nothing after it.
Result<std::unique_ptr<HttpFetcher>> MakeCurlFetcher(CurlOptions options);

}  // namespace edgefleet::update
