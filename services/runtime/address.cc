#include "services/runtime/address.h"

#include <charconv>

namespace edgefleet::services {
namespace {

Error BadAddress(std::string_view text) {
  return InvalidArgument("BAD_ADDRESS", "'" + std::string(text) + "' is not an address; write host:port, or [ipv6]:port");
}

}  // namespace

std::string HostPort::ToString() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<HostPort> ParseHostPort(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || text.size() > 300) return BadAddress(text);
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const bool has_colon = host.find(':') != std::string_view::npos;
  if (host.empty() || has_colon != bracketed || host.find_first_of(" \t\r\n/@[]") != std::string_view::npos) {
    return BadAddress(text);
  }
  const std::string_view digits = text.substr(colon + 1);
  HostPort address{std::string(host), 0};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
  if (error != std::errc() || end != digits.data() + digits.size()) return BadAddress(text);
  return address;
}

}  // namespace edgefleet::services
