#include "aggregator/selection/eligibility.h"

#include <algorithm>

namespace edgefleet::selection {
namespace {

bool Admits(const std::vector<std::string>& names, const std::string& name) {
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::optional<Ineligibility> WhyNotEligible(const EligibilityCriteria& criteria, const DeviceProfile& profile) {
  if (!Admits(criteria.device_classes, profile.device_class)) {
    return Ineligibility{"CLASS_EXCLUDED", "the task does not use devices of class '" + profile.device_class + "'"};
  }
  if (!Admits(criteria.regions, profile.region)) {
    return Ineligibility{"REGION_EXCLUDED", "the task does not use devices in region '" + profile.region + "'"};
  }
  const bool charger_counts = criteria.require_charging_or_battery && profile.charging;
  if (!charger_counts && profile.battery_percent < criteria.battery_percent_min) {
    return Ineligibility{"BATTERY_LOW", "the battery is at " + std::to_string(profile.battery_percent) + " %, the task needs " +
                                            std::to_string(criteria.battery_percent_min) + " %" +
                                            (criteria.require_charging_or_battery ? " or a charger" : "")};
  }
  if (criteria.require_unmetered && profile.network != Network::kUnmetered) {
    return Ineligibility{"NOT_UNMETERED", "the task needs an unmetered network"};
  }
  if (criteria.require_idle && !profile.idle) return Ineligibility{"NOT_IDLE", "the task needs an idle device"};
  if (profile.example_count < criteria.example_count_min) {
    return Ineligibility{"TOO_FEW_EXAMPLES", "the device has " + std::to_string(profile.example_count) +
                                                 " training examples, the task needs " +
                                                 std::to_string(criteria.example_count_min)};
  }
  return std::nullopt;
}

}  // namespace edgefleet::selection
