#include "aggregator/selection/profile.h"

#include <algorithm>

namespace edgefleet::selection {
namespace {

constexpr std::size_t kNameMax = 63;
constexpr std::size_t kIdentifierMax = 64;

bool IsLowerOrDigit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool IsPunctuation(char c) { return c == '.' || c == '_' || c == '-'; }

Status CheckName(std::string_view field, std::string_view value) {
  if (IsName(value)) return OkStatus();
  return InvalidArgument("BAD_PROFILE", std::string(field) +
                                            " must be a name of 1 to 63 characters of [a-z0-9._-] that starts with a "
                                            "letter or digit");
}

}  // namespace

bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= kNameMax && IsLowerOrDigit(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return IsLowerOrDigit(c) || IsPunctuation(c); });
}

bool IsIdentifier(std::string_view text) {
  return !text.empty() && text.size() <= kIdentifierMax && std::all_of(text.begin(), text.end(), [](char c) {
    return IsLowerOrDigit(c) || IsPunctuation(c) || (c >= 'A' && c <= 'Z');
  });
}

Status CheckDeviceId(std::string_view device_id) {
  if (IsIdentifier(device_id)) return OkStatus();
  return InvalidArgument("BAD_DEVICE_ID", "device_id must be 1 to 64 characters of [A-Za-z0-9._-]");
}

Status CheckProfile(const DeviceProfile& profile) {
  EF_RETURN_IF_ERROR(CheckName("device_class", profile.device_class));
  EF_RETURN_IF_ERROR(CheckName("region", profile.region));
  EF_RETURN_IF_ERROR(CheckName("os", profile.os));
  if (!profile.model.empty() || profile.model_version != 0) EF_RETURN_IF_ERROR(CheckName("model", profile.model));
  if (profile.battery_percent > 100) {
    return InvalidArgument("BAD_PROFILE", "battery_percent is " + std::to_string(profile.battery_percent) + ", at most 100");
  }
  if (profile.network > Network::kUnmetered)
    return InvalidArgument("BAD_PROFILE", "network is not one of the contract's values");
  return OkStatus();
}

}  // namespace edgefleet::selection
