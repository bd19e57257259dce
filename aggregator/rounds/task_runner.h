// Runs one task while this process holds its lease: goes on with the round that a former owner left, then one round after
// another until the task has ended.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "aggregator/rounds/active_round.h"

namespace edgefleet::rounds {

// What a runner asks of its coordinator. Thread-safe.
class TaskRunnerHost : public RoundListener {
 public:
  // May a new round begin? Counts it if so; OnEnd of the round gives the place back.
  virtual bool TakeRoundPlace() = 0;
  virtual void ReturnRoundPlace() = 0;
  // `resumed`: another process, or an earlier turn of this one, began it.
  virtual void OnRoundStarted(const std::shared_ptr<ActiveRound>& round, bool resumed) = 0;
  virtual void OnTaskChanged(const std::string& task_id) = 0;
};

class TaskRunner final : public std::enable_shared_from_this<TaskRunner> {
 public:
  TaskRunner(RoundPorts ports, TaskRunnerHost& host, std::string task_id, std::string owner, Millis lease_lifetime);

  // Looks what the task needs next, on the work pool.
  void Poke();
  // Renews the lease and looks whether the task was cancelled. Blocks on the store.
  void Beat();
  void OnRoundEnded();
  // No new round begins.
  void Drain();
  // Leaves the round that runs to the next process and frees the lease. Blocks on the store.
  void Stop();
  // The task has ended, or another process runs it: this object may go.
  bool finished() const;

 private:
  // Nothing: done for now. A delay: look again then.
  using Next = std::optional<Millis>;

  void Step();
  Result<Next> TryStep();
  Result<Next> Decide(const Lease& lease, const Task& task);
  Result<Next> StartRound(const Lease& lease, const Task& task);
  Result<Next> FinishTask(const Lease& lease, const Task& task);
  Result<Next> EndTask(const Lease& lease, TaskState state, const std::string& detail);
  Result<RoundPlan> PlanRound(const Lease& lease, const Task& task, const Round& record) const;
  void Launch(RoundPlan plan, RoundMemory memory, bool resumed);
  Result<Next> TakeUpRound(const Lease& lease, const Task& task, const Round& round);
  Status Resume(const Lease& lease, const Task& task, const Round& round);
  Status SettleCommit(const Lease& lease, const Task& task, Round round);
  Status FailRound(const Lease& lease, Round round, const std::string& reason, const std::string& detail);
  Status EndRound(const Lease& lease, Round round, Event event);
  Result<std::optional<CommittedVersion>> AskForCommit(const Task& task, const Round& round);
  Result<Lease> HoldLease();
  void PokeAfter(Millis delay);
  void LoseLease();

  const RoundPorts ports_;
  TaskRunnerHost& host_;
  const std::string task_id_;
  const std::string owner_;
  const Millis lease_lifetime_;
  const std::shared_ptr<Strand> strand_;  // of steps

  mutable std::mutex mutex_;
  std::optional<Lease> lease_;
  std::shared_ptr<ActiveRound> active_;
  std::weak_ptr<ActiveRound> former_;  // its jobs may still be running
  bool draining_ = false;
  bool stopped_ = false;
  bool finished_ = false;
  Millis backoff_;  // of steps that fail; only touched by the strand
};

}  // namespace edgefleet::rounds
