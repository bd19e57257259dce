// A selector on fake time with what its scenarios ask for again and again.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
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

  // Two selectors on one store and many devices at once: every selection gets exactly its cohort, no device is in two.
  void ExpectExactCohortsUnderConcurrency(Selector& one, Selector& two, int rounds, int cohort) {
    const int devices = rounds * cohort;
    for (int r = 0; r < rounds; ++r) {
      ASSERT_TRUE(one.OpenSelection(Request("round-" + std::to_string(r), static_cast<std::uint32_t>(cohort))));
    }
    std::atomic<int> assigned{0};
    const auto work = [&](Selector& selector, int first) {
      std::set<int> has;
      while (assigned < devices) {
        for (int i = first; i < devices; i += 4) {
          const auto answer = selector.CheckIn(Id(i), Profile());
          if (answer && std::holds_alternative<Assignment>(*answer) && has.insert(i).second) ++assigned;
        }
      }
    };
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) threads.emplace_back([&, t] { work(t % 2 == 0 ? one : two, t); });
    for (auto& thread : threads) thread.join();
    std::map<std::string, std::string> round_of;
    for (int r = 0; r < rounds; ++r) {
      const std::string round_id = "round-" + std::to_string(r);
      const auto view = one.GetSelection(round_id);
      ASSERT_TRUE(view && view->draw) << round_id;
      EXPECT_EQ(view->draw->devices.size(), static_cast<std::size_t>(cohort));
      for (const SelectedDevice& device : view->draw->devices) {
        EXPECT_TRUE(round_of.emplace(device.device_id, round_id).second) << device.device_id;
      }
    }
    EXPECT_EQ(round_of.size(), static_cast<std::size_t>(devices));
  }

  FakeClock clock_;
  crypto::SecureRandom random_;
  NullLogger logger_;
  NullMetrics metrics_;
};

}  // namespace edgefleet::selection
