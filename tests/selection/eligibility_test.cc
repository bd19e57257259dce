#include "aggregator/selection/eligibility.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <vector>

#include "aggregator/selection/pace.h"
#include "base/random.h"

namespace edgefleet::selection {
namespace {

DeviceProfile GoodProfile() {
  return {.device_class = "phone",
          .region = "eu",
          .os = "android",
          .battery_percent = 50,
          .charging = false,
          .network = Network::kUnmetered,
          .idle = true,
          .example_count = 600};
}

struct EligibilityCase {
  std::string name;
  EligibilityCriteria criteria;
  std::function<void(DeviceProfile&)> change;
  std::string reason;  // empty: eligible
};

class EligibilityTable : public testing::TestWithParam<EligibilityCase> {};

TEST_P(EligibilityTable, Decides) {
  DeviceProfile profile = GoodProfile();
  GetParam().change(profile);
  const auto why = WhyNotEligible(GetParam().criteria, profile);
  EXPECT_EQ(why ? std::string(why->reason) : "", GetParam().reason);
  EXPECT_TRUE(!why || !why->detail.empty());
}

void Unchanged(DeviceProfile&) {}

INSTANTIATE_TEST_SUITE_P(
    All, EligibilityTable,
    testing::Values(
        EligibilityCase{"no_criteria", {}, [](DeviceProfile& p) { p = {}; }, ""},
        EligibilityCase{"battery_at_limit", {.battery_percent_min = 50}, Unchanged, ""},
        EligibilityCase{"battery_below", {.battery_percent_min = 51}, Unchanged, "BATTERY_LOW"},
        EligibilityCase{
            "charging_does_not_count", {.battery_percent_min = 51}, [](DeviceProfile& p) { p.charging = true; }, "BATTERY_LOW"},
        EligibilityCase{"charging_counts",
                        {.battery_percent_min = 51, .require_charging_or_battery = true},
                        [](DeviceProfile& p) { p.charging = true; },
                        ""},
        EligibilityCase{"neither_charger_nor_battery",
                        {.battery_percent_min = 51, .require_charging_or_battery = true},
                        Unchanged,
                        "BATTERY_LOW"},
        EligibilityCase{
            "battery_instead_of_charger", {.battery_percent_min = 50, .require_charging_or_battery = true}, Unchanged, ""},
        EligibilityCase{"unmetered", {.require_unmetered = true}, Unchanged, ""},
        EligibilityCase{
            "metered", {.require_unmetered = true}, [](DeviceProfile& p) { p.network = Network::kMetered; }, "NOT_UNMETERED"},
        EligibilityCase{"unknown_network",
                        {.require_unmetered = true},
                        [](DeviceProfile& p) { p.network = Network::kUnknown; },
                        "NOT_UNMETERED"},
        EligibilityCase{"idle", {.require_idle = true}, Unchanged, ""},
        EligibilityCase{"busy", {.require_idle = true}, [](DeviceProfile& p) { p.idle = false; }, "NOT_IDLE"},
        EligibilityCase{"examples_at_limit", {.example_count_min = 600}, Unchanged, ""},
        EligibilityCase{"too_few_examples", {.example_count_min = 601}, Unchanged, "TOO_FEW_EXAMPLES"},
        EligibilityCase{"class_admitted", {.device_classes = {"gateway", "phone"}}, Unchanged, ""},
        EligibilityCase{"class_excluded", {.device_classes = {"gateway", "phones"}}, Unchanged, "CLASS_EXCLUDED"},
        EligibilityCase{"region_admitted", {.regions = {"eu"}}, Unchanged, ""},
        EligibilityCase{"region_excluded", {.regions = {"us"}}, Unchanged, "REGION_EXCLUDED"}),
    [](const auto& instance) { return instance.param.name; });

struct ProfileCase {
  std::string name;
  std::function<void(DeviceProfile&)> change;
  bool good;
};

class ProfileTable : public testing::TestWithParam<ProfileCase> {};

TEST_P(ProfileTable, IsChecked) {
  DeviceProfile profile = GoodProfile();
  GetParam().change(profile);
  const Status status = CheckProfile(profile);
  EXPECT_EQ(status.ok(), GetParam().good) << status.ToString();
  EXPECT_EQ(status.reason(), GetParam().good ? "" : "BAD_PROFILE");
}

INSTANTIATE_TEST_SUITE_P(
    All, ProfileTable,
    testing::Values(ProfileCase{"good", Unchanged, true},
                    ProfileCase{"longest_name", [](DeviceProfile& p) { p.os = std::string(63, 'a'); }, true},
                    ProfileCase{"name_too_long", [](DeviceProfile& p) { p.os = std::string(64, 'a'); }, false},
                    ProfileCase{"no_class", [](DeviceProfile& p) { p.device_class.clear(); }, false},
                    ProfileCase{"upper_case", [](DeviceProfile& p) { p.region = "EU"; }, false},
                    ProfileCase{"leading_dash", [](DeviceProfile& p) { p.region = "-eu"; }, false},
                    ProfileCase{"separator_of_labels", [](DeviceProfile& p) { p.region = "eu,class=x"; }, false},
                    ProfileCase{"zero_byte", [](DeviceProfile& p) { p.os = std::string("a\0b", 3); }, false},
                    ProfileCase{"full_battery", [](DeviceProfile& p) { p.battery_percent = 100; }, true},
                    ProfileCase{"overfull_battery", [](DeviceProfile& p) { p.battery_percent = 101; }, false},
                    ProfileCase{"foreign_network", [](DeviceProfile& p) { p.network = static_cast<Network>(4); }, false},
                    ProfileCase{"version_without_model", [](DeviceProfile& p) { p.model_version = 1; }, false},
                    ProfileCase{"model", [](DeviceProfile& p) { p.model = "fashion", p.model_version = 1; }, true}),
    [](const auto& instance) { return instance.param.name; });

TEST(Identifiers, HaveBoundsAndAnAlphabet) {
  EXPECT_TRUE(CheckDeviceId("A-z_0.9").ok());
  EXPECT_TRUE(CheckDeviceId(std::string(64, 'x')).ok());
  for (const std::string& bad : {std::string(), std::string(65, 'x'), std::string("a b"), std::string("a/b"),
                                 std::string("a\n"), std::string("\xc3\xa4"), std::string(1, '\0')}) {
    EXPECT_EQ(CheckDeviceId(bad).reason(), "BAD_DEVICE_ID");
  }
}

TEST(Pace, StaysWithinTheJitter) {
  const Pace pace({.idle = Millis(30'000), .waiting = Millis(1'000), .jitter = 0.2, .arrivals_per_s_max = 2'000});
  SeededRandom random(1);
  Millis least = Millis::max();
  Millis most = Millis::min();
  for (int i = 0; i < 10'000; ++i) {
    const Millis delay = pace.Idle(100, random);
    least = std::min(least, delay);
    most = std::max(most, delay);
  }
  EXPECT_GE(least, Millis(24'000));
  EXPECT_LE(most, Millis(36'000));
  EXPECT_LT(least, Millis(24'200)) << "the whole interval is used";
  EXPECT_GT(most, Millis(35'800));
  const Millis waiting = pace.Waiting(10, random);
  EXPECT_GE(waiting, Millis(800));
  EXPECT_LE(waiting, Millis(1'200));
}

// A simulated fleet that obeys: after the start-up the arrivals of each second stay near the bound.
TEST(Pace, BoundsTheArrivalRateOfALargeFleet) {
  constexpr int kDevices = 100'000;
  const Pace pace({.idle = Millis(1'000), .jitter = 0.2, .arrivals_per_s_max = 1'000});
  EXPECT_EQ(pace.MeanIdle(kDevices), Millis(100'000));
  SeededRandom random(2);
  constexpr std::int64_t kHorizonS = 1'000;
  std::vector<int> arrivals(kHorizonS);
  for (int device = 0; device < kDevices; ++device) {
    // Everybody first comes within the first period.
    for (auto at = static_cast<std::int64_t>(random.Below(100'000)); at < kHorizonS * 1000;
         at += pace.Idle(kDevices, random).count()) {
      ++arrivals[static_cast<std::size_t>(at / 1000)];
    }
  }
  for (std::size_t second = 500; second < arrivals.size(); ++second) {
    // Poisson-like with mean 1000: twelve standard deviations above would be a defect, not chance.
    ASSERT_LT(arrivals[second], 1'380) << second;
  }
}

// Devices that all come in the same instant are apart after a few answers.
TEST(Pace, DissolvesAHerd) {
  constexpr int kDevices = 10'000;
  const Pace pace({.idle = Millis(10'000), .jitter = 0.5, .arrivals_per_s_max = 1e9});
  SeededRandom random(3);
  std::map<std::int64_t, int> at_second;
  for (int device = 0; device < kDevices; ++device) {
    std::int64_t at = 0;
    for (int answer = 0; answer < 8; ++answer) at += pace.Idle(kDevices, random).count();
    ++at_second[at / 1000];
  }
  for (const auto& [second, count] : at_second) EXPECT_LT(count, kDevices / 10) << second;
}

}  // namespace
}  // namespace edgefleet::selection
