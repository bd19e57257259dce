// The client's protocol, a class for each state. The base refuses every message; a state overrides those it expects, checks
// them whole, and answers with what to send and the state that comes next (none: it stays). An error changes nothing.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "secagg/client.h"
#include "secagg/keys.h"
#include "secagg/session.h"

namespace edgefleet::secagg {

// What stays the same in all states of one client; handed from state to state.
struct ClientContext {
  ClientContext(ClientOptions o, OneShotGuard& g, RandomSource& r) : options(std::move(o)), guard(g), random(r) {}
  bool active() const { return options.adversary == Adversary::kActive; }
  Status Bind(Statement statement, const crypto::Sha256Digest& content) const {
    return guard.Bind(options.round_id, statement, content);
  }

  ClientOptions options;
  OneShotGuard& guard;
  RandomSource& random;
};

class ClientState {
 public:
  template <typename T>
  struct Step {
    T answer;
    std::unique_ptr<ClientState> next;
  };

  explicit ClientState(std::unique_ptr<ClientContext> context) : context_(std::move(context)) {}
  virtual ~ClientState() = default;
  virtual std::string_view name() const = 0;
  virtual Result<Step<KeyAdvert>> AdvertiseKeys();
  virtual Result<Step<SharedKeys>> ShareKeys(const RoundSetup& setup);
  virtual Result<Step<UploadProof>> Mask(const Inbox& inbox, std::span<std::uint32_t> update);
  virtual Result<Step<Confirmation>> Confirm(ByteView survivors);
  virtual Result<Step<UnmaskAnswer>> Unmask(const UnmaskRequest& request);

 protected:
  Error Unexpected(std::string_view message) const;
  const ClientContext& context() const { return *context_; }
  std::unique_ptr<ClientContext> TakeContext() { return std::move(context_); }

 private:
  std::unique_ptr<ClientContext> context_;
};

// Nothing has been made or sent.
class ClientStart final : public ClientState {
 public:
  using ClientState::ClientState;
  std::string_view name() const override { return "start"; }
  Result<Step<KeyAdvert>> AdvertiseKeys() override;
};

// Has both key pairs; waits for the setup.
class ClientAdvertised final : public ClientState {
 public:
  ClientAdvertised(std::unique_ptr<ClientContext> context, KeyPair cipher, KeyPair mask, KeyAdvert advert)
      : ClientState(std::move(context)), cipher_(std::move(cipher)), mask_(std::move(mask)), advert_(std::move(advert)) {}
  std::string_view name() const override { return "advertised"; }
  Result<Step<KeyAdvert>> AdvertiseKeys() override;
  Result<Step<SharedKeys>> ShareKeys(const RoundSetup& setup) override;

 private:
  KeyPair cipher_;
  KeyPair mask_;
  KeyAdvert advert_;
};

// What a member keeps of the setup from sharing on.
struct Neighbourhood {
  SessionConfig config;
  std::uint32_t members = 0;
  std::uint32_t threshold = 0;
  std::uint32_t survivors_min = 0;
  RoundDigest round{};
  SessionId session{};
  std::uint32_t index = 0;                // own
  std::vector<std::uint32_t> neighbours;  // ascending indices
  // Active variant only:
  crypto::Sha256Digest advert{};                     // digest of the own one
  std::vector<crypto::Ed25519PublicKey> identities;  // of the neighbours, in order
  std::vector<crypto::Sha256Digest> adverts;         // of the neighbours, in order: digests
  std::vector<crypto::Ed25519PublicKey> committee;   // in the order of the ring
  bool in_committee = false;
  std::optional<Graph> graph;  // to see where on the ring the dropouts lie
};

// Has split its mask key and its self-mask seed; waits for the neighbours' shares.
class ClientShared final : public ClientState {
 public:
  struct Secrets {
    Bytes cipher_public_key;                // own
    std::vector<Bytes> cipher_public_keys;  // by neighbour
    std::vector<Secret> open_keys;          // by neighbour: opens what it sealed for this member
    std::vector<Secret> mask_keys;          // by neighbour: of the pairwise mask
    Secret self_mask_seed;
  };
  ClientShared(std::unique_ptr<ClientContext> context, Neighbourhood neighbourhood, Secrets secrets)
      : ClientState(std::move(context)), neighbourhood_(std::move(neighbourhood)), secrets_(std::move(secrets)) {}
  std::string_view name() const override { return "shared"; }
  Result<Step<UploadProof>> Mask(const Inbox& inbox, std::span<std::uint32_t> update) override;

 private:
  Status CheckInbox(const Inbox& inbox) const;
  Status CheckSharers(const Inbox& inbox) const;
  void ApplyMasks(ByteView senders, std::span<std::uint32_t> update);

  Neighbourhood neighbourhood_;
  Secrets secrets_;
};

// The shares that a member holds of its neighbours' secrets.
struct HeldShares {
  Bytes sharers;                                // bitmap over all members: who has shared keys
  Bytes senders;                                // bitmap over the neighbours: the sharers among them
  std::vector<std::optional<SharePair>> pairs;  // of each sender; nothing where the sealed shares did not open
};

// Has masked its update; its own secrets are gone, it holds shares of the neighbours'.
class ClientMasked : public ClientState {
 public:
  ClientMasked(std::unique_ptr<ClientContext> context, Neighbourhood neighbourhood, HeldShares held)
      : ClientState(std::move(context)), neighbourhood_(std::move(neighbourhood)), held_(std::move(held)) {}
  std::string_view name() const override { return "masked"; }
  Result<Step<Confirmation>> Confirm(ByteView survivors) override;
  Result<Step<UnmaskAnswer>> Unmask(const UnmaskRequest& request) override;

 private:
  Status CheckSurvivors(ByteView survivors) const;
  Status CheckConfirmations(const UnmaskRequest& request) const;
  Status CheckUploads(const UnmaskRequest& request) const;

  Neighbourhood neighbourhood_;
  HeldShares held_;
};

// Active variant, members of the committee: has signed one set of survivors and will reveal shares for that one only.
class ClientConfirmed final : public ClientMasked {
 public:
  ClientConfirmed(std::unique_ptr<ClientContext> context, Neighbourhood neighbourhood, HeldShares held,
                  const crypto::Sha256Digest& survivors, Confirmation confirmation)
      : ClientMasked(std::move(context), std::move(neighbourhood), std::move(held)),
        survivors_(survivors),
        confirmation_(std::move(confirmation)) {}
  std::string_view name() const override { return "confirmed"; }
  Result<Step<Confirmation>> Confirm(ByteView survivors) override;
  Result<Step<UnmaskAnswer>> Unmask(const UnmaskRequest& request) override;

 private:
  crypto::Sha256Digest survivors_;
  Confirmation confirmation_;
};

// Has answered for one set of survivors and holds no share any more; repeats that answer and gives no other.
class ClientAnswered final : public ClientState {
 public:
  ClientAnswered(std::unique_ptr<ClientContext> context, const crypto::Sha256Digest& survivors, UnmaskAnswer answer)
      : ClientState(std::move(context)), survivors_(survivors), answer_(std::move(answer)) {}
  std::string_view name() const override { return "answered"; }
  Result<Step<UnmaskAnswer>> Unmask(const UnmaskRequest& request) override;

 private:
  crypto::Sha256Digest survivors_;
  UnmaskAnswer answer_;
};

// The checks of a setup that need no secret (client_setup.cc). On success: the neighbourhood it describes.
Result<Neighbourhood> CheckSetup(const RoundSetup& setup, const ClientOptions& options, const KeyAdvert& own);

}  // namespace edgefleet::secagg
