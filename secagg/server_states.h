// The server's protocol, a class for each state. The base refuses every message; a state overrides those it expects, checks
// them whole before it changes anything, and closing one makes the next. All that is remembered lies in a Ledger handed from
// state to state.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto/crypto.h"
#include "base/status.h"
#include "secagg/keys.h"
#include "secagg/messages.h"
#include "secagg/server.h"

namespace edgefleet::secagg {

struct Ledger {
  ServerOptions options;
  std::vector<RosterMember> roster;
  std::uint32_t threshold = 0;
  std::vector<Bytes> outboxes;  // by sender - 1: the ciphertexts for the others, ascending, in one piece; empty: none yet
  std::vector<std::uint32_t> sharers;    // ascending, from CloseSharing on
  std::vector<std::uint32_t> survivors;  // ascending
  std::vector<std::uint32_t> dropped;    // ascending, from CloseUploads on
  std::vector<std::uint32_t> answerers;  // whose answers are kept: the first `threshold`
  std::vector<std::vector<Secret>>
      shares;  // [answerer][sharer]: of the seed of a survivor, of the mask key of a dropped member
  std::map<std::uint32_t, crypto::Sha256Digest> answer_digests;  // of all answers, to tell a repetition from a contradiction

  bool IsMember(std::uint32_t index) const { return index >= 1 && index <= roster.size(); }
  bool HasShared(std::uint32_t index) const { return IsMember(index) && !outboxes[index - 1].empty(); }
  std::uint32_t SharedCount() const;
};

class ServerState {
 public:
  explicit ServerState(std::unique_ptr<Ledger> ledger) : ledger_(std::move(ledger)) {}
  virtual ~ServerState() = default;
  virtual std::string_view name() const = 0;

  using Next = Result<std::unique_ptr<ServerState>>;
  virtual Result<std::uint32_t> AddAdvert(const KeyAdvert& advert);
  virtual Next CloseRoster(std::uint32_t threshold);
  virtual Result<RoundSetup> Setup(std::uint32_t index) const;
  virtual Status AddShares(std::uint32_t sender, std::span<const SealedShares> shares);
  virtual Next CloseSharing();
  virtual Result<std::vector<SealedShares>> Inbox(std::uint32_t receiver) const;
  virtual Status AddUpload(std::uint32_t index);
  virtual Next CloseUploads();
  virtual Status AddAnswer(std::uint32_t index, const UnmaskAnswer& answer);
  virtual Next Unmask(std::span<std::uint32_t> sum, ThreadPool* pool);

  const Ledger& ledger() const { return *ledger_; }

 protected:
  Error Unexpected(std::string_view message) const;
  Status CheckMember(std::uint32_t index) const;
  Ledger& mutable_ledger() { return *ledger_; }
  std::unique_ptr<Ledger> TakeLedger() { return std::move(ledger_); }

 private:
  std::unique_ptr<Ledger> ledger_;
};

// Collects key adverts.
class ServerAdvertising final : public ServerState {
 public:
  using ServerState::ServerState;
  std::string_view name() const override { return "advertising"; }
  Result<std::uint32_t> AddAdvert(const KeyAdvert& advert) override;
  Next CloseRoster(std::uint32_t threshold) override;
};

// The roster is fixed: Setup answers in this state and all later ones.
class ServerWithRoster : public ServerState {
 public:
  using ServerState::ServerState;
  Result<RoundSetup> Setup(std::uint32_t index) const final;
};

// Collects sealed shares.
class ServerSharing final : public ServerWithRoster {
 public:
  using ServerWithRoster::ServerWithRoster;
  std::string_view name() const override { return "sharing"; }
  Status AddShares(std::uint32_t sender, std::span<const SealedShares> shares) override;
  Next CloseSharing() override;
};

// Learns who is in the sum, and passes the shares on.
class ServerCollecting final : public ServerWithRoster {
 public:
  using ServerWithRoster::ServerWithRoster;
  std::string_view name() const override { return "collecting"; }
  Result<std::vector<SealedShares>> Inbox(std::uint32_t receiver) const override;
  Status AddUpload(std::uint32_t index) override;
  Next CloseUploads() override;
};

// Collects revealed shares and removes the masks.
class ServerUnmasking final : public ServerWithRoster {
 public:
  using ServerWithRoster::ServerWithRoster;
  std::string_view name() const override { return "unmasking"; }
  Status AddAnswer(std::uint32_t index, const UnmaskAnswer& answer) override;
  Next Unmask(std::span<std::uint32_t> sum, ThreadPool* pool) override;
};

// The sum is plain; every share is wiped.
class ServerDone final : public ServerWithRoster {
 public:
  using ServerWithRoster::ServerWithRoster;
  std::string_view name() const override { return "done"; }
};

}  // namespace edgefleet::secagg
