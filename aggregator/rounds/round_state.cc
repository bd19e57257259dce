#include "aggregator/rounds/round_state.h"

#include <utility>

#include "secagg/packing.h"
#include "secagg/server_states.h"

namespace edgefleet::rounds {

RoundState::RoundState(Members members, secagg::Server server)
    : members_(std::move(members)), server_(std::make_shared<secagg::Server>(std::move(server))) {}

Result<RoundState> RoundState::Create(const RoundStarted& started, const DevicesAssigned& assigned) {
  EF_ASSIGN_OR_RETURN(Members members, Members::Create(assigned.devices, started.members_max));
  EF_ASSIGN_OR_RETURN(auto server, secagg::Server::Create({.config = started.config,
                                                           .server_nonce = started.server_nonce,
                                                           .members_max = started.members_max,
                                                           .authorities = started.authorities}));
  return RoundState(std::move(members), std::move(server));
}

Result<Member*> RoundState::Find(const std::string& device_id) {
  Member* member = members_.Find(device_id);
  if (member != nullptr) return member;
  return NotFound("NOT_A_MEMBER", "the device was not assigned to the round");
}

// --- messages ---

Status RoundState::Apply(const DeviceAdvertised& record) {
  EF_ASSIGN_OR_RETURN(Member * member, Find(record.device_id));
  EF_ASSIGN_OR_RETURN(member->index, server_->AddAdvert(record.advert));
  member->advert = DigestOf(record);
  return OkStatus();
}

Status RoundState::Apply(const DeviceShared& record) {
  EF_ASSIGN_OR_RETURN(Member * member, Find(record.device_id));
  EF_RETURN_IF_ERROR(server_->AddShares(member->index, record.shared));
  member->shares = DigestOf(record);
  return OkStatus();
}

Status RoundState::Apply(const DeviceUploaded& record) {
  EF_ASSIGN_OR_RETURN(Member * member, Find(record.device_id));
  EF_RETURN_IF_ERROR(server_->CheckUpload(member->index, record.proof));
  member->proof = record.proof;
  return OkStatus();
}

Status RoundState::Apply(const DeviceConfirmed& record) {
  EF_ASSIGN_OR_RETURN(Member * member, Find(record.device_id));
  EF_RETURN_IF_ERROR(server_->AddConfirmation(member->index, record.confirmation));
  member->confirmation = DigestOf(record);
  return OkStatus();
}

Status RoundState::Apply(const DeviceAnswered& record) {
  EF_ASSIGN_OR_RETURN(Member * member, Find(record.device_id));
  EF_RETURN_IF_ERROR(server_->AddAnswer(member->index, record.answer));
  member->answer = DigestOf(record);
  return OkStatus();
}

Status RoundState::Apply(const DeviceLeft& record) {
  EF_ASSIGN_OR_RETURN(Member * member, Find(record.device_id));
  member->left = true;
  return OkStatus();
}

Status RoundState::CountUpload(const std::string& device_id) {
  EF_ASSIGN_OR_RETURN(Member * member, Find(device_id));
  if (member->uploaded) return OkStatus();
  if (active() && !member->proof) {
    return DataLoss("ROUND_DAMAGED", "the sum holds an update without the proof of whom it was masked for");
  }
  EF_RETURN_IF_ERROR(server_->AddUpload(member->index, member->proof.value_or(secagg::UploadProof())));
  member->uploaded = true;
  return OkStatus();
}

// --- closings ---

Status RoundState::Apply(const PhaseClosed& record) {
  const auto target = Next(phase_, record.event);
  if (!target) return FailedPrecondition("WRONG_PHASE", std::string(EventName(record.event)) + " does not end this phase");
  switch (record.event) {
    case Event::kRosterComplete:
      EF_RETURN_IF_ERROR(server_->CloseRoster(record.graph, record.survivors_min));
      break;
    case Event::kKeysShared:
      EF_RETURN_IF_ERROR(server_->CloseSharing());
      MarkSharers();
      break;
    case Event::kUpdatesCollected:
    case Event::kUpdatesToConfirm:
      for (const auto& device_id : record.survivors) EF_RETURN_IF_ERROR(CountUpload(device_id));
      EF_RETURN_IF_ERROR(server_->CloseUploads());
      break;
    case Event::kSurvivorsConfirmed:
      EF_RETURN_IF_ERROR(server_->CloseConfirmations());
      break;
    case Event::kSharesRevealed:
      if (!server_->CanUnmask()) return FailedPrecondition("BELOW_THRESHOLD", "too few shares of some member were revealed");
      break;
    default:
      return FailedPrecondition("WRONG_PHASE", "devices have no part in " + std::string(EventName(record.event)));
  }
  phase_ = *target;
  return OkStatus();
}

bool RoundState::active() const { return server_->ledger().active(); }

void RoundState::MarkSharers() {
  for (auto& [id, member] : members_.all()) member.sharer = server_->IsSharer(member.index);
}

std::vector<std::string> RoundState::Uploaders() const {
  std::vector<std::string> devices;
  for (const auto& [id, member] : members_.all()) {
    const bool may_upload = member.sharer && (member.proof || !active());
    if (phase_ == Phase::kCollecting ? may_upload : member.uploaded) devices.push_back(id);
  }
  return devices;
}

void RoundState::Fill(Round& round) const {
  round.assigned = static_cast<std::uint32_t>(members_.size());
  round.advertised = server_->member_count();
  if (phase_ == Phase::kSelecting) return;
  const secagg::Ledger& ledger = server_->ledger();
  round.degree = ledger.parameters.degree;
  round.threshold = ledger.parameters.threshold;
  round.shared = server_->shared_count();
  round.uploaded = members_.Count([](const Member& m) { return m.uploaded; });
  round.update_bytes = round.uploaded * static_cast<std::uint64_t>(secagg::PackedSize(ledger.options.config.vector_length,
                                                                                      ledger.options.config.element_bits));
  round.dropouts_recovered = static_cast<std::uint32_t>(server_->dropped().size());
  round.confirmed = server_->confirmation_count();
  round.unmasked = server_->answer_count();
}

}  // namespace edgefleet::rounds
