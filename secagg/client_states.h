// The client's protocol, a class for each state. The base refuses every message; a state overrides those it expects, checks
// them whole, and answers with what to send and the state that comes next (none: it stays). An error changes nothing.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "base/status.h"
#include "secagg/keys.h"
#include "secagg/messages.h"

namespace edgefleet::secagg {

class ClientState {
 public:
  template <typename T>
  struct Step {
    T answer;
    std::unique_ptr<ClientState> next;
  };

  virtual ~ClientState() = default;
  virtual std::string_view name() const = 0;
  virtual Result<Step<KeyAdvert>> AdvertiseKeys();
  virtual Result<Step<std::vector<SealedShares>>> ShareKeys(const RoundSetup& setup);
  virtual Result<std::unique_ptr<ClientState>> Mask(std::span<const SealedShares> inbox, std::span<std::uint32_t> update);
  virtual Result<Step<UnmaskAnswer>> Unmask(std::span<const std::uint32_t> survivors);

 private:
  Error Unexpected(std::string_view message) const;
};

// Nothing has been made or sent.
class ClientStart final : public ClientState {
 public:
  ClientStart(std::string round_id, RandomSource& random) : round_id_(std::move(round_id)), random_(random) {}
  std::string_view name() const override { return "start"; }
  Result<Step<KeyAdvert>> AdvertiseKeys() override;

 private:
  std::string round_id_;
  RandomSource& random_;
};

// Has both key pairs; waits for the roster.
class ClientAdvertised final : public ClientState {
 public:
  ClientAdvertised(std::string round_id, RandomSource& random);
  std::string_view name() const override { return "advertised"; }
  Result<Step<KeyAdvert>> AdvertiseKeys() override;
  Result<Step<std::vector<SealedShares>>> ShareKeys(const RoundSetup& setup) override;

  KeyAdvert advert() const { return {cipher_.public_key, mask_.public_key}; }

 private:
  Status CheckSetup(const RoundSetup& setup) const;

  std::string round_id_;
  RandomSource& random_;
  KeyPair cipher_;
  KeyPair mask_;
};

// Has split its mask key and its self-mask seed; waits for the others' shares.
class ClientShared final : public ClientState {
 public:
  struct Secrets {
    KeyPair cipher;
    KeyPair mask;
    Secret self_mask_seed;
    SharePair own_shares;
  };
  ClientShared(const RoundSetup& setup, const RoundDigest& round, const SessionId& session, Secrets secrets)
      : setup_(setup), round_(round), session_(session), secrets_(std::move(secrets)) {}
  std::string_view name() const override { return "shared"; }
  Result<std::unique_ptr<ClientState>> Mask(std::span<const SealedShares> inbox, std::span<std::uint32_t> update) override;

 private:
  Status CheckInbox(std::span<const SealedShares> inbox) const;
  const RosterMember& Member(std::uint32_t index) const { return setup_.roster[index - 1]; }

  RoundSetup setup_;
  RoundDigest round_;
  SessionId session_;
  Secrets secrets_;
};

// Has masked its update; its own secrets are gone, it holds one pair of shares for each member that shared.
class ClientMasked final : public ClientState {
 public:
  struct Held {
    std::uint32_t owner;
    SharePair shares;
  };
  ClientMasked(std::uint32_t index, std::uint32_t threshold, std::vector<Held> held)
      : index_(index), threshold_(threshold), held_(std::move(held)) {}
  std::string_view name() const override { return "masked"; }
  Result<Step<UnmaskAnswer>> Unmask(std::span<const std::uint32_t> survivors) override;

 private:
  std::uint32_t index_;
  std::uint32_t threshold_;
  std::vector<Held> held_;
};

// Has answered for one set of survivors and holds no other share; repeats that answer and gives no other.
class ClientAnswered final : public ClientState {
 public:
  ClientAnswered(std::vector<std::uint32_t> survivors, UnmaskAnswer answer)
      : survivors_(std::move(survivors)), answer_(std::move(answer)) {}
  std::string_view name() const override { return "answered"; }
  Result<Step<UnmaskAnswer>> Unmask(std::span<const std::uint32_t> survivors) override;

 private:
  std::vector<std::uint32_t> survivors_;  // ascending
  UnmaskAnswer answer_;
};

}  // namespace edgefleet::secagg
