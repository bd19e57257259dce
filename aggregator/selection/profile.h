// What a device says of itself when it checks in, and the bounds of every field.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace edgefleet::selection {

enum class Network : std::uint8_t { kUnknown = 0, kOffline = 1, kMetered = 2, kUnmetered = 3 };

// Self-reported, so a hint for choosing devices and never a credential.
struct DeviceProfile {
  std::string device_class;  // class, region and os are names: [a-z0-9][a-z0-9._-]{0,62}
  std::string region;
  std::string os;
  std::uint32_t battery_percent = 0;  // 0 to 100
  bool charging = false;
  Network network = Network::kUnknown;
  bool idle = false;
  std::uint64_t example_count = 0;  // local training examples
  std::string model;                // a name, or empty where model_version is 0
  std::uint64_t model_version = 0;  // active; 0: none
  bool operator==(const DeviceProfile&) const = default;
};

// [a-z0-9][a-z0-9._-]{0,62}
bool IsName(std::string_view text);

// 1 to 64 characters of [A-Za-z0-9._-]: ids of devices, rounds, tasks and requests.
bool IsIdentifier(std::string_view text);

// INVALID_ARGUMENT [BAD_DEVICE_ID].
Status CheckDeviceId(std::string_view device_id);

// INVALID_ARGUMENT [BAD_PROFILE] names the field and what would be right.
Status CheckProfile(const DeviceProfile& profile);

}  // namespace edgefleet::selection
