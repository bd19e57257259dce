#include "aggregator/selection/selector.h"

#include <algorithm>
#include <unordered_map>

namespace edgefleet::selection {
namespace {

constexpr int kAttemptsMax = 4;  // of a step that another selector's change may undo
constexpr Millis kDeadlineMax = std::chrono::hours(24 * 7);
constexpr Millis kSweepLease{10'000};
constexpr std::size_t kSweepBudget = 2'000;  // devices looked at in one trip
constexpr std::uint64_t kSweepPeriods = 20;  // a full sweep takes about this many calls of Maintain()
constexpr std::size_t kPageSizeDefault = 100;
constexpr std::size_t kPageSizeMax = 1000;

constexpr char kCheckIns[] = "edgefleet_selection_checkins_total";
constexpr char kCheckInsHelp[] = "Check-ins answered, by outcome";

// How many eligible devices must wait before the cohort is drawn.
std::uint64_t PoolNeeded(const SelectionSpec& spec) {
  return spec.pool_min != 0 ? spec.pool_min : OverProvisioned(spec.cohort_size, spec.over_provision);
}

const SelectedDevice* FindDrawn(const Draw& draw, const std::string& device_id) {
  const auto found =
      std::lower_bound(draw.devices.begin(), draw.devices.end(), device_id,
                       [](const SelectedDevice& device, const std::string& id) { return device.device_id < id; });
  return found != draw.devices.end() && found->device_id == device_id ? &*found : nullptr;
}

Assignment MakeAssignment(const SelectionRequest& request, const SelectedDevice& device) {
  return {.task_id = request.task_id,
          .round_id = request.round_id,
          .aggregator_address = request.aggregator_address,
          .token = device.token,
          .plan = request.plan,
          .join_deadline = request.deadline};
}

std::string_view OutcomeName(const CheckInAnswer& answer) {
  const auto* rejection = std::get_if<Rejection>(&answer);
  if (rejection == nullptr) return "assigned";
  switch (rejection->reason) {
    case RejectionReason::kNoTask:
      return "no_task";
    case RejectionReason::kNotEligible:
      return "not_eligible";
    case RejectionReason::kWaiting:
      return "waiting";
    case RejectionReason::kNotSelected:
      return "not_selected";
    case RejectionReason::kStratumFull:
      return "stratum_full";
  }
  return "no_task";
}

bool SameSelection(const SelectionRequest& a, const SelectionRequest& b) {
  return a.task_id == b.task_id && a.spec == b.spec && a.plan == b.plan;
}

}  // namespace

struct Selector::Item {
  SelectionRecord record;
  std::shared_ptr<const Draw> draw;  // where selected
};

// The open selections as of one generation.
struct Selector::Snapshot {
  std::uint64_t generation = 0;
  std::vector<Item> items;  // by sequence
  const Item* Find(const std::string& round_id) const {
    const auto found =
        std::find_if(items.begin(), items.end(), [&](const Item& i) { return i.record.request.round_id == round_id; });
    return found == items.end() ? nullptr : &*found;
  }
};

Selector::Selector(PresenceStore& store, const Clock& clock, RandomSource& random, Logger& logger, Metrics& metrics,
                   SelectorOptions options)
    : store_(store),
      clock_(clock),
      random_(random),
      logger_(logger),
      metrics_(metrics),
      options_(std::move(options)),
      pace_(options_.pace) {}

Result<std::shared_ptr<const Selector::Snapshot>> Selector::LoadSnapshot(std::uint64_t generation) {
  std::shared_ptr<const Snapshot> former;
  {
    std::lock_guard lock(mutex_);
    if (snapshot_ && snapshot_->generation == generation) return snapshot_;
    former = snapshot_;
  }
  EF_ASSIGN_OR_RETURN(SelectionList list, store_.ListSelections());
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->generation = list.generation;
  for (SelectionRecord& record : list.selections) {
    Item item{std::move(record), nullptr};
    if (item.record.state == SelectionState::kSelected) {
      const Item* known = former ? former->Find(item.record.request.round_id) : nullptr;
      if (known != nullptr && known->draw && known->record.sequence == item.record.sequence) {
        item.draw = known->draw;
      } else {
        EF_ASSIGN_OR_RETURN(item.draw, store_.ReadDraw(item.record.request.round_id));
        if (!item.draw) continue;  // closed since it was listed
      }
    }
    snapshot->items.push_back(std::move(item));
  }
  std::lock_guard lock(mutex_);
  snapshot_ = snapshot;
  return snapshot;
}

Result<CheckInAnswer> Selector::CheckIn(const std::string& device_id, const DeviceProfile& profile) {
  EF_RETURN_IF_ERROR(CheckDeviceId(device_id));
  EF_RETURN_IF_ERROR(CheckProfile(profile));
  const WallTime now = clock_.Now();
  const Millis lifetime = std::max(options_.presence_lifetime, 2 * pace_.MeanIdle(devices_));
  const DeviceRecord device{device_id, profile, now, now + lifetime};
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    EF_ASSIGN_OR_RETURN(const Presence presence, store_.RecordDevice(device, options_.devices_max));
    devices_ = presence.devices;
    EF_ASSIGN_OR_RETURN(MaybeAnswer answer, Place(device, presence));
    if (!answer) continue;
    Count(*answer);
    return *std::move(answer);
  }
  return Unavailable("SELECTION_BUSY", "selections change too quickly to place the device; check in again")
      .RetryAfter(options_.pace.waiting);
}

Result<Selector::MaybeAnswer> Selector::Place(const DeviceRecord& device, const Presence& presence) {
  EF_ASSIGN_OR_RETURN(const std::shared_ptr<const Snapshot> snapshot, LoadSnapshot(presence.generation));
  const Item* bound = presence.round_id.empty() ? nullptr : snapshot->Find(presence.round_id);
  const bool current = bound != nullptr && device.last_seen < bound->record.request.deadline;
  const Item* stay = nullptr;
  bool passed_over = false;
  if (current && bound->record.state == SelectionState::kSelected) {
    if (const SelectedDevice* drawn = FindDrawn(*bound->draw, device.device_id)) {
      return MaybeAnswer(MakeAssignment(bound->record.request, *drawn));
    }
    passed_over = true;
  } else if (current && bound->record.state == SelectionState::kGathering &&
             !WhyNotEligible(bound->record.request.spec.eligibility, device.profile)) {
    stay = bound;
  }
  if (!presence.round_id.empty() && stay == nullptr) {
    EF_RETURN_IF_ERROR(store_.ReleaseDevice(presence.round_id, device.device_id));
  }
  return Gather(device, presence, *snapshot, stay, passed_over);
}

Result<Selector::MaybeAnswer> Selector::Gather(const DeviceRecord& device, const Presence& presence, const Snapshot& snapshot,
                                               const Item* stay, bool passed_over) {
  std::string full;
  std::optional<Ineligibility> missed;
  for (const Item& item : snapshot.items) {
    const SelectionRequest& request = item.record.request;
    const bool open = item.record.state == SelectionState::kGathering && device.last_seen < request.deadline;
    if (!open || (stay != nullptr && stay != &item)) continue;
    if (auto why = WhyNotEligible(request.spec.eligibility, device.profile)) {
      if (!missed) missed = std::move(why);
      continue;
    }
    const PoolEntry entry{device.device_id, StratumLabel(request.spec.stratify_by, device.profile),
                          device.profile.example_count};
    const std::uint64_t needed = PoolNeeded(request.spec);
    EF_ASSIGN_OR_RETURN(const JoinResult joined,
                        store_.JoinPool(request.round_id, entry, device.expires, needed, device.last_seen));
    if (joined.outcome == JoinOutcome::kNotGathering || joined.outcome == JoinOutcome::kBoundElsewhere) return MaybeAnswer();
    EF_ASSIGN_OR_RETURN(const bool drawn, DrawIfReady(item.record, joined.waiting));
    if (drawn) return MaybeAnswer();  // look again: this device may be among the drawn
    if (joined.outcome == JoinOutcome::kJoined) {
      return MaybeAnswer(Rejection{
          RejectionReason::kWaiting,
          std::to_string(joined.waiting) + " of " + std::to_string(needed) + " devices wait for round " + request.round_id,
          pace_.Waiting(joined.waiting, random_)});
    }
    full = request.round_id;
  }
  if (!full.empty()) {
    return MaybeAnswer(Reject(RejectionReason::kStratumFull, "enough devices wait for round " + full, presence));
  }
  if (passed_over) {
    return MaybeAnswer(Reject(RejectionReason::kNotSelected,
                              "the cohort of round " + presence.round_id + " was drawn without this device", presence));
  }
  if (missed) {
    return MaybeAnswer(Reject(RejectionReason::kNotEligible, std::string(missed->reason) + ": " + missed->detail, presence));
  }
  return MaybeAnswer(Reject(RejectionReason::kNoTask, "no open round needs devices", presence));
}

// True if the selection is not gathering any more.
Result<bool> Selector::DrawIfReady(const SelectionRecord& selection, std::uint64_t waiting) {
  if (waiting < PoolNeeded(selection.request.spec)) return false;
  const std::string& round_id = selection.request.round_id;
  {
    std::lock_guard lock(mutex_);
    if (!drawing_.insert(round_id).second) return false;  // another thread is at it
  }
  Result<CommitOutcome> outcome = CommitOutcome::kPoolChanged;
  for (int attempt = 0; attempt < kAttemptsMax && outcome && *outcome == CommitOutcome::kPoolChanged; ++attempt) {
    outcome = CommitSample(selection);
  }
  {
    std::lock_guard lock(mutex_);
    drawing_.erase(round_id);
  }
  EF_ASSIGN_OR_RETURN(const CommitOutcome reached, std::move(outcome));
  return reached != CommitOutcome::kPoolChanged;
}

Result<CommitOutcome> Selector::CommitSample(const SelectionRecord& selection) {
  const SelectionRequest& request = selection.request;
  EF_ASSIGN_OR_RETURN(const std::vector<PoolEntry> pool, store_.ReadPool(request.round_id, clock_.Now()));
  if (pool.size() < PoolNeeded(request.spec)) return CommitOutcome::kPoolChanged;
  std::vector<Candidate> candidates;
  candidates.reserve(pool.size());
  for (const PoolEntry& entry : pool) candidates.push_back({entry.device_id, entry.stratum});
  const SelectionSpec& spec = request.spec;
  EF_ASSIGN_OR_RETURN(Sample sample, DrawSample(candidates, {.size = OverProvisioned(spec.cohort_size, spec.over_provision),
                                                             .stratum_min = spec.stratum_min,
                                                             .quota_min = spec.quota_min,
                                                             .seed = spec.seed}));
  Draw draw{.strata = std::move(sample.strata)};
  draw.devices.reserve(sample.picks.size());
  for (const Sample::Pick& pick : sample.picks) {
    const PoolEntry& entry = pool[pick.candidate];
    SelectedDevice device{entry.device_id, {}, static_cast<std::uint32_t>(pick.stratum), entry.example_count};
    random_.Fill(device.token);
    draw.devices.push_back(std::move(device));
  }
  std::sort(draw.devices.begin(), draw.devices.end(),
            [](const SelectedDevice& a, const SelectedDevice& b) { return a.device_id < b.device_id; });
  EF_ASSIGN_OR_RETURN(const CommitOutcome outcome, store_.CommitDraw(request.round_id, draw));
  if (outcome == CommitOutcome::kCommitted) {
    metrics_.GetCounter("edgefleet_selection_draws_total", "Cohorts drawn").Increment();
    logger_.Info(
        "cohort drawn",
        {{"round", request.round_id}, {"devices", draw.devices.size()}, {"pool", pool.size()}, {"strata", draw.strata.size()}});
  }
  return outcome;
}

Result<SelectionView> Selector::OpenSelection(const SelectionRequest& request) {
  EF_RETURN_IF_ERROR(CheckSelectionRequest(request));
  if (request.deadline > clock_.Now() + kDeadlineMax) {
    return InvalidArgument("BAD_SPEC", "the deadline is more than 7 days away");
  }
  EF_ASSIGN_OR_RETURN(const bool created, store_.CreateSelection(request, options_.selections_max));
  EF_ASSIGN_OR_RETURN(std::optional<SelectionRecord> record, store_.FindSelection(request.round_id));
  if (!record) return Aborted("SELECTION_CLOSED", "the selection of round " + request.round_id + " was closed meanwhile");
  if (!SameSelection(record->request, request)) {
    return AlreadyExists("SELECTION_DIFFERS", "round " + request.round_id + " has a selection with another task, spec or plan");
  }
  if (created) {
    logger_.Info("selection opened",
                 {{"round", request.round_id}, {"task", request.task_id}, {"cohort", request.spec.cohort_size}});
  }
  return View(*std::move(record));
}

Result<SelectionView> Selector::GetSelection(const std::string& round_id) {
  if (IsIdentifier(round_id)) {
    EF_ASSIGN_OR_RETURN(std::optional<SelectionRecord> record, store_.FindSelection(round_id));
    if (record) return View(*std::move(record));
  }
  return NotFound("SELECTION_UNKNOWN", "no selection is open for this round; open it");
}

// Moves a gathering selection on, where it is time, and shows the outcome.
Result<SelectionView> Selector::View(SelectionRecord record) {
  SelectionView view{std::move(record), 0, nullptr};
  const SelectionRequest& request = view.record.request;
  const std::string round_id = request.round_id;
  if (view.record.state == SelectionState::kGathering) {
    const WallTime now = clock_.Now();
    EF_ASSIGN_OR_RETURN(view.waiting, store_.CountPool(round_id, now));
    bool moved = false;
    if (now >= request.deadline) {
      const std::string detail = "the deadline passed while " + std::to_string(view.waiting) + " of " +
                                 std::to_string(PoolNeeded(request.spec)) + " eligible devices were waiting";
      EF_ASSIGN_OR_RETURN(const bool failed, store_.FailSelection(round_id, detail));
      if (failed) logger_.Warn("selection failed", {{"round", round_id}, {"detail", detail}});
      moved = true;
    } else {
      EF_ASSIGN_OR_RETURN(moved, DrawIfReady(view.record, view.waiting));
    }
    if (moved) {
      EF_ASSIGN_OR_RETURN(std::optional<SelectionRecord> again, store_.FindSelection(round_id));
      if (!again) return NotFound("SELECTION_UNKNOWN", "the selection was closed");
      view.record = *std::move(again);
    }
  }
  if (view.record.state == SelectionState::kSelected) {
    EF_ASSIGN_OR_RETURN(view.draw, store_.ReadDraw(round_id));
    if (!view.draw) return NotFound("SELECTION_UNKNOWN", "the selection was closed");
  }
  return view;
}

Status Selector::CloseSelection(const std::string& round_id, std::string_view reason) {
  if (!IsIdentifier(round_id)) return OkStatus();
  EF_RETURN_IF_ERROR(store_.RemoveSelection(round_id));
  logger_.Info("selection closed", {{"round", round_id}, {"reason", reason}});
  return OkStatus();
}

Result<DevicePage> Selector::ListDevices(std::size_t page_size, std::string_view page_token) {
  if (page_size > kPageSizeMax) return InvalidArgument("BAD_PAGE_SIZE", "page_size must be 1 to 1000, or 0 for 100");
  return store_.ListDevices(page_size == 0 ? kPageSizeDefault : page_size, page_token, clock_.Now());
}

Status Selector::Maintain() {
  EF_ASSIGN_OR_RETURN(SelectionList list, store_.ListSelections());
  for (SelectionRecord& record : list.selections) {
    const std::string round_id = record.request.round_id;
    if (clock_.Now() > record.request.deadline + options_.selection_retention) {
      EF_RETURN_IF_ERROR(CloseSelection(round_id, "nobody closed it"));
    } else if (record.state == SelectionState::kGathering) {
      Result<SelectionView> view = View(std::move(record));
      if (!view && view.error().code() != StatusCode::kNotFound) return view.error();
    }
  }
  metrics_.GetGauge("edgefleet_selection_selections_open", "Selections that are not closed")
      .Set(static_cast<double>(list.selections.size()));
  EF_RETURN_IF_ERROR(Sweep());
  metrics_.GetGauge("edgefleet_selection_devices_present", "Devices that checked in and are not known to be gone")
      .Set(static_cast<double>(devices_));
  return OkStatus();
}

Status Selector::Sweep() {
  const WallTime now = clock_.Now();
  const Result<Lease> lease = store_.AcquireLease("selection-sweep", options_.owner, kSweepLease, now);
  if (!lease) return lease.error().code() == StatusCode::kAborted ? OkStatus() : lease.error();
  const std::uint64_t trips = 1 + devices_ / (kSweepPeriods * kSweepBudget);
  for (std::uint64_t i = 0; i < trips; ++i) {
    const Result<SweepResult> swept = store_.SweepDevices(kSweepBudget, now);
    if (!swept) return swept.error();
    devices_ = swept->devices;
  }
  return OkStatus();
}

Rejection Selector::Reject(RejectionReason reason, std::string detail, const Presence& presence) {
  return {reason, std::move(detail), pace_.Idle(presence.devices, random_)};
}

void Selector::Count(const CheckInAnswer& answer) {
  metrics_.GetCounter(kCheckIns, kCheckInsHelp, {{"outcome", std::string(OutcomeName(answer))}}).Increment();
}

}  // namespace edgefleet::selection
