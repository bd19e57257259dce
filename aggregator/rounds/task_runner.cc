#include "aggregator/rounds/task_runner.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/file.h"

namespace edgefleet::rounds {
namespace {

constexpr Millis kStepBackoffMin{200};
constexpr Millis kStepBackoffMax{10'000};
constexpr Millis kPlaceRetry{1'000};
constexpr Millis kFailurePauseMin{500};
constexpr Millis kFailurePauseMax{30'000};

// After failures in a row the next round waits, so that a broken task does not burn its tries in a moment.
Millis FailurePause(std::uint32_t failures_in_row) {
  if (failures_in_row == 0) return Millis(0);
  return std::min(kFailurePauseMax, kFailurePauseMin * (1 << std::min(failures_in_row - 1, 10U)));
}

Result<std::vector<float>> ReadCandidate(const std::filesystem::path& file, std::uint64_t count) {
  EF_ASSIGN_OR_RETURN(const Bytes bytes, ReadFile(file, count * sizeof(float)));
  if (bytes.size() != count * sizeof(float)) return DataLoss("CANDIDATE_DAMAGED", "the stored parameters have another size");
  std::vector<float> parameters(count);
  std::memcpy(parameters.data(), bytes.data(), bytes.size());
  return parameters;
}

}  // namespace

TaskRunner::TaskRunner(RoundPorts ports, TaskRunnerHost& host, std::string task_id, std::string owner, Millis lease_lifetime)
    : ports_(std::move(ports)),
      host_(host),
      task_id_(std::move(task_id)),
      owner_(std::move(owner)),
      lease_lifetime_(lease_lifetime),
      strand_(std::make_shared<Strand>(ports_.work, 8)),
      backoff_(kStepBackoffMin) {}

bool TaskRunner::finished() const {
  std::lock_guard lock(mutex_);
  return finished_;
}

void TaskRunner::Poke() {
  Status submitted = strand_->Submit([self = shared_from_this()] { self->Step(); });
  if (submitted.code() == StatusCode::kResourceExhausted) PokeAfter(kPlaceRetry);
}

void TaskRunner::PokeAfter(Millis delay) {
  ports_.timer.At(ports_.clock.Now() + delay, [self = shared_from_this()] { self->Poke(); });
}

void TaskRunner::Step() {
  {
    std::lock_guard lock(mutex_);
    if (stopped_ || finished_ || draining_ || active_) return;
  }
  auto next = TryStep();
  if (next) {
    backoff_ = kStepBackoffMin;
    if (*next) PokeAfter(**next);
    return;
  }
  if (next.error().reason() == "LEASE_LOST") return LoseLease();
  ports_.logger.Warn("task step failed, trying again", {{"task_id", task_id_}, {"error", next.error().ToString()}});
  PokeAfter(backoff_);
  backoff_ = std::min(backoff_ * 2, kStepBackoffMax);
}

Result<Lease> TaskRunner::HoldLease() {
  {
    std::lock_guard lock(mutex_);
    if (lease_) return *lease_;
  }
  EF_ASSIGN_OR_RETURN(Lease lease, ports_.store.AcquireLease(task_id_, owner_, ports_.clock.Now(), lease_lifetime_));
  std::lock_guard lock(mutex_);
  lease_ = lease;
  return lease;
}

Result<TaskRunner::Next> TaskRunner::TryStep() {
  EF_ASSIGN_OR_RETURN(Task task, ports_.store.GetTask(task_id_));
  auto lease = HoldLease();
  if (!lease && lease.error().reason() == "LEASE_HELD") return Next(lease_lifetime_ / 2);
  if (!lease) return MakeError(std::move(lease).error());
  EF_ASSIGN_OR_RETURN(const auto latest, ports_.store.LatestRound(task_id_));
  if (latest && !IsFinal(latest->phase)) {
    EF_RETURN_IF_ERROR(Recover(*lease, task, *latest));
    EF_ASSIGN_OR_RETURN(task, ports_.store.GetTask(task_id_));
  }
  return Decide(*lease, task);
}

Result<TaskRunner::Next> TaskRunner::Decide(const Lease& lease, const Task& task) {
  if (task.state != TaskState::kRunning) return FinishTask(lease, task);
  const TaskSpec& spec = task.spec;
  if (task.rounds_committed >= spec.rounds) return FinishTask(lease, task);
  if (task.failures_in_row >= spec.failed_rounds_max) {
    EF_ASSIGN_OR_RETURN(const auto latest, ports_.store.LatestRound(task_id_));
    return EndTask(lease, TaskState::kFailed,
                   std::to_string(task.failures_in_row) + " rounds in a row failed, the last one with " +
                       (latest ? latest->failure_reason + ": " + latest->failure_detail : std::string()));
  }
  if (spec.privacy.epsilon_max > 0 && EpsilonAfter(spec.privacy, task.rounds_charged + 1ULL) > spec.privacy.epsilon_max) {
    return EndTask(lease, TaskState::kFailed,
                   "PRIVACY_BUDGET_SPENT: another round would exceed epsilon_max after " +
                       std::to_string(task.rounds_committed) + " committed rounds");
  }
  return StartRound(lease, task);
}

Result<TaskRunner::Next> TaskRunner::StartRound(const Lease& lease, const Task& task) {
  EF_ASSIGN_OR_RETURN(const auto latest, ports_.store.LatestRound(task_id_));
  if (latest && latest->ended) {
    const Millis waited = std::chrono::duration_cast<Millis>(ports_.clock.Now() - *latest->ended);
    const Millis pause = FailurePause(task.failures_in_row);
    if (waited >= Millis(0) && waited < pause) return Next(pause - waited);
  }
  auto base = ports_.models.Describe(task.spec.model, task.current_version);
  if (!base && WorthRetry(base.error())) return MakeError(std::move(base).error());
  if (!base) return EndTask(lease, TaskState::kFailed, base.error().ToString());
  EF_ASSIGN_OR_RETURN(const auto encoding, MakeEncoding(task.spec));
  const auto shape = secagg::ShapeOf(encoding, base->parameter_count);
  if (!shape) return EndTask(lease, TaskState::kFailed, shape.error().ToString());
  if (!host_.TakeRoundPlace()) return Next(kPlaceRetry);

  Round record;
  record.number = task.rounds_committed + task.rounds_failed + 1;
  record.round_id = MakeRoundId(task_id_, record.number);
  record.task_id = task_id_;
  record.base_version = task.current_version;
  record.epsilon_spent = task.epsilon_spent;
  record.started = ports_.clock.Now();
  Status created = ports_.store.CreateRound(lease, record);
  if (!created.ok()) {
    host_.ReturnRoundPlace();
    return MakeError(std::move(created));
  }
  RoundPlan plan{.task = task, .record = record, .base = *base, .encoding = encoding, .shape = *shape, .lease = lease};
  if (latest && latest->phase == Phase::kCommitted && latest->new_version == record.base_version) {
    plan.base_metrics = ModelMetrics{.accuracy = latest->accuracy, .loss = latest->loss};
  }
  auto round = std::make_shared<ActiveRound>(ports_, std::move(plan), host_);
  {
    std::lock_guard lock(mutex_);
    active_ = round;
  }
  host_.OnRoundStarted(round);
  round->Start();
  std::lock_guard lock(mutex_);
  if (stopped_) round->Abandon("the process stops");
  return Next();
}

Result<TaskRunner::Next> TaskRunner::FinishTask(const Lease& lease, const Task& task) {
  if (task.state == TaskState::kRunning) {
    if (task.spec.move_alias) {
      Status moved = ports_.models.SetAlias("alias-" + task_id_, task.spec.model, task.spec.alias, task.current_version);
      if (!moved.ok() && WorthRetry(moved)) return MakeError(std::move(moved));
      if (!moved.ok()) return EndTask(lease, TaskState::kFailed, "the alias was not moved: " + moved.ToString());
    }
    return EndTask(lease, TaskState::kDone, "");
  }
  EF_RETURN_IF_ERROR(ports_.store.ReleaseLease(lease));
  {
    std::lock_guard lock(mutex_);
    lease_.reset();
    finished_ = true;
  }
  host_.OnTaskChanged(task_id_);
  return Next();
}

Result<TaskRunner::Next> TaskRunner::EndTask(const Lease& lease, TaskState state, const std::string& detail) {
  EF_RETURN_IF_ERROR(ports_.store.EndTask(lease, state, detail));
  EF_ASSIGN_OR_RETURN(const Task ended, ports_.store.GetTask(task_id_));
  ports_.logger.Info("task ended", {{"task_id", task_id_}, {"detail", ended.detail}});
  return FinishTask(lease, ended);
}

// A round that its former owner left unfinished ends here: as the registry says where a commit was asked for, else as failed.
Status TaskRunner::Recover(const Lease& lease, const Task& task, Round round) {
  Event event = Event::kFailure;
  round.failure_reason = failure::kAggregatorRestarted;
  round.failure_detail = "the aggregator stopped while the round was " + std::string(PhaseName(round.phase));
  if (!round.commit_request_id.empty()) {
    auto committed = AskForCommit(task, round);
    if (!committed && WorthRetry(committed.error())) return committed.error();
    if (!committed) {
      round.failure_reason = failure::kRegistryRejected;
      round.failure_detail = committed.error().ToString();
    } else if (*committed && !(*committed)->refusal.empty()) {
      round.failure_reason = failure::kVersionRefused;
      round.failure_detail = (*committed)->refusal;
    } else if (*committed) {
      event = Event::kVersionCommitted;
      round.new_version = (*committed)->version;
      round.failure_reason.clear();
      round.failure_detail.clear();
    }
  }
  const Phase former = round.phase;
  round.phase = *rounds::Next(former, event);
  round.ended = ports_.clock.Now();
  EF_RETURN_IF_ERROR(ports_.store.Advance(lease, round, event, *round.ended));
  ports_.logger.Info("round recovered", {{"round_id", round.round_id}, {"phase", PhaseName(round.phase)}});
  host_.OnPhase(round, former);
  EF_RETURN_IF_ERROR(ports_.spool.RemoveRound(round.round_id));
  std::error_code ignored;  // the next start removes what is left
  std::filesystem::remove(CandidateFile(ports_.candidates, round.round_id), ignored);
  Status closed = ports_.cohorts.CloseSelection("close-" + round.round_id, round.round_id, round.failure_reason);
  if (!closed.ok()) ports_.logger.Warn("selection not closed", {{"round_id", round.round_id}, {"error", closed.ToString()}});
  return OkStatus();
}

// The same request again yields what the first one did. Where the parameters lie on another host, the lineage tells.
Result<std::optional<CommittedVersion>> TaskRunner::AskForCommit(const Task& task, const Round& round) {
  EF_ASSIGN_OR_RETURN(const ModelInfo base, ports_.models.Describe(task.spec.model, round.base_version));
  auto candidate = ReadCandidate(CandidateFile(ports_.candidates, round.round_id), base.parameter_count);
  if (!candidate) return ports_.models.FindCommitted(task.spec.model, round.round_id);
  EF_ASSIGN_OR_RETURN(auto committed, ports_.models.Commit(round.commit_request_id, task.spec.model, base, *candidate,
                                                           MakeLineage(task, round)));
  return std::optional(std::move(committed));
}

void TaskRunner::Beat() {
  std::optional<Lease> lease;
  std::shared_ptr<ActiveRound> active;
  {
    std::lock_guard lock(mutex_);
    lease = lease_;
    active = active_;
  }
  if (!lease) return;
  auto renewed = ports_.store.RenewLease(*lease, ports_.clock.Now(), lease_lifetime_);
  if (renewed) {
    std::lock_guard lock(mutex_);
    if (lease_ && lease_->fence == renewed->fence) lease_ = *renewed;
  } else if (renewed.error().reason() == "LEASE_LOST") {
    return LoseLease();
  }
  if (!active) return;
  auto task = ports_.store.GetTask(task_id_);
  if (task && task->state == TaskState::kCancelled) active->Cancel(failure::kTaskCancelled, task->detail);
}

void TaskRunner::LoseLease() {
  ports_.logger.Warn("lease lost", {{"task_id", task_id_}});
  std::shared_ptr<ActiveRound> active;
  {
    std::lock_guard lock(mutex_);
    lease_.reset();
    active = active_;
  }
  if (active) return active->Abandon(failure::kLeaseLost);
  PokeAfter(lease_lifetime_ / 2);
}

void TaskRunner::OnRoundEnded() {
  {
    std::lock_guard lock(mutex_);
    active_.reset();
  }
  Poke();
}

void TaskRunner::Drain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
}

void TaskRunner::Stop() {
  std::optional<Lease> lease;
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
    if (active_) active_->Abandon("the process stops");
    lease = std::exchange(lease_, std::nullopt);
  }
  if (!lease) return;
  Status released = ports_.store.ReleaseLease(*lease);
  if (!released.ok()) ports_.logger.Warn("lease not released", {{"task_id", task_id_}, {"error", released.ToString()}});
}

}  // namespace edgefleet::rounds
