// The server's protocol, a class for each state. The base refuses every message; a state overrides those it expects, checks
// them whole before it changes anything, and closing one makes the next. All that is remembered lies in a Ledger handed from
// state to state.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto/crypto.h"
#include "base/status.h"
#include "secagg/graph.h"
#include "secagg/keys.h"
#include "secagg/messages.h"
#include "secagg/roster.h"
#include "secagg/server.h"

namespace edgefleet::secagg {

// What a survivor has revealed.
struct KeptAnswer {
  Bytes held;                  // bitmap over the senders of its inbox
  std::vector<Secret> shares;  // of each that is held, in order
  crypto::Sha256Digest digest{};
};

// Vectors "by member" have place index - 1.
struct Ledger {
  ServerOptions options;
  std::vector<KeyAdvert> adverts;  // by member

  // From CloseRoster on.
  GraphParameters parameters;
  std::uint32_t survivors_min = 0;
  std::vector<std::vector<std::uint32_t>> neighbours;  // by member: ascending indices
  std::vector<std::uint32_t> committee;                // active: in the order of the ring
  std::vector<bool> in_committee;                      // by member; empty when semi-honest
  Bytes fingerprints;                                  // active: of all members' identity keys
  RosterTree roster;
  SessionId session{};
  std::vector<SharedKeys> shared;  // by member; empty commitment: none yet. `sealed` is freed when COLLECTING ends

  std::vector<bool> is_sharer;           // by member, from CloseSharing on
  std::vector<bool> is_survivor;         // by member
  std::vector<std::uint32_t> sharers;    // ascending
  std::vector<std::uint32_t> survivors;  // ascending
  std::vector<std::uint32_t> dropped;    // ascending, from CloseUploads on
  Bytes sharer_bitmap;                   // over all members, from CloseSharing on
  Bytes survivor_bitmap;                 // over all members, from CloseUploads on

  std::vector<Bytes> upload_signatures;            // by member; empty: none. Active variant
  std::vector<Bytes> confirmations;                // by member; empty: none. Active variant
  std::vector<std::optional<KeptAnswer>> answers;  // by member
  std::vector<std::uint32_t> share_counts;         // by member: shares of its secret that were revealed
  std::uint32_t answer_count = 0;
  std::vector<Blame> blames;

  bool active() const { return options.config.adversary == Adversary::kActive; }
  std::uint32_t members() const { return static_cast<std::uint32_t>(adverts.size()); }
  bool HasShared(std::uint32_t index) const { return !shared[index - 1].seed_commitment.empty(); }
  bool IsInCommittee(std::uint32_t index) const { return active() && in_committee[index - 1]; }
  bool IsSharer(std::uint32_t index) const { return is_sharer[index - 1]; }
  bool IsSurvivor(std::uint32_t index) const { return is_survivor[index - 1]; }
  const std::vector<std::uint32_t>& NeighboursOf(std::uint32_t index) const { return neighbours[index - 1]; }
  // The place of `neighbour` among the neighbours of `index`, from 0.
  std::size_t PlaceOf(std::uint32_t index, std::uint32_t neighbour) const;
  // The neighbours of `index` that are sharers, ascending: the senders of its inbox and the holders of its shares.
  std::vector<std::uint32_t> Senders(std::uint32_t index) const;
  // Whether the masks of sharer `index` are in the sum, so that its secret is needed.
  bool IsNeeded(std::uint32_t index) const;
  // Of the member's advert; active variant.
  crypto::Ed25519PublicKey IdentityOf(std::uint32_t index) const;
  // What every member is told.
  RoundSetup SetupWithoutMember() const;
};

class ServerState {
 public:
  explicit ServerState(std::unique_ptr<Ledger> ledger) : ledger_(std::move(ledger)) {}
  virtual ~ServerState() = default;
  virtual std::string_view name() const = 0;

  using Next = Result<std::unique_ptr<ServerState>>;
  virtual Result<std::uint32_t> AddAdvert(const KeyAdvert& advert);
  virtual Next CloseRoster(const GraphParameters& graph, std::uint32_t survivors_min);
  virtual Result<RoundSetup> Setup(std::uint32_t index) const;
  virtual Status AddShares(std::uint32_t sender, const SharedKeys& shared);
  virtual Next CloseSharing();
  virtual Result<Inbox> InboxOf(std::uint32_t receiver) const;
  virtual Status CheckUpload(std::uint32_t index, const UploadProof& proof) const;
  virtual Status AddUpload(std::uint32_t index, const UploadProof& proof);
  virtual Status CheckUploads() const;
  virtual Next CloseUploads();
  virtual Status AddConfirmation(std::uint32_t index, const Confirmation& confirmation);
  virtual Status CheckConfirmations() const;
  virtual Next CloseConfirmations();
  virtual Result<UnmaskRequest> Request(std::uint32_t index) const;
  virtual Status AddAnswer(std::uint32_t index, const UnmaskAnswer& answer);
  virtual bool CanUnmask() const { return false; }
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
  Next CloseRoster(const GraphParameters& graph, std::uint32_t survivors_min) override;

 private:
  std::set<Bytes> keys_;  // of all adverts, so that none is used twice
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
  Status AddShares(std::uint32_t sender, const SharedKeys& shared) override;
  Next CloseSharing() override;
};

// Learns who is in the sum, and passes the shares on.
class ServerCollecting final : public ServerWithRoster {
 public:
  using ServerWithRoster::ServerWithRoster;
  std::string_view name() const override { return "collecting"; }
  Result<Inbox> InboxOf(std::uint32_t receiver) const override;
  Status CheckUpload(std::uint32_t index, const UploadProof& proof) const override;
  Status AddUpload(std::uint32_t index, const UploadProof& proof) override;
  Status CheckUploads() const override;
  Next CloseUploads() override;
};

// Active variant: collects the committee's signatures over who survived.
class ServerConfirming final : public ServerWithRoster {
 public:
  using ServerWithRoster::ServerWithRoster;
  std::string_view name() const override { return "confirming"; }
  Status AddConfirmation(std::uint32_t index, const Confirmation& confirmation) override;
  Status CheckConfirmations() const override;
  Next CloseConfirmations() override;
};

// Collects revealed shares and removes the masks.
class ServerUnmasking final : public ServerWithRoster {
 public:
  using ServerWithRoster::ServerWithRoster;
  std::string_view name() const override { return "unmasking"; }
  Result<UnmaskRequest> Request(std::uint32_t index) const override;
  Status AddAnswer(std::uint32_t index, const UnmaskAnswer& answer) override;
  bool CanUnmask() const override;
  Next Unmask(std::span<std::uint32_t> sum, ThreadPool* pool) override;
};

// The sum is plain; every share is wiped.
class ServerDone final : public ServerWithRoster {
 public:
  using ServerWithRoster::ServerWithRoster;
  std::string_view name() const override { return "done"; }
};

}  // namespace edgefleet::secagg
