#include "secagg/client.h"

#include "secagg/client_states.h"

namespace edgefleet::secagg {
namespace {

template <typename T>
Result<T> Take(std::unique_ptr<ClientState>& state, Result<ClientState::Step<T>> step) {
  if (!step) return MakeError(std::move(step).error());
  if (step->next != nullptr) state = std::move(step->next);
  return std::move(step->answer);
}

}  // namespace

Client::Client(std::string round_id, RandomSource& random)
    : state_(std::make_unique<ClientStart>(std::move(round_id), random)) {}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

Result<KeyAdvert> Client::AdvertiseKeys() { return Take(state_, state_->AdvertiseKeys()); }

Result<std::vector<SealedShares>> Client::ShareKeys(const RoundSetup& setup) { return Take(state_, state_->ShareKeys(setup)); }

Status Client::Mask(std::span<const SealedShares> inbox, std::span<std::uint32_t> update) {
  EF_ASSIGN_OR_RETURN(state_, state_->Mask(inbox, update));
  return OkStatus();
}

Result<UnmaskAnswer> Client::Unmask(std::span<const std::uint32_t> survivors) {
  return Take(state_, state_->Unmask(survivors));
}

std::string_view Client::state() const { return state_->name(); }

}  // namespace edgefleet::secagg
