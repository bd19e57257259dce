#include "secagg/server.h"

#include "secagg/server_states.h"

namespace edgefleet::secagg {
namespace {

Status Move(std::unique_ptr<ServerState>& state, ServerState::Next next) {
  if (!next) return std::move(next).error();
  state = std::move(*next);
  return OkStatus();
}

}  // namespace

Result<Server> Server::Create(ServerOptions options) {
  if (options.round_id.empty() || options.round_id.size() > kRoundIdSizeMax || options.vector_length < 2 ||
      options.vector_length > kVectorLengthMax || options.members_max < 2 || options.members_max > kMembersMax) {
    return InvalidArgument("BAD_SETUP", "an aggregation needs a round id of 1 to " + std::to_string(kRoundIdSizeMax) +
                                            " bytes, vectors of 2 to 2^32 words and 2 to " + std::to_string(kMembersMax) +
                                            " members");
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
Status Server::CloseRoster(std::uint32_t threshold) { return Move(state_, state_->CloseRoster(threshold)); }
Result<RoundSetup> Server::Setup(std::uint32_t index) const { return state_->Setup(index); }
Status Server::AddShares(std::uint32_t sender, std::span<const SealedShares> shares) {
  return state_->AddShares(sender, shares);
}
Status Server::CloseSharing() { return Move(state_, state_->CloseSharing()); }
Result<std::vector<SealedShares>> Server::Inbox(std::uint32_t receiver) const { return state_->Inbox(receiver); }
Status Server::AddUpload(std::uint32_t index) { return state_->AddUpload(index); }
Status Server::CloseUploads() { return Move(state_, state_->CloseUploads()); }
Status Server::AddAnswer(std::uint32_t index, const UnmaskAnswer& answer) { return state_->AddAnswer(index, answer); }
Status Server::Unmask(std::span<std::uint32_t> sum, ThreadPool* pool) { return Move(state_, state_->Unmask(sum, pool)); }

std::uint32_t Server::shared_count() const {
  const Ledger& ledger = state_->ledger();
  return ledger.sharers.empty() ? ledger.SharedCount() : static_cast<std::uint32_t>(ledger.sharers.size());
}
const std::vector<std::uint32_t>& Server::survivors() const { return state_->ledger().survivors; }
const std::vector<std::uint32_t>& Server::dropped() const { return state_->ledger().dropped; }
std::uint32_t Server::answer_count() const { return static_cast<std::uint32_t>(state_->ledger().answer_digests.size()); }
bool Server::CanUnmask() const { return threshold() > 0 && answer_count() >= threshold(); }
std::uint32_t Server::member_count() const { return static_cast<std::uint32_t>(state_->ledger().roster.size()); }
std::uint32_t Server::threshold() const { return state_->ledger().threshold; }
std::string_view Server::state() const { return state_->name(); }

}  // namespace edgefleet::secagg
