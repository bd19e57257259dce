// What devices say to a round.
#include "aggregator/rounds/active_round.h"
#include "aggregator/rounds/active_round_plumbing.h"

namespace edgefleet::rounds {
namespace {

constexpr Millis kSelectionRetry{300};

}  // namespace

Result<Member*> ActiveRound::Admit(const Participant& who) {
  if (abandoned_) return NotHere();
  if (!memory_.state) {
    if (IsFinal(record_.phase)) return RoundClosed("the round ended before it had devices");
    return std::move(Unavailable("SELECTION_PENDING", "the selection is not known here yet")).RetryAfter(kSelectionRetry);
  }
  return memory_.state->members().Authenticate(who);
}

Status ActiveRound::CheckPhase(const Member& member, Phase expected) const {
  if (IsFinal(record_.phase)) return RoundClosed("the round has ended as " + std::string(PhaseName(record_.phase)));
  if (member.left) return RoundClosed("this device has left the round");
  if (record_.phase != expected) {
    return FailedPrecondition("WRONG_PHASE", "the round is " + std::string(PhaseName(record_.phase)) +
                                                 ", this message belongs to " + std::string(PhaseName(expected)));
  }
  if (member.FellOut(record_.phase)) return RoundClosed("the round goes on without this device");
  return moving_ || failing_ ? Status(Busy()) : OkStatus();
}

Result<PhaseUpdate> ActiveRound::UpdateFor(const Member& member) const {
  if (stopping_ && !IsFinal(record_.phase)) return Unavailable("STOPPING", "this aggregator is stopping; ask again");
  if (abandoned_) return NotHere();
  if (member.FellOut(record_.phase)) return RoundClosed("the round goes on without this device");
  PhaseUpdate update{.phase = record_.phase, .failure_reason = record_.failure_reason, .deadline = deadline_};
  EF_RETURN_IF_ERROR(AddPayload(member, update));
  return update;
}

// The server's state runs ahead while the next phase is being stored.
Status ActiveRound::AddPayload(const Member& member, PhaseUpdate& update) const {
  if (record_.phase <= Phase::kSelecting || record_.phase >= Phase::kAggregating) return OkStatus();
  if (memory_.state->phase() != record_.phase) return Busy();
  const secagg::Server& server = *memory_.state->server();
  switch (record_.phase) {
    case Phase::kTraining: {
      EF_ASSIGN_OR_RETURN(update.training, server.Setup(member.index));
      return OkStatus();
    }
    case Phase::kCollecting: {
      EF_ASSIGN_OR_RETURN(update.collecting, server.InboxOf(member.index));
      return OkStatus();
    }
    case Phase::kConfirming: {
      if (!server.IsConfirmer(member.index)) return OkStatus();
      EF_ASSIGN_OR_RETURN(update.confirming, server.SurvivorBitmap());
      return OkStatus();
    }
    default: {
      EF_ASSIGN_OR_RETURN(update.unmasking, server.Request(member.index));
      return OkStatus();
    }
  }
}

// --- messages ---

Status ActiveRound::Recorded(Status written) {
  if (written.reason() != failure::kJournalLost) return written;
  Fail(failure::kJournalLost, written.ToString());
  return Busy();
}

// A message that is new is in the journal before its device is answered.
template <typename Record>
void ActiveRound::Receive(Participant who, Record record, Phase expected, Answer<Phase> answer) {
  OnStrand<Phase>(std::move(answer),
                  [this, who = std::move(who), record = std::move(record), expected](const Answer<Phase>& reply) {
                    auto apply = [&]() -> Result<Phase> {
                      EF_ASSIGN_OR_RETURN(Member * member, Admit(who));
                      EF_ASSIGN_OR_RETURN(const bool repeated, memory_.state->Repeats(*member, record));
                      if (repeated) {
                        if (!IsFinal(record_.phase)) EF_RETURN_IF_ERROR(Recorded(memory_.journal->CatchUp()));
                        return record_.phase;
                      }
                      EF_RETURN_IF_ERROR(CheckPhase(*member, expected));
                      EF_RETURN_IF_ERROR(memory_.state->Apply(record));
                      EF_RETURN_IF_ERROR(Recorded(memory_.journal->Remember(record)));
                      return record_.phase;
                    };
                    reply(apply());
                    CheckProgress(/*deadline=*/false);
                  });
}

void ActiveRound::AdvertiseKeys(Participant who, secagg::KeyAdvert advert, Answer<Phase> answer) {
  DeviceAdvertised record{who.device_id, std::move(advert)};
  Receive(std::move(who), std::move(record), Phase::kSelecting, std::move(answer));
}

void ActiveRound::ShareKeys(Participant who, secagg::SharedKeys shared, Answer<Phase> answer) {
  DeviceShared record{who.device_id, std::move(shared)};
  Receive(std::move(who), std::move(record), Phase::kTraining, std::move(answer));
}

void ActiveRound::Confirm(Participant who, secagg::Confirmation confirmation, Answer<Phase> answer) {
  DeviceConfirmed record{who.device_id, std::move(confirmation)};
  Receive(std::move(who), std::move(record), Phase::kConfirming, std::move(answer));
}

void ActiveRound::Unmask(Participant who, secagg::UnmaskAnswer message, Answer<Phase> answer) {
  DeviceAnswered record{who.device_id, std::move(message)};
  Receive(std::move(who), std::move(record), Phase::kUnmasking, std::move(answer));
}

void ActiveRound::Leave(Participant who, std::string reason, Answer<Phase> answer) {
  OnStrand<Phase>(std::move(answer), [this, who = std::move(who), reason = std::move(reason)](const Answer<Phase>& reply) {
    auto member = Admit(who);
    if (!member) return reply(MakeError(std::move(member).error()));
    if (!(*member)->left && !IsFinal(record_.phase)) {
      (*member)->left = true;
      std::ignore = Recorded(memory_.journal->Remember(DeviceLeft{who.device_id}));  // forgotten, it is waited for
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
  waiter->second.answer(UpdateFor(memory_.state->members().at(device_id)));
  waiters_.erase(waiter);
}

}  // namespace edgefleet::rounds
