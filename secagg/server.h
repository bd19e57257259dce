// The server's side of one secure aggregation (messages: secagg/messages.h; protocol: docs/specs/secagg.md). It holds keys,
// sealed shares and revealed shares, never an update: the caller sums the survivors' masked updates and hands the sum to
// Unmask().
//
//   Server server(options);
//   index = server.AddAdvert(advert);     ... server.CloseRoster(graph, survivors_min);  // then Setup(index) tells each device
//   server.AddShares(index, shared);      ... server.CloseSharing();          // then Inbox(index)
//   server.AddUpload(index, proof);       ... server.CloseUploads();          // then survivors()
//   server.AddConfirmation(index, c);     ... server.CloseConfirmations();    // active variant only
//   server.AddAnswer(index, answer);      ... server.Unmask(sum, pool);       // Request(index) goes to each survivor
//
// No I/O, no clock, no randomness: a server that is given the same calls again is in the same state, so a round can be replayed
// after a restart. Not thread-safe. A refused message changes nothing. A message that the present state does not expect is
// FAILED_PRECONDITION [WRONG_PHASE]; a repeated identical message succeeds, a different one is ALREADY_EXISTS
// [ALREADY_SUBMITTED]; an index beyond the roster is NOT_FOUND [NOT_A_MEMBER]. Memory: O(n k): n * k * kSealedSize bytes of
// sealed shares, then at most n * k * kShareSize of revealed ones.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto/crypto.h"
#include "base/executor.h"
#include "base/status.h"
#include "secagg/keys.h"
#include "secagg/messages.h"

namespace edgefleet::secagg {

class ServerState;
struct Ledger;

struct ServerOptions {
  SessionConfig config;
  Bytes server_nonce;                                 // kDigestSize fresh random bytes
  std::uint32_t members_max = kMembersMax;            // 2 to kMembersMax
  std::vector<crypto::Ed25519PublicKey> authorities;  // active: whose enrolment counts; at least one
};

class Server {
 public:
  // INVALID_ARGUMENT [BAD_SETUP].
  static Result<Server> Create(ServerOptions options);
  ~Server();
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;

  // The new member's index: 1, 2, ... in the order of calls. INVALID_ARGUMENT [BAD_KEY] (length, low-order point),
  // [BAD_SIGNATURE] (active: not signed by an enrolled identity), ALREADY_EXISTS [DUPLICATE_KEY] (a key or identity that
  // another member has), RESOURCE_EXHAUSTED [ROSTER_FULL].
  Result<std::uint32_t> AddAdvert(const KeyAdvert& advert);
  // Fixes n and the graph. INVALID_ARGUMENT [BAD_SETUP] for parameters that make no graph; FAILED_PRECONDITION
  // [BELOW_THRESHOLD] with fewer than survivors_min members.
  Status CloseRoster(const GraphParameters& graph, std::uint32_t survivors_min);
  // What member `index` gets. From CloseRoster on.
  Result<RoundSetup> Setup(std::uint32_t index) const;

  // INVALID_ARGUMENT [BAD_SHARES] (sizes).
  Status AddShares(std::uint32_t sender, const SharedKeys& shared);
  std::uint32_t shared_count() const;
  // Fixes the sharers: the largest set of members that shared in which each has at least t neighbours of the set. (One that
  // shared and is not in it has dropped out.) FAILED_PRECONDITION [BELOW_THRESHOLD] when fewer than survivors_min are left.
  Status CloseSharing();
  // FAILED_PRECONDITION [DID_NOT_SHARE]. From CloseSharing on.
  Result<Inbox> InboxOf(std::uint32_t receiver) const;

  // Whether AddUpload would take this; changes nothing.
  Status CheckUpload(std::uint32_t index, const UploadProof& proof) const;
  // Member `index` is in the sum. FAILED_PRECONDITION [DID_NOT_SHARE]; INVALID_ARGUMENT [BAD_SIGNATURE] (active: not the
  // member's over these sharers; otherwise: not empty).
  Status AddUpload(std::uint32_t index, const UploadProof& proof);
  // Fixes the survivors. FAILED_PRECONDITION [BELOW_THRESHOLD] with fewer than survivors_min uploads, or when some sharer has
  // fewer than t survivors among its neighbours, so that its masks could not be removed.
  Status CloseUploads();
  bool CanCloseUploads() const;
  bool IsSharer(std::uint32_t index) const;
  // Ascending indices. From AddUpload on.
  const std::vector<std::uint32_t>& survivors() const;
  // Sharers that are not survivors, ascending: their masks must be removed. From CloseUploads on.
  const std::vector<std::uint32_t>& dropped() const;
  // The bitmap over all members that survivors confirm. From CloseUploads on.
  Result<Bytes> SurvivorBitmap() const;

  // Active variant: whether member `index` is a survivor of the committee, which alone confirms. From CloseUploads on.
  bool IsConfirmer(std::uint32_t index) const;
  // INVALID_ARGUMENT [BAD_SIGNATURE], FAILED_PRECONDITION [NOT_A_SURVIVOR, NOT_IN_COMMITTEE].
  Status AddConfirmation(std::uint32_t index, const Confirmation& confirmation);
  std::uint32_t confirmation_count() const;
  // Whether CloseConfirmations would succeed.
  bool CanCloseConfirmations() const;
  // FAILED_PRECONDITION [BELOW_THRESHOLD] with fewer than t confirmations.
  Status CloseConfirmations();
  // FAILED_PRECONDITION [NOT_A_SURVIVOR].
  Result<UnmaskRequest> Request(std::uint32_t index) const;

  // INVALID_ARGUMENT [BAD_ANSWER] (sizes, other survivors), FAILED_PRECONDITION [NOT_A_SURVIVOR].
  Status AddAnswer(std::uint32_t index, const UnmaskAnswer& answer);
  std::uint32_t answer_count() const;
  // Whether every secret that is needed has t shares. More answers than that let wrong shares be found and left out.
  bool CanUnmask() const;

  // `sum`: vector_length words, the sum modulo 2^32 of the survivors' masked updates; becomes, in place, the sum of their plain
  // updates modulo 2^element_bits. Extra memory O(n k). `pool` may be null; the calling thread works along, so it may be one of
  // the pool's. FAILED_PRECONDITION [BELOW_THRESHOLD]; DATA_LOSS [SHARES_BEYOND_REPAIR] when no t shares of a member give what
  // it had advertised or committed to (see blames()); INVALID_ARGUMENT [BAD_SUM] (length). On an error `sum` is untouched.
  Status Unmask(std::span<std::uint32_t> sum, ThreadPool* pool);
  // Who sent what was wrong, as far as it was found: complete after Unmask.
  const std::vector<Blame>& blames() const;

  std::uint32_t member_count() const;
  // "advertising", "sharing", "collecting", "confirming", "unmasking", "done".
  std::string_view state() const;
  // All that the protocol remembers, for the transcript (secagg/server_states.h).
  const Ledger& ledger() const;

 private:
  explicit Server(std::unique_ptr<ServerState> state);
  std::unique_ptr<ServerState> state_;
};

}  // namespace edgefleet::secagg
