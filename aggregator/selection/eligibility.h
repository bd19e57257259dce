// Whether a device may take part in a task. The selector decides with this function; a device that knows the criteria can ask
// the same function before it spends anything. Standard library only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "aggregator/selection/profile.h"

namespace edgefleet::selection {

struct EligibilityCriteria {
  // Battery needed. With `require_charging_or_battery` a charger makes up for a low battery; without it the level counts alone.
  std::uint32_t battery_percent_min = 0;
  bool require_charging_or_battery = false;
  bool require_unmetered = false;
  bool require_idle = false;
  std::uint64_t example_count_min = 0;
  std::vector<std::string> device_classes;  // empty: all; at most kEligibilityNamesMax
  std::vector<std::string> regions;         // empty: all; at most kEligibilityNamesMax
  bool operator==(const EligibilityCriteria&) const = default;
};

inline constexpr std::size_t kEligibilityNamesMax = 64;

// Why a device may not take part: a stable reason (BATTERY_LOW, NOT_UNMETERED, NOT_IDLE, TOO_FEW_EXAMPLES, CLASS_EXCLUDED,
// REGION_EXCLUDED) and a sentence for people.
struct Ineligibility {
  std::string_view reason;
  std::string detail;
};

// Nothing if the device is eligible, else the first criterion, in the order above with class and region first, that it misses.
std::optional<Ineligibility> WhyNotEligible(const EligibilityCriteria& criteria, const DeviceProfile& profile);

}  // namespace edgefleet::selection
