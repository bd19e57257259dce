// What devices say to a round.
#include "aggregator/rounds/active_round.h"

namespace edgefleet::rounds {
namespace {

constexpr Millis kBusyRetry{200};
constexpr Millis kSelectionRetry{300};

Error RoundClosed(const std::string& message) { return FailedPrecondition("ROUND_CLOSED", message); }

Error AlreadySubmitted() {
  return AlreadyExists("ALREADY_SUBMITTED", "this device has sent another message of this kind in this round");
}

}  // namespace

// Runs `task` on the strand, or answers why that is impossible now.
template <typename T>
void ActiveRound::OnStrand(Answer<T> answer, std::function<void(const Answer<T>&)> task) {
  Status submitted = strand_->Submit([self = shared_from_this(), answer, task = std::move(task)] { task(answer); });
  if (!submitted.ok()) answer(MakeError(std::move(submitted)));
}

Result<Member*> ActiveRound::Admit(const Participant& who) {
  if (abandoned_) {
    return std::move(Unavailable("ROUND_NOT_HERE", "this round is being ended by another aggregator")).RetryAfter(kBusyRetry);
  }
  if (!members_) {
    if (IsFinal(record_.phase)) return RoundClosed("the round ended before it had devices");
    return std::move(Unavailable("SELECTION_PENDING", "the selection is not known here yet")).RetryAfter(kSelectionRetry);
  }
  return members_->Authenticate(who);
}

Status ActiveRound::CheckPhase(const Member& member, Phase expected) const {
  if (IsFinal(record_.phase)) return RoundClosed("the round has ended as " + std::string(PhaseName(record_.phase)));
  if (member.left) return RoundClosed("this device has left the round");
  if (record_.phase != expected) {
    return FailedPrecondition("WRONG_PHASE", "the round is " + std::string(PhaseName(record_.phase)) +
                                                 ", this message belongs to " + std::string(PhaseName(expected)));
  }
  if (member.FellOut(record_.phase)) return RoundClosed("the round goes on without this device");
  if (moving_ || failing_) {
    return std::move(Unavailable("ROUND_BUSY", "the round is changing its phase; send this again")).RetryAfter(kBusyRetry);
  }
  return OkStatus();
}

Result<PhaseUpdate> ActiveRound::UpdateFor(const Member& member) const {
  if (stopping_ && !IsFinal(record_.phase)) return Unavailable("STOPPING", "this aggregator is stopping; ask again");
  if (abandoned_) {
    return std::move(Unavailable("ROUND_NOT_HERE", "this round is being ended by another aggregator")).RetryAfter(kBusyRetry);
  }
  if (member.FellOut(record_.phase)) return RoundClosed("the round goes on without this device");
  PhaseUpdate update{.phase = record_.phase, .failure_reason = record_.failure_reason, .deadline = deadline_};
  if (server_ == nullptr) return update;
  if (record_.phase == Phase::kTraining) {
    EF_ASSIGN_OR_RETURN(update.training, server_->Setup(member.index));
  } else if (record_.phase == Phase::kCollecting) {
    EF_ASSIGN_OR_RETURN(update.collecting, server_->Inbox(member.index));
  } else if (record_.phase == Phase::kUnmasking) {
    update.unmasking = server_->survivors();
  }
  return update;
}

void ActiveRound::AdvertiseKeys(Participant who, secagg::KeyAdvert advert, Answer<Phase> answer) {
  OnStrand<Phase>(std::move(answer), [this, who = std::move(who), advert = std::move(advert)](const Answer<Phase>& reply) {
    auto apply = [&]() -> Result<Phase> {
      EF_ASSIGN_OR_RETURN(Member * member, Admit(who));
      if (member->index != 0 && !(member->advert == advert)) return AlreadySubmitted();
      if (member->index != 0) return record_.phase;
      EF_RETURN_IF_ERROR(CheckPhase(*member, Phase::kSelecting));
      EF_ASSIGN_OR_RETURN(member->index, server_->AddAdvert(advert));
      member->advert = advert;
      return record_.phase;
    };
    reply(apply());
    CheckProgress(/*deadline=*/false);
  });
}

void ActiveRound::ShareKeys(Participant who, std::vector<secagg::SealedShares> shares, Answer<Phase> answer) {
  OnStrand<Phase>(std::move(answer), [this, who = std::move(who), shares = std::move(shares)](const Answer<Phase>& reply) {
    auto apply = [&]() -> Result<Phase> {
      EF_ASSIGN_OR_RETURN(Member * member, Admit(who));
      const auto digest = DigestOf(shares);
      if (member->shares && *member->shares != digest) return AlreadySubmitted();
      if (member->shares) return record_.phase;
      EF_RETURN_IF_ERROR(CheckPhase(*member, Phase::kTraining));
      EF_RETURN_IF_ERROR(server_->AddShares(member->index, shares));
      member->shares = digest;
      return record_.phase;
    };
    reply(apply());
    CheckProgress(/*deadline=*/false);
  });
}

void ActiveRound::Unmask(Participant who, secagg::UnmaskAnswer message, Answer<Phase> answer) {
  OnStrand<Phase>(std::move(answer), [this, who = std::move(who), message = std::move(message)](const Answer<Phase>& reply) {
    auto apply = [&]() -> Result<Phase> {
      EF_ASSIGN_OR_RETURN(Member * member, Admit(who));
      const auto digest = DigestOf(message);
      if (member->answer && *member->answer != digest) return AlreadySubmitted();
      if (member->answer) return record_.phase;
      EF_RETURN_IF_ERROR(CheckPhase(*member, Phase::kUnmasking));
      EF_RETURN_IF_ERROR(server_->AddAnswer(member->index, message));
      member->answer = digest;
      return record_.phase;
    };
    reply(apply());
    CheckProgress(/*deadline=*/false);
  });
}

void ActiveRound::Leave(Participant who, std::string reason, Answer<Phase> answer) {
  OnStrand<Phase>(std::move(answer), [this, who = std::move(who), reason = std::move(reason)](const Answer<Phase>& reply) {
    auto member = Admit(who);
    if (!member) return reply(MakeError(std::move(member).error()));
    if (!(*member)->left && !IsFinal(record_.phase)) {
      (*member)->left = true;
      ports_.logger.Debug("device left", {{"round_id", round_id_}, {"device_id", who.device_id}, {"reason", reason}});
      DropWaiter(who.device_id);
    }
    reply(record_.phase);
    CheckProgress(/*deadline=*/false);
  });
}

// --- long polls ---

void ActiveRound::SendWaitersHome() {
  Post([self = shared_from_this()] {
    self->stopping_ = true;
    self->NotifyWaiters();
  });
}

void ActiveRound::AwaitPhase(Participant who, Phase after, Millis wait, Answer<PhaseUpdate> answer) {
  OnStrand<PhaseUpdate>(std::move(answer), [this, who = std::move(who), after, wait](const Answer<PhaseUpdate>& reply) {
    auto member = Admit(who);
    if (!member) return reply(MakeError(std::move(member).error()));
    if (record_.phase > after || wait <= Millis(0) || stopping_ || (*member)->FellOut(record_.phase))
      return reply(UpdateFor(**member));
    DropWaiter(who.device_id);
    const auto timer = ports_.timer.At(ports_.clock.Now() + wait, [self = shared_from_this(), device_id = who.device_id] {
      self->Post([self, device_id] {
        auto waiter = self->waiters_.find(device_id);
        // A newer waiter of the same device has a later timer.
        if (waiter != self->waiters_.end() && waiter->second.until <= self->ports_.clock.Now()) self->DropWaiter(device_id);
      });
    });
    waiters_.emplace(who.device_id, Waiter{after, reply, timer, ports_.clock.Now() + wait});
  });
}

void ActiveRound::DropWaiter(const std::string& device_id) {
  auto waiter = waiters_.find(device_id);
  if (waiter == waiters_.end()) return;
  ports_.timer.Cancel(waiter->second.timer);
  waiter->second.answer(UpdateFor(members_->at(device_id)));
  waiters_.erase(waiter);
}

// --- uploads ---

void ActiveRound::GetUpload(Participant who, Answer<aggregation::UploadProgress> answer) {
  using aggregation::UploadProgress;
  OnStrand<UploadProgress>(std::move(answer), [this, who = std::move(who)](const Answer<UploadProgress>& reply) {
    auto apply = [&]() -> Result<UploadProgress> {
      EF_ASSIGN_OR_RETURN(Member * member, Admit(who));
      if (!member->uploaded) EF_RETURN_IF_ERROR(CheckPhase(*member, Phase::kCollecting));
      auto progress = ports_.spool.Progress({round_id_, who.device_id});
      if (!progress && progress.error().reason() == "UPLOAD_UNKNOWN") {
        if (member->uploaded) return RoundClosed("the round has ended");
        return UploadProgress{.received = 0, .size = vector_length_ * sizeof(std::uint32_t), .complete = false};
      }
      return progress;
    };
    auto progress = apply();
    if (!progress || !progress->complete) return reply(std::move(progress));
    CountUpload(who.device_id, *progress, reply);
  });
}

void ActiveRound::BeginUpload(Participant who, std::uint64_t size, Bytes sha256, std::uint64_t offset,
                              Answer<std::shared_ptr<Upload>> answer) {
  using Reply = Answer<std::shared_ptr<Upload>>;
  OnStrand<std::shared_ptr<Upload>>(std::move(answer), [this, who = std::move(who), size, sha256 = std::move(sha256),
                                                        offset](const Reply& reply) {
    auto apply = [&]() -> Result<std::shared_ptr<Upload>> {
      EF_ASSIGN_OR_RETURN(Member * member, Admit(who));
      if (IsFinal(record_.phase) || !member->uploaded) EF_RETURN_IF_ERROR(CheckPhase(*member, Phase::kCollecting));
      if (size != vector_length_ * sizeof(std::uint32_t)) {
        return InvalidArgument("BAD_UPDATE", "an update of this round has " + std::to_string(vector_length_ * 4) + " bytes");
      }
      EF_ASSIGN_OR_RETURN(const auto progress, ports_.spool.Begin({round_id_, who.device_id}, size, sha256));
      if (!progress.complete && progress.received != offset) {
        return MakeError(StatusCode::kOutOfRange, "BAD_OFFSET",
                         "the server holds " + std::to_string(progress.received) + " bytes; go on from there");
      }
      return std::make_shared<Upload>(shared_from_this(), who.device_id, member->slot, progress);
    };
    reply(apply());
  });
}

// An update that is complete on disk is added to the sum, and counts from then on, unless the collection has ended meanwhile.
void ActiveRound::CountUpload(const std::string& device_id, aggregation::UploadProgress progress,
                              Answer<aggregation::UploadProgress> answer) {
  Member& member = members_->at(device_id);
  if (member.uploaded) return answer(progress);
  if (Status open = CheckPhase(member, Phase::kCollecting); !open.ok()) return answer(MakeError(std::move(open)));
  ++adding_;
  Work([self = shared_from_this(), sum = sum_, device_id, progress, answer = std::move(answer)] {
    Status added = sum->Add(device_id);
    self->Post([self, device_id, progress, answer, added] {
      --self->adding_;
      Status counted = self->OnAdded(device_id, added);
      answer(counted.ok() ? Result<aggregation::UploadProgress>(progress) : MakeError(std::move(counted)));
      self->CheckProgress(/*deadline=*/false);
    });
  });
}

Status ActiveRound::OnAdded(const std::string& device_id, const Status& added) {
  if (abandoned_ || IsFinal(record_.phase)) return RoundClosed("the round has ended");
  Member& member = members_->at(device_id);
  if (added.reason() == "BAD_UPDATE") member.left = true;  // it cannot send another
  if (added.reason() == "SUM_SPOILT") Fail(failure::kAggregationFailed, added.ToString());
  if (!added.ok() && added.reason() != "ALREADY_COUNTED") return added;
  if (member.uploaded) return OkStatus();
  EF_RETURN_IF_ERROR(server_->AddUpload(member.index));
  member.uploaded = true;
  ++record_.uploaded;
  record_.update_bytes += vector_length_ * sizeof(std::uint32_t);
  return OkStatus();
}

Upload::Upload(std::shared_ptr<ActiveRound> round, std::string device_id, std::shared_ptr<UploadSlot> slot,
               aggregation::UploadProgress progress)
    : round_(std::move(round)),
      device_id_(std::move(device_id)),
      slot_(std::move(slot)),
      progress_(progress),
      repeated_(progress.complete) {
  std::lock_guard lock(slot_->mutex);
  generation_ = ++slot_->generation;
}

Status Upload::Append(ByteView chunk) {
  if (repeated_) return OkStatus();
  std::lock_guard lock(slot_->mutex);
  if (slot_->generation != generation_) return Aborted("UPLOAD_SUPERSEDED", "a newer stream of this device goes on");
  EF_ASSIGN_OR_RETURN(progress_, round_->ports_.spool.Append({round_->round_id_, device_id_}, progress_.received, chunk));
  if (progress_.complete) {
    // Counted even if the stream breaks before its end.
    round_->Post([round = round_, device_id = device_id_, progress = progress_] {
      round->CountUpload(device_id, progress, [](const Result<aggregation::UploadProgress>&) {});
    });
  }
  return OkStatus();
}

void Upload::Finish(Answer<aggregation::UploadProgress> answer) {
  using aggregation::UploadProgress;
  round_->OnStrand<UploadProgress>(
      std::move(answer), [round = round_, device_id = device_id_, progress = progress_](const Answer<UploadProgress>& reply) {
        if (!progress.complete) return reply(progress);
        round->CountUpload(device_id, progress, reply);
      });
}

}  // namespace edgefleet::rounds
