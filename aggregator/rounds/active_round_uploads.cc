// How masked updates get from devices into the round's sum.
#include "aggregator/rounds/active_round.h"
#include "aggregator/rounds/active_round_plumbing.h"
#include "secagg/packing.h"

namespace edgefleet::rounds {

using aggregation::UploadProgress;

namespace {

Error Malformed() {
  return InvalidArgument("BAD_UPDATE", "the update is not packed as this round's updates are; it does not count");
}

}  // namespace

std::uint64_t ActiveRound::upload_size() const { return secagg::PackedSize(plan_.shape.elements, plan_.shape.element_bits); }

void ActiveRound::GetUpload(Participant who, Answer<UploadProgress> answer) {
  OnStrand<UploadProgress>(std::move(answer), [this, who = std::move(who)](const Answer<UploadProgress>& reply) {
    auto look = [&]() -> Result<UploadProgress> {
      EF_ASSIGN_OR_RETURN(Member * member, Admit(who));
      if (!member->uploaded) EF_RETURN_IF_ERROR(CheckPhase(*member, Phase::kCollecting));
      auto progress = ports_.spool.Progress({round_id_, who.device_id});
      if (!progress && progress.error().reason() == "UPLOAD_UNKNOWN") {
        if (member->uploaded) return RoundClosed("the round has ended");
        return UploadProgress{.received = 0, .size = upload_size(), .complete = false};
      }
      // What a lost machine has forgotten: the device sends its header again, and nothing after it.
      if (progress && active() && !member->proof) progress->complete = false;
      return progress;
    };
    auto progress = look();
    if (!progress || !progress->complete) return reply(std::move(progress));
    CountUpload(who.device_id, [reply, progress = *progress](const Status& counted) {
      reply(counted.ok() ? Result<UploadProgress>(progress) : MakeError(counted));
    });
  });
}

Status ActiveRound::TakeProof(const std::string& device_id, const Member& member, const secagg::UploadProof& proof) {
  if (member.proof || member.uploaded) {
    if (member.proof.value_or(secagg::UploadProof()) == proof) return Recorded(memory_.journal->CatchUp());
    return AlreadyExists("ALREADY_SUBMITTED", "this device has sent another proof with its update in this round");
  }
  const DeviceUploaded record{device_id, proof};
  EF_RETURN_IF_ERROR(memory_.state->Apply(record));
  return active() ? Recorded(memory_.journal->Remember(record)) : OkStatus();
}

void ActiveRound::BeginUpload(Participant who, UploadHeader header, Answer<std::shared_ptr<Upload>> answer) {
  using Reply = Answer<std::shared_ptr<Upload>>;
  OnStrand<std::shared_ptr<Upload>>(
      std::move(answer), [this, who = std::move(who), header = std::move(header)](const Reply& reply) {
        auto apply = [&]() -> Result<std::shared_ptr<Upload>> {
          EF_ASSIGN_OR_RETURN(Member * member, Admit(who));
          if (IsFinal(record_.phase) || !member->uploaded) EF_RETURN_IF_ERROR(CheckPhase(*member, Phase::kCollecting));
          if (header.size != upload_size()) {
            return InvalidArgument("BAD_UPDATE", "an update of this round has " + std::to_string(upload_size()) + " bytes");
          }
          EF_RETURN_IF_ERROR(TakeProof(who.device_id, *member, header.proof));
          EF_ASSIGN_OR_RETURN(const auto progress, ports_.spool.Begin({round_id_, who.device_id}, header.size, header.sha256));
          if (!progress.complete && progress.received != header.offset) {
            return MakeError(StatusCode::kOutOfRange, "BAD_OFFSET",
                             "the server holds " + std::to_string(progress.received) + " bytes; go on from there");
          }
          return std::make_shared<Upload>(shared_from_this(), who.device_id, member->slot, progress);
        };
        reply(apply());
      });
}

// An update that is complete on disk is added to the sum, and counts from then on, unless the collection has ended meanwhile.
// Its proof is durable before the sum, which may be, is: an update without one could not be unmasked.
void ActiveRound::CountUpload(const std::string& device_id, Counted done) {
  if (abandoned_) return done(NotHere());
  const Member& member = memory_.state->members().at(device_id);
  if (member.uploaded) return done(OkStatus());
  if (member.malformed) return done(Malformed());
  if (Status open = CheckPhase(member, Phase::kCollecting); !open.ok()) return done(open);
  const auto [waiting, first] = counting_.try_emplace(device_id);
  waiting->second.push_back(std::move(done));
  if (!first) return;
  const std::uint64_t mark = active() ? memory_.journal->Mark() : 0;
  Submit(*adding_, [self = shared_from_this(), sum = memory_.sum, mark, device_id] {
    Status added = self->memory_.journal->Sync(mark);
    if (added.ok()) added = sum->Add(device_id);
    self->Post([self, device_id, added] { self->OnCounted(device_id, added); });
  });
}

void ActiveRound::OnCounted(const std::string& device_id, Status added) {
  const auto waiting = counting_.extract(device_id);
  Member& member = memory_.state->members().at(device_id);
  added = Recorded(std::move(added));
  if (added.reason() == "ALREADY_COUNTED") added = OkStatus();
  if (added.reason() == "SUM_FINISHED") {
    added = CheckPhase(member, Phase::kCollecting);
    if (added.ok()) added = Busy();
  } else if (added.reason() == "SUM_SPOILT") {
    Fail(failure::kAggregationFailed, added.ToString());
  } else if (added.reason() == "BAD_UPDATE") {  // it cannot send another
    member.malformed = member.left = true;
    std::ignore = Recorded(memory_.journal->Remember(DeviceLeft{device_id}));
  }
  if (added.ok() && !member.uploaded) {
    const bool open = !failing_ && memory_.state->server();
    added = open ? memory_.state->CountUpload(device_id) : Status(RoundClosed("the round has ended"));
    record_.update_bytes += added.ok() ? upload_size() : 0;
  }
  for (const auto& done : waiting.mapped()) done(added);
  CheckProgress(/*deadline=*/false);
}

// --- one stream ---

Upload::Upload(std::shared_ptr<ActiveRound> round, std::string device_id, std::shared_ptr<UploadSlot> slot,
               UploadProgress progress)
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
    round_->Post([round = round_, device_id = device_id_] { round->CountUpload(device_id, [](const Status&) {}); });
  }
  return OkStatus();
}

void Upload::Finish(Answer<UploadProgress> answer) {
  round_->OnStrand<UploadProgress>(
      std::move(answer), [round = round_, device_id = device_id_, progress = progress_](const Answer<UploadProgress>& reply) {
        if (!progress.complete) return reply(progress);
        round->CountUpload(device_id, [reply, progress](const Status& counted) {
          reply(counted.ok() ? Result<UploadProgress>(progress) : MakeError(counted));
        });
      });
}

}  // namespace edgefleet::rounds
