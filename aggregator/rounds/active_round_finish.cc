// AGGREGATING and VALIDATING: from the survivors' masked updates to a version in the registry.
#include <cmath>
#include <system_error>

#include "aggregator/rounds/active_round.h"
#include "aggregator/rounds/active_round_plumbing.h"
#include "base/file.h"

namespace edgefleet::rounds {
namespace {

constexpr Millis kCloseSelectionMax{60'000};

using Parameters = std::shared_ptr<const std::vector<float>>;

}  // namespace

void ActiveRound::FailBy(const Status& error, const char* unavailable, const char* rejected) {
  Fail(WorthRetry(error) ? unavailable : rejected, error.ToString());
}

Status ActiveRound::OpenSum() {
  if (sum_ != nullptr) return OkStatus();
  EF_ASSIGN_OR_RETURN(sum_, aggregation::RunningSum::Open(ports_.spool, {{round_id_, vector_length_, 32}}, {}));
  return OkStatus();
}

void ActiveRound::StartAggregation() {
  auto server = std::exchange(server_, nullptr);
  Call<std::shared_ptr<const Aggregate>>(
      [this, server, sum = sum_]() -> Result<std::shared_ptr<const Aggregate>> {
        EF_ASSIGN_OR_RETURN(Aggregate aggregate, AggregateUpdates({.server = *server,
                                                                   .sum = *sum,
                                                                   .parameter_count = plan_.base.parameter_count,
                                                                   .encoding = plan_.encoding,
                                                                   .privacy = spec().privacy,
                                                                   .random = ports_.random,
                                                                   .pool = &ports_.work}));
        return std::make_shared<const Aggregate>(std::move(aggregate));
      },
      WallTime::min(),  // not tried again: an unmasked sum is masked no more
      [this](Result<std::shared_ptr<const Aggregate>> aggregate) {
        if (!aggregate) return Fail(failure::kAggregationFailed, aggregate.error().ToString());
        record_.examples = (*aggregate)->examples;
        ApplyToBase(*aggregate);
      });
}

void ActiveRound::ApplyToBase(std::shared_ptr<const Aggregate> aggregate) {
  Call<Parameters>(
      [this, aggregate]() -> Result<Parameters> {
        EF_ASSIGN_OR_RETURN(auto parameters, ports_.models.GetParameters(spec().model, plan_.base));
        EF_RETURN_IF_ERROR(ApplyAverage(parameters, aggregate->average, spec().server_learning_rate));
        return std::make_shared<const std::vector<float>>(std::move(parameters));
      },
      deadline_,
      [this](Result<Parameters> candidate) {
        if (!candidate) {
          const bool ours = candidate.error().reason() == "NOT_FINITE" || candidate.error().reason() == "LAYOUT_CHANGED";
          return FailBy(candidate.error(), failure::kRegistryUnavailable,
                        ours ? failure::kAggregationFailed : failure::kRegistryRejected);
        }
        candidate_ = *candidate;
        Move(Event::kSumUnmasked);
      });
}

void ActiveRound::StartValidation() {
  if (plan_.base_metrics) {
    record_.accuracy_before = plan_.base_metrics->accuracy;
    return EvaluateCandidate();
  }
  Call<ModelMetrics>(
      [this]() -> Result<ModelMetrics> {
        EF_ASSIGN_OR_RETURN(const auto parameters, ports_.models.GetParameters(spec().model, plan_.base));
        return ports_.models.Evaluate(spec().model, plan_.base, parameters);
      },
      deadline_,
      [this](Result<ModelMetrics> metrics) {
        if (!metrics) return FailBy(metrics.error(), failure::kRegistryUnavailable, failure::kRegistryRejected);
        record_.accuracy_before = metrics->accuracy;
        EvaluateCandidate();
      });
}

void ActiveRound::EvaluateCandidate() {
  Call<ModelMetrics>([this, candidate = candidate_] { return ports_.models.Evaluate(spec().model, plan_.base, *candidate); },
                     deadline_,
                     [this](Result<ModelMetrics> metrics) {
                       if (!metrics) return FailBy(metrics.error(), failure::kRegistryUnavailable, failure::kRegistryRejected);
                       JudgeCandidate(*metrics);
                     });
}

void ActiveRound::JudgeCandidate(const ModelMetrics& metrics) {
  if (!std::isfinite(metrics.accuracy) || !std::isfinite(metrics.loss)) {
    return Fail(failure::kHoldoutRegressed, "accuracy or loss on the holdout is not finite: training has diverged");
  }
  record_.accuracy = metrics.accuracy;
  record_.loss = metrics.loss;
  if (metrics.accuracy >= record_.accuracy_before - spec().accuracy_drop_max) return StartCommit();
  Fail(failure::kHoldoutRegressed, "holdout accuracy fell from " + std::to_string(record_.accuracy_before) + " to " +
                                       std::to_string(metrics.accuracy) + ", more than accuracy_drop_max allows");
}

void ActiveRound::StartCommit() {
  Round intent = record_;
  intent.commit_request_id = "commit-" + round_id_;
  Call<bool>(
      [this, intent, candidate = candidate_]() -> Result<bool> {
        const auto file = CandidateFile(ports_.candidates, round_id_);
        EF_RETURN_IF_ERROR(WriteFileAtomic(file, std::as_bytes(std::span(*candidate))));
        EF_RETURN_IF_ERROR(ports_.store.RecordCommitIntent(plan_.lease, intent));
        return true;
      },
      deadline_,
      [this, intent](Result<bool> recorded) {
        if (!recorded && recorded.error().reason() == "LEASE_LOST") return Close(/*abandoned=*/true);
        if (!recorded) return Fail(failure::kStoreUnavailable, recorded.error().ToString());
        if (failing_) return;
        record_ = intent;
        AskRegistryToCommit();
      });
}

void ActiveRound::AskRegistryToCommit() {
  Call<CommittedVersion>(
      [this, request_id = record_.commit_request_id, lineage = MakeLineage(plan_.task, record_), candidate = candidate_] {
        return ports_.models.Commit(request_id, spec().model, plan_.base, *candidate, lineage);
      },
      WallTime::max(),
      [this](Result<CommittedVersion> committed) {
        if (!committed) return Fail(failure::kRegistryRejected, committed.error().ToString());
        if (!committed->refusal.empty()) return Fail(failure::kVersionRefused, committed->refusal);
        record_.new_version = committed->version;
        Move(Event::kVersionCommitted);
      });
}

void ActiveRound::CleanUp() {
  Work([self = shared_from_this(), abandoned = abandoned_, sum = sum_] {
    if (sum != nullptr) sum->Close();
    Status removed = self->ports_.spool.RemoveRound(self->round_id_);
    if (!removed.ok()) {
      self->ports_.logger.Warn("spool not cleared", {{"round_id", self->round_id_}, {"error", removed.ToString()}});
    }
    std::error_code ignored;  // the next start removes what is left
    if (!abandoned) std::filesystem::remove(CandidateFile(self->ports_.candidates, self->round_id_), ignored);
  });
  if (abandoned_) return;
  Call<bool>(
      [this, reason = record_.failure_reason]() -> Result<bool> {
        EF_RETURN_IF_ERROR(ports_.cohorts.CloseSelection("close-" + round_id_, round_id_, reason));
        return true;
      },
      ports_.clock.Now() + kCloseSelectionMax,
      [this](Result<bool> closed) {
        if (closed) return;
        ports_.logger.Warn("selection not closed", {{"round_id", round_id_}, {"error", closed.error().ToString()}});
      });
}

}  // namespace edgefleet::rounds
