// The server's side of one secure aggregation (see secagg/messages.h). It holds keys, sealed shares and revealed shares, never
// an update: the caller sums the masked updates of the survivors modulo 2^32 and hands the sum to Unmask().
//
//   Server server(options);
//   index = server.AddAdvert(advert);  ... server.CloseRoster(threshold);           // SELECTING
//   server.AddShares(index, sealed);   ... server.CloseSharing();                   // TRAINING: Setup(index) tells each device
//   server.AddUpload(index);           ... server.CloseUploads();                   // COLLECTING: Inbox(index) goes to each
//   device server.AddAnswer(index, answer);   ... server.Unmask(sum, pool);                // UNMASKING: survivors() goes to
//   each survivor
//
// No I/O, no clock, no randomness: a server that is given the same calls again is in the same state, so a round can be replayed
// after a restart. Not thread-safe. A refused message changes nothing. A message that the present state does not expect is
// FAILED_PRECONDITION [WRONG_PHASE]; a repeated identical message succeeds, a different one is ALREADY_EXISTS
// [ALREADY_SUBMITTED]. Memory: n(n-1) * kSealedSize bytes of sealed shares, then at most threshold * n * kShareSize of revealed
// ones.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/executor.h"
#include "base/status.h"
#include "secagg/messages.h"

namespace edgefleet::secagg {

class ServerState;

struct ServerOptions {
  std::string round_id;                     // 1 to kRoundIdSizeMax bytes
  std::uint64_t vector_length = 0;          // words: 2 to kVectorLengthMax
  std::uint32_t members_max = kMembersMax;  // 2 to kMembersMax
};

class Server {
 public:
  // INVALID_ARGUMENT [BAD_SETUP].
  static Result<Server> Create(ServerOptions options);
  ~Server();
  Server(Server&&) noexcept;
  Server& operator=(Server&&) noexcept;

  // The new member's index: 1, 2, ... in the order of calls. INVALID_ARGUMENT [BAD_KEY] (length, low-order point),
  // ALREADY_EXISTS [DUPLICATE_KEY], RESOURCE_EXHAUSTED [ROSTER_FULL].
  Result<std::uint32_t> AddAdvert(const KeyAdvert& advert);
  // FAILED_PRECONDITION [BELOW_THRESHOLD] with fewer members than threshold; INVALID_ARGUMENT [UNSAFE_THRESHOLD] unless
  // n/2 < threshold and threshold >= 2 (see SafeThreshold).
  Status CloseRoster(std::uint32_t threshold);
  // What member `index` gets. NOT_FOUND [NOT_A_MEMBER]. From CloseRoster on.
  Result<RoundSetup> Setup(std::uint32_t index) const;

  // Exactly one message for each other member, else INVALID_ARGUMENT [BAD_SHARES]; NOT_FOUND [NOT_A_MEMBER].
  Status AddShares(std::uint32_t sender, std::span<const SealedShares> shares);
  std::uint32_t shared_count() const;
  // FAILED_PRECONDITION [BELOW_THRESHOLD] when fewer than threshold members have shared.
  Status CloseSharing();
  // The messages for `receiver` from all that shared; NOT_FOUND [NOT_A_MEMBER], FAILED_PRECONDITION [DID_NOT_SHARE]. From
  // CloseSharing on.
  Result<std::vector<SealedShares>> Inbox(std::uint32_t receiver) const;

  // Member `index` is in the sum. NOT_FOUND [NOT_A_MEMBER], FAILED_PRECONDITION [DID_NOT_SHARE].
  Status AddUpload(std::uint32_t index);
  // FAILED_PRECONDITION [BELOW_THRESHOLD] with fewer than threshold uploads.
  Status CloseUploads();
  // Ascending indices. From AddUpload on.
  const std::vector<std::uint32_t>& survivors() const;
  // Members that shared keys and are not survivors, ascending: their masks must be removed. From CloseUploads on.
  const std::vector<std::uint32_t>& dropped() const;

  // Exactly one share of the right kind for each member that shared, else INVALID_ARGUMENT [BAD_ANSWER]; NOT_FOUND
  // [NOT_A_MEMBER], FAILED_PRECONDITION [NOT_A_SURVIVOR]. Answers beyond the threshold are acknowledged and not kept.
  Status AddAnswer(std::uint32_t index, const UnmaskAnswer& answer);
  std::uint32_t answer_count() const;
  bool CanUnmask() const;

  // `sum`: vector_length words, the sum modulo 2^32 of the survivors' masked updates; becomes, in place, the sum of their plain
  // updates. Works in blocks; extra memory is O(n + survivors * dropped). `pool` may be null; the calling thread works along,
  // so it may be one of the pool's. FAILED_PRECONDITION [BELOW_THRESHOLD] with fewer than threshold answers; DATA_LOSS
  // [BAD_MASK_KEY] when the shares of a dropped member's key do not give the key it advertised; INVALID_ARGUMENT [BAD_SUM]
  // (length). On an error `sum` is untouched.
  Status Unmask(std::span<std::uint32_t> sum, ThreadPool* pool);

  std::uint32_t member_count() const;
  std::uint32_t threshold() const;  // 0 before CloseRoster
  // "advertising", "sharing", "collecting", "unmasking", "done".
  std::string_view state() const;

 private:
  explicit Server(std::unique_ptr<ServerState> state);
  std::unique_ptr<ServerState> state_;
};

}  // namespace edgefleet::secagg
