// A selector on fake time with what its scenarios ask for again and again.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "aggregator/selection/selector.h"
#include "base/crypto/crypto.h"

namespace edgefleet::selection {

class SelectorFixture : public testing::Test {
 protected:
  // A selector process on `store`; another one may serve the same store.
  std::unique_ptr<Selector> MakeSelector(PresenceStore& store, const std::string& owner = "one") {
    SelectorOptions options;
    options.presence_lifetime = Millis(60'000);
    options.devices_max = 1'000;
    options.selections_max = 8;
    options.owner = owner;
    return std::make_unique<Selector>(store, clock_, random_, logger_, metrics_, options);
  }

  static DeviceProfile Profile(const std::string& device_class = "phone") {
    return {.device_class = device_class,
            .region = "eu",
            .os = "android",
            .battery_percent = 80,
            .network = Network::kUnmetered,
            .idle = true,
            .example_count = 600};
  }
  SelectionRequest Request(const std::string& round_id, std::uint32_t cohort, double over_provision = 1) const {
    SelectionRequest request{
        .task_id = "task", .round_id = round_id, .plan = "plan of " + round_id, .aggregator_address = "host:1"};
    request.spec.cohort_size = cohort;
    request.spec.over_provision = over_provision;
    request.spec.stratify_by = {StratumKey::kClass};
    request.spec.seed = 11;
    request.deadline = clock_.Now() + Millis(30'000);
    return request;
  }
  static std::string Id(int i) { return "device-" + std::to_string(i); }

  static CheckInAnswer Answer(Selector& selector, const std::string& id, const DeviceProfile& profile = Profile()) {
    Result<CheckInAnswer> answer = selector.CheckIn(id, profile);
    EXPECT_TRUE(answer) << answer.error().ToString();
    return answer ? *answer : CheckInAnswer(Rejection{});
  }
  static std::optional<Assignment> Assigned(Selector& selector, const std::string& id) {
    const CheckInAnswer answer = Answer(selector, id);
    const auto* assignment = std::get_if<Assignment>(&answer);
    return assignment ? std::optional(*assignment) : std::nullopt;
  }
  // Nothing if the device was assigned.
  static std::optional<RejectionReason> Rejected(Selector& selector, const std::string& id,
                                                 const DeviceProfile& profile = Profile()) {
    const CheckInAnswer answer = Answer(selector, id, profile);
    const auto* rejection = std::get_if<Rejection>(&answer);
    if (rejection == nullptr) return std::nullopt;
    EXPECT_GT(rejection->retry_after.count(), 0);
    EXPECT_FALSE(rejection->detail.empty());
    return rejection->reason;
  }

  FakeClock clock_;
  crypto::SecureRandom random_;
  NullLogger logger_;
  NullMetrics metrics_;
};

}  // namespace edgefleet::selection
