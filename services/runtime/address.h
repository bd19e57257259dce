// "host:port" addresses as they stand in the configuration: a name or IPv4 address, or an IPv6 address in brackets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace edgefleet::services {

struct HostPort {
  std::string host;  // without brackets
  std::uint16_t port = 0;

  bool wildcard() const { return host == "0.0.0.0" || host == "::"; }
  std::string ToString() const;
};

// INVALID_ARGUMENT [BAD_ADDRESS]. Port 0 is an address to listen on, where the kernel chooses.
Result<HostPort> ParseHostPort(std::string_view text);

}  // namespace edgefleet::services
