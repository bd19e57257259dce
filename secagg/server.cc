#include "secagg/server.h"

#include <algorithm>
#include <string>
#include <utility>

#include "secagg/server_states.h"
#include "secagg/session.h"

namespace edgefleet::secagg {
namespace {

Status Enter(std::unique_ptr<ServerState>& state, ServerState::Next next) {
  if (!next) return MakeError(std::move(next).error());
  state = std::move(*next);
  return OkStatus();
}

}  // namespace

Result<Server> Server::Create(ServerOptions options) {
  EF_RETURN_IF_ERROR(CheckConfig(options.config));
  if (options.server_nonce.size() != kDigestSize || options.members_max < 3 || options.members_max > kMembersMax) {
    return InvalidArgument("BAD_SETUP",
                           "a round needs a nonce of 32 bytes and 3 to " + std::to_string(kMembersMax) + " members");
  }
  if (options.config.adversary == Adversary::kActive && options.authorities.empty()) {
    return InvalidArgument("BAD_SETUP", "the active variant needs the key of at least one enrolment authority");
  }
  auto ledger = std::make_unique<Ledger>();
  ledger->options = std::move(options);
  return Server(std::make_unique<ServerAdvertising>(std::move(ledger)));
}

Server::Server(std::unique_ptr<ServerState> state) : state_(std::move(state)) {}
Server::~Server() = default;
Server::Server(Server&&) noexcept = default;
Server& Server::operator=(Server&&) noexcept = default;

Result<std::uint32_t> Server::AddAdvert(const KeyAdvert& advert) { return state_->AddAdvert(advert); }
Status Server::CloseRoster(const GraphParameters& graph, std::uint32_t survivors_min) {
  return Enter(state_, state_->CloseRoster(graph, survivors_min));
}
Result<RoundSetup> Server::Setup(std::uint32_t index) const { return state_->Setup(index); }
Status Server::AddShares(std::uint32_t sender, const SharedKeys& shared) { return state_->AddShares(sender, shared); }
std::uint32_t Server::shared_count() const {
  const auto& shared = ledger().shared;
  return static_cast<std::uint32_t>(
      std::ranges::count_if(shared, [](const SharedKeys& s) { return !s.seed_commitment.empty(); }));
}
Status Server::CloseSharing() { return Enter(state_, state_->CloseSharing()); }
Result<Inbox> Server::InboxOf(std::uint32_t receiver) const { return state_->InboxOf(receiver); }
Status Server::CheckUpload(std::uint32_t index, const UploadProof& proof) const { return state_->CheckUpload(index, proof); }
Status Server::AddUpload(std::uint32_t index, const UploadProof& proof) { return state_->AddUpload(index, proof); }
bool Server::CanCloseUploads() const { return state_->CheckUploads().ok(); }
Status Server::CloseUploads() { return Enter(state_, state_->CloseUploads()); }
bool Server::IsSharer(std::uint32_t index) const {
  return index >= 1 && index <= ledger().is_sharer.size() && ledger().IsSharer(index);
}
const std::vector<std::uint32_t>& Server::survivors() const { return ledger().survivors; }
const std::vector<std::uint32_t>& Server::dropped() const { return ledger().dropped; }
Result<Bytes> Server::SurvivorBitmap() const {
  if (!ledger().survivor_bitmap.empty()) return ledger().survivor_bitmap;
  return FailedPrecondition("WRONG_PHASE", "the survivors are not known before the uploads are closed");
}
bool Server::IsConfirmer(std::uint32_t index) const {
  return index >= 1 && index <= ledger().is_survivor.size() && ledger().IsSurvivor(index) && ledger().IsInCommittee(index);
}
Status Server::AddConfirmation(std::uint32_t index, const Confirmation& confirmation) {
  return state_->AddConfirmation(index, confirmation);
}
std::uint32_t Server::confirmation_count() const {
  return static_cast<std::uint32_t>(std::ranges::count_if(ledger().confirmations, [](const Bytes& c) { return !c.empty(); }));
}
bool Server::CanCloseConfirmations() const { return state_->CheckConfirmations().ok(); }
Status Server::CloseConfirmations() { return Enter(state_, state_->CloseConfirmations()); }
Result<UnmaskRequest> Server::Request(std::uint32_t index) const { return state_->Request(index); }
Status Server::AddAnswer(std::uint32_t index, const UnmaskAnswer& answer) { return state_->AddAnswer(index, answer); }
std::uint32_t Server::answer_count() const { return ledger().answer_count; }
bool Server::CanUnmask() const { return state_->CanUnmask(); }
Status Server::Unmask(std::span<std::uint32_t> sum, ThreadPool* pool) { return Enter(state_, state_->Unmask(sum, pool)); }
const std::vector<Blame>& Server::blames() const { return ledger().blames; }
std::uint32_t Server::member_count() const { return ledger().members(); }
std::string_view Server::state() const { return state_->name(); }
const Ledger& Server::ledger() const { return state_->ledger(); }

}  // namespace edgefleet::secagg
