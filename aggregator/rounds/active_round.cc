#include "aggregator/rounds/active_round.h"

#include <cmath>

#include "aggregator/rounds/active_round_plumbing.h"

namespace edgefleet::rounds {
namespace {

constexpr Millis kSelectionPoll{250};
constexpr Millis kSharingMax{60'000};
constexpr Millis kUnmaskGrace{1'000};
constexpr Millis kProgressEvery{500};
constexpr Millis kRegistryMax{600'000};
constexpr Millis kStoreMax{60'000};
constexpr Millis kRepost{50};
// Device messages of a full roster, and the round's own steps.
constexpr std::size_t kStrandQueueMax = 3 * secagg::kMembersMax;

bool Present(const Member& member) { return !member.left; }

}  // namespace

RoundLineage MakeLineage(const Task& task, const Round& round) {
  const bool noisy = std::isfinite(round.epsilon_spent);
  return {.task_id = round.task_id,
          .round_id = round.round_id,
          .round_number = round.number,
          .participants = round.uploaded,
          .dropouts = round.assigned - round.uploaded,
          .epsilon_spent = noisy ? round.epsilon_spent : 0,
          .delta = noisy ? task.spec.privacy.delta : 0};
}

std::filesystem::path CandidateFile(const std::filesystem::path& folder, const std::string& round_id) {
  return folder / (round_id + ".f32");
}

ActiveRound::ActiveRound(RoundPorts ports, RoundPlan plan, RoundListener& listener)
    : ports_(std::move(ports)),
      plan_(std::move(plan)),
      listener_(listener),
      round_id_(plan_.record.round_id),
      vector_length_(plan_.shape.elements),
      strand_(std::make_shared<Strand>(ports_.control, kStrandQueueMax)),
      record_(plan_.record) {}

// --- plumbing ---

void ActiveRound::Post(edgefleet::Task task) {
  if (strand_->Submit(task).code() != StatusCode::kResourceExhausted) return;
  ports_.timer.At(ports_.clock.Now() + kRepost, [self = shared_from_this(), task = std::move(task)] { self->Post(task); });
}

void ActiveRound::Work(edgefleet::Task task) {
  if (ports_.work.Submit(task).code() != StatusCode::kResourceExhausted) return;
  ports_.timer.At(ports_.clock.Now() + kRepost, [self = shared_from_this(), task = std::move(task)] { self->Work(task); });
}

void ActiveRound::After(Millis delay, edgefleet::Task task) {
  ports_.timer.At(ports_.clock.Now() + delay, [self = shared_from_this(), task = std::move(task)] { self->Post(task); });
}

void ActiveRound::SetDeadline(Millis from_now) {
  if (deadline_timer_) ports_.timer.Cancel(*deadline_timer_);
  deadline_ = ports_.clock.Now() + from_now;
  deadline_timer_ = ports_.timer.At(deadline_, [self = shared_from_this(), phase = record_.phase] {
    self->Post([self, phase] {
      if (!self->Over(phase)) self->CheckProgress(/*deadline=*/true);
    });
  });
}

// --- selecting ---

void ActiveRound::Start() {
  Post([self = shared_from_this()] {
    const WallTime deadline = self->record_.started + Millis(self->spec().selecting_ms_max);
    self->SetDeadline(std::chrono::duration_cast<Millis>(deadline - self->ports_.clock.Now()));
    self->OpenSelection();
  });
}

void ActiveRound::OpenSelection() {
  SelectionRequest request{.request_id = "select-" + round_id_,
                           .task_id = record_.task_id,
                           .round_id = round_id_,
                           .cohort = spec().cohort,
                           .plan = {.model = spec().model,
                                    .base_version = plan_.base.version,
                                    .manifest_path = spec().model + "/versions/" + std::to_string(plan_.base.version) + ".json",
                                    .layout_sha256 = plan_.base.layout_sha256,
                                    .parameter_count = plan_.base.parameter_count,
                                    .epochs = spec().epochs,
                                    .batch_size = spec().batch_size,
                                    .learning_rate = spec().learning_rate,
                                    .proximal_mu = spec().proximal_mu,
                                    .example_count_max = spec().example_count_max,
                                    .clip_norm = spec().privacy.clip_norm,
                                    .value_bits = plan_.encoding.value_bits},
                           .deadline = deadline_};
  request.cohort.seed = RoundSeed(spec().cohort.seed, record_.number);
  Call<bool>(
      [this, request]() -> Result<bool> {
        EF_RETURN_IF_ERROR(ports_.cohorts.OpenSelection(request));
        return true;
      },
      deadline_,
      [this](Result<bool> opened) {
        if (opened) return PollSelection();
        FailBy(opened.error(), failure::kSelectorUnavailable, failure::kSelectorRejected);
      });
}

void ActiveRound::PollSelection() {
  if (Over(Phase::kSelecting) || members_) return;
  Call<Selection>([this] { return ports_.cohorts.GetSelection(round_id_); }, deadline_,
                  [this](Result<Selection> selection) {
                    auto again = [self = shared_from_this()] { self->PollSelection(); };
                    if (!selection && selection.error().code() == StatusCode::kNotFound) {  // the selector has started anew
                      After(kSelectionPoll, [self = shared_from_this()] {
                        if (!self->Over(Phase::kSelecting)) self->OpenSelection();
                      });
                    } else if (!selection) {
                      FailBy(selection.error(), failure::kSelectorUnavailable, failure::kSelectorRejected);
                    } else if (selection->state == Selection::State::kGathering) {
                      After(kSelectionPoll, again);
                    } else if (selection->state == Selection::State::kFailed) {
                      Fail(failure::kSelectionFailed, selection->detail);
                    } else {
                      OnSelected(*selection);
                    }
                  });
}

void ActiveRound::OnSelected(const Selection& selection) {
  auto members = Members::Create(selection.devices, AssignedMax(spec()));
  if (!members) return Fail(failure::kSelectorRejected, members.error().message());
  auto server = secagg::Server::Create(
      {.round_id = round_id_, .vector_length = vector_length_, .members_max = std::max(AssignedMax(spec()), 2U)});
  if (!server) return Fail(failure::kAggregationFailed, server.error().ToString());
  members_ = std::move(*members);
  server_ = std::make_shared<secagg::Server>(std::move(*server));
  record_.assigned = static_cast<std::uint32_t>(members_->size());
  ports_.logger.Info("round selected", {{"round_id", round_id_}, {"devices", record_.assigned}});
  CheckProgress(/*deadline=*/false);
}

// --- when a phase ends ---

void ActiveRound::CheckProgress(bool deadline) {
  if (moving_ || failing_ || abandoned_) return;
  switch (record_.phase) {
    case Phase::kSelecting:
      CheckSelecting(deadline);
      break;
    case Phase::kTraining:
      CheckTraining(deadline);
      break;
    case Phase::kCollecting:
      CheckCollecting(deadline);
      break;
    case Phase::kUnmasking:
      CheckUnmasking(deadline);
      break;
    default:
      return;  // the gateways' calls end these phases
  }
  TellProgress();
}

// What changes while one telling waits is told with it; the end of a phase is told by OnPhase.
void ActiveRound::TellProgress() {
  if (telling_ || closed_ || StepsTaken(record_) == steps_told_) return;
  telling_ = true;
  After(kProgressEvery, [self = shared_from_this()] {
    self->telling_ = false;
    if (self->moving_ || self->failing_ || self->closed_ || StepsTaken(self->record_) == self->steps_told_) return;
    self->steps_told_ = StepsTaken(self->record_);
    self->listener_.OnProgress(self->record_);
  });
}

void ActiveRound::CheckSelecting(bool deadline) {
  if (!members_) {
    if (!deadline) return;
    if (gateway_error_) return Fail(failure::kSelectorUnavailable, gateway_error_->ToString());
    return Fail(failure::kSelectionFailed, "the selector found no cohort up to the deadline");
  }
  const std::uint32_t present = members_->Count([](const Member& m) { return Present(m) && m.index != 0; });
  const std::uint32_t pending = deadline ? 0 : members_->Count([](const Member& m) { return Present(m) && m.index == 0; });
  record_.advertised = server_->member_count();
  const std::uint32_t needed = MembersNeeded(spec(), record_.advertised);
  if (present + pending < needed) {
    return Fail(failure::kTooFewAdvertised,
                std::to_string(present) + " devices sent keys and stayed, " + std::to_string(needed) + " are needed");
  }
  if (pending > 0) return;
  Status closed = server_->CloseRoster(secagg::SafeThreshold(record_.advertised, spec().participants_min));
  if (!closed.ok()) return Fail(failure::kTooFewAdvertised, closed.ToString());
  Move(Event::kRosterComplete);
}

void ActiveRound::CheckTraining(bool deadline) {
  const std::uint32_t pending =
      deadline ? 0 : members_->Count([](const Member& m) { return Present(m) && m.index != 0 && !m.shares; });
  record_.shared = server_->shared_count();
  const std::uint32_t needed = MembersNeeded(spec(), record_.advertised);
  if (record_.shared + pending < needed) {
    return Fail(failure::kTooFewShared,
                std::to_string(record_.shared) + " devices sent shares, " + std::to_string(needed) + " are needed");
  }
  if (pending > 0) return;
  Status closed = server_->CloseSharing();
  if (!closed.ok()) return Fail(failure::kTooFewShared, closed.ToString());
  Move(Event::kKeysShared, [this] { return OpenSum(); });
}

void ActiveRound::CheckCollecting(bool deadline) {
  collection_over_ = collection_over_ || deadline;
  if (adding_ > 0) return;
  deadline = collection_over_;
  const std::uint32_t pending =
      deadline ? 0 : members_->Count([](const Member& m) { return Present(m) && m.shares && !m.uploaded; });
  const std::uint32_t needed = MembersNeeded(spec(), record_.advertised);
  if (record_.uploaded + pending < needed) {
    return Fail(failure::kTooFewUpdates,
                std::to_string(record_.uploaded) + " updates arrived, " + std::to_string(needed) + " are needed");
  }
  if (pending > 0 && record_.uploaded < std::max(spec().cohort.cohort_size, needed)) return;
  Status closed = server_->CloseUploads();
  if (!closed.ok()) return Fail(failure::kTooFewUpdates, closed.ToString());
  record_.dropouts_recovered = record_.shared - record_.uploaded;
  const std::uint32_t sequence = plan_.task.rounds_charged + 1;
  const LedgerEntry entry{.round_id = round_id_,
                          .sequence = sequence,
                          .participants = record_.uploaded,
                          .noise_multiplier = spec().privacy.noise_multiplier,
                          .clip_norm = spec().privacy.clip_norm,
                          .delta = spec().privacy.delta,
                          .epsilon_spent = EpsilonAfter(spec().privacy, sequence),
                          .charged = ports_.clock.Now()};
  record_.epsilon_spent = entry.epsilon_spent;
  Move(Event::kUpdatesCollected, [this, entry]() -> Status {
    auto charged = ports_.store.ChargePrivacy(plan_.lease, entry);
    return charged ? OkStatus() : charged.error();
  });
}

void ActiveRound::CheckUnmasking(bool deadline) {
  const std::uint32_t pending =
      deadline ? 0 : members_->Count([](const Member& m) { return Present(m) && m.uploaded && !m.answer; });
  record_.unmasked = members_->Count([](const Member& m) { return m.answer.has_value(); });
  if (record_.unmasked + pending < server_->threshold()) {
    return Fail(failure::kTooFewUnmasked, std::to_string(record_.unmasked) + " survivors revealed their shares, " +
                                              std::to_string(server_->threshold()) + " are needed");
  }
  if (pending == 0) return Move(Event::kSharesRevealed);
  if (!server_->CanUnmask() || grace_running_) return;
  grace_running_ = true;
  After(kUnmaskGrace, [self = shared_from_this()] {
    if (!self->Over(Phase::kUnmasking)) self->CheckProgress(/*deadline=*/true);
  });
}

// --- from phase to phase ---

void ActiveRound::Move(Event event, std::function<Status()> before) {
  Round target = record_;
  target.phase = *Next(record_.phase, event);
  if (IsFinal(target.phase)) target.ended = ports_.clock.Now();
  moving_ = true;
  TryMove(target, event, before, ++moves_, ports_.clock.Now() + kStoreMax, kBackoffMin);
}

void ActiveRound::TryMove(const Round& target, Event event, const std::function<Status()>& before, std::uint64_t move,
                          WallTime until, Millis backoff) {
  if (abandoned_ || move != moves_) return;
  Status stored = before ? before() : OkStatus();
  if (stored.ok()) stored = ports_.store.Advance(plan_.lease, target, event, ports_.clock.Now());
  if (stored.ok()) return OnMoved(target);
  ports_.logger.Warn("round not stored", {{"round_id", round_id_}, {"event", EventName(event)}, {"error", stored.ToString()}});
  if (WorthRetry(stored) && ports_.clock.Now() + backoff < until) {
    After(backoff, [self = shared_from_this(), target, event, before, move, until, backoff] {
      self->TryMove(target, event, before, move, until, std::min(backoff * 2, kBackoffMax));
    });
    return;
  }
  // A failure that cannot be stored, and a commit that the registry holds, are left to the task's next owner.
  if (stored.reason() == "LEASE_LOST" || IsFinal(target.phase)) return Close(/*abandoned=*/true);
  moving_ = false;
  Fail(failure::kStoreUnavailable, stored.ToString());
}

void ActiveRound::OnMoved(const Round& target) {
  const Phase former = record_.phase;
  record_ = target;
  moving_ = false;
  ports_.logger.Info("round moved",
                     {{"round_id", round_id_}, {"phase", PhaseName(record_.phase)}, {"reason", record_.failure_reason}});
  steps_told_ = StepsTaken(record_);
  listener_.OnPhase(record_, former);
  EnterPhase();
  NotifyWaiters();
}

void ActiveRound::EnterPhase() {
  switch (record_.phase) {
    case Phase::kTraining:
      SetDeadline(std::min(kSharingMax, Millis(spec().training_ms_max)));
      return CheckProgress(/*deadline=*/false);  // some may have left meanwhile
    case Phase::kCollecting:
      SetDeadline(Millis(spec().training_ms_max + spec().collecting_ms_max));
      return CheckProgress(/*deadline=*/false);
    case Phase::kUnmasking:
      SetDeadline(Millis(spec().unmasking_ms_max));
      return CheckProgress(/*deadline=*/false);
    case Phase::kAggregating:
      SetDeadline(kRegistryMax);
      return StartAggregation();
    case Phase::kValidating:
      SetDeadline(kRegistryMax);
      return StartValidation();
    case Phase::kCommitted:
    case Phase::kFailed:
      return Close(/*abandoned=*/false);
    case Phase::kSelecting:
      return;
  }
}

void ActiveRound::Fail(const std::string& reason, const std::string& detail) {
  if (failing_ || abandoned_ || IsFinal(record_.phase)) return;
  failing_ = true;
  record_.failure_reason = reason;
  record_.failure_detail = detail;
  Move(Event::kFailure);
}

void ActiveRound::Cancel(const std::string& reason, const std::string& detail) {
  Post([self = shared_from_this(), reason, detail] {
    if (self->record_.commit_request_id.empty()) self->Fail(reason, detail);
  });
}

void ActiveRound::Abandon(const std::string& why) {
  Post([self = shared_from_this(), why] {
    if (self->closed_) return;
    self->ports_.logger.Warn("round abandoned", {{"round_id", self->round_id_}, {"why", why}});
    self->Close(/*abandoned=*/true);
  });
}

void ActiveRound::Close(bool abandoned) {
  if (closed_) return;
  closed_ = true;
  abandoned_ = abandoned;
  if (deadline_timer_) ports_.timer.Cancel(*deadline_timer_);
  server_.reset();
  candidate_.reset();
  if (abandoned) NotifyWaiters();
  CleanUp();
  listener_.OnEnd(record_, abandoned);
}

void ActiveRound::NotifyWaiters() {
  for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
    if (!abandoned_ && !stopping_ && record_.phase <= waiter->second.after) {
      ++waiter;
      continue;
    }
    ports_.timer.Cancel(waiter->second.timer);
    waiter->second.answer(UpdateFor(members_->at(waiter->first)));
    waiter = waiters_.erase(waiter);
  }
}

}  // namespace edgefleet::rounds
