#include "aggregator/selection/selector.h"

#include <functional>
#include <limits>
#include <map>

#include "aggregator/selection/memory_presence_store.h"
#include "tests/selection/selector_fixture.h"

namespace edgefleet::selection {
namespace {

class SelectorTest : public SelectorFixture {
 protected:
  void Open(const SelectionRequest& request) {
    const auto view = selector_->OpenSelection(request);
    ASSERT_TRUE(view) << view.error().ToString();
  }
  SelectionView Get(const std::string& round_id) {
    auto view = selector_->GetSelection(round_id);
    EXPECT_TRUE(view) << view.error().ToString();
    return view ? *view : SelectionView{};
  }

  std::unique_ptr<PresenceStore> store_ = MakeMemoryPresenceStore();
  std::unique_ptr<Selector> selector_ = MakeSelector(*store_);
};

TEST_F(SelectorTest, WithoutASelectionThereIsNoTask) { EXPECT_EQ(Rejected(*selector_, "device-0"), RejectionReason::kNoTask); }

TEST_F(SelectorTest, RefusesBadDevices) {
  EXPECT_EQ(selector_->CheckIn("a b", Profile()).error().reason(), "BAD_DEVICE_ID");
  EXPECT_EQ(selector_->CheckIn("a", Profile("Phone")).error().reason(), "BAD_PROFILE");
  EXPECT_EQ(selector_->ListDevices(10, "")->total, 0U) << "nothing of it is kept";
}

TEST_F(SelectorTest, DrawsWhenEnoughDevicesWaitAndRepeatsAssignments) {
  Open(Request("round", 4, 1.5));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Rejected(*selector_, Id(i)), RejectionReason::kWaiting);
  EXPECT_EQ(Get("round").waiting, 5U);
  EXPECT_EQ(Rejected(*selector_, Id(0)), RejectionReason::kWaiting) << "coming twice is not being two";
  const auto last = Assigned(*selector_, Id(5));
  ASSERT_TRUE(last) << "the sixth completes the cohort and learns it at once";
  EXPECT_EQ(last->plan, "plan of round");
  EXPECT_EQ(last->task_id, "task");
  EXPECT_EQ(last->aggregator_address, "host:1");
  EXPECT_EQ(last->join_deadline, clock_.Now() + Millis(30'000));

  const SelectionView view = Get("round");
  ASSERT_EQ(view.record.state, SelectionState::kSelected);
  ASSERT_EQ(view.draw->devices.size(), 6U);
  std::set<Token> tokens;
  for (const SelectedDevice& device : view.draw->devices) {
    tokens.insert(device.token);
    for (int time = 0; time < 2; ++time) {
      const auto assignment = Assigned(*selector_, device.device_id);
      ASSERT_TRUE(assignment);
      EXPECT_EQ(assignment->token, device.token);
    }
    EXPECT_EQ(device.example_count, 600U);
  }
  EXPECT_EQ(tokens.size(), 6U) << "every device has its own token";
}

TEST_F(SelectorTest, TellsThoseThatWereNotDrawn) {
  SelectionRequest request = Request("round", 3);
  request.spec.pool_min = 10;
  Open(request);
  int assigned = 0;
  int passed_over = 0;
  for (int i = 0; i < 10; ++i) Answer(*selector_, Id(i));
  for (int i = 0; i < 10; ++i) {
    if (Assigned(*selector_, Id(i))) ++assigned;
  }
  EXPECT_EQ(assigned, 3);
  // Those that were passed over have been told; now they are free and there is nothing for them.
  for (int i = 0; i < 10; ++i) passed_over += Rejected(*selector_, Id(i)) == RejectionReason::kNoTask ? 1 : 0;
  EXPECT_EQ(passed_over, 7);
  EXPECT_EQ(Rejected(*selector_, "late"), RejectionReason::kNoTask);
}

TEST_F(SelectorTest, NotSelectedIsSaidOnce) {
  SelectionRequest request = Request("round", 3);
  request.spec.pool_min = 8;
  Open(request);
  std::map<std::string, int> told;
  for (int time = 0; time < 3; ++time) {
    for (int i = 0; i < 8; ++i) told[Id(i)] += Rejected(*selector_, Id(i)) == RejectionReason::kNotSelected ? 1 : 0;
  }
  const SelectionView view = Get("round");
  for (const SelectedDevice& device : view.draw->devices) {
    EXPECT_EQ(told[device.device_id], 0);
    told.erase(device.device_id);
  }
  ASSERT_EQ(told.size(), 5U);
  for (const auto& [id, times] : told) EXPECT_EQ(times, 1) << id;
}

TEST_F(SelectorTest, TheSamePoolAndSeedGiveTheSameCohort) {
  std::vector<std::set<std::string>> cohorts;
  for (const int step : {1, -1}) {
    store_ = MakeMemoryPresenceStore();
    selector_ = MakeSelector(*store_);
    SelectionRequest request = Request("round", 10);
    request.spec.pool_min = 50;
    Open(request);
    for (int i = 0; i < 50; ++i) {
      const int device = step > 0 ? i : 49 - i;
      Answer(*selector_, Id(device), Profile(device % 2 == 0 ? "phone" : "watch"));
    }
    auto& cohort = cohorts.emplace_back();
    for (const auto& device : Get("round").draw->devices) cohort.insert(device.device_id);
  }
  EXPECT_EQ(cohorts[0].size(), 10U);
  EXPECT_EQ(cohorts[0], cohorts[1]);
}

TEST_F(SelectorTest, QuotasFollowTheStrataOfThePool) {
  SelectionRequest request = Request("round", 20);
  request.spec.pool_min = 40;
  Open(request);
  for (int i = 0; i < 40; ++i) Answer(*selector_, Id(i), Profile(i < 20 ? "phone" : i < 30 ? "tablet" : "watch"));
  EXPECT_EQ(Get("round").draw->strata,
            (std::vector<StratumQuota>{{"class=phone", 20, 10}, {"class=tablet", 10, 5}, {"class=watch", 10, 5}}));
}

TEST_F(SelectorTest, SaysWhyADeviceIsNotEligible) {
  SelectionRequest request = Request("round", 2);
  request.spec.eligibility.require_idle = true;
  Open(request);
  DeviceProfile busy = Profile();
  busy.idle = false;
  const CheckInAnswer answer = Answer(*selector_, Id(0), busy);
  const auto* rejection = std::get_if<Rejection>(&answer);
  ASSERT_NE(rejection, nullptr);
  EXPECT_EQ(rejection->reason, RejectionReason::kNotEligible);
  EXPECT_TRUE(rejection->detail.starts_with("NOT_IDLE")) << rejection->detail;
  EXPECT_EQ(Get("round").waiting, 0U);
}

TEST_F(SelectorTest, ADeviceThatStopsBeingEligibleLeavesThePool) {
  SelectionRequest request = Request("round", 2);
  request.spec.eligibility.require_idle = true;
  Open(request);
  EXPECT_EQ(Rejected(*selector_, Id(0)), RejectionReason::kWaiting);
  DeviceProfile busy = Profile();
  busy.idle = false;
  EXPECT_EQ(Rejected(*selector_, Id(0), busy), RejectionReason::kNotEligible);
  EXPECT_EQ(Get("round").waiting, 0U);
}

TEST_F(SelectorTest, ADeviceThatIsGoneIsNotDrawn) {
  Open(Request("round", 3));
  Answer(*selector_, Id(0));
  SelectionRequest longer = Request("round-2", 3);
  longer.deadline = clock_.Now() + std::chrono::minutes(10);
  ASSERT_TRUE(selector_->CloseSelection("round", "test").ok());
  Open(longer);
  Answer(*selector_, Id(0));
  clock_.Advance(Millis(61'000));
  Answer(*selector_, Id(1));
  EXPECT_EQ(Rejected(*selector_, Id(2)), RejectionReason::kWaiting) << "the first one is gone, so two wait";
  EXPECT_EQ(Get("round-2").waiting, 2U);
  EXPECT_TRUE(Assigned(*selector_, Id(3)));
  for (const auto& device : Get("round-2").draw->devices) EXPECT_NE(device.device_id, Id(0));
}

TEST_F(SelectorTest, ClosingFreesTheDevices) {
  Open(Request("round", 2));
  Answer(*selector_, Id(0));
  ASSERT_TRUE(Assigned(*selector_, Id(1)));
  ASSERT_TRUE(selector_->CloseSelection("round", "committed").ok());
  EXPECT_EQ(Rejected(*selector_, Id(1)), RejectionReason::kNoTask);
  EXPECT_EQ(selector_->GetSelection("round").error().reason(), "SELECTION_UNKNOWN");
  EXPECT_TRUE(selector_->CloseSelection("round", "again").ok());
  EXPECT_TRUE(selector_->CloseSelection("no/such round", "").ok());
  Open(Request("round-2", 2));
  EXPECT_EQ(Rejected(*selector_, Id(0)), RejectionReason::kWaiting);
  EXPECT_EQ(Assigned(*selector_, Id(1))->round_id, "round-2");
}

TEST_F(SelectorTest, ADeviceIsInOneRoundAtATime) {
  Open(Request("round-1", 2));
  Open(Request("round-2", 2));
  Answer(*selector_, Id(0));
  ASSERT_TRUE(Assigned(*selector_, Id(1))) << "the older selection is served first";
  EXPECT_EQ(Get("round-1").record.state, SelectionState::kSelected);
  EXPECT_EQ(Assigned(*selector_, Id(0))->round_id, "round-1");
  EXPECT_EQ(Get("round-2").waiting, 0U);
  EXPECT_EQ(Rejected(*selector_, Id(2)), RejectionReason::kWaiting);
  EXPECT_EQ(Assigned(*selector_, Id(3))->round_id, "round-2");
}

TEST_F(SelectorTest, ADeviceGoesToTheSelectionThatWantsIt) {
  SelectionRequest watches = Request("watches", 1);
  watches.spec.eligibility.device_classes = {"watch"};
  Open(watches);
  Open(Request("any", 5));
  EXPECT_EQ(Rejected(*selector_, Id(0)), RejectionReason::kWaiting);
  EXPECT_EQ(Get("any").waiting, 1U);
}

TEST_F(SelectorTest, TheDeadlineFailsTheSelectionAndFreesItsDevices) {
  Open(Request("round", 3));
  Answer(*selector_, Id(0));
  clock_.Advance(Millis(29'999));
  EXPECT_EQ(Get("round").record.state, SelectionState::kGathering);
  clock_.Advance(Millis(1));
  EXPECT_EQ(Rejected(*selector_, Id(1)), RejectionReason::kNoTask) << "nobody joins any more";
  const SelectionView view = Get("round");
  EXPECT_EQ(view.record.state, SelectionState::kFailed);
  EXPECT_EQ(view.record.detail, "the deadline passed while 1 of 3 eligible devices were waiting");
  Open(Request("round-2", 1));
  EXPECT_EQ(Assigned(*selector_, Id(0))->round_id, "round-2");
}

TEST_F(SelectorTest, AfterTheJoinDeadlineAnAssignmentIsNotRepeated) {
  Open(Request("round", 1));
  ASSERT_TRUE(Assigned(*selector_, Id(0)));
  clock_.Advance(Millis(30'000));
  EXPECT_EQ(Rejected(*selector_, Id(0)), RejectionReason::kNoTask);
  EXPECT_EQ(Get("round").record.state, SelectionState::kSelected) << "the round may still run";
}

TEST_F(SelectorTest, OpeningTwiceIsOpeningOnce) {
  const SelectionRequest request = Request("round", 2);
  Open(request);
  Answer(*selector_, Id(0));
  SelectionRequest again = request;
  again.deadline += Millis(5'000);
  const auto view = selector_->OpenSelection(again);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->waiting, 1U);
  EXPECT_EQ(view->record.request.deadline, request.deadline);
  SelectionRequest other = request;
  other.spec.cohort_size = 3;
  EXPECT_EQ(selector_->OpenSelection(other).error().reason(), "SELECTION_DIFFERS");
}

TEST_F(SelectorTest, BoundsTheNumberOfSelections) {
  for (int i = 0; i < 8; ++i) Open(Request("round-" + std::to_string(i), 2));
  const auto refused = selector_->OpenSelection(Request("round-8", 2));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), "SELECTIONS_FULL");
  EXPECT_TRUE(refused.error().retry_after());
}

TEST_F(SelectorTest, BoundsTheNumberOfDevices) {
  for (int i = 0; i < 1'000; ++i) Answer(*selector_, Id(i));
  const auto refused = selector_->CheckIn("one-more", Profile());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), "DEVICES_FULL");
  clock_.Advance(Millis(61'000));
  ASSERT_TRUE(selector_->Maintain().ok());
  EXPECT_TRUE(selector_->CheckIn("one-more", Profile())) << "those that went made room";
}

TEST_F(SelectorTest, ChecksWhatOpensASelection) {
  const std::vector<std::pair<std::string, std::function<void(SelectionRequest&)>>> cases{
      {"round_id", [](auto& r) { r.round_id = "a/b"; }},
      {"task_id", [](auto& r) { r.task_id.clear(); }},
      {"no cohort", [](auto& r) { r.spec.cohort_size = 0; }},
      {"large cohort", [](auto& r) { r.spec.cohort_size = 100'001; }},
      {"large draw", [](auto& r) { r.spec.cohort_size = 90'000, r.spec.over_provision = 2; }},
      {"factor below 1", [](auto& r) { r.spec.over_provision = 0.5; }},
      {"factor above 3", [](auto& r) { r.spec.over_provision = 3.5; }},
      {"no number", [](auto& r) { r.spec.over_provision = std::numeric_limits<double>::quiet_NaN(); }},
      {"pool", [](auto& r) { r.spec.pool_min = 1'000'001; }},
      {"battery", [](auto& r) { r.spec.eligibility.battery_percent_min = 101; }},
      {"names", [](auto& r) { r.spec.eligibility.regions.assign(65, "eu"); }},
      {"name", [](auto& r) { r.spec.eligibility.device_classes = {"Phone"}; }},
      {"keys",
       [](auto& r) {
         r.spec.stratify_by = {StratumKey::kClass, StratumKey::kClass};
       }},
      {"plan", [](auto& r) { r.plan.assign(4097, 'x'); }},
      {"address", [](auto& r) { r.aggregator_address.clear(); }},
      {"deadline", [](auto& r) { r.deadline += std::chrono::hours(24 * 8); }}};
  for (const auto& [name, change] : cases) {
    SelectionRequest request = Request("round", 2);
    change(request);
    const auto refused = selector_->OpenSelection(request);
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().reason(), "BAD_SPEC") << name;
  }
}

TEST_F(SelectorTest, MaintenanceFailsAndForgetsWhatIsOver) {
  Open(Request("round", 3));
  Answer(*selector_, Id(0));
  clock_.Advance(Millis(30'000));
  ASSERT_TRUE(selector_->Maintain().ok());
  EXPECT_EQ((*store_->FindSelection("round"))->state, SelectionState::kFailed);
  clock_.Advance(std::chrono::hours(2));
  ASSERT_TRUE(selector_->Maintain().ok());
  EXPECT_FALSE(*store_->FindSelection("round"));
  EXPECT_EQ(selector_->ListDevices(0, "")->total, 0U);
}

TEST_F(SelectorTest, ListsDevicesWithTheirRound) {
  Open(Request("round", 2));
  Answer(*selector_, Id(0));
  const auto page = selector_->ListDevices(0, "");
  ASSERT_TRUE(page);
  ASSERT_EQ(page->entries.size(), 1U);
  EXPECT_EQ(page->entries[0].round_id, "round");
  EXPECT_EQ(page->entries[0].device.profile, Profile());
  EXPECT_EQ(selector_->ListDevices(1001, "").error().reason(), "BAD_PAGE_SIZE");
}

// A selector that died between the join that filled the pool and the draw: the next event completes it.
TEST_F(SelectorTest, AFullPoolIsDrawnAfterARestart) {
  Open(Request("round", 2));
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(store_->RecordDevice({Id(i), Profile(), clock_.Now(), clock_.Now() + Millis(60'000)}, 10));
    ASSERT_TRUE(store_->JoinPool("round", {Id(i), "class=phone", 600}, clock_.Now() + Millis(60'000), 2, clock_.Now()));
  }
  selector_ = MakeSelector(*store_, "two");
  EXPECT_EQ(Rejected(*selector_, Id(2)), RejectionReason::kNoTask) << "its check-in made the draw, without it";
  EXPECT_EQ(Get("round").draw->devices.size(), 2U);
  EXPECT_TRUE(Assigned(*selector_, Id(0)));
}

TEST_F(SelectorTest, ConcurrentCheckInsKeepCohortsExactAndApart) {
  const auto second = MakeSelector(*store_, "two");
  ExpectExactCohortsUnderConcurrency(*selector_, *second, 6, 20);
}

}  // namespace
}  // namespace edgefleet::selection
