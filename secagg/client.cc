#include "secagg/client.h"

#include <utility>

#include "secagg/client_states.h"

namespace edgefleet::secagg {

Client::Client(ClientOptions options, OneShotGuard& guard, RandomSource& random)
    : state_(std::make_unique<ClientStart>(std::make_unique<ClientContext>(std::move(options), guard, random))) {}
Client::~Client() = default;
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;

namespace {

template <typename T>
Result<T> Take(std::unique_ptr<ClientState>& state, Result<ClientState::Step<T>> step) {
  if (!step) return MakeError(std::move(step).error());
  if (step->next) state = std::move(step->next);
  return std::move(step->answer);
}

}  // namespace

Result<KeyAdvert> Client::AdvertiseKeys() { return Take(state_, state_->AdvertiseKeys()); }
Result<SharedKeys> Client::ShareKeys(const RoundSetup& setup) { return Take(state_, state_->ShareKeys(setup)); }
Result<UploadProof> Client::Mask(const Inbox& inbox, std::span<std::uint32_t> update) {
  return Take(state_, state_->Mask(inbox, update));
}
Result<Confirmation> Client::Confirm(ByteView survivors) { return Take(state_, state_->Confirm(survivors)); }
Result<UnmaskAnswer> Client::Unmask(const UnmaskRequest& request) { return Take(state_, state_->Unmask(request)); }
std::string_view Client::state() const { return state_->name(); }

}  // namespace edgefleet::secagg
